"""Fused attention: the arguments of one call, read, and changed on their way where tokens are dropped; and which functions are such.

``KERNELS`` is the extension point: a kernel that vitscope does not know is one line there (docs/errors/unknown-kernel.md), or an entry
point of the package that brings it, in the group ``vitscope.kernels``: its name is the function's, its object a :class:`Kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from vitscope.capture import guards
from vitscope.errors import CaptureError


def same(x: Tensor) -> Tensor:
    """The layout that needs no change."""
    return x


NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass(frozen=True)
class Arguments:
    """What ``scaled_dot_product_attention`` is asked.

    Shapes:
        query ``[*lead, nq, d]``; key, value ``[*lead, nk, d]``; mask broadcastable to ``[*lead, nq, nk]`` (bool: True keeps).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    dropout: float
    is_causal: bool
    scale: float
    grouped: bool

    @classmethod
    def read(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Positional or by name, with the kernel's own defaults."""
        given = {**dict(zip(NAMES, args, strict=False)), **kwargs}
        query = given["query"]
        scale = given.get("scale")
        return cls(
            query,
            given["key"],
            given["value"],
            given.get("attn_mask"),
            float(given.get("dropout_p", 0.0)),
            bool(given.get("is_causal", False)),
            float(scale) if scale is not None else 1 / float(query.shape[-1]) ** 0.5,
            bool(given.get("enable_gqa", False)),
        )

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """For calling the kernel."""
        options: dict[str, Any] = {"attn_mask": self.mask, "is_causal": self.is_causal, "scale": self.scale}
        if self.grouped:
            options["enable_gqa"] = True
        return (self.query, self.key, self.value), options

    def dropping(self, keep: Tensor, path: str) -> Arguments:
        """The same call in which keys marked False get no attention, on top of any mask it has."""
        queries, keys = self.query.shape[-2], self.key.shape[-2]
        lead = self.query.shape[:-2]
        if keep.shape[1] != keys or not lead or lead[0] % len(keep):
            raise guards.cannot_drop(keep, keys, path)
        kept = keep.repeat_interleave(lead[0] // len(keep), dim=0).view(lead[0], *(1,) * len(lead), keys)
        if self.is_causal:
            kept = kept & torch.ones(queries, keys, dtype=torch.bool, device=keep.device).tril()
        if self.mask is not None:
            kept = self.mask & kept if self.mask.dtype == torch.bool else self.mask.masked_fill(~kept, float("-inf"))
        return replace(self, mask=kept, is_causal=False)

    def alone(self) -> Tensor:
        """What comes out, by PyTorch's own kernel."""
        args, options = self.arguments()
        return F.scaled_dot_product_attention(*args, **options)

    def sharpened(self) -> Tensor:
        """What comes out when every query looks at the middle key alone."""
        value = self.value
        if self.grouped:
            value = value.repeat_interleave(self.query.shape[-3] // value.shape[-3], dim=-3)
        lead = (self.query[..., 0, 0] + value[..., 0, 0]).shape
        middle = value.shape[-2] // 2
        return value[..., middle : middle + 1, :].expand(*lead, self.query.shape[-2], -1)


@dataclass(frozen=True)
class Kernel:
    """How a fused attention function is read.

    Attributes:
        read: from its arguments (positional, by name) to :class:`Arguments`, ``query`` and the rest as ``[*lead, n, d]``.
        place: from its output to ``[*lead, nq, dv]``; back: the way back.
    """

    read: Callable[[tuple[Any, ...], dict[str, Any]], Arguments]
    place: Callable[[Tensor], Tensor] = same
    back: Callable[[Tensor], Tensor] = same


def _tokens_first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Query, key and value as ``[b, n, h, d]`` (xformers and kin); bias and scale by name."""
    given = {**dict(zip(("query", "key", "value", "attn_bias", "p", "scale"), args, strict=False)), **kwargs}
    q, k, v = (given[name].transpose(1, 2) for name in ("query", "key", "value"))
    scale = given.get("scale")
    mask = given.get("attn_bias")
    if mask is not None and not isinstance(mask, Tensor):
        raise guards.unheard(f"memory_efficient_attention with a {type(mask).__name__}", "")
    return Arguments(
        q,
        k,
        v,
        mask,
        float(given.get("p") or 0.0),
        is_causal=False,
        scale=float(scale) if scale is not None else 1 / float(q.shape[-1]) ** 0.5,
        grouped=False,
    )


def _swapped(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


GROUP = "vitscope.kernels"

#: Functions that are attention, by plain name; add your own: ``vitscope.capture.KERNELS["my_attention"] = Kernel(read)``.
KERNELS: dict[str, Kernel] = {
    "scaled_dot_product_attention": Kernel(Arguments.read),
    "memory_efficient_attention": Kernel(_tokens_first, _swapped, _swapped),
}


def kernel_of(name: str) -> Kernel | None:
    """How a function of this plain name is read, where it is known to be attention; None for any other.

    Raises:
        CaptureError: a package brings a kernel of this name that cannot be imported, or is none.
    """
    return KERNELS[name] if name in KERNELS else _brought(name) if name in _points() else None


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def _brought(name: str) -> Kernel:
    point = _points()[name]
    try:
        found: Any = point.load()
    except Exception as error:
        raise CaptureError(f"{point.value} cannot be imported ({error})", where=f"{GROUP}: {name}") from error
    if not isinstance(found, Kernel):
        raise CaptureError(f"{point.value} is a {type(found).__name__}", expected="a vitscope.capture.Kernel", where=f"{GROUP}: {name}")
    return found
