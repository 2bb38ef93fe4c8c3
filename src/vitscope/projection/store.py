"""Vectors of many photos on disk: Parquet shards, each there in full or not at all, and a manifest that says what made them.

A shard holds the photos of one stretch of the listing. Whatever moment a run is killed at, the next one makes the shards that are missing
and leaves the same bytes as a run that was never stopped.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError, MissingExtra, OutputError, ProofError

FORMAT = 1
DTYPES = ("float32", "float16")
#: Most photos in a shard, and most bytes of vectors.
SHARD_ROWS, SHARD_BYTES = 512, 64_000_000


@dataclass(frozen=True)
class Manifest:
    """What made a store; another run goes on with it only if all of this is the same.

    Attributes:
        model, weights, preprocessing, device, precision: as in :class:`vitscope.core.provenance.Provenance`.
        vectors: what of each photo: "pooled", "cls", "patch-mean" or "tokens".
        layers: blocks, rising.
        dtype: what a value is kept as.
        photos: number of photos listed.
        listing: digest of the listing.
        shard: photos in a shard.
        batch: photos that went through the model together (the last bits of a float depend on it).
        versions: of the libraries.
    """

    model: str
    weights: str
    preprocessing: str
    device: str
    precision: str
    vectors: str
    layers: tuple[int, ...]
    dtype: str
    photos: int
    listing: str
    shard: int
    batch: int
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def as_json(self) -> bytes:
        """The manifest file's bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Rows:
    """Photos in their order, column by column; of as many rows each.

    Attributes:
        label, predicted: "" where there is none.
        confidence: softmax probability of the prediction; NaN where there is none.
        digest: sha256 of the photo's file.
    """

    id: list[str]
    path: list[str]
    label: list[str]
    predicted: list[str]
    confidence: list[float]
    digest: list[str]

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Shard:
    """What a run adds at a time.

    Shapes:
        vectors: by layer ``[rows, width]``, or ``[rows, tokens, width]``.

    Attributes:
        left_out: photos that could not be read: (path, reason).
    """

    rows: Rows
    vectors: dict[int, NDArray[np.floating]]
    left_out: list[tuple[str, str]]


class Store:
    """A folder of shards and their manifest.

    Attributes:
        folder: where it lies.
        manifest: what made it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The stretch of the listing that each shard holds."""
        total, step = self.manifest.photos, self.manifest.shard
        return [(at, min(at + step, total)) for at in range(0, total, step)]

    def missing(self) -> list[int]:
        """Numbers of the shards still to be made; a damaged one counts as missing."""
        return [number for number in range(len(self.spans)) if not self._whole(number)]

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:06d}.parquet"

    def _whole(self, number: int) -> bool:
        pa, pq = arrow()
        try:
            found = pq.read_metadata(self._path(number))
            facts = json.loads(found.metadata[b"vitscope"])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return False
        return bool(facts["span"] == list(self.spans[number]) and found.num_rows + len(facts["left_out"]) == np.ptp(self.spans[number]))

    def write(self, number: int, shard: Shard) -> None:
        """Put one shard in its place.

        Raises:
            ProofError: rows that do not account for every photo, or a value that its type cannot hold.
            OutputError: it cannot be written.
        """
        first, last = self.spans[number]
        if len(shard.rows) + len(shard.left_out) != last - first:
            raise ProofError(
                f"{len(shard.rows)} photos and {len(shard.left_out)} left out", expected=f"{last - first} together", where=f"shard {number}"
            )
        pa, pq = arrow()
        columns: dict[str, Any] = {name: pa.array(values) for name, values in asdict(shard.rows).items() if name != "confidence"}
        columns["confidence"] = pa.array(shard.rows.confidence, pa.float32())
        shapes = {}
        for layer in self.manifest.layers:
            kept = self._kept(shard, layer)
            shapes[str(layer)] = list(kept.shape[1:])
            width = int(np.prod(kept.shape[1:]))
            columns[f"layer {layer}"] = pa.FixedSizeListArray.from_arrays(pa.array(kept.reshape(-1)), width) if len(kept) else None
        columns = {name: column for name, column in columns.items() if column is not None}
        facts = {"span": [first, last], "left_out": [list(pair) for pair in shard.left_out], "shapes": shapes}
        table = pa.table(columns).replace_schema_metadata({"vitscope": json.dumps(facts, ensure_ascii=False)})
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd", use_dictionary=False, write_statistics=False)
        write_atomically(self._path(number), out.getvalue())

    def _kept(self, shard: Shard, layer: int) -> NDArray[np.floating]:
        """The values as they are kept."""
        values = shard.vectors[layer] if len(shard.rows) else np.zeros((0, 0))
        with np.errstate(over="ignore"):
            kept = values.astype(self.manifest.dtype)
        bad = int((~np.isfinite(kept)).sum())
        if bad:
            raise ProofError(
                f"{bad} values of layer {layer} are not finite as {self.manifest.dtype} (the largest is {np.abs(values).max():g})",
                expected="finite values",
                where="vectors",
                todo="keep them as float32" if self.manifest.dtype == "float16" else "look at the photos and weights",
            )
        return np.asarray(kept)

    def rows(self) -> Rows:
        """All photos in order; without their vectors, so that a million of them fit in memory."""
        _, pq = arrow()
        columns: dict[str, list[Any]] = {name: [] for name in Rows.__dataclass_fields__}
        for number in range(len(self.spans)):
            table = pq.read_table(self._path(number), columns=list(columns))
            for name, column in columns.items():
                column.extend(table.column(name).to_pylist())
        return Rows(**columns)

    def __len__(self) -> int:
        """Photos that have vectors: those that could be read."""
        _, pq = arrow()
        return sum(int(pq.read_metadata(self._path(number)).num_rows) for number in range(len(self.spans)))

    def texts(self, name: str) -> Any:
        """One column of the photos as an Arrow array, in their order: "id", "path" …"""
        return self._column(name).combine_chunks()

    def confidence(self) -> NDArray[np.float32]:
        """Softmax probability of each photo's prediction, NaN where there is none."""
        return np.asarray(self._column("confidence").to_numpy(), dtype=np.float32)

    def _column(self, name: str) -> Any:
        pa, pq = arrow()
        parts = [pq.read_table(self._path(number), columns=[name]) for number in range(len(self.spans))]
        return pa.concat_tables([part for part in parts if len(part)] or parts[:1]).column(0)  # a stretch without a photo has no type

    def left_out(self) -> list[tuple[str, str]]:
        """Photos that could not be read, with the reason."""
        return [(path, reason) for number in range(len(self.spans)) for path, reason in self._facts(number)["left_out"]]

    def _facts(self, number: int) -> dict[str, Any]:
        _, pq = arrow()
        found: dict[str, Any] = json.loads(pq.read_metadata(self._path(number)).metadata[b"vitscope"])
        return found

    def batches(self, layer: int) -> Iterator[NDArray[np.float32]]:
        """One layer's vectors, shard by shard: ``[rows, width]``, or ``[rows, tokens, width]``.

        Raises:
            ArgumentError: a layer that is not kept.
        """
        if layer not in self.manifest.layers:
            raise ArgumentError(f"layer {layer}", expected=", ".join(map(str, self.manifest.layers)), where=str(self.folder))
        _, pq = arrow()
        for number in range(len(self.spans)):
            shape = self._facts(number)["shapes"][str(layer)]
            name = f"layer {layer}"
            if name not in pq.read_schema(self._path(number)).names:  # a stretch without one readable photo
                continue
            column = pq.read_table(self._path(number), columns=[name]).column(name).combine_chunks()
            yield column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, *shape)

    def matrix(self, layer: int) -> NDArray[np.float32]:
        """One layer's vectors together, ``[m, width]``; tokens one after the other."""
        parts = [batch.reshape(-1, batch.shape[-1]) for batch in self.batches(layer)]
        return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)

    def tokens(self, layer: int | None = None) -> int:
        """Vectors of each photo: 1, or as many as it has tokens, at one layer, or at all of them alike.

        Raises:
            ProofError: photos, or where no layer is named layers, of different numbers of tokens.
        """
        layers = self.manifest.layers if layer is None else (layer,)
        shapes = [self._facts(number)["shapes"][str(one)] for number in range(len(self.spans)) for one in layers]
        counts = {int(shape[0]) if len(shape) == 2 else 1 for shape in shapes if shape != [0]}
        if len(counts) > 1:
            raise ProofError(f"photos of {' and '.join(map(str, sorted(counts)))} tokens", expected="as many each", where=str(self.folder))
        return counts.pop() if counts else 1


def open_store(folder: Path, manifest: Manifest) -> Store:
    """The store in this folder, made if it is not there; one that something else made is refused.

    Raises:
        ArgumentError: a store of another model, folder or option, with the first difference.
        OutputError: it cannot be written to.
    """
    path = folder / "manifest.json"
    try:
        folder.mkdir(exist_ok=True)
        for stale in folder.glob(".*.part"):
            stale.unlink(missing_ok=True)
        before = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise OutputError(f"cannot be used ({error.strerror or error})", where=str(folder), todo="choose another place") from error
    begun = any(folder.glob("shard-*.parquet"))
    if begun and before is None:
        raise ArgumentError(
            "shards without a manifest", expected="a store, or an empty folder", where=str(folder), todo="remove the folder"
        )
    if begun and before is not None:
        _same(before, manifest, folder)
    else:  # none, or one of a run that failed before its first shard
        write_atomically(path, manifest.as_json())
    return Store(folder, manifest)


def read_store(folder: str | Path) -> Store:
    """A store that is there, whole.

    Raises:
        ArgumentError: no store, one of another version, or one that is not finished.
    """
    where = Path(folder)
    try:
        found = json.loads((where / "manifest.json").read_bytes())
        manifest = Manifest(**{**found, "layers": tuple(found["layers"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        said = getattr(error, "strerror", None) or error
        raise ArgumentError(f"no store of vectors ({said})", expected="a folder that vitscope embed wrote", where=str(folder)) from None
    store = Store(where, manifest)
    missing = store.missing()
    if missing:
        raise ArgumentError(f"{len(missing)} of {len(store.spans)} shards are missing", expected="a finished store", where=str(folder))
    return store


def _same(before: bytes, manifest: Manifest, folder: Path) -> None:
    """Refuse to go on with what something else began."""
    try:
        found = json.loads(before)
    except ValueError as error:
        raise ArgumentError(f"a manifest that is not JSON ({error})", where=str(folder), todo="remove the folder") from None
    wanted = json.loads(manifest.as_json())
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ArgumentError(
                f"these vectors were made with {name} {found.get(name)!r}",
                expected=repr(value),
                where=str(folder),
                todo="remove that folder, or choose another --out",
            )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else writes into the store meanwhile; the system lets go of it however the process ends.

    Raises:
        ArgumentError: another run is at work in it.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArgumentError("another run is at work here", where=str(folder), todo="wait for it, or choose another --out") from None
        yield


def shard_rows(bytes_per_photo: int) -> int:
    """Photos in a shard: as many as its size allows."""
    return int(np.clip(SHARD_BYTES // max(bytes_per_photo, 1), 1, SHARD_ROWS))


def arrow() -> tuple[ModuleType, ModuleType]:
    """The library pyarrow and its Parquet module.

    Raises:
        MissingExtra: not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "projection", purpose="keeping vectors on disk") from error
    return pa, pq
