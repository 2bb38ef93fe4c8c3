"""A file of ``vitscope embed`` read again: the points of each map, and the columns beside them; texts stay Arrow's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError
from vitscope.projection.store import arrow

#: Columns every such file has, and those that tell its maps apart.
NEEDED = ("id", "path", "layer", "x", "y")
OF_MAPS = ("layer", "method", "x", "y", "z")
METADATA = ("quality", "vitscope")


@dataclass(frozen=True)
class Map:
    """One map of the photos (or of their tokens).

    Shapes:
        points: float32 ``[m, 2 or 3]``.

    Attributes:
        quality: its measured figures; empty where the file has none of it.
    """

    layer: int
    method: str
    points: NDArray[np.float32]
    quality: Mapping[str, Any]


@dataclass(frozen=True)
class Cloud:
    """Points of one file, ``m`` in every map, in one order.

    Attributes:
        name: of the file.
        columns: Arrow arrays of ``m`` values by name; where they differ from map to map, one for each map.
        quality, made: figures and provenance that the file carries.
        file: where it lies; None where it was never written.
    """

    name: str
    maps: tuple[Map, ...]
    columns: Mapping[str, tuple[Any, ...]]
    quality: Mapping[str, Any]
    made: Mapping[str, Any]
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.maps[0].points)

    def column(self, name: str, number: int = 0) -> Any:
        """One column as an Arrow array ``[m]``, as it is in a map."""
        arrays = self.columns[name]
        return arrays[min(number, len(arrays) - 1)]

    def shared(self, name: str) -> bool:
        """Whether a column is the same in every map."""
        return len(self.columns[name]) == 1

    def rows(self, which: Sequence[int], number: int = 0) -> list[dict[str, Any]]:
        """Some rows as plain Python values, with their place in a map."""
        pa, _ = arrow()
        at = pa.array(which, pa.int64())
        columns = {name: self.column(name, number).take(at).to_pylist() for name in self.columns}
        places = self.maps[number].points[list(which)].tolist()
        return [
            {**{name: values[i] for name, values in columns.items()}, **dict(zip("xyz", place, strict=False))}
            for i, place in enumerate(places)
        ]

    def text(self, name: str, row: int) -> str:
        """One text, "" where there is none."""
        return str(self.column(name)[row].as_py() or "")

    def only(self, which: NDArray[np.intp]) -> Cloud:
        """Some of the points, in the order given."""
        pa, _ = arrow()
        at = pa.array(which)
        maps = tuple(replace(one, points=one.points[which]) for one in self.maps)
        columns = {name: tuple(array.take(at) for array in arrays) for name, arrays in self.columns.items()}
        return replace(self, maps=maps, columns=columns)


def read_cloud(source: str | Path | bytes, name: str = "") -> Cloud:
    """The points of a file that ``vitscope embed`` wrote; columns that somebody added to it are kept.

    Args:
        source: the file, or its bytes.
        name: what to call it; the file's own name where empty.

    Raises:
        ArgumentError: no such file, another kind of file, points that are no numbers, or maps of different photos.
        MissingExtra: pyarrow is not installed.
    """
    pa, pq = arrow()
    named = name or ("points" if isinstance(source, bytes) else Path(source).name)
    file = None if isinstance(source, bytes) else Path(source)
    if file is not None and not file.is_file():
        raise ArgumentError("no such file", expected="a .parquet that vitscope embed wrote", where=str(source), todo="check the path")
    try:
        opened = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source, memory_map=file is not None)
        return _read(opened, named, file)
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:160]
        raise ArgumentError(f"cannot be read ({said})", expected="a whole Parquet file", where=named, todo="make it again") from None


def _read(opened: Any, name: str, file: Path | None) -> Cloud:
    quality, made = _facts(opened.schema_arrow.metadata or {}, name)
    there = list(opened.schema_arrow.names)
    missing = [column for column in NEEDED if column not in there]
    if missing:
        raise ArgumentError(f"no column {' and '.join(missing)}", expected=", ".join(NEEDED), where=name)
    if len(set(there)) < len(there):
        raise ArgumentError("two columns of one name", expected="each once", where=name)
    if not opened.metadata.num_rows:
        raise ArgumentError("no rows", expected="at least one point", where=name)
    keys, parts = _parts(opened, made, name)
    maps = _maps(opened, keys, parts, quality, name)
    columns = {column: _column(opened, column, parts) for column in there if column not in OF_MAPS}
    for column in ("id", "path", "token"):
        if len(columns.get(column, ((),))) > 1:
            raise ArgumentError(
                f"column {column} differs from map to map", expected="the same photos in the same order in each", where=name
            )
    return Cloud(name, maps, columns, quality, made, file)


def _facts(metadata: Mapping[bytes, bytes], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures and provenance."""
    try:
        quality, made = (json.loads(metadata[key.encode()]) for key in METADATA)
        whole = isinstance(quality, dict) and isinstance(made["projections"], list) and isinstance(made["model"], str)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ArgumentError(
            "it does not say which model and photos these points are of",
            expected="a file that vitscope embed wrote, with its metadata",
            where=name,
            todo="add columns with pyarrow (table.append_column keeps the metadata; pandas drops it)",
        )
    return quality, made


def _parts(opened: Any, made: Mapping[str, Any], name: str) -> tuple[list[tuple[int, str]], list[NDArray[np.intp]]]:
    """The maps (layer, method) in their order in the file, and the rows of each."""
    layer = _numbers(opened, "layer", name)
    methods = [str(one["method"]) for one in made["projections"]]
    if "method" in opened.schema_arrow.names:
        encoded = opened.read(["method"]).column(0).dictionary_encode().combine_chunks()
        codes, names = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    else:
        codes, names = np.zeros(len(layer), dtype=np.int32), methods[:1] or [""]
    if not np.isfinite(layer).all() or (codes < 0).any():
        raise ArgumentError("rows without layer or method", expected="both in every row", where=name)
    together = layer.astype(np.int64) * (len(names) + 1) + codes
    found, first, index = np.unique(together, return_index=True, return_inverse=True)
    order = np.argsort(first)
    parts = [np.flatnonzero(index == number) for number in order]
    counts = sorted({len(part) for part in parts})
    if len(counts) > 1:
        raise ArgumentError(f"maps of {' and '.join(f'{n:,}' for n in counts)} points", expected="as many in each", where=name)
    return [(int(found[n] // (len(names) + 1)), str(names[int(found[n] % (len(names) + 1))])) for n in order], parts


def _maps(
    opened: Any, keys: Sequence[tuple[int, str]], parts: Sequence[NDArray[np.intp]], quality: Mapping[str, Any], name: str
) -> tuple[Map, ...]:
    axes = [_numbers(opened, axis, name) for axis in "xyz" if axis in opened.schema_arrow.names]
    said = {(one["layer"], one["method"]): one for one in quality.get("projections", [])}
    maps = []
    for (layer, method), part in zip(keys, parts, strict=True):
        own = [axis[part] for axis in axes]
        if len(own) == 3 and np.isnan(own[2]).all():  # a map of the plane beside one of space
            own = own[:2]
        points = np.stack(own, axis=1).astype(np.float32)
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        if bad:
            raise ArgumentError(f"{bad:,} of {len(points):,} points of layer {layer} are no numbers", expected="finite x and y", where=name)
        maps.append(Map(layer, method, points, said.get((layer, method), {})))
    return tuple(maps)


def _numbers(opened: Any, column: str, name: str) -> NDArray[np.floating[Any]]:
    """A column of numbers, float64; NaN where there is none."""
    pa, _ = arrow()
    array = opened.read([column]).column(0)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise ArgumentError(f"column {column} of {array.type}", expected="numbers", where=name)
    return np.asarray(array.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _column(opened: Any, column: str, parts: Sequence[NDArray[np.intp]]) -> tuple[Any, ...]:
    """A column of each map; once where all are the same."""
    pa, _ = arrow()
    whole = opened.read([column]).column(0)
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    arrays = [whole.take(pa.array(part)).combine_chunks() for part in parts]
    return tuple(arrays[:1]) if all(_same(arrays[0], other) for other in arrays[1:]) else tuple(arrays)


def _same(one: Any, other: Any) -> bool:
    """Whether two columns are equal; NaN equals NaN."""
    pa, _ = arrow()
    if pa.types.is_floating(one.type) and not one.null_count and not other.null_count:
        return bool(np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True))
    return bool(one.equals(other))
