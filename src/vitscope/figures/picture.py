"""One PNG: the photo with what the model saw outlined, and every map over it with its own colour bar in raw units."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitscope.core.files import write_atomically
from vitscope.errors import MissingExtra
from vitscope.figures.marks import draw_marks
from vitscope.views.colour import Limits, table
from vitscope.views.frame import Frame
from vitscope.views.marks import Drawn, drawn
from vitscope.views.paint import DIM, overlaid
from vitscope.views.plain import percent, short
from vitscope.views.view import Panel, View
from vitscope.views.words import fact_line, hidden_line, map_words, method_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT = "#17181a", "#5b5f66"
FONT = 7.5
COLUMN, GAP, MARGIN, TALLEST = 3.0, 0.25, 0.15, 4.2
HEAD, HEADING, BELOW = 0.5, 0.3, 1.12
"""Inches: a column, between columns, at the sides, the tallest picture; above all, above a picture, below it."""


def write_png(view: View, path: str | os.PathLike[str], *, strength: float = 0.7, smooth: bool = True, dpi: int = 160) -> Path:
    """Draw a view as one PNG; the same view always gives the same bytes.

    Args:
        view: of one photo.
        path: the file to write.
        strength: opacity of the maps over the greyed photo, 0..1.
        smooth: bilinear between patch centres; False draws the true patches.
        dpi: pixels per inch; each picture is about three inches wide.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    figure = draw(view, strength=strength, smooth=smooth)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    return write_atomically(path, out.getvalue())


@dataclass(frozen=True)
class Sheet:
    """Where everything lies, in inches, so that pictures stand on one line whatever is said below them."""

    columns: int
    rows: int
    picture: tuple[float, float]

    @classmethod
    def of(cls, count: int, aspect: float) -> Sheet:
        """Panoramas below one another, all else in rows of up to five."""
        columns = 1 if aspect > 4 else min(count, 5 if count == 5 else 4)
        width = 2 * COLUMN if columns == 1 else COLUMN
        height = min(width / aspect, TALLEST)
        return cls(columns, -(-count // columns), (max(height, 0.05), min(width, height * aspect)))

    @property
    def column(self) -> float:
        """Width of a column."""
        return 2 * COLUMN if self.columns == 1 else COLUMN

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the whole figure."""
        return MARGIN + self.columns * (self.column + GAP), HEAD + self.rows * (self.picture[0] + HEADING + BELOW)

    def box(self, number: int, top: float, height: float, width: float) -> tuple[float, float, float, float]:
        """A box so far below the top of a panel, as matplotlib's (left, bottom, width, height) in shares of the figure."""
        row, column = divmod(number, self.columns)
        w, h = self.size
        y = HEAD + row * (self.picture[0] + HEADING + BELOW) + top
        return (MARGIN + column * (self.column + GAP)) / w, 1 - (y + height) / h, width / w, height / h


def draw(view: View, *, strength: float, smooth: bool) -> Figure:
    """The figure itself, on no global canvas."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", purpose="PNG figures") from error

    frame = Frame.from_facts(view.meta["frame"])
    maps = view.of_kind("map")
    height, width = frame.placement.photo_size
    sheet = Sheet.of(len(maps) + 1, width / height)
    figure = Figure(figsize=sheet.size)
    FigureCanvasAgg(figure)
    w, h = sheet.size
    figure.text(MARGIN / w, 1 - 0.17 / h, _literal(_cut(_title(view), w, 12)), va="top", fontsize=12, fontweight="bold", color=INK)
    _draw_photo(_panel(figure, sheet, 0, "Photo"), view, frame)
    _say(figure, sheet, 0, 0.06, f"the model saw {percent(frame.placement.seen_share)} of it")
    for number, panel in enumerate(maps, start=1):
        _draw_map(figure, sheet, number, (view, panel, frame), strength=strength, smooth=smooth)
    return figure


def _title(view: View) -> str:
    top = view.of_kind("answer")[0].facts["top"]
    return view.title + (f"  ·  {top[0][0]}, {percent(top[0][1])}" if top else "")


def _cut(text: str, inches: float, points: float) -> str:
    """As much of a text as fits in so many inches."""
    return textwrap.shorten(text, max(int(inches * 72 / (points * 0.62)), 8), placeholder=" …") or text[:8]


def _literal(text: str) -> str:
    """Dollar signs in names are not mathematics."""
    return text.replace("$", r"\$")


def _panel(figure: Figure, sheet: Sheet, number: int, title: str) -> Axes:
    """Empty axes for one picture under its heading."""
    height, width = sheet.picture
    axis = figure.add_axes(sheet.box(number, HEADING, height, width))
    axis.set_axis_off()
    left, bottom, _, _ = sheet.box(number, 0, HEADING - 0.07, width)
    figure.text(left, bottom, _literal(_cut(title, sheet.column, 10)), va="bottom", fontsize=10, fontweight="bold", color=INK)
    return axis


def _say(figure: Figure, sheet: Sheet, number: int, below: float, text: str) -> None:
    """Small text under a picture, wrapped to its column."""
    wide = int(sheet.column * 72 / (FONT * 0.56))
    lines = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, wide))
    left, bottom, _, height = sheet.box(number, HEADING + sheet.picture[0] + below, 0.1, 1)
    figure.text(left, bottom + height, _literal(lines), va="top", fontsize=FONT, color=SOFT, linespacing=1.35)


def _draw_photo(axis: Axes, view: View, frame: Frame) -> None:
    photo = np.asarray(view.arrays["photo"], dtype=np.uint8)
    shown = frame.resized((photo.shape[0], photo.shape[1]))
    dimmed = (photo * DIM).astype(np.uint8)
    axis.imshow(np.where(shown.placement.seen_mask()[..., None], photo, dimmed), interpolation="antialiased", aspect="auto")
    outline(axis, shown.placement.seen, shown)
    draw_marks(axis, _marks(view, shown, view.of_kind("map")), named=True)


def _marks(view: View, shown: Frame, panels: Sequence[Panel]) -> list[Drawn]:
    """Boxes, and what these maps are about, in pixels of the photo as shown."""
    full, size = Frame.from_facts(view.meta["frame"]).placement.photo_size, shown.placement.photo_size
    found = drawn(full, view.meta["boxes"], [panel.facts["mark"] for panel in panels])
    return [one.scaled(size[0] / full[0], size[1] / full[1]) for one in found]


def outline(axis: Axes, box: tuple[float, float, float, float], shown: Frame) -> None:
    """The crop the model saw; nothing where it saw all."""
    from matplotlib.patches import Rectangle

    y0, x0, y1, x1 = box
    height, width = shown.placement.photo_size
    if max(y0, x0, height - y1, width - x1) > 0.01:
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=1.4))


def _draw_map(figure: Figure, sheet: Sheet, number: int, what: tuple[View, Panel, Frame], *, strength: float, smooth: bool) -> None:
    view, panel, frame = what
    limits = Limits(*(panel.limits or (0.0, 1.0)))
    photo = np.asarray(view.arrays["photo"], dtype=np.uint8)
    shown = frame.resized((photo.shape[0], photo.shape[1]))
    heading = f"{method_title(panel)} {map_words(panel)}".strip()
    axis = _panel(figure, sheet, number, heading)
    picture = overlaid(photo, view.arrays[f"{panel.name}/grid"], shown, limits, strength=strength, smooth=smooth)
    axis.imshow(picture, interpolation="antialiased", aspect="auto")
    outline(axis, shown.covered, shown)
    draw_marks(axis, _marks(view, shown, [panel]), named=False)
    draw_bar(figure.add_axes(sheet.box(number, HEADING + sheet.picture[0] + 0.09, 0.09, sheet.column)), limits)
    whole = "" if _cut(heading, sheet.column, 10) == heading else f"{map_words(panel)}\n"
    _say(figure, sheet, number, 0.38, f"{whole}{panel.unit}\n{fact_line(panel)}\n{hidden_line(panel)}")


def draw_bar(axis: Axes, limits: Limits, colours: str = "") -> None:
    """A colour bar with the raw values at its ends and its middle."""
    axis.set_axis_on()
    axis.imshow(table(colours or limits.colours)[None], aspect="auto", interpolation="nearest", extent=(0, 1, 0, 1))
    axis.set_yticks([])
    axis.set_xticks([0, 0.5, 1], labels=[short(v) for v in (limits.low, (limits.low + limits.high) / 2, limits.high)])
    axis.tick_params(labelsize=FONT, length=2, pad=2, color=SOFT, labelcolor=INK)
    first, _, last = axis.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    for spine in axis.spines.values():
        spine.set_visible(False)
