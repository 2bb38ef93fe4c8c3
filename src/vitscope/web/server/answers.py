"""Answers: what the ``compute`` object yields, sent part by part; when the asker leaves, the work stops."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vitscope.errors import VitscopeError
from vitscope.views.view import View, pack
from vitscope.web.server.lanes import Lane
from vitscope.web.server.refusal import Refusal
from vitscope.web.server.sessions import Session

T = TypeVar("T")


class Gone(Exception):  # noqa: N818 - not an error: nobody is there any more
    """The asker left."""


class Asker:
    """Whoever waits for one answer: its turn in a lane, and whether it is still there."""

    def __init__(self, request: Request, lane: Lane, session: Session) -> None:
        self._lane, self._session = lane, session
        self.stop = Event()
        self._left = asyncio.ensure_future(_left(request.receive))

    async def turn(self, work: Callable[[], T]) -> T:
        """One piece of work, when it is our turn.

        Raises:
            Gone: the asker left first; the work was taken out, or is told to stop where it runs.
        """
        task = asyncio.wrap_future(self._lane.put(self._session.key, work))
        try:
            both: set[asyncio.Future[Any]] = {task, self._left}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        raise Gone

    def leave(self, parts: Iterator[bytes]) -> None:
        """Nothing more is wanted. A generator is closed where it runs: in its lane."""
        self.stop.set()
        self._left.cancel()
        close = getattr(parts, "close", None)
        if close is not None:
            with suppress(Refusal):
                self._lane.put(self._session.key, close)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Parts(Response):
    """A stream of blocks, each after its length (u32, little-endian); the first is there already, the others are made as they are sent."""

    media_type = "application/octet-stream"

    def __init__(self, first: bytes, rest: Iterator[bytes], asker: Asker) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._first, self._rest, self._asker = first, rest, asker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - whether the asker left is watched elsewhere
        """Send; an error after the first part is a last block whose meta is ``{"error": one line}``."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        part: bytes | None = self._first
        try:
            while part is not None:
                await send({"type": "http.response.body", "body": struct.pack("<I", len(part)) + part, "more_body": True})
                part = await self._asker.turn(lambda: next(self._rest, None))
        except VitscopeError as error:
            block = pack(View("", (), {}, {"error": str(error)}))
            await send({"type": "http.response.body", "body": struct.pack("<I", len(block)) + block, "more_body": True})
        except Gone:
            return
        finally:
            self._asker.leave(self._rest)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def one_or_more(request: Request, lane: Lane, session: Session, ask: Callable[[Any], Iterator[bytes]]) -> Response:
    """Ask (``ask(stop)`` gives the parts) and answer; what is wrong with the question shows before the first part.

    Raises:
        VitscopeError, Refusal: the question is wrong or cannot be answered.
    """
    asker = Asker(request, lane, session)
    parts: Iterator[bytes] = iter(())
    try:
        parts = ask(asker.stop.is_set)
        first = await asker.turn(lambda: next(parts, None))
    except Gone:
        asker.leave(parts)
        return Response(status_code=499)  # nobody reads it
    except BaseException:
        asker.leave(parts)
        raise
    if first is None:
        asker.leave(parts)
        return Response(status_code=204)
    return Parts(first, parts, asker)
