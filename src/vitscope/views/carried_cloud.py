"""What a file, or a notebook without its kernel, carries of a cloud of points: points, small pictures of some, attention of a few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.projection.table import Cloud
from vitscope.views.cloud import COLUMN, MAP, NONE, Column, Ways, cloud_facts, places
from vitscope.views.view import View, block

#: Points a file carries at most; of more, so many are drawn.
MOST_POINTS = 50_000
FILE_WHY = "this is a file: only what it carries can be shown; vitscope serve opens the rest"


@dataclass(frozen=True)
class Carriage:
    """What is carried of some points.

    Attributes:
        rows: which points have it.
        why: one line for people.
        arrays, meta: what is carried of them, in the order of ``rows``.
    """

    rows: tuple[int, ...]
    why: str
    arrays: Mapping[str, NDArray[np.generic]]
    meta: Mapping[str, Any]

    @property
    def ways(self) -> Ways:
        """How it is had."""
        return Ways("carried", self.why, self.rows) if self.rows else Ways("none", self.why)


def nothing(why: str) -> Carriage:
    """Nothing is carried, for a reason."""
    return Carriage((), why, {}, {})


@dataclass(frozen=True)
class CarriedCloud:
    """A cloud as a file carries it.

    Attributes:
        facts: its catalogue entry, all but the number of the block.
        arrays, meta: the block.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.generic]]
    meta: Mapping[str, Any]

    def block(self) -> View:
        """The arrays as one block."""
        return block(self.arrays, self.meta)


def drawn(total: int, most: int, seed: int = 0) -> NDArray[np.intp]:
    """So many of so many numbers at most, rising: one drawn from each of ``most`` equal stretches, so that none is left out or crowded."""
    if total <= most:
        return np.arange(total)
    edges = np.arange(most + 1) * total // most
    return np.asarray(edges[:-1] + (np.random.default_rng(seed).random(most) * np.diff(edges)).astype(np.intp), dtype=np.intp)


def evenly(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The same numbers in an order whose every beginning is evenly spread over them: by their places' bits, reversed (van der Corput)."""
    bits = max(1, int(len(rows) - 1).bit_length())
    place = np.arange(len(rows))
    turned = sum(((place >> bit) & 1) << (bits - 1 - bit) for bit in range(bits))
    return rows[np.argsort(turned, kind="stable")]


def to_look_at_first(columns: Mapping[str, Column]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Points to look at: suspects and near-duplicates; further ones the model named wrongly; the others; each evenly ordered."""
    total = len(next(iter(columns.values())).values) if columns else 0
    urgent, wrong = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool)
    for name in ("suspect", "duplicate"):
        if name in columns:
            urgent |= columns[name].values != NONE
    if "error" in columns:
        wrong = (columns["error"].values == 1) & ~urgent
    return tuple(evenly(np.flatnonzero(which)) for which in (urgent, wrong, ~(urgent | wrong)))  # type: ignore[return-value]  # three of them


def sampled(cloud: Cloud, columns: Mapping[str, Column], most: int = MOST_POINTS, seed: int = 0) -> tuple[Cloud, dict[str, Column], str]:
    """The points that are carried, their columns, and what is said where some are left out."""
    which = drawn(len(cloud), most, seed)
    if len(which) == len(cloud):
        return cloud, dict(columns), ""
    said = f"{len(which):,} of {len(cloud):,} points (at most {most:,} are carried, evenly drawn with seed {seed})"
    return cloud.only(which), {name: replace(column, values=column.values[which]) for name, column in columns.items()}, said


def carried_cloud(
    cloud: Cloud, columns: Mapping[str, Column], *, pictures: Carriage, attention: Carriage, left_out: str = "", texts: bool = True
) -> CarriedCloud:
    """A cloud with what is carried of it.

    Args:
        cloud: the points, as :func:`sampled` chose them.
        columns: theirs.
        pictures: of some of them.
        attention: of a few of them.
        left_out: what is said of the others.
        texts: whether ids and paths are carried.
    """
    maps = [places(one) for one in cloud.maps]
    arrays: dict[str, NDArray[np.generic]] = {MAP(i): coded for i, (coded, _) in enumerate(maps)}
    arrays |= {COLUMN(name): column.values for name, column in columns.items()}
    if texts:
        for name in ("id", "path"):
            arrays |= joined(f"text/{name}", [(text or "").encode() for text in cloud.column(name).to_pylist()])
    facts = cloud_facts(cloud, columns, pictures.ways, attention.ways)
    facts |= {"nearest": Ways("none", FILE_WHY).as_facts(), **({"left_out": left_out} if left_out else {})}
    meta = {"bounds": [bounds for _, bounds in maps], **pictures.meta, **attention.meta}
    return CarriedCloud(facts, {**arrays, **pictures.arrays, **attention.arrays}, meta)


def joined(name: str, files: Sequence[bytes]) -> dict[str, NDArray[np.generic]]:
    """Files (or texts) one after the other, ``u1``, and where each begins, ``i4 [k + 1]``."""
    offsets = np.cumsum([0, *(len(file) for file in files)]).astype(np.int32)
    return {name: np.frombuffer(b"".join(files), dtype=np.uint8), f"{name}/offsets": offsets}
