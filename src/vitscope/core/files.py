"""Writing a result so that it is there in full or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from vitscope.errors import OutputError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` to a temporary file beside ``path``, then put it in place in one step.

    A reader sees the old file or the whole new one, never a part; after an error nothing new is left behind.

    Raises:
        OutputError: the folder is missing or not writable, the path is a folder, or the disk is full.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write: {reason}", where=str(target), todo=_advice(target)) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    return target


def _umask() -> int:
    """The process's file mask (mkstemp ignores it and makes private files)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _advice(target: Path) -> str:
    if target.is_dir():
        return "this is a folder: give a file name"
    if not target.parent.is_dir():
        return f"make the folder {target.parent} first"
    return "choose a folder with space that you may write to"
