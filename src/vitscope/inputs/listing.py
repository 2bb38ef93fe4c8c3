"""What a listing of photos is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vitscope.core.sample import Sample


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo that is there to be read.

    Attributes:
        id: what to call it; no other photo of the folder is called so.
        path: from the folder on.
        label: "" where there is none.
        mark: what tells whether its file has changed.
    """

    id: str
    path: str
    label: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not among the photos, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What lies in a folder or archive.

    Attributes:
        files: every file and its mark; empty where ``entries`` says all.
        read: a file's bytes.
        load: a photo.
        kind: "folder", "zip archive" …
        entries: the photos with their labels, where the archive itself says them.
    """

    files: dict[str, str]
    read: Callable[[str], bytes]
    load: Callable[[Entry], Sample]
    kind: str
    entries: tuple[Entry, ...] | None = field(default=None)
