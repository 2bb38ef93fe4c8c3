"""What scales channels by what the whole picture holds (squeeze and excitation, global norms), held as it was on noise while measuring.

Such a step mixes no places: each gives on its own values, times one number a channel. But that number hears of every place, so that nothing
would seem local any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.modes import ordinary_mode

#: Largest part of the differences between places that a gain and an offset a channel may leave unexplained.
ROUNDING = {torch.float64: 1e-10}

#: Smallest change of gain or offset, over their size, that makes them the picture's.
MOVED = 1e-4

#: Gain and offset ``[c]`` a channel.
Gate = tuple[Tensor, Tensor]


@contextmanager
def holding_gates(module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor) -> Iterator[int]:
    """While it lasts, each such step multiplies by what it multiplied noise by; gives how many there are."""
    held = _gates(module, forward, noise)

    def holder(gate: Gate) -> Any:
        gain, offset = (x[None, :, None, None] for x in gate)
        return lambda _, args, __: args[0] * gain + offset

    with ExitStack() as hooks:
        for path, gate in held.items():
            hooks.callback(module.get_submodule(path).register_forward_hook(holder(gate)).remove)
        yield len(held)


def _gates(module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor) -> dict[str, Gate]:
    one, other = (_affine(module, forward, pixels) for pixels in (noise, noise.flip(-1) * 1.5 + 0.5))
    return {path: gate for path, gate in one.items() if path in other and _moved(gate, other[path])}


def _moved(one: Gate, other: Gate) -> bool:
    return any(float((a - b).abs().max()) > MOVED * float(a.abs().max().clamp_min(1e-12)) for a, b in zip(one, other, strict=True))


def _affine(module: nn.Module, forward: Callable[[Tensor], object], pixels: Tensor) -> dict[str, Gate]:
    """Gain and offset of every module ``[1, c, h, w]`` to the same shape that is no more than these."""
    found: dict[str, Gate] = {}

    def listener(path: str) -> Any:
        def listen(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            x = args[0] if args and isinstance(args[0], Tensor) else None
            if x is None or not isinstance(output, Tensor) or x.dim() != 4 or x.shape != output.shape or x.shape[2] * x.shape[3] < 4:
                return
            gate = _fitted(x[0].flatten(1), output[0].flatten(1))
            if gate is not None:
                found[path] = gate

        return listen

    with ExitStack() as hooks, ordinary_mode(grad=False):
        for path, part in module.named_modules():
            if path:
                hooks.callback(part.register_forward_hook(listener(path)).remove)
        forward(pixels)
    return found


def _fitted(x: Tensor, y: Tensor) -> Gate | None:
    """Least squares a channel, ``[c, n]`` each; None where something is left over, or where all places are alike."""
    x0, y0 = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)
    gain = ((x - x0) * (y - y0)).sum(dim=1, keepdim=True) / (x - x0).square().sum(dim=1, keepdim=True).clamp_min(1e-30)
    offset = y0 - gain * x0
    left, spread = float((y - gain * x - offset).abs().max()), float((y - y0).abs().max())
    alike = spread <= 1e-5 * float(y.abs().max()) or float((x - x0).abs().max()) <= 1e-5 * float(x.abs().max())
    return None if alike or left > ROUNDING.get(x.dtype, 1e-4) * spread else (gain[:, 0], offset[:, 0])
