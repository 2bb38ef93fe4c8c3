"""UMAP through umap-learn, on exact neighbours, seeded; with a place for new points."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError, MissingExtra
from vitscope.projection.distances import nearest

NEIGHBOURS, MIN_DIST = 15, 0.1


@dataclass(frozen=True)
class UMAP:
    """A UMAP map, as arrays: what is needed to place new points in it.

    Shapes:
        reference: float32 ``[m, d]``, the vectors it was made of; points: float32 ``[m, 2 or 3]``.
    """

    reference: NDArray[np.float32]
    points: NDArray[np.float32]
    neighbours: int
    min_dist: float
    seed: int

    def place(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coordinates of new vectors ``[q, d]``: the mean of their neighbours' places, weighted by membership.

        Formula:
            weight ``exp(−d / σ)``, ``σ`` such that the weights add up to ``log₂ k``: where UMAP itself begins with new points. Its further
            steps are left out: they depend on which points come together.
        """
        _library()
        from umap.umap_ import smooth_knn_dist

        index, distance = nearest(vectors, self.neighbours, self.reference)
        sigma, _ = smooth_knn_dist(distance.astype(np.float32), float(self.neighbours), local_connectivity=0.0)
        weight = np.exp(-(distance - distance[:, :1]) / np.maximum(sigma, 1e-12)[:, None])
        weight /= weight.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("qk,qkd->qd", weight, self.points[index].astype(np.float64)), dtype=np.float32)


def fit_umap(
    vectors: NDArray[np.floating], dim: int = 2, *, seed: int = 0, neighbours: int = NEIGHBOURS, min_dist: float = MIN_DIST
) -> UMAP:
    """A UMAP map of vectors ``[m, d]``; on one thread, since only then is it the same each time.

    Args:
        vectors: what to map.
        dim: 2 or 3.
        seed: for everything random.
        neighbours: that each point keeps to, itself counted; fewer where there are few points.
        min_dist: how close points may lie in the map.

    Raises:
        ArgumentError: fewer than five vectors.
        MissingExtra: umap-learn is not installed.

    Source:
        McInnes, Healy and Melville, 2018.
    """
    if len(vectors) < 5:
        raise ArgumentError(f"{len(vectors)} vectors", expected="at least 5", where="umap")
    library = _library()
    reference = np.ascontiguousarray(vectors, dtype=np.float32)
    k = min(neighbours, len(vectors) - 1)
    index, distance = nearest(reference, k - 1)
    itself = np.arange(len(reference))[:, None]
    known = (np.hstack([itself, index]).astype(np.int32), np.hstack([np.zeros_like(itself), distance]).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it runs on one thread, and that it could not place new points: both as meant
        found = library.UMAP(
            n_components=dim,
            n_neighbors=k,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=known,
            init="spectral" if len(vectors) > 4 * (dim + 1) else "random",
        ).fit(reference)
    return UMAP(reference, np.ascontiguousarray(found.embedding_, dtype=np.float32), k, min_dist, seed)


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap
    except ImportError as error:
        raise MissingExtra("umap-learn", "projection", purpose="UMAP") from error
    return umap
