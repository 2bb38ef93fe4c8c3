"""How far a picture of many vectors can be trusted: what it tore apart or pushed together, and whether its clusters are there at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError
from vitscope.projection.distances import squared_blocks

#: Neighbours that count as near.
NEAR = 10


def neighbourhoods(vectors: NDArray[np.floating], points: NDArray[np.floating], k: int = NEAR) -> tuple[float, float]:
    """Trustworthiness and continuity of a projection.

    Formula:
        ``1 − 2 / (m k (2m − 3k − 1)) · Σ_i Σ_j max(0, r(i, j) − k)``; trustworthiness sums over the ``k`` neighbours ``j`` of ``i`` in the
        picture with ``r`` their rank in the original space, continuity over the original neighbours with their rank in the picture. A rank
        counts the vectors strictly nearer, plus one.

    Args:
        vectors: ``[m, d]``, the original space.
        points: ``[m, 2 or 3]``, the picture.
        k: neighbours looked at; fewer than half of ``m``.

    Units:
        0..1; 1: every neighbour in the picture is one in the original (trustworthiness), or the other way round (continuity).

    Source:
        Venna and Kaski, 2001. Equal to ``sklearn.manifold.trustworthiness``, which holds all ``m²`` ranks; here a block of rows at a time.
    """
    m = len(vectors)
    if len(points) != m:
        raise ArgumentError(f"{len(points)} points for {m} vectors", expected="as many", where="quality")
    if not 1 <= k < m / 2:
        raise ArgumentError(f"{k} neighbours of {m} points", expected=f"1 to {max((m - 1) // 2, 1)}", where="quality")
    false, lost = 0.0, 0.0
    for (_, far), (_, shown) in zip(squared_blocks(vectors), squared_blocks(points), strict=True):
        in_picture, original = (np.argpartition(block, k - 1, axis=1)[:, :k] for block in (shown, far))
        false += _excess(far, in_picture, k)
        lost += _excess(shown, original, k)
    scale = 2.0 / (m * k * (2.0 * m - 3.0 * k - 1.0))
    return 1.0 - scale * false, 1.0 - scale * lost


def _excess(block: NDArray[np.float64], chosen: NDArray[np.intp], k: int) -> float:
    """Sum of ``max(0, rank − k)`` of the chosen columns of each row. The block is sorted in place."""
    values = np.take_along_axis(block, chosen, axis=1)
    block.sort(axis=1)
    nearer = np.stack([np.searchsorted(row, wanted, side="left") for row, wanted in zip(block, values, strict=True)])
    return float(np.maximum(nearer + 1 - k, 0).sum())


def label_numbers(labels: Sequence[str]) -> tuple[NDArray[np.intp], list[str]]:
    """Labels as numbers ``[m]`` (−1 where there is none), and their names in order."""
    names = sorted({label for label in labels if label})
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(label, -1) for label in labels], dtype=np.intp), names


def label_structure(vectors: NDArray[np.floating], labels: NDArray[np.intp], k: int = NEAR) -> tuple[float, float]:
    """How far labels and neighbourhoods go together: agreement of neighbours, and silhouette.

    Formula:
        agreement: mean share of a vector's ``k`` nearest that have its label. Silhouette: mean of ``(b − a) / max(a, b)``, ``a`` the mean
        distance to the vectors of its own label, ``b`` the smallest mean distance to those of another; 0 for the only one of a label.

    Args:
        vectors: ``[m, d]``.
        labels: ``[m]`` numbers from 0; vectors with −1 are left out.
        k: neighbours looked at.

    Units:
        agreement 0..1, silhouette −1..1; NaN where fewer than two labels are there.

    Source:
        Rousseeuw, 1987; equal to ``sklearn.metrics.silhouette_score``.
    """
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    x, own = vectors[order], np.unique(labels[order], return_inverse=True)[1]
    counts = np.bincount(own)
    if len(counts) < 2 or len(x) <= k:
        return float("nan"), float("nan")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    same, width = 0.0, 0.0
    for rows, block in squared_blocks(x):
        near = np.argpartition(block, k - 1, axis=1)[:, :k]
        same += float((own[near] == own[rows, None]).sum())
        at = np.arange(len(block))
        block[at, at + rows.start] = 0.0
        width += _silhouettes(np.add.reduceat(np.sqrt(block, out=block), starts, axis=1), own[rows], counts)
    return same / (len(x) * k), width / len(x)


def _silhouettes(sums: NDArray[np.float64], own: NDArray[np.intp], counts: NDArray[np.intp]) -> float:
    """Sum of silhouettes, from each vector's distances summed over each label ``[rows, labels]``."""
    at = np.arange(len(own))
    inside = sums[at, own] / np.maximum(counts[own] - 1, 1)
    means = sums / counts
    means[at, own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    values = np.where((counts[own] > 1) & (largest > 0), (outside - inside) / np.where(largest > 0, largest, 1.0), 0.0)
    return float(values.sum())


def held_out(labels: NDArray[np.intp], seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Two halves of the labelled vectors, label by label: indices to look among, and to ask about."""
    rng = np.random.default_rng(seed)
    among, asked = [], []
    for label in np.unique(labels[labels >= 0]):
        mine = rng.permutation(np.flatnonzero(labels == label))
        among.append(mine[: (len(mine) + 1) // 2])
        asked.append(mine[(len(mine) + 1) // 2 :])
    if not asked:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    return np.sort(np.concatenate(among)), np.sort(np.concatenate(asked))


def knn_accuracy(vectors: NDArray[np.floating], labels: NDArray[np.intp], *, k: int = NEAR, seed: int = 0) -> float:
    """Share of held-out vectors whose ``k`` nearest in the other half have their label by majority (the nearest decide between equals).

    Units:
        0..1; NaN where there are fewer than two labels, or not enough vectors.
    """
    among, asked = held_out(labels, seed)
    if len(asked) == 0 or len(among) < k or len(np.unique(labels[labels >= 0])) < 2:
        return float("nan")
    right = 0
    weights = 1.0 + np.arange(k, 0, -1) / (2.0 * k * k)  # all of them together less than one vote
    for rows, block in squared_blocks(vectors[asked], vectors[among]):
        near = np.argpartition(block, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(block, near, axis=1), axis=1, kind="stable")
        votes = _votes(labels[among][np.take_along_axis(near, order, axis=1)], weights)
        right += int((votes == labels[asked[rows]]).sum())
    return right / len(asked)


def _votes(near: NDArray[np.intp], weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """The label with most votes in each row of neighbours' labels."""
    counts = (near[:, :, None] == near[:, None, :]) @ weights
    return np.asarray(np.take_along_axis(near, counts.argmax(axis=1)[:, None], axis=1)[:, 0])
