"""Guard: who may ask. The token once, a cookie afterwards; requests on behalf of other pages are refused.

==========================================  ==========================================================================
another page points its own name here       Host is a name on a list (DNS rebinding)
another page posts or fetches               Origin is this page; Sec-Fetch-Site says same origin; the cookie is SameSite=Strict
another page embeds                         Cross-Origin-Resource-Policy, frame-ancestors
another user of this machine                the token: 256 random bits, not on any command line, in the address bar for a moment only
a script in a file name or a label          Content-Security-Policy: scripts of this server only
==========================================  ==========================================================================
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitscope.web.server.refusal import Refusal, refused
from vitscope.web.server.sessions import Session, Sessions

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
OPEN_PRINTED = "open the address that vitscope printed when it started (with its token)"


class Guard:
    """Wraps the whole application: checks come before any route, headers go on every answer.

    Attributes:
        token: opens the page, any number of times.
        ticket: opens it once; what ``--open`` hands to the browser, as other users can read a browser's command line.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], allowed: Iterable[str], sessions: Sessions, cookie: str) -> None:
        self._app, self._sessions, self.cookie = app, sessions, cookie
        self._names, self._allowed = frozenset(names), frozenset(name.lower() for name in allowed)
        self.token, self.ticket = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                # photos are nobody else's; scripts are asked for again, and sent again only where they changed
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        request = Request(scope, receive)
        try:
            check_host(request.headers, self._names)
            check_origin(request.headers, scope["method"], self._allowed)
            scope["session"] = self._admitted(request)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _admitted(self, request: Request) -> Session:
        """The browser that asks."""
        at_door = request.scope["path"] == "/" and request.method in ("GET", "HEAD")
        known = self._sessions.of(request.cookies.get(self.cookie))
        if at_door and "token" in request.query_params:
            if not self._opens(request.query_params["token"]):
                raise Refusal(HTTPStatus.FORBIDDEN, f"wrong token; {OPEN_PRINTED}")
            return known or self._sessions.new()
        if known is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, f"no access yet; {OPEN_PRINTED}")
        if not at_door and request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refusal(HTTPStatus.FORBIDDEN, "asked for by another page; this server answers only its own")
        return known

    def _opens(self, given: str) -> bool:
        if secrets.compare_digest(given.encode(), self.token.encode()):
            return True
        if self.ticket and secrets.compare_digest(given.encode(), self.ticket.encode()):
            self.ticket = ""
            return True
        return False


def check_host(headers: Headers, names: frozenset[str]) -> None:
    """The name in the Host header, whatever the port: an SSH tunnel may come in by another one.

    Raises:
        Refusal: not a name this server is known by.
    """
    given = headers.getlist("host")
    name = _name(given[0]) if len(given) == 1 else ""
    if name not in names:
        raise Refusal(HTTPStatus.FORBIDDEN, f"Host {' '.join(given)[:80]!r} is not allowed here; start with --allow-host to allow it")


def check_origin(headers: Headers, method: str, allowed: frozenset[str]) -> None:
    """Whoever posts must say where from; whoever says where from must be this page.

    Raises:
        Refusal: another origin, or none where one is owed.
    """
    origin = headers.get("origin")
    if origin is None:
        if method not in ("GET", "HEAD"):
            raise Refusal(HTTPStatus.FORBIDDEN, "no Origin; only the page itself may send here")
        return
    scheme, _, authority = origin.partition("://")
    same = scheme in ("http", "https") and authority.lower() == headers.get("host", "").lower()
    if not same and _name(authority) not in allowed:
        raise Refusal(HTTPStatus.FORBIDDEN, f"Origin {origin[:80]!r} is not this page")


def _name(authority: str) -> str:
    """The host name of ``name:port``, ``[::1]:port`` or ``name``; "" where it is none."""
    if any(sign in authority for sign in "@/\\? "):
        return ""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""
