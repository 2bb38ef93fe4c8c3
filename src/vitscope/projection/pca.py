"""Principal components, exactly: in memory, or over more vectors than memory holds, in one pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

#: Rows that are widened to float64 at a time.
ROWS = 4096
#: Widest vectors whose covariance is held (float64: 2 GB).
WIDEST = 16_384


@dataclass(frozen=True)
class PCA:
    """Axes of largest variance.

    Shapes:
        mean ``[d]``; axes ``[k, d]``, orthonormal; variance ``[k]``, falling; all float64.

    Attributes:
        total: variance along all axes together.
        count: vectors it was fitted on.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variance: NDArray[np.float64]
    total: float
    count: int

    @property
    def explained(self) -> NDArray[np.float64]:
        """Share of the variance along each axis, ``[k]``; zeros where all vectors are one."""
        return np.asarray(self.variance / self.total if self.total > 0 else np.zeros_like(self.variance))

    def place(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coordinates ``[m, k]`` of vectors ``[m, d]``, those fitted on or new ones.

        Formula:
            ``(x − mean) · axesᵀ``
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ArgumentError(f"vectors {vectors.shape}", expected=f"[m, {len(self.mean)}]", where="pca")
        out = np.empty((len(vectors), len(self.axes)), dtype=np.float32)
        for at in range(0, len(vectors), ROWS):
            out[at : at + ROWS] = (vectors[at : at + ROWS].astype(np.float64) - self.mean) @ self.axes.T
        return out


def fit_pca(vectors: NDArray[np.floating] | Iterable[NDArray[np.floating]], k: int) -> PCA:
    """Principal components of vectors ``[m, d]``, or of such batches one after the other (each is seen once, then forgotten).

    Formula:
        eigenvectors of ``C = Σ (x − mean)(x − mean)ᵀ / (m − 1)``. Batches are merged exactly: ``M ← M + M_b + δδᵀ · m m_b / (m + m_b)``
        with ``δ`` the difference of their means. An axis's sign is such that its largest entry is positive.

    Raises:
        ArgumentError: fewer than two vectors, more axes than they can have, or vectors too wide for batches.

    Source:
        Pearson, 1901; merging: Chan, Golub and LeVeque, 1983. scikit-learn's IncrementalPCA keeps only some axes of each batch; nothing is
        lost here, and memory is ``d²``, whatever ``m``.
    """
    if isinstance(vectors, np.ndarray):
        _check(len(vectors), k, vectors.shape[-1])
        if len(vectors) < vectors.shape[1]:
            return _by_svd(vectors.astype(np.float64), k)
        return _by_covariance((vectors[at : at + ROWS] for at in range(0, len(vectors), ROWS)), k)
    return _by_covariance(vectors, k)


def _by_svd(x: NDArray[np.float64], k: int) -> PCA:
    """Fewer vectors than dimensions."""
    mean = x.mean(axis=0)
    _, s, axes = np.linalg.svd(x - mean, full_matrices=False)
    variance = s**2 / (len(x) - 1)
    return PCA(mean, _signed(axes[:k]), variance[:k], float(variance.sum()), len(x))


def _by_covariance(batches: Iterable[NDArray[np.floating]], k: int) -> PCA:
    count, mean, spread = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        if len(batch) == 0:
            continue
        x = batch.astype(np.float64)
        if count == 0:
            if x.shape[1] > WIDEST:
                raise ArgumentError(f"vectors of {x.shape[1]:,} values", expected=f"at most {WIDEST:,} in batches", where="pca")
            mean, spread = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
        here = x.mean(axis=0)
        x -= here
        delta = here - mean
        spread += x.T @ x
        spread += np.outer(delta, delta) * (count * len(x) / (count + len(x)))
        mean = mean + delta * (len(x) / (count + len(x)))
        count += len(x)
    _check(count, k, len(mean))
    values, axes = np.linalg.eigh(spread / (count - 1))
    values = np.clip(values[::-1], 0.0, None)
    return PCA(mean, _signed(axes.T[::-1][:k]), values[:k], float(values.sum()), count)


def _signed(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each axis with its largest entry positive."""
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.ascontiguousarray(axes * np.where(largest < 0, -1.0, 1.0)[:, None])


def _check(count: int, k: int, width: int) -> None:
    if count < 2 or not 1 <= k <= min(count, width):
        raise ArgumentError(
            f"{k} axes of {count} vectors of {width} values", expected=f"2 vectors or more, 1 to {min(count, width)} axes", where="pca"
        )
