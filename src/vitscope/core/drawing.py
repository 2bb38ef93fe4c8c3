"""From patch values to every pixel of the photo as displayed: half-pixel centres, smooth or true patches, NaN where nothing was seen.

Both axes are independent, so everything is found once per row and once per column and then put together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement


def draw_on_photo(grid: NDArray[np.floating], layout: TokenLayout, placement: Placement, *, smooth: bool = True) -> NDArray[np.float32]:
    """Lay patch values over the photo as displayed.

    Args:
        grid: ``[gh, gw]`` raw values. A patch without a value (NaN) stays local: its own area is NaN, its neighbours do without it.
        layout: where the patches lie in the model input.
        placement: where the model input lies in the photo.
        smooth: bilinear between patch centres (never beyond the grid's own values); False draws the true patches, where
            patches overlap each pixel takes the one whose centre is nearest.

    Formula:
        value at a photo pixel = grid at ``g = (photo · scale + offset − origin − patch/2) / stride``, bilinear, held constant beyond
        the outer patches' centres: ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` where nothing is cropped.

    Shapes:
        returns float32 ``[H, W]``; NaN where the model saw nothing (cropped away, or not covered by any patch).
    """
    at_rows, at_columns = (_grid_coordinates(axis, layout, placement) for axis in (0, 1))
    near_rows, near_columns = (_nearest(g, cells) for g, cells in zip((at_rows, at_columns), grid.shape, strict=True))
    if smooth:
        out = _bilinear(grid, at_rows, at_columns)
        _keep_undefined(out, grid, near_rows, near_columns)
    else:
        out = grid.astype(np.float32)[near_rows][:, near_columns]
    out[~_covered(0, at_rows, near_rows, layout, placement)] = np.nan
    out[:, ~_covered(1, at_columns, near_columns, layout, placement)] = np.nan
    return out


def _grid_coordinates(axis: int, layout: TokenLayout, placement: Placement) -> NDArray[np.float64]:
    """Centres of the photo's rows or columns counted in patches: 0 at the first patch's centre, 1 at the second's."""
    u = _input_coordinates(axis, placement)
    return np.asarray((u - layout.origin[axis] - layout.patch[axis] / 2) / layout.stride[axis])


def _input_coordinates(axis: int, placement: Placement) -> NDArray[np.float64]:
    """Centres of the photo's rows or columns, in input pixels."""
    centres = np.arange(placement.photo_size[axis]) + 0.5
    return np.asarray(centres * placement.scale[axis] + placement.offset[axis])


def _nearest(g: NDArray[np.float64], cells: int) -> NDArray[np.intp]:
    """The patch whose centre is nearest."""
    return np.clip(np.floor(g + 0.5), 0, cells - 1).astype(np.intp)


def _weights(g: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """``[photo pixels, cells]`` bilinear weights along one axis; each row has at most two and sums to one."""
    held = np.clip(g, 0, cells - 1)
    low = np.minimum(np.floor(held).astype(np.intp), max(cells - 2, 0))
    share = held - low
    weights = np.zeros((len(g), cells))
    at = np.arange(len(g))
    weights[at, low] = 1.0 - share
    weights[at, np.minimum(low + 1, cells - 1)] += share
    return weights


def _bilinear(grid: NDArray[np.floating], at_rows: NDArray[np.float64], at_columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """Between patch centres, over the patches that have a finite value.

    Rows are mixed in float64 (small), the full picture in float32: a 24-megapixel photo then costs one thin float32 product. The last
    rounding may step over the grid's range by one unit in the last place, hence the clip.
    """
    rows, columns = _weights(at_rows, grid.shape[0]), _weights(at_columns, grid.shape[1])
    finite = np.isfinite(grid)
    if not finite.any():
        return np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
    known = np.where(finite, grid, 0.0).astype(np.float64)
    across = np.ascontiguousarray(columns.T, dtype=np.float32)
    out = (rows @ known).astype(np.float32) @ across
    if not finite.all():
        with np.errstate(divide="ignore", invalid="ignore"):  # no known patch near: this pixel is marked by its own patch anyway
            out /= (rows @ finite).astype(np.float32) @ across
    low, high = np.float32(grid[finite].min()), np.float32(grid[finite].max())
    return np.asarray(np.clip(out, low, high, out=out), dtype=np.float32)


def _keep_undefined(
    out: NDArray[np.float32], grid: NDArray[np.floating], near_rows: NDArray[np.intp], near_columns: NDArray[np.intp]
) -> None:
    """Give every patch without a finite value its own area back, as it is (NaN or infinite)."""
    for y, x in np.argwhere(~np.isfinite(grid)):
        out[np.ix_(near_rows == y, near_columns == x)] = grid[y, x]


def _covered(axis: int, g: NDArray[np.float64], near: NDArray[np.intp], layout: TokenLayout, placement: Placement) -> NDArray[np.bool_]:
    """Which photo rows or columns were seen by the model and lie under some patch (patches may leave gaps)."""
    photo = np.arange(placement.photo_size[axis]) + 0.5
    seen = (photo > placement.seen[axis]) & (photo < placement.seen[axis + 2])
    u = _input_coordinates(axis, placement)
    inside = (u >= 0.0) & (u <= placement.input_size[axis])
    under = np.abs(g - near) * layout.stride[axis] <= layout.patch[axis] / 2 + 1e-9
    return np.asarray(seen & inside & under)
