"""A user's own preprocessing function: its placement is measured, by sending pictures that carry their coordinates through it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vitscope.core.placement import Placement
from vitscope.errors import ModelError
from vitscope.models.preparing import Prepare

#: A coordinate read back may be off by so many photo pixels, or so much of the photo's side, before the function is refused.
TOLERANCE = 1.0, 0.01


def opaque(function: Callable[[Image.Image], Any]) -> Prepare:
    """Runs the function as it is, and measures where its tensor lies in the photo.

    Black, white and ramp pictures of the photo's own size go through the function: black and white show the padding and undo the
    normalisation, the ramps show which photo row and column each input row and column came from; a line through them is the placement.

    Raises:
        ModelError: the function gives no ``[3, h, w]`` tensor, or moves pixels in another way than resize, crop and pad.
    """

    def run(image: Image.Image, placement: Placement) -> tuple[Tensor, Placement]:
        tensor = _repeatable(function, image)
        return tensor, measured(function, placement, (int(tensor.shape[-2]), int(tensor.shape[-1])))

    return run


def _repeatable(function: Callable[[Image.Image], Any], image: Image.Image) -> Tensor:
    """The function's tensor, where a second run gives the same and no random number was drawn: else it is measured on other draws."""
    before = _dice()
    first, second = _tensor(function(image)), _tensor(function(image))
    if first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num()) and _dice() == before:
        return first
    change = float((first - second).abs().max()) if first.shape == second.shape else float("inf")
    raise ModelError(
        f"a preprocess that draws random numbers (two runs on one photo differ by {change:.3g})",
        where="preprocess",
        expected="the same tensor every time",
        todo="give the transform used for evaluation",
    )


def _dice() -> tuple[object, ...]:
    """State of the random generators a function may draw from: its own results may agree by chance."""
    _, keys, at, gauss, cached = np.random.get_state()  # noqa: NPY002 - the global generator is the one to watch
    return random.getstate(), torch.get_rng_state().numpy().tobytes(), np.asarray(keys).tobytes(), at, gauss, cached


def _tensor(made: Any) -> Tensor:
    if isinstance(made, dict) or hasattr(made, "pixel_values"):
        made = made["pixel_values"]
    if isinstance(made, np.ndarray):
        made = torch.from_numpy(made)
    if isinstance(made, (list, tuple)) and len(made) == 1:
        made = torch.as_tensor(np.asarray(made[0]))
    if isinstance(made, Tensor) and made.dim() == 4 and len(made) == 1:
        made = made[0]
    if not isinstance(made, Tensor) or made.dim() != 3 or made.shape[0] != 3:
        shape = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ModelError(f"a preprocess that gives {shape}", expected="a tensor [3, h, w]", where="preprocess")
    return made.float()


def measured(function: Callable[[Image.Image], Any], placement: Placement, size: tuple[int, int]) -> Placement:
    """The placement a function leads to, measured."""
    photo = placement.photo_size

    def through(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        grey = np.repeat(np.rint(np.broadcast_to(pixels, photo))[..., None], 3, axis=2).astype(np.uint8)
        return _tensor(function(Image.fromarray(grey))).double().mean(dim=0).numpy()

    black, white = through(np.zeros((1, 1))), through(np.full((1, 1), 255.0))
    shown = np.abs(white - black) > 0.999 * np.abs(white - black).max()
    if not shown.any():
        raise ModelError("a preprocess whose result does not depend on the photo", where="preprocess")
    span = np.where(shown, white - black, 1.0)
    lines = []
    for axis in (0, 1):
        ramp = (np.arange(photo[axis]) + 0.5) / photo[axis]
        sent = 255.0 * (ramp[:, None] if axis == 0 else ramp[None, :])
        read = (through(sent) - black) / span * photo[axis]
        lines.append(_line(read, shown, axis, photo[axis]))
    (sy, oy), (sx, ox) = lines
    between = (max(1, round(photo[0] * sy)), max(1, round(photo[1] * sx)))
    placed = placement.resize(between, detail=f"measured scale {sx:.4f} across, {sy:.4f} down")
    return placed.crop(round(-oy), round(-ox), size) if (between, round(oy), round(ox)) != (size, 0, 0) else placed


def _line(read: NDArray[np.float64], shown: NDArray[np.bool_], axis: int, side: int) -> tuple[float, float]:
    """(scale, offset) so that input = photo · scale + offset, from the coordinates read back along one axis."""
    along = np.flatnonzero(shown.any(axis=1 - axis))
    values = np.array([np.median(np.take(read, i, axis=axis)[np.take(shown, i, axis=axis)]) for i in along])
    first, last = int(along[0]), int(along[-1])
    inner = slice(len(along) // 10, max(len(along) - len(along) // 10, 2)) if len(along) > 4 else slice(None)
    at = along[inner] + 0.5
    spread = _spread(read, shown, axis, values[inner], along[inner])
    if side == 1 or len(at) < 2:
        # one row shows the whole side, or there is no slope to see: its middle tells
        slope, start, off = side / (last + 1 - first), -first * side / (last + 1 - first), float(abs(np.median(values) - side / 2))
    else:
        slope, start = (float(v) for v in np.polyfit(at, values[inner], 1))
        off = float(np.abs(values[inner] - (slope * at + start)).max())
    worst = max(off, spread)
    # less than a tenth of a grey level over the whole input is no slope but rounding
    if slope * len(along) <= side / 2550 or worst > max(TOLERANCE[0], TOLERANCE[1] * side):
        raise ModelError(
            f"a preprocess that moves {('rows', 'columns')[axis]} by up to {worst:.1f} px from a straight line, slope {slope:.3g}",
            where="preprocess",
            expected="resize, crop and pad only",
            todo="feed prepared tensors",
        )
    return 1.0 / slope, -start / slope


def _spread(read: NDArray[np.float64], shown: NDArray[np.bool_], axis: int, values: NDArray[np.float64], along: NDArray[np.intp]) -> float:
    """How far the coordinates read back along one axis change across the other, where they should not (photo pixels)."""
    across = np.flatnonzero(shown.any(axis=axis))
    cut = len(across) // 10
    kept = across[cut : len(across) - cut]
    part, seen = np.take(np.take(read, along, axis), kept, 1 - axis), np.take(np.take(shown, along, axis), kept, 1 - axis)
    return float(np.where(seen, np.abs(part - np.expand_dims(values, 1 - axis)), 0.0).max(initial=0.0))
