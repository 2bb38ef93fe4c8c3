"""A folder, zip archive or array file of photos, as people have them, to a list of photos: ordered, labelled, and read one at a time."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError
from vitscope.inputs.archives import open_npz, open_zip
from vitscope.inputs.images import read_sample
from vitscope.inputs.listing import Entry, Found, LeftOut
from vitscope.inputs.tables import ENDINGS, Table, read_table

#: Names of pictures; what these files really are is looked at when they are read.
PICTURES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".j2k", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".qoi", ".heic", ".heif"),
)
#: Folders that split a set in parts: no class of their own.
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"})


@dataclass(frozen=True)
class Folder:
    """Photos in their order (by path, whatever the file system says), none of them read yet.

    Attributes:
        kind: how it was understood, in plain words.
        entries: the photos.
        left_out: what is not one of them, and why.
        notes: what a reader should know ("12 photos have no label").
    """

    root: str
    kind: str
    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    load: Callable[[Entry], Sample]

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, entry: Entry) -> Sample:
        """One photo, with its label.

        Raises:
            PhotoError: it cannot be read.
        """
        return replace(self.load(entry), id=entry.id, label=entry.label)

    def thinned(self, count: int | None) -> Folder:
        """So many photos, evenly spread over the listing (which mostly goes class by class); all where None, or where there are no more."""
        total = len(self.entries)
        if count is None or count >= total:
            return self
        return replace(self, entries=tuple(self.entries[i * total // count] for i in range(count)))

    @cached_property
    def digest(self) -> str:
        """First 16 hex digits of a sha256 over names, labels and what tells whether a file has changed."""
        found = hashlib.sha256(self.root.encode("utf-8", "surrogateescape"))
        for entry in self.entries:
            found.update("\0".join((entry.id, entry.path, entry.label, entry.mark, "\n")).encode("utf-8", "surrogateescape"))
        return found.hexdigest()[:16]


def open_folder(root: str | Path, *, labels_file: str | Path | None = None) -> Folder:
    """The photos of a folder, a zip archive, or an ``.npz`` of JPEG files.

    Labels come, first of these that is there, from ``labels_file``; from ``metadata.csv``, ``.jsonl`` or ``.parquet`` with a
    ``file_name`` column (Hugging Face's image folders); from the folder a photo lies in (folders named train, test … are looked past).

    Args:
        root: the folder or archive.
        labels_file: a table (CSV, TSV, JSON lines, Parquet) with a column of file names and one of labels.

    Raises:
        ArgumentError: nothing there, no photo in it, or a table that does not fit.
    """
    path = Path(root)
    if not path.exists():
        raise ArgumentError("no such folder", expected="a folder, zip or npz of photos", where=str(root), todo="check the path")
    ending = path.suffix.lower()
    if path.is_dir():
        found = _walk(path)
    elif ending == ".zip":
        found = open_zip(path)
    elif ending == ".npz":
        found = open_npz(path)
    else:
        raise ArgumentError("not a folder", expected="a folder, or a .zip or .npz of photos", where=str(root))
    return _labelled(str(root), found, None if labels_file is None else Path(labels_file))


def _walk(root: Path) -> Found:
    """Every file below a folder; links to folders are followed, none twice, and names that begin with a dot are looked past."""
    files: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    _new(root, seen)
    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and _new(Path(folder) / name, seen))
        for name in names:
            path = Path(folder) / name
            if not name.startswith("."):
                files[path.relative_to(root).as_posix()] = _mark(path)
    return Found(files, lambda name: (root / name).read_bytes(), lambda entry: read_sample(root / entry.path), "folder")


def _new(path: Path, seen: set[tuple[int, int]]) -> bool:
    stat = path.stat()
    key = (stat.st_dev, stat.st_ino)
    fresh = key not in seen
    seen.add(key)
    return fresh


def _mark(path: Path) -> str:
    """Size and time of change: what tells that a file is still the one that was read before."""
    try:
        stat = path.stat()
    except OSError:  # a link that leads nowhere: said when it is read
        return "missing"
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _labelled(root: str, found: Found, labels_file: Path | None) -> Folder:
    """Photos apart from other files, each with its label."""
    files, pictures = _pictures(root, found)
    if labels_file is None and found.entries is not None:
        return Folder(root, found.kind, found.entries, (), (), found.load)
    tables = sorted(name for name in set(files) - set(pictures) if PurePosixPath(name).name.lower() in _METADATA)
    table = _read_given(labels_file) if labels_file else _read_metadata(found, tables)
    named = labels_file.name if labels_file else " and ".join(tables)
    labels, missing, how = _labels(pictures, table, named)
    others = sorted(set(files) - set(pictures) - {*tables, named})
    left_out = [LeftOut(name, f"not a picture by its name ({PurePosixPath(name).suffix or 'no ending'})") for name in others]
    left_out += [LeftOut(name, f"named in {named}, but there is no such file") for name in missing]
    ids = _ids(pictures)
    entries = tuple(Entry(ids[name], name, labels[name], files[name]) for name in pictures)
    without = sum(not entry.label for entry in entries)
    notes = (f"{without} of {len(entries)} photos have no label",) if 0 < without < len(entries) else ()
    return Folder(root, f"{found.kind}, {how}", entries, tuple(left_out), notes, found.load)


def _pictures(root: str, found: Found) -> tuple[dict[str, str], list[str]]:
    """Every file with its mark, and those that are pictures by their name."""
    if found.entries is not None:
        files = {entry.path: entry.mark for entry in found.entries}
        return files, sorted(files)
    pictures = sorted(name for name in found.files if PurePosixPath(name).suffix.lower() in PICTURES)
    if not pictures:
        raise ArgumentError("no photo in it", expected=", ".join(PICTURES[:6]) + " …", where=root, todo="give the folder with the photos")
    return found.files, pictures


def _labels(pictures: Sequence[str], table: Table | None, named: str) -> tuple[dict[str, str], list[str], str]:
    """Each photo's label, names in the table that no photo has, and how that was found."""
    by_place = _class_folders(pictures)
    if table is None:
        return by_place, [], "a folder for each class" if any(by_place.values()) else "photos without labels"
    labels, missing = _matched(pictures, table)
    if not table.labelled:
        return by_place, missing, f"with {named} (no column of labels in it: folders are the classes)"
    return labels, missing, f"labels from {named}"


_METADATA = tuple(f"metadata{ending}" for ending in ENDINGS)


def _read_given(path: Path) -> Table:
    if not path.exists():
        raise ArgumentError("no such file", expected="a table of labels", where=str(path))
    try:
        return read_table(path.read_bytes(), path.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArgumentError(f"cannot be read ({reason})", expected="a table of labels", where=str(path)) from None


def _read_metadata(found: Found, names: Sequence[str]) -> Table | None:
    """Every metadata table in the folder; its file names are meant from the place where it lies."""
    labels: dict[str, str] = {}
    labelled = False
    for name in sorted(names):
        table = read_table(found.read(name), name)
        here = PurePosixPath(name).parent
        labels.update({(here / file).as_posix(): label for file, label in table.labels.items()})
        labelled |= table.labelled
    return Table(labels, labelled) if names else None


def _matched(pictures: Sequence[str], table: Table) -> tuple[dict[str, str], list[str]]:
    """Labels by photo, and the table's names that no photo has; found by whole path, else by file name, else without its ending."""
    keys: dict[str, list[str]] = {}
    for name in pictures:
        for key in {name, PurePosixPath(name).name, PurePosixPath(name).stem, str(PurePosixPath(name).with_suffix(""))}:
            keys.setdefault(key, []).append(name)
    labels = dict.fromkeys(pictures, "")
    missing = []
    for file, label in table.labels.items():
        wanted = PurePosixPath(file.replace("\\", "/")).as_posix()
        fitting = [wanted] if wanted in labels else keys.get(wanted, []) or keys.get(PurePosixPath(wanted).name, [])
        if len(fitting) > 1:
            raise ArgumentError(
                f"{file!r} fits {len(fitting)} photos ({fitting[0]}, {fitting[1]} …)", expected="paths from the folder on", where="labels"
            )
        if fitting:
            labels[fitting[0]] = label
        else:
            missing.append(file)
    if len(missing) == len(table.labels):
        raise ArgumentError(
            f"none of its {len(missing)} file names is here (the first: {missing[0]!r})",
            expected=f"such as {pictures[0]!r}",
            where="labels",
        )
    return labels, missing


def _class_folders(pictures: Sequence[str]) -> dict[str, str]:
    """The first folder on a photo's path that is not a split; "" where there is none, or where all photos lie in one."""
    labels = {}
    for name in pictures:
        places = [part for part in PurePosixPath(name).parts[:-1] if part.lower() not in SPLITS]
        labels[name] = places[0] if places else ""
    return labels if len(set(labels.values())) > 1 else dict.fromkeys(pictures, "")


def _ids(pictures: Sequence[str]) -> dict[str, str]:
    """Paths without their ending, with it where two would be the same."""
    short = {name: PurePosixPath(name).with_suffix("").as_posix() for name in pictures}
    count = Counter(short.values())
    return {name: stem if count[stem] == 1 else name for name, stem in short.items()}
