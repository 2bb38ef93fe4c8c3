"""Recipe: how a tensor was made from a photo, as a handful of choices that can each be exchanged and run again."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.auditing.kernels import KERNELS, Kernel
from vitscope.core.placement import UNCOVERED, Placement
from vitscope.inputs.images import turned

Photo = NDArray[np.uint8]
NEAREST = Image.Resampling.NEAREST
#: The model's own preparation: uint8 ``[H, W, 3]`` to float32 ``[3, h, w]`` and where that lies in the photo.
Prepare = Callable[[Photo], tuple[NDArray[np.float32], Placement]]


@dataclass(frozen=True)
class Own:
    """The model's own preparation.

    Attributes:
        prepare: run by the library it comes from.
        mean, std: what it subtracts and divides by, of values 0..1.
        text: one line for people.
    """

    prepare: Prepare
    mean: tuple[float, ...]
    std: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Move:
    """A resize to ``size``, or a crop of ``size`` from ``corner`` (negative, or beyond the edge: padding)."""

    name: str
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)


def moves_of(placement: Placement) -> tuple[Move, ...]:
    """What the model's own preparation did to the place of pixels."""
    return tuple(
        Move("resize" if step.name == "resize" else "crop", step.size, step.corner)
        for step in placement.steps
        if step.name not in ("decode", UNCOVERED)
    )


@dataclass(frozen=True)
class Source:
    """What became of the photo before it was prepared: nothing, a JPEG of low quality, or a small picture enlarged again."""

    quality: int = 0
    through: int = 0
    enlarged_by: str = ""

    def of(self, photo: Photo) -> Photo:
        """The photo as it would look."""
        if self.quality:
            return recoded(photo, self.quality)
        return enlarged(photo, self.through, self.enlarged_by) if self.through else photo


@dataclass(frozen=True)
class Values:
    """From a picture 0..1 to the tensor: ``gain · x + offset`` for each channel."""

    kind: str
    text: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def normalised(cls, mean: tuple[float, ...], std: tuple[float, ...], *, kind: str = "", text: str = "", white: float = 1.0) -> Values:
        """``(white · x − mean) / std``."""
        return cls(kind, text, tuple(white / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True)))

    def then(self, mean: tuple[float, ...], std: tuple[float, ...], *, kind: str, text: str) -> Values:
        """The same, normalised once more."""
        gain = tuple(g / s for g, s in zip(self.gain, std, strict=True))
        return Values(kind, text, gain, tuple((o - m) / s for o, m, s in zip(self.offset, mean, std, strict=True)))


@dataclass(frozen=True)
class Recipe:
    """How a tensor was made; the model's own has every choice at its default but kernel, moves and values.

    Attributes:
        turn: EXIF-style orientation (1..8) the displayed photo was taken in; 1: as displayed.
        source: what became of the photo before.
        frame: what the moves are called.
        moves: resizes, crops and pads.
        kernel: of every resize.
        order: which colour each channel holds; (0, 1, 2) is RGB.
        values: from 0..1 to the tensor.
    """

    moves: tuple[Move, ...]
    values: Values
    kernel: Kernel = KERNELS[0]
    turn: int = 1
    source: Source = field(default_factory=Source)
    frame: str = "own"
    order: tuple[int, ...] = (0, 1, 2)

    def picture(self, photo: Photo) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The picture before its values are scaled, ``[h, w, 3]`` 0..1, and bool ``[h, w]`` where it shows photo."""
        pixels: NDArray[np.generic] = self.source.of(turned(photo, self.turn))
        shown = np.ones(pixels.shape[:2], dtype=bool)
        for move in self.moves:
            if move.name == "resize":
                pixels = self.kernel.run(_rounded(pixels), move.size)
                whole = shown.all()
                shown = np.ones(move.size, bool) if whole else np.asarray(Image.fromarray(shown).resize(move.size[::-1], NEAREST))
            else:
                pixels, shown = window(pixels, move), window(shown, move)
        return np.asarray(pixels, dtype=np.float32) / np.float32(255.0), shown

    def tensor(self, photo: Photo) -> NDArray[np.float32]:
        """The tensor ``[3, h, w]``."""
        picture = self.picture(photo)[0]
        channels = [g * picture[..., c] + o for c, g, o in zip(self.order, self.values.gain, self.values.offset, strict=True)]
        return np.asarray(np.stack(channels), dtype=np.float32)


def _rounded(pixels: NDArray[np.generic]) -> Photo:
    """A second resize works on what the first one rounded to."""
    return np.asarray(pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255), dtype=np.uint8)


def window(pixels: NDArray[np.generic], move: Move) -> NDArray[np.generic]:
    """A crop; what lies beyond the edge is zero (black, not shown)."""
    out = np.zeros((*move.size, *pixels.shape[2:]), dtype=pixels.dtype)
    (top, left), (h, w) = move.corner, move.size
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, pixels.shape[0]), min(left + w, pixels.shape[1])
    if y1 > y0 and x1 > x0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return out


#: The orientation that undoes each one: how a displayed photo was stored.
UNDONE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def recoded(photo: Photo, quality: int) -> Photo:
    """The photo through a JPEG of this quality."""
    out = io.BytesIO()
    Image.fromarray(photo).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def enlarged(photo: Photo, side: int, how: str) -> Photo:
    """The photo made so small that its shorter side is ``side``, and enlarged again."""
    h, w = photo.shape[:2]
    factor = side / min(h, w)
    if factor >= 1:
        return photo
    small = Image.fromarray(photo).resize((max(round(w * factor), 1), max(round(h * factor), 1)), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((w, h), Image.Resampling[how.upper()]))
