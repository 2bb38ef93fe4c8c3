"""Photos that a table names, read again one at a time from the folder, zip or npz they came from; nothing else there is ever opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError, PhotoError
from vitscope.inputs.archives import open_npz, open_zip
from vitscope.inputs.colours import RGB
from vitscope.inputs.images import read_bytes, read_sample, read_small
from vitscope.inputs.opening import MAX_PIXELS


@dataclass(frozen=True)
class Named:
    """Where the photos lie.

    Attributes:
        root: the folder, or the archive.
        before: what the table's paths may begin with: the folder as it was called when the table was made.
        inside: a file's bytes, of an archive; None of a folder.
        max_pixels: larger pictures are refused before they are decoded.
    """

    root: Path
    before: str = ""
    inside: Callable[[str], bytes] | None = None
    max_pixels: int = MAX_PIXELS

    def read(self, path: str, name: str) -> Sample:
        """One photo; see :func:`vitscope.inputs.images.read_sample`.

        Args:
            path: as the table says it.
            name: what to call it.

        Raises:
            PhotoError: not below the folder, not there, or not readable.
        """
        if self.inside is None:
            return read_sample(self._below(path), id=name, max_pixels=self.max_pixels)
        return read_bytes(self._taken(path), path=path, id=name, max_pixels=self.max_pixels)

    def small(self, path: str, longest: int) -> RGB:
        """One photo reduced to ``longest`` px, uint8 ``[h, w, 3]``; see :func:`vitscope.inputs.images.read_small`."""
        source = self._below(path) if self.inside is None else self._taken(path)
        return read_small(source, longest, path=path, max_pixels=self.max_pixels)

    def check(self, path: str) -> None:
        """Whether a photo is there at all.

        Raises:
            PhotoError: it is not.
        """
        if self.inside is None:
            self._below(path)
        else:
            self._taken(path)

    def _below(self, path: str) -> Path:
        """The file, links followed to where they lead; one outside the folder is never opened, whatever the table says."""
        inner = self._inner(path)
        if inner.is_absolute() or ".." in inner.parts:
            raise PhotoError("not below the folder of photos", expected=f"a path from {self.before or self.root} on", where=path[:200])
        top = self.root.resolve()
        try:
            found = (top / inner).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise PhotoError("no such file", expected=f"it below {self.root}", where=path[:200], todo="give the folder it is in") from None
        if not found.is_relative_to(top):
            raise PhotoError("a link that leads out of the folder of photos", expected=f"a file below {self.root}", where=path[:200])
        return found

    def _inner(self, path: str) -> PurePath:
        """The path from the folder on."""
        inner = PurePath(path)
        return inner.relative_to(self.before) if self.before and inner.is_relative_to(self.before) else inner

    def _taken(self, path: str) -> bytes:
        assert self.inside is not None
        try:
            return self.inside(self._inner(path).as_posix())
        except KeyError:
            raise PhotoError(
                "no such file in it", expected="the archive this table was made of", where=f"{self.root}: {path[:200]}"
            ) from None


def named(root: Path, before: str = "", *, max_pixels: int = MAX_PIXELS) -> Named:
    """Photos of a folder, a zip archive or an ``.npz`` of JPEG files; see :func:`vitscope.inputs.folders.open_folder`.

    Raises:
        ArgumentError: nothing there, or an archive that cannot be read.
    """
    if root.is_dir():
        return Named(root, before, None, max_pixels)
    if not root.exists():
        raise ArgumentError("no such folder", expected="the folder, zip or npz of the photos", where=str(root))
    opener = {".zip": open_zip, ".npz": open_npz}.get(root.suffix.lower())
    if opener is None:
        raise ArgumentError("not a folder", expected="a folder, or a .zip or .npz of photos", where=str(root))
    return Named(root, before, opener(root).read, max_pixels)
