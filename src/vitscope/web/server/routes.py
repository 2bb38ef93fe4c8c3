"""Routes: addresses to questions of the ``compute`` object. What needs a model waits in one lane, what is at hand in another."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import wraps
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vitscope.errors import ArgumentError, VitscopeError
from vitscope.views.view import block, pack
from vitscope.web.built import STATIC, built
from vitscope.web.compute import CLOUD_OPS, Compute, Stop
from vitscope.web.server import files, pages
from vitscope.web.server.answers import one_or_more
from vitscope.web.server.guard import Guard
from vitscope.web.server.lanes import Lane
from vitscope.web.server.refusal import Refusal, Refused, refused
from vitscope.web.server.sessions import Session, Sessions
from vitscope.web.server.settings import Settings

#: What is asked of clouds that needs no model and no disk.
AT_HAND = ("points", "column", "table")

#: Uploads that come in at once, over all browsers; the others wait unread.
UPLOADS = 4

Endpoint = Callable[[Request], Awaitable[Response]]


def answered(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose every error is an answer; a fault of ours is also said on the console."""

    @wraps(endpoint)
    async def safe(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (Refusal, VitscopeError, MemoryError) as error:
            return refused(error)
        except Exception as error:  # noqa: BLE001 - one bad request must not look like a dead server
            sys.stderr.write(f"vitscope: {request.url.path}: {type(error).__name__}: {' '.join(str(error).split())}\n")
            return refused(error)

    return safe


class Site:
    """The page and its questions, over one ``compute`` object that all browsers share.

    Attributes:
        passes: lane of everything that may run a model or take long; one at a time.
        rows: lane of what is read off a ready trace, or off a table.
        disk: lane of what is read from disk: photos and vectors of clouds.
    """

    def __init__(self, compute: Compute, settings: Settings, cookie: str) -> None:
        self._compute, self._settings = compute, settings
        self.passes, self.rows, self.disk = Lane("passes"), Lane("rows"), Lane("disk")
        self._uploads = asyncio.Semaphore(UPLOADS)
        sessions = Sessions(len(compute.catalogue(inline=False)["sources"]))
        self.guard = Guard(self._routes(), settings.names, settings.allow, sessions, cookie)

    def _routes(self) -> Starlette:
        get: dict[str, Endpoint] = {
            "/": self._index,
            "/api/catalogue": self._catalogue,
            "/api/picture": self._picture,
            "/api/files": self._files,
            "/api/rows": self._asked,
            "/api/map": self._asked,
            "/api/links": self._asked,
            "/api/audit": self._asked,
            **{f"/api/{op}": self._of_cloud for op in CLOUD_OPS if op != "open"},
            "/api/open": self._open_row,
        }
        post: dict[str, Endpoint] = {"/api/upload": self._upload, "/api/open": self._open}
        routes = [Route(path, answered(endpoint), methods=["GET"]) for path, endpoint in get.items()]
        routes += [Route(path, answered(endpoint), methods=["POST"]) for path, endpoint in post.items()]
        static = Mount("/static", StaticFiles(directory=STATIC, check_dir=False))
        return Starlette(routes=[*routes, static], exception_handlers={HTTPException: _no_such})

    # pages

    async def _index(self, request: Request) -> Response:
        session: Session = request.scope["session"]
        if "token" not in request.query_params:
            return HTMLResponse(pages.PAGE if built() else pages.UNBUILT)
        elsewhere = request.headers.get("sec-fetch-site", "none") == "cross-site"
        answer: Response = HTMLResponse(pages.HERE_INSTEAD) if elsewhere else RedirectResponse("./", HTTPStatus.SEE_OTHER)
        # without a path of its own the cookie belongs to the folder the browser sees, also behind a proxy
        answer.set_cookie(self.guard.cookie, session.key, path=None, httponly=True, samesite="strict")
        return answer

    # questions

    async def _catalogue(self, request: Request) -> Response:
        session: Session = request.scope["session"]
        return await self._at_hand(session, lambda: JSONResponse(self._seen_by(session)))

    def _seen_by(self, session: Session) -> dict[str, Any]:
        """The catalogue as one browser sees it: its photos only, numbered from 0, and this server's limits."""
        whole = self._compute.catalogue(inline=False)
        numbered = enumerate(list(session.sources))
        whole["sources"] = [{**whole["sources"][there], "picture": f"api/picture?source={here}"} for here, there in numbered]
        can = whole["capabilities"]
        if can.get("upload"):
            limits = {"upload_bytes": self._settings.upload_bytes, "pixels": self._settings.pixels}
            can["limits"] = {**can.get("limits", {}), **limits, "cache_bytes": self._settings.cache_bytes}
            can["files"] = bool(self._settings.roots)
        return whole

    async def _picture(self, request: Request) -> Response:
        session, args = request.scope["session"], _arguments(request, ("source",))
        source = session.source(args.get("source", "0"))

        def read() -> Response:
            kind, data = self._compute.picture(source)
            return Response(data, media_type=kind)

        return await self._at_hand(session, read)

    async def _asked(self, request: Request) -> Response:
        session, args = request.scope["session"], _arguments(request)
        op = PurePosixPath(request.scope["path"]).name
        source = session.source(args.get("source", "0"))
        lane = self.rows if op == "rows" and self._compute.ready(source) else self.passes
        return await one_or_more(request, lane, session, lambda stop: self._compute.answer(op, {**args, "source": source}, stop))

    async def _of_cloud(self, request: Request) -> Response:
        """Points, and what lies around them; every browser sees the same clouds."""
        session, args = request.scope["session"], _arguments(request)
        op = PurePosixPath(request.scope["path"]).name
        lane = self.rows if op in AT_HAND else self.passes if op == "attentions" else self.disk
        return await one_or_more(request, lane, session, lambda stop: self._compute.answer(op, args, stop))

    async def _open_row(self, request: Request) -> Response:
        """The photo of a point as a source of this browser."""
        session, args = request.scope["session"], _arguments(request, ("cloud", "row"))
        cloud, row = (_number(name, args.get(name, "0" if name == "cloud" else "")) for name in ("cloud", "row"))

        def parts(stop: Stop) -> Iterator[bytes]:
            if stop():
                return
            number = self._compute.open(cloud, row)
            if number not in session.sources:
                session.sources.append(number)
            yield pack(block({}, {"source": session.sources.index(number), "catalogue": self._seen_by(session)}))

        async with session.uploading:
            return await one_or_more(request, self.passes, session, parts)

    async def _at_hand(self, session: Session, work: Callable[[], Response]) -> Response:
        return await asyncio.wrap_future(self.rows.put(session.key, work))

    # photos

    async def _upload(self, request: Request) -> Response:
        session, args = request.scope["session"], _arguments(request, ("name", "model"))
        async with session.uploading, self._uploads:
            data = await files.body_of(request, self._settings.upload_bytes)
            return await self._taken_in(session, data, args)

    async def _files(self, request: Request) -> Response:
        session = request.scope["session"]
        return await self._at_hand(session, lambda: JSONResponse({"files": files.offered(self._settings.roots)}))

    async def _open(self, request: Request) -> Response:
        session, args = request.scope["session"], _arguments(request, ("root", "path", "model"))
        path = files.find(self._settings.roots, args.get("root", "0"), args.get("path", ""), self._settings.upload_bytes)
        async with session.uploading, self._uploads:
            data = await asyncio.to_thread(path.read_bytes)
            return await self._taken_in(session, data, {**args, "name": path.name})

    async def _taken_in(self, session: Session, data: bytes, args: Mapping[str, str]) -> Response:
        """Run a photo through a model; answers with its number here, and the catalogue with it."""
        name = args.get("name", "photo")[:200]
        models = [entry["id"] for entry in self._compute.catalogue(inline=False)["models"]]
        if not models:
            raise Refusal(HTTPStatus.FORBIDDEN, "no model is loaded here for more photos")

        def work() -> Response:
            files.check_photo(data, name, self._settings.pixels)
            session.sources.append(self._compute.add(data, name, args.get("model", models[0])))
            return JSONResponse({"source": len(session.sources) - 1, "catalogue": self._seen_by(session)})

        return await asyncio.wrap_future(self.passes.put(session.key, work))


def _arguments(request: Request, known: tuple[str, ...] = ()) -> dict[str, str]:
    """The query as plain texts, each named once; ``known`` are the only names there may be.

    Raises:
        ArgumentError: a name twice, or an unknown one.
    """
    pairs = request.query_params.multi_items()
    args = dict(pairs)
    if len(args) < len(pairs):
        raise ArgumentError("an argument given twice", expected="each once", where=request.scope["path"])
    unknown = sorted(set(args) - set(known)) if known else []
    if unknown:
        raise ArgumentError(f"argument {unknown[0][:40]!r}", expected=", ".join(known), where=request.scope["path"])
    return args


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ArgumentError(f"{name} {text[:20]!r}", expected="a whole number from 0 on", where="request")
    return int(text)


async def _no_such(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", HTTPStatus.NOT_FOUND)
    reason = "no such address here" if status == HTTPStatus.NOT_FOUND else f"{request.method} is not answered here"
    return Refused(status, reason)
