"""From a ``compute`` object to a page people can open, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import webbrowser
from contextlib import suppress
from threading import Thread
from typing import NoReturn

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vitscope.errors import ArgumentError
from vitscope.web.built import built
from vitscope.web.compute import Compute
from vitscope.web.server.pages import HOW_TO_BUILD
from vitscope.web.server.routes import Site
from vitscope.web.server.settings import Settings

#: A connection that has not sent a whole request head after so long is closed.
HEAD_SECONDS = 10.0
CONNECTIONS = 512
#: What running work is given to come to an end by itself after Ctrl-C.
LEAVE_SECONDS = 0.3
STOPPED = "vitscope: stopped; nothing half-written was left\n"


class Protocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with a limit on how long the head of a request may take to arrive."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the class above
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop the clock with the last byte of a head, start it with the first of the next; more bytes in between do not wind it up."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._unwatch()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            body = b'{"error":"half a request; the rest did not come"}'
            head = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % len(body) + body)
            self.transport.close()


def serve(compute: Compute, settings: Settings, sock: socket.socket) -> None:
    """Serve the page on a socket (see :func:`listening`) until Ctrl-C, which ends the process with exit code 130 and one line."""
    port = sock.getsockname()[1]
    site = Site(compute, settings, f"vitscope-{port}")
    say(settings, port, site.guard.token)
    if settings.open_browser:
        opened = f"{_address(settings, port)}?token={site.guard.ticket}"
        Thread(target=webbrowser.open, args=(opened,), daemon=True).start()
    with suppress(KeyboardInterrupt):  # which does not come where a background shell had Ctrl-C ignored: uvicorn hears it all the same
        uvicorn.Server(config(site)).run(sockets=[sock])
    _leave(site)


def config(site: Site) -> uvicorn.Config:
    """How uvicorn is run: one process, no log, no line that tells the server's name."""
    return uvicorn.Config(
        site.guard,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=0,
    )


def listening(settings: Settings) -> socket.socket:
    """A socket that accepts connections already; they wait until :func:`serve` answers them.

    Raises:
        ArgumentError: settings that would not be safe, no such address, or the port is taken.
    """
    settings.check()
    where = f"--host {settings.host} --port {settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)  # named in full, or asyncio leaves small answers waiting for each other (TCP_NODELAY)
    except (OSError, OverflowError) as error:
        raise ArgumentError(f"cannot listen there ({_reason(error)})", expected="an address of this machine", where=where) from None
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        todo = "leave --port out for any free one"
        raise ArgumentError(f"cannot listen there ({_reason(error)})", expected="a free port", where=where, todo=todo) from None
    return sock


def say(settings: Settings, port: int, token: str) -> None:
    """Where the page is, and who else could open it."""
    lines = [f"{_address(settings, port)}?token={token}"]
    if not settings.quiet:
        megabytes = f"{settings.cache_bytes / 1e6:,.0f} MB"
        lines.append(f"Open this address in a browser; it is the key, so do not pass it on. Cache limit: {megabytes}. Ctrl-C ends.")
        if not settings.local:
            lines.append(
                f"Listening on {settings.host}: whoever has the address can use it from the network, and what is sent is not encrypted."
            )
        if not built():
            lines.append(HOW_TO_BUILD)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _address(settings: Settings, port: int) -> str:
    name = settings.allow[0] if settings.host in ("0.0.0.0", "::") and settings.allow else settings.host  # noqa: S104 - only compared
    return f"http://[{name}]:{port}/" if ":" in name.strip("[]") else f"http://{name}:{port}/"


def _leave(site: Site) -> NoReturn:
    """Give running work a moment to end by itself, then end the process at once.

    A pass through a model cannot be cut short, and an interpreter that shuts down under a thread inside a native library may crash; even
    at rest, taking down all that was imported takes seconds on a busy machine. There is nothing left to write.
    """
    for lane in (site.passes, site.rows, site.disk):
        lane.close(LEAVE_SECONDS)
    sys.stdout.flush()
    sys.stderr.write(STOPPED)
    sys.stderr.flush()
    os._exit(130)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
