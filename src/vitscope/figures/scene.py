"""A state of the interactive view as one figure, PNG or SVG: the same numbers, colours and words, without a browser."""

from __future__ import annotations

import io
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError, MissingExtra
from vitscope.figures.marks import draw_marks
from vitscope.figures.picture import FONT, INK, SOFT, draw_bar, outline
from vitscope.views.paint import UNSEEN, overlaid, paint_grid, to_rgba
from vitscope.views.scene import Large, Lines, Scene, Small

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg")
WIDE, TALLEST, GAP, MARGIN = 4.0, 4.0, 0.35, 0.2
TILE, LABELS, LINE = 0.4, 0.3, 0.15
"""Inches: a large map's width and most height, between parts, at the sides; a small map, room for numbers, a line of small text."""
CELL = 6
"""Pixels of a small map's patch."""


def write_scene(scene: Scene, path: str | os.PathLike[str], *, dpi: int = 160) -> Path:
    """Draw a scene; the same scene always gives the same bytes.

    Args:
        scene: what a state shows.
        path: FILE.png or FILE.svg.
        dpi: pixels per inch.

    Raises:
        ArgumentError: another ending.
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    kind = Path(path).suffix.lower()
    if kind not in ENDINGS:
        raise ArgumentError(f"{Path(path).name!r}", expected="a name ending in .png or .svg", where="figure")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", purpose="figures") from error
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "vitscope", "svg.fonttype": "path"}):
        nameless = {"Software": None} if kind == ".png" else {"Date": None, "Creator": None}
        draw(scene).savefig(out, format=kind[1:], dpi=dpi, metadata=nameless, facecolor="white")
    return write_atomically(path, out.getvalue())


@dataclass(frozen=True)
class _Page:
    """A figure measured in inches from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Empty axes."""
        axis = self.figure.add_axes((left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height))
        axis.set_axis_off()
        return axis

    def text(self, left: float, top: float, lines: str, size: float = FONT, **style: Any) -> None:
        """Text below a line; dollar signs are not mathematics."""
        plain: dict[str, Any] = {"color": SOFT, "va": "top", **style}
        self.figure.text(left / self.width, 1 - top / self.height, lines.replace("$", r"\$"), fontsize=size, linespacing=1.35, **plain)


def draw(scene: Scene) -> Figure:
    """The figure itself, on no global canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tall = max(_size(one)[1] for one in scene.large)
    below = [_wrapped((one.unit, *one.words), WIDE) for one in scene.large]
    notes = _wrapped(scene.notes, max(len(scene.large) * WIDE, 7.0))
    heads = [_wrapped((one.title,), WIDE * 0.78) for one in scene.large]
    top = 0.55 + LINE * 1.25 * max(len(lines) for lines in heads)
    under = top + tall + 0.5 + LINE * max(len(lines) for lines in below)
    small = _small_size(scene.small, max(len(scene.large) * (WIDE + GAP) - GAP, 7.0)) if scene.small else (0.0, 0.0, 0.0)
    width = 2 * MARGIN + max(len(scene.large) * (WIDE + GAP) - GAP, small[0], 7.0)
    height = under + (LINE * len(notes) + 0.1 if notes else 0) + small[1] + small[2] + 0.3
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    page = _Page(figure, width, height)
    page.text(MARGIN, 0.15, textwrap.shorten(scene.title, int(width * 9), placeholder=" …"), 12, color=INK, fontweight="bold")
    for i, one in enumerate(scene.large):
        left = MARGIN + i * (WIDE + GAP)
        page.text(left, 0.5, "\n".join(heads[i]), 9, color=INK, fontweight="bold")
        _draw_large(page, left, top, scene, one, scene.lines if i == 0 else None)
        page.text(left, top + _size(one)[1] + 0.42, "\n".join(below[i]))
    page.text(MARGIN, under, "\n".join(notes))
    if scene.small:
        _draw_small(page, under + (LINE * len(notes) + 0.1 if notes else 0), scene, scene.small, small[2])
    return figure


def _wrapped(sentences: tuple[str, ...], inches: float) -> list[str]:
    wide = int(inches * 72 / (FONT * 0.56))
    return [line for one in sentences for line in textwrap.wrap(one, wide)]


def _size(one: Large) -> tuple[float, float]:
    """Width and height of a photo, in inches."""
    rows, columns = one.photo.shape[:2]
    width = min(WIDE, TALLEST * columns / rows)
    return width, max(width * rows / columns, 0.05)


def _draw_large(page: _Page, left: float, top: float, scene: Scene, one: Large, lines: Lines | None) -> None:
    width, height = _size(one)
    axis = page.axes(left, top, width, height)
    colours = scene.colours(one.limits)
    picture = overlaid(one.photo, one.grid, one.frame, one.limits, strength=scene.overlay, smooth=scene.smooth, colours=colours)
    axis.imshow(picture, interpolation="antialiased", aspect="auto")
    axis.set_autoscale_on(False)
    outline(axis, one.frame.covered, one.frame)
    if one.marked:
        _mark(axis, one)
    draw_marks(axis, one.marks, named=True)
    if lines is not None and len(lines.weights):
        _draw_lines(axis, one, lines)
    draw_bar(page.axes(left, top + height + 0.08, width, 0.1), one.limits, colours)


def _mark(axis: Axes, one: Large) -> None:
    """The query's patch."""
    from matplotlib.patches import Rectangle

    assert one.marked is not None
    y0, x0, y1, x1 = one.frame.layout.patch_box(*one.marked)
    (top, left), (bottom, right) = one.frame.placement.to_photo((y0, x0)), one.frame.placement.to_photo((y1, x1))
    for colour, line in (("black", 2.6), ("white", 1.2)):
        axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=line))


def _draw_lines(axis: Axes, one: Large, lines: Lines) -> None:
    """Links as lines from patch centre to patch centre, the more opaque the heavier; a patch's link to itself is a dot."""
    from matplotlib.collections import LineCollection

    start, end = (_centres(one, cells) for cells in (lines.start, lines.end))
    share = (lines.weights / lines.weights.max())[::-1]
    colours = np.tile(np.array([1.0, 1.0, 1.0, 1.0]), (len(share), 1))
    colours[:, 3] = 0.15 + 0.85 * share
    pairs = list(np.stack([start, end], axis=1)[::-1])
    axis.add_collection(LineCollection(pairs, colors=colours, linewidths=0.4 + 1.2 * share))
    own = (lines.start == lines.end).all(axis=1)[::-1]
    x, y = start[::-1][own].T
    axis.scatter(x, y, s=4, c=colours[own], linewidths=0)


def _centres(one: Large, cells: NDArray[np.intp]) -> NDArray[np.float64]:
    """Patch centres in picture coordinates, (x, y)."""
    t, p = one.frame.layout, one.frame.placement
    centre = np.array(t.origin) + cells * np.array(t.stride) + np.array(t.patch) / 2
    photo = (centre - np.array(p.offset)) / np.array(p.scale)
    return np.asarray(photo[:, ::-1] - 0.5)


def _columns(small: Small) -> int:
    return max(small.layers.count(layer) for layer in set(small.layers))


def _small_size(small: Small, wide: float) -> tuple[float, float, float]:
    """Width and height of all small maps together, and of the words above them."""
    rows, columns = small.grids.shape[1:]
    tile_height = TILE * rows / columns
    words = LINE * len(_wrapped(small.words, wide)) + 0.25
    return LABELS + _columns(small) * TILE, len(set(small.layers)) * tile_height, words


def _draw_small(page: _Page, top: float, scene: Scene, small: Small, words: float) -> None:
    """One picture of all of them, with numbers of layers and heads beside it."""
    page.text(MARGIN, top, "\n".join(_wrapped(small.words, page.width - 2 * MARGIN)))
    picture = mosaic(small, scene)
    count, columns = len(set(small.layers)), _columns(small)
    tile = TILE * small.grids.shape[1] / small.grids.shape[2]
    first = top + words
    axis = page.axes(MARGIN + LABELS, first, columns * TILE, count * tile)
    axis.imshow(picture, interpolation="antialiased", aspect="auto")
    for layer in range(count):
        page.text(MARGIN + LABELS - 0.06, first + (layer + 0.5) * tile, f"{layer}", FONT - 1, ha="right", va="center")
    for head in range(columns):
        page.text(MARGIN + LABELS + (head + 0.5) * TILE, first - 0.03, f"{head}", FONT - 1, ha="center", va="bottom")


def mosaic(small: Small, scene: Scene) -> NDArray[np.uint8]:
    """All small maps on white, layers down and heads across, uint8 ``[h, w, 4]``; each on its own limits."""
    (rows, columns), gap = small.grids.shape[1:], CELL // 2
    high, wide = rows * CELL + gap, columns * CELL + gap
    out = np.full((len(set(small.layers)) * high, _columns(small) * wide, 4), 255, dtype=np.uint8)
    head, before = 0, -1
    for grid, layer, limits in zip(small.grids, small.layers, small.limits, strict=True):
        head = head + 1 if layer == before else 0
        before = layer
        index = paint_grid(grid, limits, padded=small.padded, cell=CELL)
        index[index == UNSEEN] = 0
        y, x = layer * high, head * wide
        out[y : y + rows * CELL, x : x + columns * CELL] = to_rgba(index, scene.colours(limits))
    return out
