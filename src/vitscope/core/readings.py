"""What else than a class can be explained — a feature, an axis, a likeness, a pixel, a region, a box — and where its score is read.

The first half is what people write; the second is what a :class:`~vitscope.core.targets.Target` keeps of it: numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError

#: A box in pixels of the photo as displayed: ``(x0, y0, x1, y1)``.
BoxXY = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Values:
    """An array that can be compared and kept as a key: equal where every bit is."""

    array: NDArray[np.float64]

    @classmethod
    def of(cls, given: ArrayLike) -> Values:
        """Anything numbers can be made of; finite ones.

        Raises:
            ArgumentError: a value that is not finite, or none at all.
        """
        array = np.array(given, dtype=np.float64)
        if array.size == 0 or not np.isfinite(array).all():
            raise ArgumentError(f"{array.size} numbers, {int((~np.isfinite(array)).sum())} not finite", expected="finite numbers")
        array.setflags(write=False)
        return cls(array)

    def _key(self) -> tuple[tuple[int, ...], bytes]:
        return self.array.shape, self.array.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Values) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


# what people write


@dataclass(frozen=True)
class Feature:
    """One number of what a model without a head makes: ``z[index]``."""

    index: int


@dataclass(frozen=True)
class SimilarTo:
    """The cosine between what the model makes of the photo and a vector that stays as it is (another photo's, a text's).

    Attributes:
        vector: ``[w]``.
        name: what it is the vector of.
    """

    vector: Sequence[float] | NDArray[np.floating]
    name: str = "a given vector"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimilarTo) and (self.name, Values.of(self.vector)) == (other.name, Values.of(other.vector))

    def __hash__(self) -> int:
        return hash((self.name, Values.of(self.vector)))


@dataclass(frozen=True)
class Axis:
    """The place of the photo along an axis: ``(z − origin) · direction``.

    Attributes:
        direction, origin: ``[w]``; no origin is 0.
        name: what to call it.
        block: the block whose tokens are read (as ``vitscope embed`` does); None: what the model makes at its end.
        kind: which of the block's tokens: "pooled", "cls" or "patch-mean".
    """

    direction: NDArray[np.floating]
    origin: NDArray[np.floating] | None = None
    name: str = "axis"
    block: int | None = None
    kind: str = "pooled"

    def _key(self) -> tuple[object, ...]:
        origin = None if self.origin is None else Values.of(self.origin)
        return Values.of(self.direction), origin, self.name, self.block, self.kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Axis) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True)
class Text:
    """A two-tower model's own zero-shot score of the photo for a text: ``scale · cos(picture, text) + bias``, all of them the model's.

    Attributes:
        text: in words, as the model's text tower is to read it ("a photo of a cat").
    """

    text: str


@dataclass(frozen=True)
class Pixel:
    """A class's score at one pixel of the photo as displayed.

    Attributes:
        y, x: row and column, from 0.
        label: the class; None: the likeliest there.
    """

    y: int
    x: int
    label: str | int | None = None


@dataclass(frozen=True)
class Region:
    """A class's mean score over part of the photo as displayed.

    Attributes:
        box: ``(x0, y0, x1, y1)`` in pixels; None (and no mask): the whole photo.
        mask: bool ``[H, W]``.
        label: the class; None: the one with the highest mean score there.
        name: what to call it; by its box where not given.
    """

    box: BoxXY | None = None
    mask: NDArray[np.bool_] | None = field(default=None, compare=False)
    label: str | int | None = None
    name: str = ""


@dataclass(frozen=True)
class Box:
    """A class's score of one of the boxes a detector gives.

    Attributes:
        which: its number, a label (the likeliest box of that class), or a point ``(x, y)`` of the photo (the likeliest box around it);
            None: the likeliest of all.
        label: the class; None: the box's own likeliest.
    """

    which: int | str | tuple[float, float] | None = None
    label: str | int | None = None


@dataclass(frozen=True)
class Detected:
    """One box of a detector.

    Attributes:
        number: its place among the boxes (a box keeps it whatever the photo).
        label: its likeliest class; probability: of that class.
        box: ``(x0, y0, x1, y1)`` in pixels of the photo; it may reach beyond it.
    """

    number: int
    label: str
    probability: float
    box: BoxXY


@dataclass(frozen=True)
class Mark:
    """Where on the photo a score at a place is read, for drawing it there.

    Attributes:
        kind: "pixel", "region" or "box".
        box: ``(x0, y0, x1, y1)`` in pixels of the photo as displayed: the pixel's own square, the region's bounds, or the box.
        number: of a detector's box.
        outline: of a region that is no rectangle: lines ``(x0, y0, x1, y1)`` along its border.
    """

    kind: str
    box: BoxXY
    number: int | None = None
    outline: tuple[BoxXY, ...] = ()


Noun = Feature | SimilarTo | Axis | Text | Pixel | Region | Box

# what a target keeps


@dataclass(frozen=True)
class Features:
    """Columns are the features of what the model makes."""


@dataclass(frozen=True)
class Directions:
    """Columns are directions in what the model makes, or in one block's tokens.

    Shapes:
        rows: ``[k, w]``; origin: ``[w]`` or None; tokens: ``[r, n]``, what of the block's tokens is read (``w`` = ``r`` times its width).

    Attributes:
        cosine: the cosine with each row, and not the product.
        block: None: what the model makes at its end.
        scale, bias: what the column is multiplied by, and what is then added (a two-tower model's own).
    """

    rows: Values
    origin: Values | None = None
    cosine: bool = False
    block: int | None = None
    tokens: Values | None = None
    scale: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True)
class Places:
    """Columns are classes: their scores at ``m`` places (pixels of the head's own grid, or boxes), summed with these weights ``[m]``.

    Attributes:
        mark: where on the photo that is; it follows from the weights' origin and is not compared.
    """

    weights: Values
    mark: Mark | None = field(default=None, compare=False)


Reading = Features | Directions | Places

# from the photo to a dense head's own grid


def pixel_weights(placement: Placement, grid: tuple[int, int], y: float, x: float) -> NDArray[np.float64]:
    """Weights ``[gh · gw]`` that read a dense head's grid at the centre of one photo pixel: bilinear, half-pixel centres, edges held.

    Raises:
        ArgumentError: a pixel outside the photo, or one that was cropped away.
    """
    height, width = placement.photo_size
    if not (0 <= y < height and 0 <= x < width):
        raise ArgumentError(f"pixel ({y:g}, {x:g})", expected=f"row 0 to {height - 1}, column 0 to {width - 1}", where="target")
    y0, x0, y1, x1 = placement.seen
    if not (y0 < y + 0.5 < y1 and x0 < x + 0.5 < x1):
        raise ArgumentError(
            f"pixel ({y:g}, {x:g}) was cropped away: the model never saw it",
            expected=f"rows {_first(y0)} to {_first(y1) - 1}, columns {_first(x0)} to {_first(x1) - 1}",
            where="target",
        )
    rows, columns = _bilinear(placement, grid, 0)[int(y)], _bilinear(placement, grid, 1)[int(x)]
    return np.asarray(np.outer(rows, columns).ravel())


def _first(corner: float) -> int:
    """The first pixel whose centre lies beyond a corner."""
    return int(np.floor(corner - 0.5)) + 1


def region_weights(placement: Placement, grid: tuple[int, int], mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Weights ``[gh · gw]`` for the mean over a region's photo pixels (those that reached the model), and the share of it that did.

    Raises:
        ArgumentError: all of it was cropped away.
    """
    seen = mask & placement.seen_mask()
    count = int(seen.sum())
    if count == 0:
        raise ArgumentError("the whole region was cropped away: the model never saw it", expected="a region it saw", where="target")
    weights = _bilinear(placement, grid, 0).T @ (seen.astype(np.float64) @ _bilinear(placement, grid, 1))
    return np.asarray(weights.ravel() / count), count / int(mask.sum())


#: Cells along the longer side of a mask whose border is drawn: finer than a screen shows.
OUTLINE_CELLS = 640


def outline_of(mask: NDArray[np.bool_]) -> tuple[BoxXY, ...]:
    """The border of a mask ``[H, W]`` as lines ``(x0, y0, x1, y1)`` in its pixels; of a large one, of every k-th row and column."""
    step = -(-max(mask.shape) // OUTLINE_CELLS)
    cells = np.asarray(mask[step // 2 :: step, step // 2 :: step] if step > 1 else mask)
    across = [(x0, y, x1, y) for y, x0, x1 in _runs(cells)]
    down = [(x, y0, x, y1) for x, y0, y1 in _runs(cells.T)]
    height, width = mask.shape
    return tuple(
        (min(a * step, width), min(b * step, height), min(c * step, width), min(d * step, height)) for a, b, c, d in (*across, *down)
    )


def _runs(cells: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Edges between rows, joined along each: (line, first column, column after the last)."""
    edges = np.diff(np.pad(cells, ((1, 1), (0, 0))).astype(np.int8), axis=0) != 0
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    line, first = np.nonzero(steps == 1)
    last = np.nonzero(steps == -1)[1]
    return list(zip(line.tolist(), first.tolist(), last.tolist(), strict=True))


def _bilinear(placement: Placement, grid: tuple[int, int], axis: int) -> NDArray[np.float64]:
    """``[photo pixels, cells]`` along one axis: how much each cell of the grid counts at each pixel's centre."""
    pixels, cells = placement.photo_size[axis], grid[axis]
    centre = (np.arange(pixels) + 0.5) * placement.scale[axis] + placement.offset[axis]
    at = np.clip(centre * cells / placement.input_size[axis] - 0.5, 0, cells - 1)
    low = np.minimum(at.astype(np.int64), max(cells - 2, 0))
    out = np.zeros((pixels, cells))
    rows = np.arange(pixels)
    out[rows, low] = 1 - (at - low)
    out[rows, np.minimum(low + 1, cells - 1)] += at - low
    return out
