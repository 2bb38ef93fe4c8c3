"""From patch values to every pixel of the photo as displayed: half-pixel centres, smooth or true patches, NaN where nothing was seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement


def draw_on_photo(grid: NDArray[np.floating], layout: TokenLayout, placement: Placement, *, smooth: bool = True) -> NDArray[np.float32]:
    """Lay patch values over the photo as displayed.

    Args:
        grid: ``[gh, gw]`` raw values.
        layout: where the patches lie in the model input.
        placement: where the model input lies in the photo.
        smooth: bilinear between patch centres (never beyond the grid's own values); False draws the true patches.

    Shapes:
        returns float32 ``[H, W]``; NaN where the model saw nothing (cropped away, or not covered by any patch).
    """
    rows = _axis_weights(0, grid.shape[0], layout, placement, smooth=smooth)
    columns = _axis_weights(1, grid.shape[1], layout, placement, smooth=smooth)
    out = (rows @ grid.astype(np.float64) @ columns.T).astype(np.float32)
    out[~(_covered(0, grid.shape[0], layout, placement)[:, None] & _covered(1, grid.shape[1], layout, placement)[None, :])] = np.nan
    return np.asarray(out, dtype=np.float32)


def _input_coordinates(axis: int, placement: Placement) -> NDArray[np.float64]:
    """Centres of the photo's rows or columns, in input pixels."""
    centres = np.arange(placement.photo_size[axis]) + 0.5
    return np.asarray(centres * placement.scale[axis] + placement.offset[axis])


def _axis_weights(axis: int, cells: int, layout: TokenLayout, placement: Placement, *, smooth: bool) -> NDArray[np.float64]:
    """``[photo pixels, cells]`` interpolation weights along one axis; each row sums to one."""
    centre_of_first = layout.origin[axis] + layout.patch[axis] / 2
    g = np.clip((_input_coordinates(axis, placement) - centre_of_first) / layout.stride[axis], 0, cells - 1)
    weights = np.zeros((len(g), cells))
    at = np.arange(len(g))
    if not smooth:
        weights[at, np.minimum(np.floor(g + 0.5).astype(int), cells - 1)] = 1.0
        return weights
    low = np.minimum(np.floor(g).astype(int), max(cells - 2, 0))
    share = g - low
    weights[at, low] += 1.0 - share
    weights[at, np.minimum(low + 1, cells - 1)] += share
    return weights


def _covered(axis: int, cells: int, layout: TokenLayout, placement: Placement) -> NDArray[np.bool_]:
    """Which photo rows or columns were seen by the model and lie under some patch."""
    u = _input_coordinates(axis, placement)
    start = layout.origin[axis]
    end = start + (cells - 1) * layout.stride[axis] + layout.patch[axis]
    photo = np.arange(placement.photo_size[axis]) + 0.5
    seen = (photo > placement.seen[axis]) & (photo < placement.seen[axis + 2])
    return np.asarray(seen & (u >= max(start, 0.0)) & (u <= min(end, placement.input_size[axis])))
