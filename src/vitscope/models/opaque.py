"""A user's own preprocessing function: its placement is measured, by sending pictures that carry their coordinates through it."""

from __future__ import annotations

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
        tensor = _tensor(function(image))
        return tensor, measured(function, placement, (int(tensor.shape[-2]), int(tensor.shape[-1])))

    return run


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
    if len(at) < 2 or np.ptp(values[inner]) == 0:
        scale = (last + 1 - first) / side
        return scale, float(first)
    slope, start = np.polyfit(at, values[inner], 1)
    off = float(np.abs(values[inner] - (slope * at + start)).max())
    if slope <= 0 or off > max(TOLERANCE[0], TOLERANCE[1] * side):
        raise ModelError(
            f"a preprocess that moves {'rows' if axis == 0 else 'columns'} by up to {off:.1f} px from a straight line",
            where="preprocess",
            expected="resize, crop and pad only",
            todo="feed prepared tensors",
        )
    return 1.0 / float(slope), float(-start / slope)
