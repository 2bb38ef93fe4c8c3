"""Does a forward pass contain attention at all? Counted by rules of its own, so that it can check what the interceptor heard.

Counted: ``scaled_dot_product_attention``, ``multi_head_attention_forward``, flex and flash attention, and every softmax that comes from
one product of two batched tensors and feeds another (``q kᵀ``, then ``A v``). A softmax of anything else that feeds a product is listed
apart: linear attention, weights a layer predicts; so is sampling at learned positions (deformable attention).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitscope.capture.kernel import kernel_of
from vitscope.capture.modes import ordinary, ordinary_mode
from vitscope.capture.paths import Paths
from vitscope.capture.products import PRODUCTS, read

#: Part of a function's name, and how its attention is called.
FUSED = (
    ("scaled_dot_product_attention", "sdpa"),
    ("multi_head_attention_forward", "mha"),
    ("transformer_encoder_layer_fwd", "mha"),
    ("flex_attention", "flex"),
    ("flash_attn", "flash"),
    ("flash_attention", "flash"),
    ("memory_efficient_attention", "xformers"),
)
#: Sampling at learned positions (deformable attention).
SAMPLING = frozenset({"grid_sample", "grid_sampler"})


@dataclass(frozen=True)
class Contains:
    """What one forward pass contains.

    Attributes:
        attention: (path of the module, kind) of every attention, in running order; kinds "sdpa", "mha", "flex", "flash", "xformers",
            "kernel" (one of ``KERNELS``), "softmax" (of a matrix product, feeding another).
        weighted: paths of other softmaxes that feed a product: linear attention, or weights that a layer predicts.
        sampled: whether something is sampled at learned positions (deformable attention).
        convolutions: how many convolutions ran.
    """

    attention: tuple[tuple[str, str], ...]
    weighted: tuple[str, ...]
    sampled: bool
    convolutions: int

    def __bool__(self) -> bool:
        return bool(self.attention)


class _Probe(TorchFunctionMode):
    """Counts, and changes nothing."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.attention: list[tuple[str, str]] = []
        self.weighted: list[str] = []
        self.sampled, self.convolutions = False, 0
        self._paths = Paths(module)
        self._marks: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = str(getattr(func, "__name__", "") or func).strip("_")
        kind = next((kind for part, kind in FUSED if part in name), "kernel" if kernel_of(name) else "")
        product = not kind and name in PRODUCTS and read(name, args, kwargs or {}) is not None
        marks = {self._mark(x) for x in (_flat(args) if product else args)}
        if kind or (product and "weights" in marks):
            self.attention.append((self._paths.running(), kind or "softmax"))
        elif product and "softmax" in marks:
            self.weighted.append(self._paths.running())
        self.sampled |= name in SAMPLING
        self.convolutions += name.startswith("conv") and "transpose" not in name
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self._set(out, "scores" if product else self._carried(name, args, out))
        return out

    def _carried(self, name: str, args: tuple[Any, ...], out: Tensor) -> str:
        """What a function's result is: a softmax, or what its argument was, in whatever shape."""
        before = next((self._mark(x) for x in args if self._mark(x) and x.numel() == out.numel()), "")
        if name in {"softmax", "softmax2d"}:
            return "weights" if before == "scores" else "softmax"
        return before

    def _set(self, x: Tensor, mark: str) -> None:
        if mark:
            self._marks[id(x)] = (weakref.ref(x), mark)
        else:
            self._marks.pop(id(x), None)

    def _mark(self, x: object) -> str:
        found = self._marks.get(id(x))
        return found[1] if found is not None and found[0]() is x else ""


def _flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments, and those inside lists (einsum's)."""
    return tuple(x for a in args for x in (a if isinstance(a, (list, tuple)) else (a,)))


def probe(module: nn.Module, forward: Callable[[Tensor], object], pixels: Tensor) -> Contains:
    """Run one pass without gradients and count.

    Args:
        module: whose paths are reported.
        forward: how it is called.
        pixels: what it is called on.
    """
    with ordinary_mode(grad=False), _Probe(module) as found:
        forward(ordinary(pixels))
    return Contains(tuple(found.attention), tuple(found.weighted), found.sampled, found.convolutions)
