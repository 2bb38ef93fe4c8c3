"""Requests and answers as messages of a notebook (``{id, op, args}``; ``{id, part, last}`` with a block, or ``{id, error}``).

A message comes in on the kernel's thread (or a subshell's), the work is done in a :class:`~vitscope.web.lane.Lane`, and what goes out is
sent from the thread the message came in on: kernels need not take messages from any other. Rows have a lane of their own, so no slow map
blocks them. A host without an event loop is answered in place.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from vitscope.errors import VitscopeError
from vitscope.views.view import block, pack, unpack
from vitscope.web.compute import Compute
from vitscope.web.lane import Lane

#: What is answered in the quick lane.
QUICK = ("catalogue", "rows", "points", "column", "table")
#: What comes in parts, each of which says whether it is the last.
STREAMED = ("map", "attentions")
SLOW_THREADS = 2

Work = Callable[[], None]
Send = Callable[[dict[str, Any], list[bytes]], None]


@dataclass(frozen=True)
class Request:
    """One message that asks for something.

    Attributes:
        plain: answer in base64: this host loses binary buffers.
        post: runs work on the thread the message came in on; None where that cannot be waited for.
        stopped: set when nobody waits any more.
    """

    id: str
    op: str
    args: Mapping[str, Any]
    plain: bool
    post: Callable[[Work], None] | None
    stopped: Event = field(default_factory=Event)


class Messages:
    """Answers what a notebook asks.

    Args:
        compute: the way to the numbers.
        send: sends one message with its buffers; called on the thread of the question.
        added: called there too, once a photo was taken in.
    """

    def __init__(self, compute: Compute, send: Send, added: Work) -> None:
        self._compute, self._send, self._added = compute, send, added
        self._waiting: dict[str, Request] = {}
        self._quick, self._slow = Lane("rows"), Lane("maps", SLOW_THREADS)

    def take(self, message: Mapping[str, Any], buffers: Sequence[memoryview | bytes] = ()) -> None:
        """Take in one message; returns at once where there is an event loop."""
        name, op = str(message.get("id")), str(message.get("op"))
        earlier = self._waiting.pop(name, None)  # called off, or asked again in base64
        if earlier is not None:
            earlier.stopped.set()
        if op == "stop":
            return
        args = dict(message.get("args") or {})
        if op == "upload":
            args["bytes"] = bytes(buffers[0]) if buffers else base64.b64decode(args.get("bytes", ""))
        request = Request(name, op, args, bool(message.get("plain")), this_thread())
        self._waiting[name] = request
        if request.post is None:
            self._answer(request)
        else:
            (self._quick if op in QUICK else self._slow).put(lambda: self._answer(request))

    def close(self) -> None:
        """Call everything off."""
        for request in list(self._waiting.values()):
            request.stopped.set()
        self._quick.close()
        self._slow.close()

    def _answer(self, request: Request) -> None:
        """Send the parts of an answer as they come, or the one line that says why there is none."""
        try:
            for part, (data, last) in enumerate(self._parts(request)):
                self._reply(request, {"part": part, "last": last}, data)
        except VitscopeError as error:
            self._reply(request, {"error": str(error)})
        except Exception as error:  # the page waits for an answer, whatever went wrong
            logging.getLogger(__name__).exception("%s failed", request.op)
            self._reply(request, {"error": f"{type(error).__name__}: {error} (a fault of vitscope)"})

    def _parts(self, request: Request) -> Iterator[tuple[bytes, bool]]:
        """Blocks, and whether each is the last; what comes in several says so itself."""
        if request.stopped.is_set():
            return
        if request.op == "catalogue":
            yield pack(block({}, self._compute.catalogue())), True
            return
        for data in self._compute.answer(request.op, request.args, request.stopped.is_set):
            progress = unpack(data).meta.get("progress") if request.op in STREAMED else None
            yield data, progress is None or bool(progress["done"])

    def _reply(self, request: Request, answer: dict[str, Any], data: bytes | None = None) -> None:
        """Send from the thread of the question, unless nobody waits any more by then."""
        if data is not None and request.plain:
            answer["base64"] = base64.b64encode(data).decode("ascii")

        def send() -> None:
            if request.stopped.is_set():
                return
            self._send({"id": request.id, **answer}, [] if data is None or request.plain else [data])
            if "error" in answer or answer["last"]:
                self._waiting.pop(request.id, None)
                if request.op in ("upload", "open") and data is not None:
                    self._added()

        (request.post or _at_once)(send)


def this_thread() -> Callable[[Work], None] | None:
    """A way back to the running thread, from any other: through its event loop; None where none runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    context = copy_context()

    def post(work: Work) -> None:
        with suppress(RuntimeError):  # the loop is closed: whoever asked is gone
            loop.call_soon_threadsafe(work, context=context)

    return post


def _at_once(work: Work) -> None:
    work()
