"""t-SNE through openTSNE, on exact neighbours, seeded; with a place for new points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError, MissingExtra
from vitscope.projection.distances import nearest

PERPLEXITY = 30.0


@dataclass(frozen=True)
class TSNE:
    """A t-SNE map, as arrays: what is needed to place new points in it.

    Shapes:
        reference: float32 ``[m, d]``, the vectors it was made of; points: float32 ``[m, 2 or 3]``.
    """

    reference: NDArray[np.float32]
    points: NDArray[np.float32]
    perplexity: float
    seed: int

    def place(self, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
        """Coordinates of new vectors ``[q, d]``: begun at the median of their neighbours' places, then moved while the map stands still."""
        library = _library()
        affinity = library.affinity.PerplexityBasedNN(perplexity=self.perplexity, knn_index=_index(self.reference, self.perplexity))
        found = library.TSNEEmbedding(
            self.points.astype(np.float64), affinity, negative_gradient_method="bh", n_jobs=1, random_state=self.seed
        )
        # few neighbours, as its author advises: a new point shall not drag far ones along
        placed = found.transform(vectors.astype(np.float32), perplexity=min(5.0, self.perplexity))
        return np.ascontiguousarray(placed, dtype=np.float32)


def fit_tsne(
    vectors: NDArray[np.floating], dim: int = 2, *, seed: int = 0, perplexity: float = PERPLEXITY, threads: int = 1, iterations: int = 500
) -> TSNE:
    """A t-SNE map of vectors ``[m, d]``: begun at their first principal components, early exaggeration 12 over 250 steps.

    Args:
        vectors: what to map.
        dim: 2 or 3 (3 is slower: the fast interpolation is for 2).
        seed: for everything random.
        perplexity: number of neighbours each point keeps to, about; less where there are few points: at most ``(m − 1) / 3``.
        threads: the result does not depend on it.
        iterations: steps after the exaggeration.

    Raises:
        ArgumentError: fewer than four vectors.
        MissingExtra: openTSNE is not installed.

    Source:
        van der Maaten and Hinton, 2008; Linderman et al., 2019; Policar, Strazar and Zupan, 2024.
    """
    if len(vectors) < 4:
        raise ArgumentError(f"{len(vectors)} vectors", expected="at least 4", where="tsne")
    library = _library()
    reference = np.ascontiguousarray(vectors, dtype=np.float32)
    perplexity = min(perplexity, (len(vectors) - 1) / 3.0)
    affinity = library.affinity.PerplexityBasedNN(perplexity=perplexity, knn_index=_index(reference, perplexity), n_jobs=threads)
    start = library.initialization.pca(reference, n_components=dim, random_state=seed)
    fast = "fft" if dim == 2 and len(vectors) >= 10_000 else "bh"
    found = library.TSNE(n_components=dim, n_jobs=threads, random_state=seed, negative_gradient_method=fast, n_iter=iterations).fit(
        affinities=affinity, initialization=start
    )
    return TSNE(reference, np.ascontiguousarray(found, dtype=np.float32), perplexity, seed)


def _index(reference: NDArray[np.float32], perplexity: float) -> Any:
    """Our exact neighbours as openTSNE asks for them."""
    from openTSNE.nearest_neighbors import KNNIndex

    class Exact(KNNIndex):  # type: ignore[misc]  # the library has no types
        """Neighbours by :func:`vitscope.projection.distances.nearest`."""

        VALID_METRICS = ("euclidean",)

        def build(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
            """Neighbours within the reference."""
            return nearest(self.data, self.k)

        def query(self, query: NDArray[np.floating], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
            """Neighbours of new vectors."""
            return nearest(query, k, self.data)

    return Exact(reference, max(1, min(len(reference) - 1, int(3 * perplexity))))


def _library() -> Any:
    try:
        import openTSNE
        import openTSNE.affinity
        import openTSNE.initialization
    except ImportError as error:
        raise MissingExtra("openTSNE", "projection", purpose="t-SNE") from error
    return openTSNE
