"""From raw values to colours, in numpy: every renderer paints through here, so a value looks the same everywhere.

Nothing is hidden in the colours: undefined values (NaN) are hatched grey, values beyond the colour bar are hatched over its end colour,
and what the model never saw stays transparent, so that the photo beneath shows and the renderer can mark it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitscope.core.drawing import draw_on_photo
from vitscope.views.colour import LEVELS, Limits, levels, table
from vitscope.views.frame import Frame

UNSEEN, GREY, GREY_STRIPE, CLIPPED_STRIPE = LEVELS, LEVELS + 1, LEVELS + 2, LEVELS + 3
_SPECIAL = ((0, 0, 0, 0), (150, 150, 150, 255), (105, 105, 105, 255), (46, 160, 67, 255))
STRIPE = 6
DIM = 0.35
"""What the model did not see is shown this bright."""


def palette(colours: str) -> NDArray[np.uint8]:
    """uint8 ``[LEVELS + 4, 4]``: the table's colours, then transparent, two greys, and the stripe over clipped values."""
    opaque = np.concatenate([table(colours), np.full((LEVELS, 1), 255, np.uint8)], axis=1)
    return np.concatenate([opaque, np.array(_SPECIAL, dtype=np.uint8)])


def paint(values: NDArray[np.floating], limits: Limits, *, undefined: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Palette indices of raw values.

    Args:
        values: ``[h, w]`` raw values; NaN is transparent unless ``undefined`` marks it.
        limits: the ends of the colour bar.
        undefined: ``[h, w]`` where a value should be and is not: hatched grey.

    Shapes:
        returns uint8 ``[h, w]``, to be looked up in :func:`palette`.
    """
    index = levels(values, limits)
    stripes = _stripes(values.shape)
    slack = 1e-6 * (limits.high - limits.low)
    with np.errstate(invalid="ignore"):
        beyond = (values > limits.high + slack) | (values < limits.low - slack)
    index[beyond & stripes] = CLIPPED_STRIPE
    index[np.isnan(values)] = UNSEEN
    if undefined is not None:
        index[undefined] = GREY
        index[undefined & stripes] = GREY_STRIPE
    return np.asarray(index, dtype=np.uint8)


def paint_on_photo(grid: NDArray[np.floating], frame: Frame, limits: Limits, *, smooth: bool) -> NDArray[np.uint8]:
    """Palette indices ``[H, W]`` of patch values laid over the photo; transparent where the model saw nothing."""
    drawn = draw_on_photo(grid, frame.layout, frame.placement, smooth=smooth)
    if np.isfinite(grid).all():
        return paint(drawn, limits)
    seen = ~np.isnan(draw_on_photo(np.zeros(grid.shape), frame.layout, frame.placement, smooth=False))
    return paint(drawn, limits, undefined=seen & np.isnan(drawn))


def paint_grid(grid: NDArray[np.floating], limits: Limits, *, padded: NDArray[np.bool_] | None = None, cell: int = 1) -> NDArray[np.uint8]:
    """Palette indices of the bare grid, ``cell`` pixels to a patch; patches that are all padding are hatched grey."""
    large = np.repeat(np.repeat(np.asarray(grid, dtype=np.float64), cell, axis=0), cell, axis=1)
    undefined = np.isnan(large)
    if padded is not None:
        undefined = undefined | np.repeat(np.repeat(padded, cell, axis=0), cell, axis=1)
    return paint(large, limits, undefined=undefined)


def to_rgba(index: NDArray[np.uint8], colours: str) -> NDArray[np.uint8]:
    """uint8 ``[h, w, 4]`` from palette indices."""
    return palette(colours)[index]


def _stripes(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Diagonal stripes, half on and half off."""
    y, x = np.indices(shape)
    return np.asarray((x + y) % STRIPE < STRIPE // 2)


def overlaid(
    photo: NDArray[np.uint8],
    grid: NDArray[np.generic],
    shown: Frame,
    limits: Limits,
    *,
    strength: float,
    smooth: bool,
    colours: str = "",
) -> NDArray[np.uint8]:
    """A map's colours over the greyed photo, ``grey · (1 − s) + colour · s`` where the model saw; dimmed grey elsewhere.

    Shapes:
        photo uint8 ``[H, W, 3]``; grid ``[gh, gw]``; returns uint8 ``[H, W, 3]``.
    """
    grey = (photo @ np.array([0.2126, 0.7152, 0.0722]))[..., None]
    painted = to_rgba(paint_on_photo(np.asarray(grid, np.float64), shown, limits, smooth=smooth), colours or limits.colours)
    opacity = strength * (painted[..., 3:] > 0)
    under = np.where(painted[..., 3:] > 0, grey, grey * DIM)
    return np.asarray(np.rint(under * (1 - opacity) + painted[..., :3] * opacity), dtype=np.uint8)
