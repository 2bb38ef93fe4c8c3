"""Sessions: one for each browser that came with the token. Each sees the photos given at the start and its own uploads."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from vitscope.errors import ArgumentError

#: Browsers remembered; who was away longest must open the printed address again.
REMEMBERED = 256


@dataclass(eq=False)
class Session:
    """One browser.

    Attributes:
        sources: numbers of its photos in the ``compute`` object; it knows them by their place in this list.
        uploading: held while a photo of it comes in; others wait.
    """

    key: str
    sources: list[int]
    uploading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def source(self, text: str) -> int:
        """The ``compute`` object's number of a source that this browser calls ``text``.

        Raises:
            ArgumentError: not a number, or none of its photos.
        """
        if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) >= len(self.sources):
            held = f"0 to {len(self.sources) - 1}" if self.sources else "a photo first: there is none yet"
            raise ArgumentError(f"source {text[:20]!r}", expected=held, where="request")
        return self.sources[int(text)]


class Sessions:
    """All browsers, by the secret in their cookie."""

    def __init__(self, given: int) -> None:
        self._given = given
        self._all: OrderedDict[str, Session] = OrderedDict()

    def new(self) -> Session:
        """A browser that has just shown the token."""
        session = Session(secrets.token_urlsafe(32), list(range(self._given)))
        self._all[session.key] = session
        while len(self._all) > REMEMBERED:
            self._all.popitem(last=False)
        return session

    def of(self, key: str | None) -> Session | None:
        """The browser with this secret. The secret has 256 bits, so that how long a look-up takes tells nothing of use."""
        session = self._all.get(key) if key else None
        if session is not None:
            self._all.move_to_end(session.key)
        return session
