"""Photos inside one file: a zip archive, or an ``.npz`` of JPEG files. Nothing is unpacked to disk."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError, PhotoError
from vitscope.inputs.images import read_bytes
from vitscope.inputs.listing import Entry, Found

#: Largest file taken out of a zip archive, in bytes.
MAX_BYTES = 1_000_000_000


def open_zip(path: Path) -> Found:
    """The files of a zip archive; macOS's own folder in it and names that begin with a dot are looked past.

    Raises:
        ArgumentError: not a zip archive.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ArgumentError(f"not a zip archive that can be read ({error})", expected="a whole zip archive", where=str(path)) from None
    inside = {i.filename: i for i in archive.infolist() if not i.is_dir() and not _hidden(i.filename)}

    def read(name: str) -> bytes:
        info = inside[name]
        if info.file_size > MAX_BYTES:
            raise PhotoError(f"{info.file_size:,} bytes unpacked", expected=f"at most {MAX_BYTES:,}", where=f"{path.name}/{name}")
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError, zlib.error) as error:
            raise PhotoError(f"cannot be unpacked ({error})", expected="a whole file", where=f"{path.name}/{name}") from None

    def load(entry: Entry) -> Sample:
        return read_bytes(read(entry.path), path=entry.path, id=entry.id)

    return Found({name: f"{info.file_size} {info.CRC:08x}" for name, info in inside.items()}, read, load, "zip archive")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def open_npz(path: Path) -> Found:
    """Photos packed in an ``.npz``: ``jpeg`` uint8, all files one after the other; ``offsets`` ``[n + 1]``, where each begins;
    and where there are labels ``labels`` ``[n]``, numbers, and ``names``, what the numbers mean.

    The packed files are held in memory (their size on disk); each photo is decoded when it is read.

    Raises:
        ArgumentError: other arrays, or arrays that do not fit together.
    """
    arrays = _arrays(path)
    packed, offsets = arrays["jpeg"], arrays["offsets"].astype(np.int64)
    count = len(offsets) - 1
    labels = _label_names(arrays, count, path)
    width = max(len(str(count - 1)), 1)
    digest = hashlib.sha256(packed.tobytes()).hexdigest()[:16]
    ids = [f"{path.stem}/{i:0{width}d}" for i in range(count)]
    number = {name: i for i, name in enumerate(ids)}

    def read(name: str) -> bytes:
        i = number[name]
        return packed[offsets[i] : offsets[i + 1]].tobytes()

    def load(entry: Entry) -> Sample:
        return read_bytes(read(entry.path), path=entry.path, id=entry.id)

    entries = tuple(Entry(name, name, label, digest) for name, label in zip(ids, labels, strict=True))
    return Found({}, read, load, "npz of JPEG files", entries)


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    expected = "arrays jpeg (uint8) and offsets (numbers), with labels and names where there are any"
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files if name in ("jpeg", "offsets", "labels", "names")}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ArgumentError(f"cannot be read ({error})", expected=expected, where=str(path)) from None
    missing = [name for name in ("jpeg", "offsets") if name not in arrays]
    if missing:
        raise ArgumentError(f"no array {' and '.join(missing)}", expected=expected, where=str(path))
    packed, offsets = arrays["jpeg"], arrays["offsets"]
    whole = np.issubdtype(offsets.dtype, np.integer) and offsets.ndim == packed.ndim == 1 and packed.dtype == np.uint8
    if (
        not whole
        or len(offsets) < 2
        or int(offsets[0]) != 0
        or int(offsets[-1]) != len(packed)
        or (np.diff(offsets.astype(np.int64)) < 0).any()
    ):
        raise ArgumentError(
            f"offsets {offsets.shape} of {offsets.dtype} for {packed.size} bytes",
            expected="rising whole numbers from 0 to the number of bytes",
            where=str(path),
        )
    return arrays


def _label_names(arrays: dict[str, NDArray[np.generic]], count: int, path: Path) -> list[str]:
    if "labels" not in arrays:
        return [""] * count
    labels, names = arrays["labels"], [str(name) for name in arrays.get("names", np.array([], dtype=str))]
    if labels.shape != (count,):
        raise ArgumentError(f"labels {labels.shape} for {count} photos", expected=f"({count},)", where=str(path))
    if not names:
        return [str(label) for label in labels]
    numbers = labels.astype(np.int64)
    if int(numbers.min()) < 0 or int(numbers.max()) >= len(names):
        raise ArgumentError(
            f"labels {numbers.min()} to {numbers.max()}", expected=f"0 to {len(names) - 1}, one of the names", where=str(path)
        )
    return [names[i] for i in numbers]
