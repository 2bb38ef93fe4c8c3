"""Refusals: a status and one line for whoever asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from vitscope.errors import InputError, PhotoError, VitscopeError

#: How long a refused upload is read on and thrown away, so that its sender gets to read why.
LINGER_SECONDS = 2.0


class Refusal(Exception):  # noqa: N818 - reads as what it is
    """A request that is not answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Refused(JSONResponse):
    """``{"error": "one line"}``, sent at once; what is still coming in is read for a moment and never kept."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__({"error": " ".join(reason.split())}, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then let the sender finish its sentence: a connection cut in its middle would lose the answer."""
        sends = scope["method"] not in ("GET", "HEAD")
        headers = [*self.raw_headers, (b"connection", b"close")] if sends else self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if sends and not any(name == b"expect" for name, _ in scope["headers"]):
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while (await receive()).get("more_body", False):
                        pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def status_of(error: VitscopeError) -> int:
    """HTTP status of an error: the asker's fault, or work that cannot be done here."""
    if isinstance(error, PhotoError):
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    return HTTPStatus.BAD_REQUEST if isinstance(error, InputError) else HTTPStatus.UNPROCESSABLE_ENTITY


def refused(error: Exception) -> Refused:
    """The answer to a request that ended in this error."""
    if isinstance(error, Refusal):
        return Refused(error.status, error.reason)
    if isinstance(error, VitscopeError):
        return Refused(status_of(error), str(error))
    if isinstance(error, MemoryError):
        return Refused(HTTPStatus.INSUFFICIENT_STORAGE, "out of memory; a smaller photo may do")
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error} (a fault of vitscope; please report it)")
