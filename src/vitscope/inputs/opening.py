"""A file to its decoded first picture, or one clear refusal; PIL's process-wide settings are read past, never changed."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile

from vitscope.errors import PhotoError
from vitscope.inputs.formats import NAMES, READ, as_text, is_dicom, known_by_signature

#: Largest picture decoded, in pixels (about 512 MB as RGB).
MAX_PIXELS = 178_000_000

#: What PIL raises on damaged files: its readers meet bad bytes in struct, zlib, look-ups and arithmetic alike.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)


class _Watched(io.BufferedReader):
    """A file that remembers whether something was wanted from beyond its end."""

    past_end = False

    def read(self, size: int | None = -1, /) -> bytes:
        """As the plain file, and remember."""
        data = super().read(size)
        self.past_end |= not data and size != 0
        return data


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The file, open for reading and closed afterwards.

    Raises:
        PhotoError: there is no such file, it is a folder or a device, it may not be read, or it is empty.
    """
    where = str(path)
    try:
        if path.is_dir():
            raise PhotoError("this is a folder", expected="a picture file", where=where, todo="name the pictures in it")
        if path.exists() and not path.is_file():
            raise PhotoError("this is not a regular file", expected="a picture file", where=where)
        raw = io.FileIO(path)
    except FileNotFoundError:
        raise PhotoError("no such file", expected="a picture file", where=where, todo="check the path") from None
    except PermissionError:
        raise PhotoError("may not be read (no permission)", expected="a readable file", where=where, todo="chmod u+r") from None
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot be opened ({_reason(error)})", expected="a picture file", where=where, todo="check the path") from None
    with _Watched(raw) as file:
        if not file.peek(1):
            raise PhotoError("the file is empty (0 bytes)", expected="a picture", where=where, todo="get the file again")
        yield file


def held(data: bytes, where: str) -> io.BufferedReader:
    """A file's bytes, out of an archive, to be read as the file would be.

    Raises:
        PhotoError: there are none.
    """
    if not data:
        raise PhotoError("the file is empty (0 bytes)", expected="a picture", where=where, todo="get the file again")
    return _Watched(io.BytesIO(data))


def digest(file: io.BufferedReader) -> str:
    """sha256 of the whole file, in hex."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def header(file: io.BufferedReader, where: str, max_pixels: int) -> Image.Image:
    """The picture with its header read and nothing decoded.

    This walks PIL's own table of formats rather than calling ``Image.open``, whose size check warns and refuses by a process-wide
    limit; ours is an argument.

    Raises:
        PhotoError: not a picture in a format we read, damaged in its header, or larger than the limit.
    """
    Image.init()
    file.seek(0)
    head = file.read(4096)
    failed = ""
    for name in () if is_dicom(head) else (n for n in READ if n in Image.OPEN):
        factory, accept = Image.OPEN[name]
        known = accept(head[:16]) if accept is not None else False
        if not known or isinstance(known, str):  # a text says why this PIL cannot read the format
            continue
        file.seek(0)
        try:
            picture = factory(file, where)
        except Image.DecompressionBombError as error:
            raise PhotoError(f"too many pixels ({_reason(error)})", where=where, todo="make it smaller") from None
        except BROKEN as error:
            failed = failed or f"a damaged {name} file ({_reason(error)})"
            continue
        check_size(picture.size, where, max_pixels)
        return picture
    kind, todo = known_by_signature(head) or ((failed, "get the file again") if failed else as_text(head))
    raise PhotoError(kind, expected=NAMES, where=where, todo=todo)


def check_size(size: tuple[int, int], where: str, max_pixels: int) -> None:
    """Refuse a picture of more pixels than the limit, before anything is decoded."""
    width, height = size
    if width < 1 or height < 1:
        raise PhotoError(f"a picture of {width}×{height} px", expected="at least 1×1", where=where)
    if width * height > max_pixels:
        raise PhotoError(
            f"{width}×{height} px ({_count(width * height)})",
            expected=f"at most {_count(max_pixels)} pixels",
            where=where,
            todo="make it smaller, or raise the limit (max_pixels)",
        )


def decode(picture: Image.Image, where: str, file: io.BufferedReader | None = None) -> None:
    """Decode the picture in place.

    PIL fills the missing part with grey where the process set ``LOAD_TRUNCATED_IMAGES``; from a file of ours we refuse all the same.

    Raises:
        PhotoError: truncated or damaged.
    """
    if isinstance(file, _Watched):
        file.past_end = False
    damage = ""
    try:
        picture.load()
    except BROKEN as error:
        damage = _reason(error)
    if not damage and ImageFile.LOAD_TRUNCATED_IMAGES and isinstance(file, _Watched) and _ends_early(picture, file):
        damage = "the file ends before the picture does"
    if damage:
        raise PhotoError(
            f"truncated or damaged {picture.format or 'picture'} ({damage})",
            expected="a whole picture",
            where=where,
            todo="get the file again",
        )


def _ends_early(picture: Image.Image, file: _Watched) -> bool:
    """Whether decoding wanted more than the file holds."""
    if picture.format != "JPEG2000":
        return file.past_end
    # its decoder always reads on to the end; a whole codestream ends in FF D9
    file.seek(-min(64, file.seek(0, io.SEEK_END)), io.SEEK_END)
    return b"\xff\xd9" not in file.read()


def _count(pixels: int) -> str:
    return f"{pixels / 1e6:,.0f} million" if pixels >= 1e6 else f"{pixels:,}"


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:100]
