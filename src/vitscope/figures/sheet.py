"""A sheet as one PNG: its findings and sentences above, its pictures in rows below."""

from __future__ import annotations

import io
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitscope.core.files import write_atomically
from vitscope.errors import MissingExtra
from vitscope.views.plain import percent
from vitscope.views.view import Panel, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT = "#17181a", "#5b5f66"
COLUMNS, COLUMN, GAP, MARGIN, TALLEST = 4, 2.9, 0.25, 0.2, 2.9
LINE = 0.165
"""Inches: columns, their width, between them, at the sides, the tallest picture; a line of text."""
TONES = {"fault": "#b3261e", "warning": "#8a5300", "note": SOFT}


def write_sheet_png(view: View, path: str | os.PathLike[str], *, dpi: int = 140) -> Path:
    """Draw a sheet as one PNG; the same view always gives the same bytes.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    out = io.BytesIO()
    draw_sheet(view).savefig(out, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    return write_atomically(path, out.getvalue())


def draw_sheet(view: View) -> Figure:
    """The figure itself, on no global canvas."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", purpose="PNG figures") from error

    width = 2 * MARGIN + COLUMNS * (COLUMN + GAP) - GAP
    lines = _lines(view, int(width * 72 / (8 * 0.52)))
    pictures = view.of_kind("picture")
    rows = -(-len(pictures) // COLUMNS)
    top = 0.55 + LINE * len(lines) + 0.25
    height = top + rows * (TALLEST + 0.95) + MARGIN
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(MARGIN / width, 1 - 0.2 / height, _literal(_title(view)), va="top", fontsize=13, fontweight="bold", color=INK)
    for number, (text, colour, weight) in enumerate(lines):
        at = 1 - (0.55 + LINE * number) / height
        figure.text(MARGIN / width, at, _literal(text), va="top", fontsize=8, color=colour, fontweight=weight)
    for number, panel in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        _picture(figure, view, panel, (top + row * (TALLEST + 0.95), MARGIN + column * (COLUMN + GAP)))
    return figure


def _title(view: View) -> str:
    answer = view.meta.get("answer")
    return view.title + (f"  ·  {answer[0]}, {percent(answer[1])}" if answer else "")


def _lines(view: View, wide: int) -> list[tuple[str, str, str]]:
    """Findings and sentences, wrapped: text, colour, weight."""
    out: list[tuple[str, str, str]] = []
    for panel in view.panels:
        if panel.kind == "finding":
            tone = TONES.get(str(panel.facts["severity"]), INK)
            out += [(line, tone, "bold") for line in textwrap.wrap(f"{panel.facts['severity']}: {panel.facts['what']}", wide)]
            out += [(line, INK, "normal") for line in textwrap.wrap(f"{panel.facts['evidence']} {panel.facts['fix']}", wide)]
        elif panel.kind == "text":
            weight = "bold" if panel.facts["strong"] else "normal"
            out += [(line, INK, weight) for line in textwrap.wrap(str(panel.facts["text"]), wide)]
    return out


def _picture(figure: Figure, view: View, panel: Panel, corner: tuple[float, float]) -> None:
    top, left = corner
    width, height = (float(v) for v in figure.get_size_inches())
    pixels = np.asarray(view.arrays[panel.arrays[0]], np.uint8)
    aspect = pixels.shape[1] / pixels.shape[0]
    h = min(COLUMN / aspect, TALLEST)
    w = h * aspect
    axis = figure.add_axes((left / width, 1 - (top + 0.25 + h) / height, w / width, h / height))
    axis.imshow(pixels, interpolation="antialiased", aspect="auto")
    axis.set_axis_off()
    figure.text(left / width, 1 - (top + 0.18) / height, _literal(panel.facts["title"]), fontsize=9, fontweight="bold", color=INK)
    scale = f" Colours: {panel.limits[0]:.3g} to {panel.limits[1]:.3g} {panel.unit}." if panel.limits else ""
    said = "\n".join(textwrap.wrap(panel.caption + scale, int(COLUMN * 72 / (7 * 0.54)))[:4])
    figure.text(left / width, 1 - (top + 0.32 + h) / height, _literal(said), va="top", fontsize=7, color=SOFT, linespacing=1.3)


def _literal(text: str) -> str:
    """Dollar signs in names are not mathematics."""
    return text.replace("$", r"\$")
