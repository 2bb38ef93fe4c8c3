"""Compute: what a live host of the view asks for. Page and notebook are handed an object with this interface and know nothing else of it.

::

    catalogue()              plain JSON: what there is to look at
    answer(op, args, stop)   packed blocks (see :mod:`vitscope.views.view`), one or, where a map is refined step by step, several
    ready(source)            whether its trace is at hand
    picture(source)          a photo as displayed: media type and bytes
    add(data, name, model)   one photo more, given as the bytes of its file
    open(cloud, row)         the photo of a point as a source

Arguments are plain JSON values; texts do as well as numbers ("3" for 3), as they come from an address. An error is a
:class:`~vitscope.errors.VitscopeError` of one line: ``InputError`` where the asker is wrong, ``WorkError`` where the work failed.
All six may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

#: ``stop()``: whether nobody waits for this answer any more; asked between two parts of the work.
Stop = Callable[[], bool]

#: What can be asked for, see docs/concepts/transport.md.
OPS = ("rows", "map", "links", "audit", "upload")

#: What can be asked of clouds of points.
CLOUD_OPS = ("points", "column", "table", "thumbs", "attentions", "nearest", "open")


def never() -> bool:
    """Nobody will call this work off."""
    return False


class Compute(Protocol):
    """A live host's way to the numbers."""

    def catalogue(self, *, inline: bool = True) -> dict[str, Any]:
        """What there is to look at, plain JSON.

        Args:
            inline: photos as ``data:`` URIs (notebook); False: as addresses relative to the page, ``api/picture?source=0``.
        """
        ...

    def answer(self, op: str, args: Mapping[str, Any], stop: Stop = never) -> Iterator[bytes]:
        """The answer to one request: packed blocks, one after another; ends early once ``stop()`` is true.

        Nothing is computed before the first ``next``. "upload" takes ``bytes`` among its arguments.

        Raises:
            ArgumentError: unknown operation, argument or value.
            MethodError: undefined for this model.
        """
        ...

    def ready(self, source: int) -> bool:
        """Whether rows of a photo can be read off a trace that is there: no pass through a model, so that nobody waits for one.

        Raises:
            ArgumentError: no such source.
        """
        ...

    def picture(self, source: int) -> tuple[str, bytes]:
        """A photo as displayed, its longest side at most 1280 px: media type ("image/jpeg") and bytes.

        Raises:
            ArgumentError: no such source.
        """
        ...

    def add(self, data: bytes, name: str, model: str) -> int:
        """Take in one photo more and run it through a model; returns its number in the catalogue.

        Args:
            data: the bytes of its file.
            name: its file name, for people.
            model: an id of the catalogue's ``models``.

        Raises:
            PhotoError: not a picture, or one that is too large.
            ArgumentError: no such model, or no room for more photos.
        """
        ...

    def open(self, cloud: int, row: int) -> int:
        """Take in the photo of a point and run it through the model of its cloud; returns its number, as before where it is there.

        Raises:
            ArgumentError: no such cloud or row, or no model or photos at hand.
            PhotoError: its photo cannot be read.
        """
        ...
