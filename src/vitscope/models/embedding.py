"""The patch embedding alone: the convolution that cuts a picture or a clip, heard while the model runs up to it and no further.

This works where the rest of a model is refused (stages, windows): only the cut is read, and checked against the model's own output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitscope.capture.modes import ordinary_mode
from vitscope.core.embedding import Embedding

_CUTTING = ("conv2d", "conv3d")


class _ReachedTheCut(BaseException):
    """The embedding has been heard: nothing after it is wanted. Never leaves this file."""


class _Listener(TorchFunctionMode):
    """Hears the first convolution over the whole picture, then stops the pass."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels
        self.found: Embedding | None = None

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _CUTTING:
            self.found = _embedding(args, kwargs or {}, out, self.pixels)
            if self.found is not None:
                raise _ReachedTheCut
        return out


def hear_embedding(module: nn.Module, call: Callable[[nn.Module, Tensor], Any], pixels: Tensor) -> Embedding | None:
    """The embedding of one picture ``[1, 3, h, w]``; None where no plain convolution cuts it (then only a measured layout tells)."""
    listener = _Listener(pixels)
    try:
        with ordinary_mode(grad=False), listener:
            call(module, pixels)
    except _ReachedTheCut:
        pass
    return listener.found


def _embedding(args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, pixels: Tensor) -> Embedding | None:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    fed, weight, bias = named["input"], named["weight"], named.get("bias")
    axes = weight.dim() - 2
    plain = {_all(named.get("dilation", 1), axes), (int(named.get("groups", 1)),) * axes} == {(1,) * axes}
    corner = _corner(fed, pixels) if plain and fed.dim() == weight.dim() and len(fed) == 1 else None
    if corner is None:
        return None
    padding = named.get("padding", 0)
    kernel = tuple(int(k) for k in weight.shape[2:])
    padding = (0,) * axes if padding == "valid" else tuple(k // 2 for k in kernel) if padding == "same" else _all(padding, axes)
    bare = out[0] if bias is None else out[0] - bias.reshape(-1, *[1] * axes)
    size = (1,) * (axes - 2) + (int(pixels.shape[-2]), int(pixels.shape[-1]))
    whole, kernels, made = (x.detach().float().cpu().numpy() for x in (fed[0], weight, bare))
    return Embedding(whole, kernels, made, _all(named.get("stride", 1), axes), padding, corner, size)


def _all(value: Any, axes: int) -> tuple[int, ...]:
    listed = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(int(v) for v in (listed * axes if len(listed) == 1 else listed))


def _corner(fed: Tensor, pixels: Tensor) -> tuple[int, ...] | None:
    """Where the prepared pixels stand in what the convolution was fed; None where it was fed something else."""
    h, w = (int(v) for v in pixels.shape[-2:])
    down, across = int(fed.shape[-2]) - h, int(fed.shape[-1]) - w
    if fed.shape[1] != pixels.shape[1] or down < 0 or across < 0:
        return None
    for top, left in dict.fromkeys([(0, 0), (down // 2, across // 2), (down, across)]):
        part = fed[..., top : top + h, left : left + w]
        if torch.equal(part.reshape(-1, *pixels.shape[1:])[:1].to(pixels.dtype), pixels):
            return (0,) * (fed.dim() - 4) + (top, left)
    return None
