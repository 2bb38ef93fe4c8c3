"""Where a command writes: refused before any work where it cannot be, and a folder is left as it was after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from vitscope.errors import ArgumentError, OutputError


def check_output(out: Path) -> None:
    """Refuse an output that cannot be written before any work is done.

    Raises:
        ArgumentError: an ending that no command writes, or a folder that may not be written to (see :func:`check_folder`).
    """
    if kind_of(out) == "":
        folder = out if out.exists() else out.parent
    else:
        folder = out.parent
        if out.is_dir():
            raise ArgumentError(f"{out} is a folder", expected="a file name", where="--out")
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written to, by writing nothing to it.

    Raises:
        ArgumentError: it is missing, is a file, or may not be written to.
        OutputError: the disk is full.
    """
    if not folder.is_dir():
        raise ArgumentError(f"no folder {folder}", expected="an existing folder", where="--out", todo=f"mkdir -p {folder}")
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno == ENOSPC:
            raise OutputError(f"disk full: {folder}", where="--out", todo="choose another folder") from error
        why = error.strerror or "no permission"
        raise ArgumentError(f"folder {folder} is not writable ({why})", where="--out", todo="choose another folder") from error


@contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """An empty folder inside ``out`` to write in; what is in it at the end is moved out together, after an exception nothing is.

    Raises:
        OutputError: a file cannot be moved to its place (a folder of that name); files that were there before are back then.
    """
    made = not out.exists()
    out.mkdir(exist_ok=True)
    try:
        with TemporaryDirectory(prefix=".vitscope-", dir=out) as room:
            new, old = Path(room) / "new", Path(room) / "old"
            new.mkdir()
            old.mkdir()
            yield new
            _move_all(new, out, old)
    except BaseException:
        if made:
            out.rmdir()
        raise


def _move_all(new: Path, out: Path, old: Path) -> None:
    """Every file of ``new`` into ``out``; files of the same names wait in ``old`` and come back after an error."""
    folders = [out / path.name for path in new.iterdir() if (out / path.name).is_dir()]
    if folders:
        raise OutputError("a folder has this name", where=str(folders[0]), todo="move it away or choose another --out")
    moved: list[Path] = []
    try:
        for path in sorted(new.iterdir()):
            place = out / path.name
            moved.append(place)
            if place.exists():
                place.replace(old / path.name)
            path.replace(place)
    except BaseException:
        for place in moved:
            if (old / place.name).exists():
                (old / place.name).replace(place)
            elif not (new / place.name).exists():
                place.unlink(missing_ok=True)
        raise


def kind_of(out: Path) -> str:
    """Give ".html", ".png", ".svg", ".npz", or "" for a folder."""
    ending = out.suffix.lower()
    if ending in ("", ".html", ".png", ".svg", ".npz") and not (ending and out.is_dir()):
        return ending
    if out.is_dir():
        return ""
    raise ArgumentError(f"--out {out}", expected="a name ending in .html, .png or .npz, or a folder")
