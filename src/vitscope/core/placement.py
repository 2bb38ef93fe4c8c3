"""Placement: the exact map between the model's input pixels and the photo as displayed.

Coordinates are continuous and measured from the top-left *corner*: pixel ``i`` covers ``[i, i + 1]`` and its centre is ``i + 0.5``.
Resize, crop and pad then are all of the form ``input = photo · scale + offset`` per axis, and compose without rounding.
The EXIF turn comes before: the photo as displayed is the turned one, and ``exif`` says how it was stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

Pair = tuple[float, float]
Box = tuple[float, float, float, float]

#: Name of the step that narrows a placement to what the patches cover.
UNCOVERED = "not covered by any patch"


@dataclass(frozen=True)
class Step:
    """One step from photo to model input: its name, what it did in words, the size it led to, and where a crop or pad began.

    Attributes:
        corner: ``(top, left)`` of a crop in what it cut; negative where it padded.
    """

    name: str
    detail: str
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Placement:
    """An axis-aligned exact map from photo to model input: ``input = photo · scale + offset``, (y, x) order throughout.

    Attributes:
        photo_size: ``(H, W)`` of the photo as displayed.
        input_size: ``(h, w)`` of the model input.
        scale: input pixels per photo pixel, ``(y, x)``.
        offset: where the photo's corner lies in the input, in input pixels.
        seen: ``(y0, x0, y1, x1)`` in photo coordinates: the part that survived every crop and, in a trace, lies under a patch.
        exif: orientation tag (1..8) that turned the stored picture into the displayed one.
        steps: what was done, in order.
    """

    photo_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: Pair = (1.0, 1.0)
    offset: Pair = (0.0, 0.0)
    seen: Box = (0.0, 0.0, 0.0, 0.0)
    exif: int = 1
    steps: tuple[Step, ...] = ()

    @classmethod
    def of_photo(cls, size: tuple[int, int], *, exif: int = 1) -> Placement:
        """The identity on a photo of ``(H, W)`` pixels; later steps are chained onto it."""
        height, width = size
        _at_least_one_pixel(size, "photo")
        first = Step("decode", f"{width}×{height} px" + (f", EXIF orientation {exif} applied" if exif != 1 else ""), size)
        return cls(size, size, seen=(0.0, 0.0, float(height), float(width)), exif=exif, steps=(first,))

    def resize(self, size: tuple[int, int], *, detail: str = "") -> Placement:
        """Resize the current input to ``(h, w)``, corners on corners (half-pixel centres)."""
        _at_least_one_pixel(size, "resize")
        (h, w), (h0, w0) = size, self.input_size
        fy, fx = h / h0, w / w0
        return replace(
            self,
            input_size=size,
            scale=(self.scale[0] * fy, self.scale[1] * fx),
            offset=(self.offset[0] * fy, self.offset[1] * fx),
            steps=(*self.steps, Step("resize", detail or f"{w0}×{h0} → {w}×{h}", size)),
        )

    def crop(self, top: int, left: int, size: tuple[int, int], *, detail: str = "") -> Placement:
        """Keep ``size`` pixels from ``(top, left)``; a negative corner or a size beyond the edge pads (see :meth:`pad`)."""
        _at_least_one_pixel(size, "crop")
        h, w = size
        h0, w0 = self.input_size
        y0, x0 = self.to_photo((max(top, 0), max(left, 0)))
        y1, x1 = self.to_photo((min(top + h, h0), min(left + w, w0)))
        a, b, c, d = self.seen
        # a crop that misses the picture leaves an empty box at its edge, never one turned inside out
        a, b = min(max(a, y0), c), min(max(b, x0), d)
        seen = (a, b, max(a, min(c, y1)), max(b, min(d, x1)))
        return replace(
            self,
            input_size=size,
            offset=(self.offset[0] - top, self.offset[1] - left),
            seen=seen,
            steps=(*self.steps, Step("crop", detail or f"{w}×{h} from row {top}, column {left} of {w0}×{h0}", size, (top, left))),
        )

    def pad(self, top: int, left: int, bottom: int, right: int, *, detail: str = "") -> Placement:
        """Add so many pixels on each side; they show nothing of the photo.

        Raises:
            ArgumentError: a negative number (to take pixels away is a crop).
        """
        if min(top, left, bottom, right) < 0:
            raise ArgumentError(f"padding {top}, {left}, {bottom}, {right}", expected="no negative number", where="placement", todo="crop")
        h0, w0 = self.input_size
        size = (h0 + top + bottom, w0 + left + right)
        text = detail or f"{top} above, {bottom} below, {left} left, {right} right"
        return replace(
            self,
            input_size=size,
            offset=(self.offset[0] + top, self.offset[1] + left),
            steps=(*self.steps, Step("pad", text, size, (-top, -left))),
        )

    def only(self, box: Box) -> Placement:
        """The same placement where the model reads nothing outside an input box ``(y0, x0, y1, x1)``: `seen` is narrowed to it."""
        y0, x0 = self.to_photo(box[:2])
        y1, x1 = self.to_photo(box[2:])
        a, b, c, d = self.seen
        # rounding alone is no narrowing
        top, left = (low if low > was + 1e-9 else was for low, was in ((y0, a), (x0, b)))
        bottom, right = (high if high < was - 1e-9 else was for high, was in ((y1, c), (x1, d)))
        seen = (min(top, c), min(left, d), max(bottom, min(top, c)), max(right, min(left, d)))
        if seen == self.seen:
            return self
        rows, columns = self.input_size[0] - (box[2] - box[0]), self.input_size[1] - (box[3] - box[1])
        text = f"{rows:g} rows and {columns:g} columns of the input lie under no patch"
        return replace(self, seen=seen, steps=(*self.steps, Step(UNCOVERED, text, self.input_size)))

    def to_input(self, yx: Pair) -> Pair:
        """Photo coordinates to input coordinates."""
        return yx[0] * self.scale[0] + self.offset[0], yx[1] * self.scale[1] + self.offset[1]

    def to_photo(self, yx: Pair) -> Pair:
        """Input coordinates to photo coordinates."""
        return (yx[0] - self.offset[0]) / self.scale[0], (yx[1] - self.offset[1]) / self.scale[1]

    @property
    def content(self) -> Box:
        """``(y0, x0, y1, x1)`` in input coordinates: where the input shows photo rather than padding."""
        y0, x0 = self.to_input(self.seen[:2])
        y1, x1 = self.to_input(self.seen[2:])
        return y0, x0, y1, x1

    @property
    def seen_share(self) -> float:
        """Share of the photo's area that reached the model, 0..1."""
        y0, x0, y1, x1 = self.seen
        return max(y1 - y0, 0.0) * max(x1 - x0, 0.0) / (self.photo_size[0] * self.photo_size[1])

    def seen_mask(self) -> NDArray[np.bool_]:
        """Bool ``[H, W]``: photo pixels whose centre reached the model."""
        y0, x0, y1, x1 = self.seen
        rows = np.arange(self.photo_size[0]) + 0.5
        columns = np.arange(self.photo_size[1]) + 0.5
        return np.outer((rows > y0) & (rows < y1), (columns > x0) & (columns < x1))

    def padded_share(self, box: Box) -> float:
        """Share of an input box (y0, x0, y1, x1) that is padding, 0..1."""
        a, b, c, d = self.content
        y0, x0, y1, x1 = box
        inside = max(min(y1, c) - max(y0, a), 0.0) * max(min(x1, d) - max(x0, b), 0.0)
        return 1.0 - inside / max((y1 - y0) * (x1 - x0), 1e-12)


def _at_least_one_pixel(size: tuple[int, int], step: str) -> None:
    if size[0] < 1 or size[1] < 1:
        raise ArgumentError(f"{step} of {size[0]}×{size[1]} pixels", expected="at least 1×1", where="placement")
