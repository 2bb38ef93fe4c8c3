"""The vectors that lie beside a file of points: which row of which store each point is, and its nearest in the original space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError
from vitscope.projection.distances import nearest
from vitscope.projection.store import Store, arrow, read_store
from vitscope.projection.table import Cloud


@dataclass(frozen=True)
class Beside:
    """Stores of a cloud's vectors, one after the other: that of the file itself, then that of photos placed into it.

    Shapes:
        photos, token: int64 ``[m]``.

    Attributes:
        photos: each point's photo, counted through all stores; −1 where it has no vector (rows that somebody added).
        token: which of its photo's vectors; 0 where vectors are of whole photos.
    """

    stores: tuple[Store, ...]
    photos: NDArray[np.int64]
    token: NDArray[np.int64]

    def rows(self, layer: int) -> NDArray[np.int64]:
        """Each point's vector of a layer, counted through all stores, ``[m]``; −1 where it has none."""
        tokens = self.tokens(layer)
        return np.where((self.photos >= 0) & (self.token < tokens), self.photos * tokens + self.token, -1)

    def points(self, layer: int) -> NDArray[np.int64]:
        """Each vector's point; −1 where somebody took its row out of the file."""
        rows = self.rows(layer)
        back = np.full(sum(map(len, self.stores)) * self.tokens(layer), -1, dtype=np.int64)
        back[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        return back

    def tokens(self, layer: int) -> int:
        """Vectors of each photo at a layer, 1 where they are of whole photos.

        Raises:
            ArgumentError: the layer is not kept, or the stores differ.
        """
        for store in self.stores:
            if layer not in store.manifest.layers:
                raise ArgumentError(f"layer {layer}", expected=", ".join(map(str, store.manifest.layers)), where=str(store.folder))
        counts = {store.tokens(layer) for store in self.stores}
        if len(counts) > 1:
            raise ArgumentError(f"photos of {' and '.join(map(str, sorted(counts)))} vectors", expected="as many each", where="nearest")
        return counts.pop()

    def confidence(self) -> NDArray[np.float32]:
        """Each point's softmax probability of the prediction of its photo, ``[m]``; NaN where there is none."""
        each = np.concatenate([store.confidence() for store in self.stores])
        return np.where(self.photos >= 0, each[self.photos], np.float32("nan"))

    def digest(self, point: int) -> str:
        """sha256 of the file of a point's photo as it was when the vectors were made; "" where it has none."""
        photo = int(self.photos[point])
        for digests in self._digests:
            if 0 <= photo < len(digests):
                return str(digests[photo].as_py() or "")
            photo -= len(digests)
        return ""

    @cached_property
    def _digests(self) -> tuple[Any, ...]:
        return tuple(store.texts("digest") for store in self.stores)

    def batches(self, layer: int) -> Iterator[NDArray[np.float32]]:
        """One layer's vectors, ``[rows, width]`` a shard at a time."""
        for store in self.stores:
            for batch in store.batches(layer):
                yield batch.reshape(-1, batch.shape[-1])

    def vector(self, point: int, layer: int) -> NDArray[np.float32]:
        """A point's own vector, ``[1, width]``.

        Raises:
            ArgumentError: it has none, or the layer is not kept.
        """
        wanted, at = int(self.rows(layer)[point]), 0
        for batch in self.batches(layer):
            if wanted < at + len(batch) and wanted >= 0:
                return batch[wanted - at : wanted - at + 1]
            at += len(batch)
        raise ArgumentError(f"row {point} has no vector", expected="a row that vitscope embed wrote", where="nearest")

    def nearest(
        self, query: NDArray[np.floating], k: int, layer: int, *, but: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``k`` points nearest to a vector ``[1, width]``, nearest first, and their Euclidean distances; exactly, shard by shard.

        Args:
            query: the vector.
            k: how many; fewer where there are not so many.
            layer: of whose vectors.
            but: a point that does not count, itself.
        """
        if k < 1:
            raise ArgumentError(f"{k} neighbours", expected="at least 1", where="nearest")
        index, distance, at = np.zeros(0, dtype=np.int64), np.zeros(0), 0
        there = self.points(layer)
        for batch in self.batches(layer):
            points = there[at : at + len(batch)]
            kept = (points >= 0) & (points != (-1 if but is None else but))
            at += len(batch)
            if kept.any():
                found, far = nearest(query, min(k, int(kept.sum())), batch[kept])
                index, distance = np.concatenate([index, points[kept][found[0]]]), np.concatenate([distance, far[0]])
                best = np.lexsort((index, distance))[:k]
                index, distance = index[best], distance[best]
        return index, distance


def beside(cloud: Cloud) -> Beside:
    """The vectors of a cloud's file.

    Raises:
        ArgumentError: none lie beside it, or they are of other photos.
    """
    if cloud.file is None:
        raise ArgumentError("these points were never written to a file", expected="the file, and its vectors beside it", where="nearest")
    names = cloud.made.get("stores") or [cloud.file.with_suffix(".vectors").name]
    if not all(isinstance(name, str) and PurePath(name).name == name for name in names):
        raise ArgumentError(f"stores {names!r:.80}", expected="names of folders beside the file", where=cloud.name)
    stores = tuple(_of(cloud, cloud.file.parent / name) for name in names)
    token = cloud.column("token").to_numpy(zero_copy_only=False) if "token" in cloud.columns else np.zeros(len(cloud))
    return Beside(stores, _photos(cloud, stores), np.asarray(token, dtype=np.int64))


def _of(cloud: Cloud, folder: Path) -> Store:
    store = read_store(folder)
    for name in ("model", "weights", "preprocessing", "vectors"):
        mine, other = cloud.made.get(name), getattr(store.manifest, name)
        if mine != other:
            raise ArgumentError(f"its {name} is {other!r}", expected=f"{mine!r}, as {cloud.name} says", where=str(folder))
    return store


def _photos(cloud: Cloud, stores: tuple[Store, ...]) -> NDArray[np.int64]:
    """Each point's photo among those of the stores, by its path and whether it was placed."""
    pa, _ = arrow()
    import pyarrow.compute as pc

    placed = np.zeros(len(cloud), dtype=bool)
    if len(stores) > 1 and "placed" in cloud.columns:
        placed = np.asarray(cloud.column("placed").cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
    photos, before = np.full(len(cloud), -1, dtype=np.int64), 0
    for number, store in enumerate(stores):
        paths: Any = store.texts("path")
        found = pc.index_in(cloud.column("path"), value_set=paths).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        photos = np.where((found >= 0) & (placed == bool(number)), before + found, photos)
        before += len(paths)
    if (photos < 0).all():
        raise ArgumentError(
            "none of these points' photos has a vector there", expected="the vectors of this file", where=str(stores[0].folder)
        )
    return photos
