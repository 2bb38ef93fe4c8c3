"""Distances between many vectors, exactly, a block of rows at a time: memory grows with their number, not with its square."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

#: Distances held at a time (float64: 64 MB; a block and its sorted copy are held together).
BLOCK_VALUES = 8_000_000


def squared_blocks(
    queries: NDArray[np.floating], reference: NDArray[np.floating] | None = None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Squared Euclidean distances from queries to a reference, block by block of queries.

    Formula:
        ``‖q‖² + ‖r‖² − 2 q·r`` of vectors centred on the reference, in float64, never below 0.

    Args:
        queries: ``[m, d]``.
        reference: ``[n, d]``; where None the queries themselves: each one's distance to itself is then infinite, so that it is not its own
            neighbour.

    Shapes:
        yields the queries' rows, and ``[rows, n]``, which may be written into.
    """
    alone = reference is None
    centre = (queries if reference is None else reference).mean(axis=0, dtype=np.float64)
    r = (queries if reference is None else reference).astype(np.float64) - centre
    lengths = np.einsum("ij,ij->i", r, r)
    step = max(1, BLOCK_VALUES // max(1, len(r)))
    for at in range(0, len(queries), step):
        q = r[at : at + step] if alone else queries[at : at + step].astype(np.float64) - centre
        block = q @ r.T
        block *= -2.0
        block += lengths
        block += np.einsum("ij,ij->i", q, q)[:, None]
        np.maximum(block, 0.0, out=block)
        rows = slice(at, at + len(q))
        if alone:
            block[np.arange(len(q)), np.arange(at, at + len(q))] = np.inf
        yield rows, block


def nearest(
    queries: NDArray[np.floating], k: int, reference: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The ``k`` nearest vectors of the reference to each query, nearest first.

    Args:
        queries: ``[m, d]``.
        k: how many.
        reference: ``[n, d]``; where None the queries' own neighbours among themselves, themselves left out.

    Shapes:
        returns indices ``[m, k]`` and Euclidean distances ``[m, k]`` (from differences, so that a copy is at 0); equally far ones by index.

    Raises:
        ArgumentError: there are not so many.
    """
    others = queries if reference is None else reference
    most = len(others) - (reference is None)
    if not 1 <= k <= most:
        raise ArgumentError(f"{k} neighbours", expected=f"1 to {most}", where="neighbours")
    index = np.empty((len(queries), k), dtype=np.intp)
    distance = np.empty((len(queries), k))
    for rows, block in squared_blocks(queries, reference):
        found = np.sort(_smallest(block, k), axis=1)
        exact = _lengths(queries[rows], others, found)
        order = np.argsort(exact, axis=1, kind="stable")
        index[rows] = np.take_along_axis(found, order, axis=1)
        distance[rows] = np.take_along_axis(exact, order, axis=1)
    return index, distance


def _smallest(block: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Columns of the ``k`` smallest values of each row, in no order."""
    return np.argpartition(block, k - 1, axis=1)[:, :k]


def _lengths(queries: NDArray[np.floating], others: NDArray[np.floating], index: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distances from each query to the vectors named, by their differences; in parts, since each is ``[rows, k, d]``."""
    out = np.empty(index.shape)
    step = max(1, BLOCK_VALUES // (index.shape[1] * queries.shape[1] * 2))
    for at in range(0, len(queries), step):
        rows = slice(at, at + step)
        gaps = others[index[rows]].astype(np.float64) - queries[rows, None].astype(np.float64)
        out[rows] = np.sqrt(np.einsum("ijk,ijk->ij", gaps, gaps))
    return out
