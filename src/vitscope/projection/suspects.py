"""Photos to look at: near-duplicates, and labels that their neighbours contradict; each with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A pair nearer than this share of the median distance to the nearest neighbour is a near-duplicate.
CLOSE = 0.25
#: A label is suspect where at least this share of the neighbours has one other label …
AGREED = 0.9


@dataclass(frozen=True)
class Pair:
    """Two photos that are almost one.

    Attributes:
        ratio: their distance, in medians of all photos' distances to their nearest neighbour.
        same_file: whether the files are the same to the byte.
    """

    one: str
    other: str
    distance: float
    ratio: float
    same_file: bool


@dataclass(frozen=True)
class Suspect:
    """A label that its neighbours contradict.

    Attributes:
        share: of the neighbours that have ``instead``.
        own_share: of the neighbours that have the photo's own label.
        near: ids of the nearest of those that have ``instead``.
    """

    id: str
    label: str
    instead: str
    share: float
    own_share: float
    near: tuple[str, ...]
    predicted: str = ""


def near_duplicates(
    ids: Sequence[str], digests: Sequence[str], index: NDArray[np.intp], distance: NDArray[np.float64], *, close: float = CLOSE
) -> list[Pair]:
    """Pairs much nearer than photos usually are to their nearest, nearest first.

    Args:
        ids: of the photos.
        digests: sha256 of their files, "" where unknown.
        index: ``[m, k]`` each photo's neighbours, nearest first.
        distance: ``[m, k]`` how far they are.
        close: largest distance, in medians of the distances to the nearest neighbour.
    """
    usual = float(np.median(distance[:, 0])) if len(distance) else 0.0
    found: dict[tuple[int, int], float] = {}
    for i, j in np.argwhere(distance <= close * usual):
        pair = (min(i, index[i, j]), max(i, index[i, j]))
        found[pair] = float(distance[i, j])
    pairs = [
        Pair(ids[a], ids[b], d, d / usual if usual > 0 else 0.0, bool(digests[a]) and digests[a] == digests[b])
        for (a, b), d in found.items()
    ]
    return sorted(pairs, key=lambda pair: (pair.distance, pair.one, pair.other))


def label_suspects(
    ids: Sequence[str], labels: Sequence[str], predicted: Sequence[str], index: NDArray[np.intp], *, agreed: float = AGREED
) -> list[Suspect]:
    """Labelled photos whose neighbours agree on another label, most agreed first. That is a reason to look, not a proof.

    Args:
        ids: of the photos.
        labels: theirs, "" where there is none.
        predicted: what the model says, "" where it says nothing.
        index: ``[m, k]`` each photo's neighbours, nearest first.
        agreed: smallest share of the labelled neighbours that must have the one other label.
    """
    found = []
    for i, label in enumerate(labels):
        named = [(int(j), labels[j]) for j in index[i] if labels[j]]
        if not label or not named:
            continue
        names = [name for _, name in named]
        instead = max(dict.fromkeys(names), key=names.count)
        share = names.count(instead) / len(names)
        if instead != label and share >= agreed:
            near = tuple(ids[j] for j, name in named if name == instead)[:3]
            found.append(Suspect(ids[i], label, instead, share, names.count(label) / len(names), near, predicted[i]))
    return sorted(found, key=lambda one: (-one.share, one.own_share, one.id))
