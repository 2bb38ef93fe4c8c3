"""Products of two tensors, read as batch, left, contracted and right dimensions: matmul, bmm, baddbmm and two-operand einsum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

MATMUL = frozenset({"matmul", "rmatmul", "bmm"})
PRODUCTS = MATMUL | {"baddbmm", "einsum"}


@dataclass(frozen=True)
class Product:
    """``out = left · right``, each operand with its letters.

    Attributes:
        letters: one letter for each dimension of left, right and out.
        term: what baddbmm adds, and its factors (beta, alpha).
    """

    left: Tensor
    right: Tensor
    letters: tuple[str, str, str]
    term: Tensor | None = None
    beta: float = 1.0
    alpha: float = 1.0

    def swapped(self) -> Product:
        """The same product with the operands named the other way round."""
        a, b, out = self.letters
        return Product(self.right, self.left, (b, a, out), self.term, self.beta, self.alpha)


def read(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Product | None:
    """The product a function call makes; None where it is not of two batched tensors."""
    if name == "einsum":
        return _einsum(args)
    operands = [*args, *kwargs.values()]
    if name == "baddbmm":
        if len(operands) < 3 or not isinstance(operands[0], Tensor):
            return None
        factors = (float(kwargs.get("beta", 1)), float(kwargs.get("alpha", 1)))
        return _matmul(args[1], args[2], operands[0], *factors) if len(args) >= 3 else None
    if len(operands) < 2:
        return None
    left, right = (operands[1], operands[0]) if name == "rmatmul" else operands[:2]
    return _matmul(left, right)


def _matmul(left: object, right: object, term: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0) -> Product | None:
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)) or min(left.dim(), right.dim()) < 3:
        return None
    dims = max(left.dim(), right.dim())
    batch = "abcdefgh"[: dims - 2]
    left, right = _widened(left, dims), _widened(right, dims)
    return Product(left, right, (batch + "xy", batch + "yz", batch + "xz"), term, beta, alpha)


def _widened(x: Tensor, dims: int) -> Tensor:
    """Leading dimensions of one up to ``dims``; the very same tensor where none is missing."""
    return x if x.dim() == dims else x[(None,) * (dims - x.dim())]


def _einsum(args: tuple[Any, ...]) -> Product | None:
    if len(args) < 2 or not isinstance(args[0], str):
        return None
    operands = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
    equation = _small_letters(args[0].replace(" ", ""))
    if len(operands) != 2 or "->" not in equation or not all(isinstance(x, Tensor) for x in operands):
        return None
    inputs, out = equation.split("->")
    terms = inputs.split(",")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    dots = [x.dim() - len(term.replace("...", "")) if "..." in term else 0 for x, term in zip(operands, terms, strict=True)]
    wide = "".join(spare[: max(dots)])
    spelled = [term.replace("...", wide[len(wide) - n :]) for term, n in zip(terms, dots, strict=True)]
    letters = (spelled[0], spelled[1], out.replace("...", wide))
    if any(len(set(part)) != len(part) for part in letters):
        return None
    return Product(operands[0], operands[1], letters)


def _small_letters(equation: str) -> str:
    """The same equation in small letters (capitals stand for the dimensions under an ellipsis here)."""
    free = iter(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in equation)
    return equation.translate({ord(c): next(free) for c in sorted(set(equation)) if c.isupper()})


def arrange(x: Tensor, have: str, want: str) -> Tensor:
    """``x`` with its dimensions in the wanted order; letters it lacks become dimensions of one."""
    present = [c for c in want if c in have]
    x = x.permute([have.index(c) for c in present])
    for i, c in enumerate(want):
        if c not in have:
            x = x.unsqueeze(i)
    return x


def arranger(have: str, want: str) -> Callable[[Tensor], Tensor]:
    """:func:`arrange` for a tensor that is there later."""
    if have == want:
        return lambda x: x
    return lambda x: arrange(x, have, want)


@dataclass(frozen=True)
class Roles:
    """Which letter of a product is the query, which the key, which is contracted; the rest is batch."""

    left: str
    right: str
    contracted: str
    batch: str


def scores_roles(product: Product) -> Roles | None:
    """``q kᵀ``: one contracted letter, one of each operand's own, the rest shared and in the output."""
    a, b, out = product.letters
    contracted = [c for c in a if c in b and c not in out]
    left = [c for c in a if c not in b and c in out and not c.isupper()]
    right = [c for c in b if c not in a and c in out and not c.isupper()]
    if (len(contracted), len(left), len(right)) != (1, 1, 1) or min(product.left.dim(), product.right.dim()) < 3:
        return None
    return Roles(left[0], right[0], contracted[0], "".join(c for c in out if c not in (left[0], right[0])))


def value_roles(product: Product, axes: tuple[int, int], lead: tuple[int, ...]) -> Roles | None:
    """``A v``: the left operand's key letter is contracted, its query letter stays, the right operand brings one letter."""
    a, b, out = product.letters
    query, key = a[axes[0]], a[axes[1]]
    own = [c for c in b if c not in a and c in out]
    batch = "".join(a[i] for i in lead)
    if key not in b or key in out or query in b or query not in out or len(own) != 1 or not all(c in out for c in batch):
        return None
    return Roles(query, own[0], key, batch)
