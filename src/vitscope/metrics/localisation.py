"""How much of a map lies on a region. Maps are ``[H, W]`` with NaN where the model saw nothing; regions are bool ``[H, W]``.

Only what the model saw counts, on both sides: mass and area are taken over the seen pixels. An empty region is undefined, not a miss.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

NOT_DEFINED = float("nan")


def box_mask(size: tuple[int, int], box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Bool ``[H, W]``: pixels whose centre lies in ``(x0, y0, x1, y1)``, given as fractions of width and height."""
    (height, width), (x0, y0, x1, y1) = size, box
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.outer((rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1))


def mass_share(values: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Share of the map's positive mass inside the region, 0..1; NaN without positive mass or seen region."""
    seen = _seen(values, region)
    mass = np.where(seen, np.maximum(np.nan_to_num(values.astype(np.float64)), 0.0), 0.0)
    total = float(mass.sum())
    return float(mass[region].sum()) / total if total > 0 and (region & seen).any() else NOT_DEFINED


def area_share(values: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Share of the seen pixels that lie in the region, 0..1; NaN where nothing was seen."""
    seen = _seen(values, region)
    return float((region & seen).sum()) / float(seen.sum()) if seen.any() else NOT_DEFINED


def enrichment(values: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Mass share ÷ area share: 1 for a map that knows nothing of the region; NaN for an empty region or map."""
    area = area_share(values, region)
    return mass_share(values, region) / area if area > 0 else NOT_DEFINED


def pointing(values: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Whether the map's peak lies in the region, 0 or 1; several equal peaks count by their share inside; NaN for an empty region."""
    seen = _seen(values, region)
    if not (region & seen).any():
        return NOT_DEFINED
    peaks = seen & (values == values[seen].max())
    return float((peaks & region).sum()) / float(peaks.sum())


def rank_accuracy(values: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Share of the ``|M|`` highest pixels that lie in the region ``M``; ties at the edge count in part: a constant map gives |M|/N."""
    seen = _seen(values, region)
    inside = int((region & seen).sum())
    if inside == 0:
        return NOT_DEFINED
    flat, member = values[seen].astype(np.float64), region[seen]
    edge = np.partition(flat, len(flat) - inside)[len(flat) - inside]
    above, at = flat > edge, flat == edge
    share = (inside - above.sum()) / at.sum()
    return float((above & member).sum() + share * (at & member).sum()) / inside


def _seen(values: NDArray[np.floating], region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if values.shape != region.shape:
        raise ArgumentError(f"a region of {region.shape} pixels", expected=f"{values.shape}, as the map", where="localisation")
    return np.asarray(np.isfinite(values))
