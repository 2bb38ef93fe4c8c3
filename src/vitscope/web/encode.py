"""Pictures as data URIs: lossless palette PNG for maps, JPEG for photos, PNG for small model inputs."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.views.paint import UNSEEN, palette

LOSSLESS_PIXELS = 400 * 400
"""Up to so many pixels a model input is kept exactly, as PNG."""
QUALITIES = (90, 80, 65, 45)
PHOTO_BYTES = 600_000
THUMBNAIL_QUALITY = 82


def data_uri(kind: str, data: bytes) -> str:
    """``data:<kind>;base64,…``."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def palette_png(index: NDArray[np.uint8], colours: str) -> str:
    """Palette indices (see :mod:`vitscope.views.paint`) as a PNG that keeps every index; UNSEEN is transparent."""
    image = Image.fromarray(index)
    image.putpalette(palette(colours)[:, :3].tobytes(), "RGB")
    return _png(image, transparency=UNSEEN)


def photo_jpeg(pixels: NDArray[np.uint8]) -> str:
    """A photo as JPEG in a ``data:`` URI; see :func:`jpeg`."""
    return data_uri("image/jpeg", jpeg(pixels))


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A photo as JPEG, colours at full resolution; only what will not fit (noise) is coded more coarsely.

    PIL's "optimize" is left off: it needs the whole file in one buffer and fails on very noisy pictures.
    """
    for quality in QUALITIES:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= PHOTO_BYTES:
            break
    return out.getvalue()


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A small picture as JPEG; the same pixels always give the same bytes."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=THUMBNAIL_QUALITY)
    return out.getvalue()


def input_picture(pixels: NDArray[np.uint8]) -> str:
    """A model input: exact where small, else as a photo."""
    if pixels.shape[0] * pixels.shape[1] <= LOSSLESS_PIXELS:
        return _png(Image.fromarray(pixels))
    return photo_jpeg(pixels)


def _png(image: Image.Image, **options: int) -> str:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True, **options)
    return data_uri("image/png", out.getvalue())
