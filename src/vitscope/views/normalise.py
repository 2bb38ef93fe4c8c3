"""What may be done to a map's patch values before they are coloured, and which maps share one colour scale; both are always named.

====== =====================================================
raw    ``v``
softmax ``exp(v − max) / Σ exp(v − max)``
minmax ``(v − min) / (max − min)``; 0 where all are equal
rank   average rank / (P − 1): 0 the smallest, 1 the largest
====== =====================================================

Undefined values (NaN) stay undefined and count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError
from vitscope.views.colour import Limits, limits_of

NORMS = ("raw", "softmax", "minmax", "rank")
RANGES = ("shared", "layer", "map")

NORM_WORDS = {
    "raw": "raw values",
    "softmax": "softmax over the patches of each map",
    "minmax": "each map stretched from its smallest to its largest value",
    "rank": "rank among the patches of each map, 0 to 1",
}
RANGE_WORDS = {
    "shared": "one colour scale for all maps",
    "layer": "one colour scale for each layer",
    "map": "a colour scale of its own for each map",
}


def normalise(values: NDArray[np.floating], norm: str) -> NDArray[np.float64]:
    """Patch values of one map or several, normalised one by one.

    Shapes:
        values: ``[..., P]``; returns the same, float64.

    Raises:
        ArgumentError: no such normalisation.
    """
    wide = np.asarray(values, dtype=np.float64)
    if norm == "raw":
        return wide
    if norm not in NORMS:
        raise ArgumentError(f"norm {norm!r}", expected=", ".join(NORMS), where="normalisation")
    flat = wide.reshape(-1, wide.shape[-1])
    return np.stack([_one(row, norm) for row in flat]).reshape(wide.shape)


def _one(row: NDArray[np.float64], norm: str) -> NDArray[np.float64]:
    finite = np.isfinite(row)
    out = np.full(row.shape, np.nan)
    if finite.any():
        out[finite] = {"softmax": _softmax, "minmax": _minmax, "rank": _rank}[norm](row[finite])
    return out


def _softmax(v: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(v - v.max())
    return np.asarray(grown / grown.sum())


def _minmax(v: NDArray[np.float64]) -> NDArray[np.float64]:
    span = v.max() - v.min()
    return np.asarray((v - v.min()) / span) if span > 0 else np.zeros(v.shape)


def _rank(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(v, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    ranks = (first + (counts - 1) / 2)[inverse.reshape(v.shape)]
    return np.asarray(ranks / max(len(v) - 1, 1))


def limits_for(
    maps: NDArray[np.floating], layers: Sequence[int], scope: str, *, signed: bool, visible: NDArray[np.bool_] | None = None
) -> list[Limits]:
    """The colour scale of each map.

    Args:
        maps: ``[M, P]`` values as they will be coloured.
        layers: ``[M]`` which layer each map belongs to.
        scope: "shared" (over all maps), "layer" (over those of one layer) or "map".
        signed: whether the maps are of evidence for and against.
        visible: ``[P]`` patches that count; all-padding ones do not.

    Raises:
        ArgumentError: no such scope.
    """
    if scope not in RANGES:
        raise ArgumentError(f"range {scope!r}", expected=", ".join(RANGES), where="colours")
    seen: NDArray[Any] = maps if visible is None else maps[:, visible]
    group = {"shared": [0] * len(maps), "layer": list(layers), "map": list(range(len(maps)))}[scope]
    found = {g: limits_of([seen[i] for i in range(len(maps)) if group[i] == g], signed=signed) for g in set(group)}
    return [found[g] for g in group]
