"""One cloud of points with what lies around it: its photos, its model, its vectors; and the answer to everything asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError, PhotoError, VitscopeError
from vitscope.projection.beside import Beside, beside
from vitscope.projection.table import Cloud, read_cloud
from vitscope.views.carried_cloud import joined
from vitscope.views.cloud import COLUMN, MAP, NONE, Column, Ways, cloud_facts, columns_of, places

if TYPE_CHECKING:
    from vitscope.core.maps import TokenMap
    from vitscope.core.sample import Sample
    from vitscope.inputs.named import Named
    from vitscope.models.loaded import LoadedModel

#: Rows that one question may be about.
MOST_ROWS = {"table": 1000, "thumbs": 100, "attentions": 24}
#: Pixels of a thumbnail's longer side.
SIZES = (32, 256)
MOST_NEAR = 200

Arrays = dict[str, NDArray[np.generic]]
Answer = tuple[Arrays, dict[str, Any]]


@dataclass(frozen=True)
class Photos:
    """The photos of a cloud: those it was made of, and those placed into it.

    Attributes:
        made, placed: where each lie; None where they cannot be read.
        why: the reason, or where they are read from.
        is_placed: bool ``[m]``, or None where none were placed.
    """

    made: Named | None
    placed: Named | None
    why: str
    is_placed: NDArray[np.bool_] | None = None

    def of(self, row: int) -> Named:
        """Where one row's photo lies.

        Raises:
            PhotoError: that cannot be read.
        """
        found = self.placed if self.is_placed is not None and self.is_placed[row] else self.made
        if found is None:
            raise PhotoError(self.why or "the photos are not at hand", where=f"row {row}")
        return found


@dataclass(frozen=True)
class LiveCloud:
    """Points that can be asked.

    Attributes:
        model: (id, model) that made the vectors; None where it is not loaded.
        why_no_model: the reason.
        vectors: beside the file, or the one line that says why there are none.
    """

    cloud: Cloud
    columns: Mapping[str, Column]
    photos: Photos
    model: tuple[str, LoadedModel] | None
    why_no_model: str
    vectors: Beside | str

    def __len__(self) -> int:
        return len(self.cloud)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The catalogue entry."""
        photos, model = self.photos, self.model
        pictures = Ways("live" if photos.made else "none", photos.why)
        if photos.made and model:
            attention = Ways("live", f"head mean of what the head of {model[0]} reads, last block")
        else:
            attention = Ways("none", photos.why if model else self.why_no_model)
        near = Ways("none", self.vectors) if isinstance(self.vectors, str) else Ways("live", "exact, in the original space")
        facts = cloud_facts(self.cloud, self.columns, pictures, attention, can_open=bool(photos.made and model))
        return {**facts, "nearest": near.as_facts()}

    def points(self, number: int) -> Answer:
        """The places of one map."""
        coded, bounds = places(self.cloud.maps[self._map(number)])
        return {MAP(number): coded}, {"bounds": bounds, "map": number}

    def column(self, name: str) -> Answer:
        """One column, as codes or numbers."""
        if name not in self.columns:
            raise ArgumentError(f"column {name!r}", expected=", ".join(self.columns), where="column")
        return {COLUMN(name): self.columns[name].values}, {"name": name}

    def table(self, rows: Sequence[int], number: int = 0) -> Answer:
        """Rows as plain values."""
        from vitscope.views.plain import plain

        self.check(rows, "table")
        found = self.cloud.rows(rows, self._map(number))
        made = {name: column for name, column in self.columns.items() if name not in self.cloud.columns}
        for values, row in zip(found, rows, strict=True):
            values |= {name: _value(column, row) for name, column in made.items()}
        return {}, {"rows": plain([self._in_order(values) for values in found]), "map": number}

    def _in_order(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row's id and path, the columns that colour as they are offered, others, and its place: as a file's table has them."""
        first = [name for name in ("id", "path", *self.columns) if name in values]
        last = [name for name in "xyz" if name in values]
        return {name: values[name] for name in dict.fromkeys([*first, *(name for name in values if name not in last), *last])}

    def thumbs(self, rows: Sequence[int], size: int, keep: Callable[[int, Callable[[], bytes]], bytes]) -> Answer:
        """Small pictures, one JPEG after the other; those that cannot be read are empty, with the reason."""
        from vitscope.web.encode import thumbnail

        self.check(rows, "thumbs")
        if not SIZES[0] <= size <= SIZES[1]:
            raise ArgumentError(f"size {size}", expected=f"{SIZES[0]} to {SIZES[1]} px", where="thumbs")
        files, failed = [], {}
        for row in rows:
            try:
                files.append(keep(row, lambda row=row: thumbnail(self.photos.of(row).small(self.cloud.text("path", row), size))))  # type: ignore[misc]
            except PhotoError as error:
                files.append(b"")
                failed[str(row)] = str(error)
        return joined("thumbs", files), {"rows": list(rows), "failed": failed}

    def nearest(self, row: int, k: int, layer: int | None) -> Answer:
        """The nearest points in the original space."""
        self.check([row], "nearest")
        if isinstance(self.vectors, str):
            raise ArgumentError(self.vectors, expected="the vectors beside the file", where="nearest")
        if not 1 <= k <= MOST_NEAR:
            raise ArgumentError(f"k {k}", expected=f"1 to {MOST_NEAR}", where="nearest")
        at = self.cloud.maps[0].layer if layer is None else layer
        index, distance = self.vectors.nearest(self.vectors.vector(row, at), k, at, but=row)
        found = [{"row": int(i), "distance": float(d)} for i, d in zip(index, distance, strict=True)]
        return {}, {"rows": found, "row": row, "layer": at}

    def sample(self, row: int) -> Sample:
        """The photo of a point.

        Raises:
            PhotoError: it cannot be read, or it is another one than the points were made of.
        """
        path = self.cloud.text("path", row)
        sample = self.photos.of(row).read(path, self.cloud.text("id", row))
        if not isinstance(self.vectors, str):
            was = self.vectors.digest(row)
            if was and was != sample.digest:
                raise PhotoError(f"the file has changed (sha256 {sample.digest[:12]}…)", expected=f"{was[:12]}…, as it was", where=path)
        return sample

    def attention(self, row: int) -> TokenMap:
        """Where the head's read-out looked in one photo: last block, mean of the heads, raw."""
        from vitscope.methods.attention import attention

        if self.model is None:
            raise ArgumentError(self.why_no_model, where="attentions")
        return attention(self.model[1].trace(self.sample(row)))[0]

    def check(self, rows: Sequence[int], op: str) -> None:
        """Refuse rows that are not there, or too many of them.

        Raises:
            ArgumentError: with what there is.
        """
        most = MOST_ROWS.get(op, 1)
        if len(rows) > most:
            raise ArgumentError(f"{len(rows):,} rows", expected=f"at most {most:,} at once", where=op)
        wrong = [row for row in rows if not 0 <= row < len(self)]
        if wrong:
            raise ArgumentError(f"row {wrong[0]}", expected=f"0 to {len(self) - 1}", where=op)

    def _map(self, number: int) -> int:
        if not 0 <= number < len(self.cloud.maps):
            raise ArgumentError(f"map {number}", expected=f"0 to {len(self.cloud.maps) - 1}", where="request")
        return number


def _value(column: Column, row: int) -> object:
    value = column.values[row]
    if column.categories is None:
        return float(value)
    return None if value == NONE else column.categories[int(value)]


def live_cloud(
    source: str | Path | Cloud, models: Mapping[str, LoadedModel], *, photos: Path | None = None, max_pixels: int | None = None
) -> LiveCloud:
    """A file of points, with its photos, its model among those given, and its vectors where they lie beside it.

    Args:
        source: the file, or what was read of it.
        models: id -> model; the first whose weights are the file's is its own.
        photos: where its photos are now; where None the folder that the file names.
        max_pixels: larger photos are refused before they are decoded.

    Raises:
        ArgumentError: no such file, or figures in it that are not vitscope's; models, and none of them the file's.
    """
    cloud = source if isinstance(source, Cloud) else read_cloud(source)
    vectors = _vectors(cloud)
    model = own_model(cloud, models)
    why = "" if model else f"its model, {cloud.made['model']}, is not loaded here"
    columns = columns_of(cloud, None if isinstance(vectors, str) else vectors.confidence())
    found = LiveCloud(cloud, columns, photos_of(cloud, photos, max_pixels), model, why, vectors)
    try:
        _ = found.facts
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ArgumentError(f"figures that cannot be read ({said})", expected="as vitscope embed wrote them", where=cloud.name) from None
    return found


def _vectors(cloud: Cloud) -> Beside | str:
    try:
        return beside(cloud)
    except VitscopeError as error:
        return str(error)


def own_model(cloud: Cloud, models: Mapping[str, LoadedModel]) -> tuple[str, LoadedModel] | None:
    """The model that made a cloud, by its weights and its preparation of photos.

    Raises:
        ArgumentError: there are models and none of them is; with both fingerprints.
    """
    wanted = (cloud.made.get("weights"), cloud.made.get("preprocessing"))
    there = {}
    for key, model in models.items():
        preparation = model.described.preparation
        there[key] = (model.weights_fingerprint(), preparation.text if preparation else "none")
        if there[key] == wanted:
            return key, model
    if not models:
        return None
    key, (weights, text) = next(iter(there.items()))
    if weights != wanted[0]:
        raise ArgumentError(
            f"model {key} has weights {weights}", expected=f"{wanted[0]}, those of {cloud.made['model']} that made it", where=cloud.name
        )
    raise ArgumentError(f"model {key} prepares photos by {text}", expected=f"{wanted[1]}", where=cloud.name)


def photos_of(cloud: Cloud, given: Path | None, max_pixels: int | None) -> Photos:
    """Where the photos of a cloud are: in the folder given, else the one its file names, from here or from beside the file."""
    made, why = _found(cloud, str(cloud.made.get("folder", "")), given, max_pixels, 0)
    if "placed_folder" not in cloud.made or "placed" not in cloud.columns:
        return Photos(made, None, why)
    array = cloud.column("placed").to_numpy(zero_copy_only=False)
    is_placed = np.array([bool(value) for value in array]) if array.dtype == object else np.asarray(array, dtype=bool)
    if not is_placed.any():
        return Photos(made, None, why)
    placed, why_placed = _found(cloud, str(cloud.made["placed_folder"]), None, max_pixels, int(is_placed.argmax()))
    return Photos(made, placed, f"{why}; placed photos: {why_placed}", is_placed)


def _found(cloud: Cloud, folder: str, given: Path | None, max_pixels: int | None, row: int) -> tuple[Named | None, str]:
    """Photos that are there (one is looked for), and where; or None and why not."""
    from vitscope.inputs.named import named
    from vitscope.inputs.opening import MAX_PIXELS

    places = [given] if given is not None else [Path(folder), *([cloud.file.parent / folder] if cloud.file else [])]
    why = ""
    for place in places:
        try:
            found = named(place, folder, max_pixels=max_pixels or MAX_PIXELS)
            found.check(cloud.text("path", row))
        except (ArgumentError, PhotoError) as error:
            why = why or f"the photos are not there ({error}): say where they are with --photos"
            continue
        return found, f"read from {place}"
    return None, why
