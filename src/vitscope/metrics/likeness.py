"""How alike two maps are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing the mean of theirs: ``[n]``."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse])


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's ρ: the correlation of ranks, ties shared; NaN where either is constant or fewer than two values are finite in both.

    Units:
        −1..1; 1: the same order of patches, 0: unrelated.
    """
    a, b = np.ravel(one), np.ravel(other)
    both = np.isfinite(a) & np.isfinite(b)
    return _correlation(ranks(a[both]), ranks(b[both]))


def cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Cosine of the raw values; NaN where either is zero throughout."""
    a, b = np.ravel(one).astype(np.float64), np.ravel(other).astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    size = float(np.linalg.norm(a[both]) * np.linalg.norm(b[both]))
    return float(a[both] @ b[both]) / size if size > 0 else float("nan")


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 2:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")
