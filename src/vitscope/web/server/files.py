"""What comes in: a photo sent by the browser, or one below a folder named on the command line."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import cast

from starlette.requests import ClientDisconnect, Request

from vitscope.inputs.opening import check_size, header
from vitscope.web.server.refusal import Refusal

#: Endings of the files offered below a root.
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2", ".ppm")
OFFERED = 2000

#: A sender that is silent for so long, or takes longer than this altogether, has given up.
SILENT_SECONDS = 10.0
UPLOAD_SECONDS = 180.0


async def body_of(request: Request, limit: int, silent: float = SILENT_SECONDS) -> bytes:
    """The body of a request, refused at the first byte beyond the limit (or before the first, where its length says so).

    Raises:
        Refusal: too large (413), too slow (408), empty (400).
    """
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise _too_large(f"{int(said):,} bytes", limit)
    data = bytearray()
    chunks = request.stream()
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            while (chunk := await asyncio.wait_for(anext(chunks, None), silent)) is not None:
                if len(data) + len(chunk) > limit:
                    raise _too_large(f"more than {limit:,} bytes", limit)
                data += chunk
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the photo stopped coming after {len(data):,} bytes; send it again") from None
    except ClientDisconnect:
        raise Refusal(HTTPStatus.BAD_REQUEST, "the sender left") from None
    if not data:
        raise Refusal(HTTPStatus.BAD_REQUEST, "an empty upload; expected the bytes of a picture file")
    return bytes(data)


def check_photo(data: bytes, name: str, pixels: int) -> None:
    """Read a picture's header and nothing more.

    Raises:
        PhotoError: not a picture.
        Refusal: more pixels than the limit (413).
    """
    file = cast(io.BufferedReader, io.BytesIO(data))  # all that is asked of it is read and seek
    with header(file, name, 1 << 62) as picture:
        width, height = picture.size
    check_size((width, height), name, 1 << 62)
    if width * height > pixels:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{name}: {width}×{height} px; expected at most {pixels / 1e6:,.0f} million pixels; make it smaller, or start with --pixels",
        )


def find(roots: Sequence[Path], root: str, path: str, limit: int) -> Path:
    """A file below one of the roots, symbolic links followed to where they lead.

    Raises:
        Refusal: outside (403), no such file (404), too large (413).
    """
    if not root.isdecimal() or len(root) > 6 or int(root) >= len(roots):
        raise Refusal(HTTPStatus.NOT_FOUND, f"no root {root[:20]!r}; expected 0 to {len(roots) - 1}" if roots else "no --root was given")
    top = roots[int(root)].resolve()
    try:
        found = (top / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        found = None
    # outside and missing get one answer: which files there are elsewhere is nobody's business
    if found is None or not found.is_relative_to(top) or not found.is_file():
        raise Refusal(HTTPStatus.NOT_FOUND, f"no file {path[:80]!r} below this root")
    if found.stat().st_size > limit:
        raise _too_large(f"{found.stat().st_size:,} bytes", limit)
    return found


def offered(roots: Sequence[Path]) -> list[dict[str, object]]:
    """Pictures below the roots: ``{root, path}``; the first 2000, folder by folder."""
    found: list[dict[str, object]] = []
    for number, root in enumerate(roots):
        for path in _pictures(root.resolve()):
            if len(found) == OFFERED:
                return found
            found.append({"root": number, "path": path})
    return found


def _pictures(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _too_large(what: str, limit: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{what}; expected at most {limit:,}; make the photo smaller, or start with --upload-mb"
    )
