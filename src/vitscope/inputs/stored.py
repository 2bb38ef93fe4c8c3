"""What a picture file says of itself before it is decoded: format, colour mode, and how hard a JPEG was compressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vitscope.inputs.opening import MAX_PIXELS, header, opened

#: The luminance table of the JPEG standard (ITU-T T.81, table K.1): quality 50 of the common encoders.
_STANDARD = np.array(
    [
        (16, 11, 10, 16, 24, 40, 51, 61),
        (12, 12, 14, 19, 26, 58, 60, 55),
        (14, 13, 16, 24, 40, 57, 69, 56),
        (14, 17, 22, 29, 51, 87, 80, 62),
        (18, 22, 37, 56, 68, 109, 103, 77),
        (24, 35, 55, 64, 81, 104, 113, 92),
        (49, 64, 78, 87, 103, 121, 120, 101),
        (72, 92, 95, 98, 112, 100, 103, 99),
    ],
    dtype=np.float64,
).ravel()


@dataclass(frozen=True)
class Stored:
    """A file as stored.

    Attributes:
        format: "JPEG", "PNG" …; "" for a picture that is no file.
        mode: PIL's colour mode.
        size: ``(H, W)`` before any EXIF turn.
        bytes: length of the file.
        quality: of a JPEG, 1..100, on the scale of the common encoders; 0 for others.
    """

    format: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    bytes: int = 0
    quality: int = 0


def stored(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Stored:
    """Read a file's header.

    Raises:
        PhotoError: as :func:`vitscope.inputs.read_sample`.
    """
    with opened(Path(path)) as file, header(file, str(path), max_pixels) as picture:
        length = Path(path).stat().st_size
        return Stored(picture.format or "", picture.mode, (picture.height, picture.width), length, jpeg_quality(picture))


def jpeg_quality(picture: Image.Image) -> int:
    """The quality whose table, scaled as the common encoders do, comes nearest to the file's own; 0 for what is no JPEG."""
    tables = getattr(picture, "quantization", None)
    if not tables:
        return 0
    own = np.sort(np.asarray(tables[min(tables)], dtype=np.float64))
    scales = {q: 5000 // q if q < 50 else 200 - 2 * q for q in range(1, 101)}
    made = {q: np.sort(np.clip((_STANDARD * s + 50) // 100, 1, 255)) for q, s in scales.items()}
    return min(made, key=lambda q: float(np.abs(made[q] - own).sum()))
