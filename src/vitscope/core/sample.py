"""Sample: one picture as a person sees it, before any model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sample:
    """One picture (later: clip, question) with what is known about it.

    Shapes:
        pixels: ``[t, H, W, 3]`` uint8, or uint16/float32 with ``value_range``; ``t = 1`` for a picture. The EXIF turn is applied:
            this is the photo as displayed.
        mask: bool ``[t, H, W]`` or None.
        times: seconds ``[t]`` or None.

    Attributes:
        id: what to call it in outputs (a file's stem).
        path: where it came from, or "".
        notes: what was done to read it that a reader should know, in plain words ("16-bit grey scaled to 8 bit",
            "first of 12 animation frames", "transparent areas shown on white").
        exif: the EXIF orientation (1..8) that was applied.
        digest: sha256 of the file's bytes, or of the pixels where there was no file.
    """

    id: str
    pixels: NDArray[np.generic]
    path: str = ""
    text: str = ""
    label: str = ""
    times: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None
    group: dict[str, str] = field(default_factory=dict)
    value_range: tuple[float, float] = (0.0, 255.0)
    notes: tuple[str, ...] = ()
    exif: int = 1
    digest: str = ""

    @property
    def photo(self) -> NDArray[np.uint8]:
        """The (first) picture as displayed, uint8 ``[H, W, 3]``."""
        frame = self.pixels[0]
        if frame.dtype == np.uint8:
            return np.asarray(frame, dtype=np.uint8)
        low, high = self.value_range
        scaled = (frame.astype(np.float64) - low) / max(high - low, 1e-12)
        return np.asarray(np.clip(np.rint(scaled * 255.0), 0, 255), dtype=np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the photo as displayed, in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])
