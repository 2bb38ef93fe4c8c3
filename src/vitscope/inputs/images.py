"""read_sample: a file, a PIL image or an array to a Sample — the photo as displayed, with what was done to read it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError, PhotoError
from vitscope.inputs.arrays import from_array
from vitscope.inputs.colours import RGB, Notes, stored_deep, to_rgb
from vitscope.inputs.formats import FRAME_NAMES
from vitscope.inputs.opening import BROKEN, MAX_PIXELS, check_size, decode, digest, header, held, opened

Source = str | Path | Image.Image | NDArray[np.generic] | Sample

_ORIENTATION = 0x0112


def read_sample(source: Source, *, id: str = "", max_pixels: int = MAX_PIXELS) -> Sample:  # noqa: A002 - the field's own name
    """One picture as a person sees it: EXIF turn applied, RGB of 8 bits, first frame, transparency on white.

    Args:
        source: path of a picture file, PIL image, array (see :func:`vitscope.inputs.arrays.from_array`), or a Sample (given back).
        id: what to call it; a file's stem where empty.
        max_pixels: refuse larger pictures before decoding them.

    Shapes:
        ``Sample.pixels`` is uint8 ``[1, H, W, 3]``; ordinary photos equal PIL's ``convert("RGB")`` to the bit.

    Raises:
        PhotoError: missing, empty, truncated, damaged, not a picture, too large, or an array of the wrong shape or values.
        ArgumentError: something that is no picture source at all.
    """
    if isinstance(source, Sample):
        return replace(source, id=id) if id else source
    if isinstance(source, (str, Path)):
        return _from_file(source, id, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, id, max_pixels)
    if isinstance(source, np.ndarray):
        name = id or "array"
        pixels, notes = from_array(source, name)
        check_size(pixels.shape[1::-1], name, max_pixels)
        return _sample(pixels, notes, id=name, digest=_pixel_digest(pixels))
    raise ArgumentError(
        f"a picture given as {type(source).__module__}.{type(source).__name__}",
        expected="a path, a PIL image, a numpy array or a Sample",
        where="photo",
    )


def read_samples(sources: Source | Iterable[Source], *, max_pixels: int = MAX_PIXELS) -> list[Sample]:
    """One picture or several to Samples, with ids that differ ("cat", "cat-2").

    Raises:
        PhotoError: as :func:`read_sample`.
        ArgumentError: no picture at all.
    """
    one = isinstance(sources, (str, Path, Image.Image, np.ndarray, Sample)) or not isinstance(sources, Iterable)
    several: Sequence[Source] = [sources] if one else list(sources)  # type: ignore[list-item, arg-type]  # `one` says which, mypy cannot see it
    if not several:
        raise ArgumentError("no picture", expected="at least one", where="photos")
    return _told_apart([read_sample(source, max_pixels=max_pixels) for source in several])


def _told_apart(samples: list[Sample]) -> list[Sample]:
    taken: set[str] = set()
    out = []
    for sample in samples:
        name, number = sample.id, 1
        while name in taken:
            number += 1
            name = f"{sample.id}-{number}"
        taken.add(name)
        out.append(sample if name == sample.id else replace(sample, id=name))
    return out


def _from_file(source: str | Path, name: str, max_pixels: int) -> Sample:
    text = str(source)
    if text.startswith(("http://", "https://", "ftp://", "s3://", "data:")):
        raise PhotoError("an address, not a file", expected="a picture file", where=text[:80], todo="download it first")
    if not text.strip():
        raise PhotoError("an empty path", expected="a picture file", where="photo")
    path = Path(source)
    with opened(path) as file, header(file, text, max_pixels) as picture:
        pixels, notes, orientation = _as_displayed(picture, text, file)
        return _sample(pixels, notes, id=name or path.stem, path=text, exif=orientation, digest=digest(file))


def read_bytes(data: bytes, *, path: str, id: str, max_pixels: int = MAX_PIXELS) -> Sample:  # noqa: A002 - the field's own name
    """The picture in a file's bytes, out of an archive; as :func:`read_sample` reads the file itself.

    Args:
        data: the file's bytes.
        path: what to call the file in outputs and errors.
        id: what to call the picture.
        max_pixels: refuse larger pictures before decoding them.

    Raises:
        PhotoError: as :func:`read_sample`.
    """
    with held(data, path) as file, header(file, path, max_pixels) as picture:
        pixels, notes, orientation = _as_displayed(picture, path, file)
        return _sample(pixels, notes, id=id, path=path, exif=orientation, digest=digest(file))


def read_small(source: Path | bytes, longest: int, *, path: str, max_pixels: int = MAX_PIXELS) -> RGB:
    """The picture as displayed, its longer side at most ``longest`` px, never enlarged; a JPEG file is decoded at a fraction of its size.

    Args:
        source: the file, or its bytes out of an archive.
        longest: pixels of the longer side.
        path: what to call the file in errors.
        max_pixels: refuse larger pictures before decoding them.

    Shapes:
        returns uint8 ``[h, w, 3]``.

    Raises:
        PhotoError: as :func:`read_sample`.
    """
    with (
        held(source, path) if isinstance(source, bytes) else opened(source) as file,
        header(file, path, max_pixels) as picture,
    ):
        picture.draft(None, (2 * longest, 2 * longest))  # twice as large: what is reduced further below is smooth
        pixels, _, _ = _as_displayed(picture, path, file)
    if max(pixels.shape[:2]) <= longest:
        return np.ascontiguousarray(pixels)
    small = Image.fromarray(np.ascontiguousarray(pixels))
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _from_pil(picture: Image.Image, name: str, max_pixels: int) -> Sample:
    path = str(getattr(picture, "filename", "") or "")
    name = name or Path(path).stem or "picture"
    where = path or "PIL image"
    check_size(picture.size, where, max_pixels)
    pixels, notes, orientation = _as_displayed(picture, where)
    return _sample(pixels, notes, id=name, path=path, exif=orientation, digest=_pixel_digest(pixels))


def _as_displayed(picture: Image.Image, where: str, file: BufferedReader | None = None) -> tuple[RGB, Notes, int]:
    """Decode, convert and turn: the pixels, what was done, and the EXIF orientation that was applied."""
    deep = stored_deep(picture)
    # PIL turns a TIFF while decoding it and drops the tag; it decodes a PNG when asked for the tag
    before = _orientation(picture) if picture.format == "TIFF" else None
    decode(picture, where, file)
    after = _orientation(picture)
    orientation, damaged = before or after
    pixels, notes = to_rgb(picture, where)
    notes = (*damaged, *_turn_note(orientation), *deep, *notes, *_frames(picture))
    return turned(pixels, after[0]), notes, orientation


def _sample(pixels: RGB, notes: Notes, *, id: str, digest: str, path: str = "", exif: int = 1) -> Sample:  # noqa: A002 - as in Sample
    whole = np.ascontiguousarray(pixels)[None]
    return Sample(id=id, pixels=whole, path=path, notes=(*notes, *_size_notes(*pixels.shape[:2])), exif=exif, digest=digest)


def _size_notes(height: int, width: int) -> Notes:
    """What a reader should know about a picture too small or too long to show much."""
    notes: Notes = ()
    if min(height, width) < 32:
        notes = (f"only {width}×{height} px: enlarged for the model, so a map can show little",)
    ratio = max(height, width) / min(height, width)
    if ratio >= 4:
        way = "wide as high" if width > height else "high as wide"
        notes = (*notes, f"{width}×{height} px, {ratio:.3g} times as {way}: a square input shows little of it, or squeezes it")
    return notes


def turned(pixels: RGB, orientation: int) -> RGB:
    """The stored picture ``[H, W, 3]`` as displayed, by its EXIF orientation (1..8)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _orientation(picture: Image.Image) -> tuple[int, Notes]:
    """The EXIF orientation (1 where there is none or it makes no sense); damaged EXIF data is noted, never fatal."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except BROKEN:
        return 1, ("EXIF data damaged: shown as stored",)
    return (value, ()) if isinstance(value, int) and 1 <= value <= 8 else (1, ())


def _turn_note(orientation: int) -> Notes:
    return (f"turned as its EXIF orientation ({orientation}) says",) if orientation != 1 else ()


def _frames(picture: Image.Image) -> Notes:
    """Which of several frames or pages this is."""
    try:
        at, count = picture.tell(), int(getattr(picture, "n_frames", 1))
    except BROKEN:
        return ("first of several frames (the later ones are damaged)",)
    if count <= 1:
        return ()
    which = "first" if at == 0 else f"number {at + 1}"
    return (f"{which} of {count} {FRAME_NAMES.get(picture.format or '', 'frames')}",)


def _pixel_digest(pixels: RGB) -> str:
    shape = "x".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + b"\0" + np.ascontiguousarray(pixels).tobytes()).hexdigest()
