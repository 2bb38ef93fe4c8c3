"""One PNG of projections side by side, coloured by label, each with the figures that say how far to trust it."""

from __future__ import annotations

import io
import os
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.core.projection import Projection
from vitscope.errors import MissingExtra
from vitscope.views.points import quality_words, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, NONE = "#17181a", "#5b5f66", "#b8bcc2"
#: Labels with a colour of their own, commonest first; further ones share the grey.
COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22", "#393b79"),
    *("#637939", "#8c6d31", "#843c39", "#7b4173", "#3182bd", "#e6550d", "#31a354", "#756bb1", "#fdae6b", "#636363"),
)
SIDE, GAP, HEAD, BELOW, LEGEND = 4.0, 0.5, 0.45, 1.15, 1.7
"""Inches: a panel's side, between panels, above, below, and the legend's width."""


def write_scatter(
    projections: Sequence[Projection],
    labels: Sequence[str],
    predicted: Sequence[str],
    path: str | os.PathLike[str],
    *,
    curve: Sequence[Mapping[str, Any]] = (),
    accuracy: float | None = None,
    dpi: int = 130,
) -> Path:
    """Draw projections as one PNG; the same points always give the same bytes.

    Args:
        projections: with their quality.
        labels: of the photos, "" where there is none; where nobody has one, colours are the model's predictions, and that is said.
        predicted: what the model says of each photo.
        path: the file to write.
        curve: class separation by layer; drawn as a last panel.
        accuracy: the model's own, drawn beside the curve.
        dpi: pixels per inch.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", purpose="PNG figures") from error

    panels = len(projections) + (1 if len(curve) > 1 else 0)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    width, height = columns * (SIDE + GAP) + GAP + LEGEND, rows * (HEAD + SIDE + BELOW)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    named = any(labels)
    colours, legend = _colours(labels if named else predicted)
    for number in range(panels):
        row, column = divmod(number, columns)
        left, bottom = GAP + column * (SIDE + GAP), height - row * (HEAD + SIDE + BELOW) - HEAD - SIDE
        box = (left / width, bottom / height, SIDE / width, SIDE / height)
        if number < len(projections):
            _points(figure, box, projections[number], colours)
        else:
            _curve(figure, _inset(box), curve, accuracy)
    _legend(figure, legend, 1 - (LEGEND - 0.05) / width, 1 - HEAD / height, "label" if named else "predicted (no labels)")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    return write_atomically(path, out.getvalue())


def _colours(labels: Sequence[str]) -> tuple[NDArray[np.str_], list[tuple[str, str]]]:
    """Each photo's colour, and the legend."""
    count = Counter(label for label in labels if label)
    names = sorted(count, key=lambda name: (-count[name], name))
    chosen = dict(zip(sorted(names[: len(COLOURS)]), COLOURS, strict=False))
    legend = [(f"{name} ({count[name]:,})", colour) for name, colour in chosen.items()]
    rest = len(labels) - sum(count[name] for name in chosen)
    if rest:
        legend.append((f"{len(names) - len(chosen)} others or none ({rest:,})", NONE))
    return np.array([chosen.get(label, NONE) for label in labels]), legend


def _points(figure: Figure, box: tuple[float, float, float, float], one: Projection, colours: NDArray[np.str_]) -> None:
    times = max(1, len(one) // max(1, len(colours)))
    shown = np.repeat(colours, times)
    order = np.random.default_rng(0).permutation(len(one))  # no label lies on top of all others
    size = float(np.clip(9000.0 / max(len(one), 1), 0.6, 18.0))
    flat = one.points.shape[1] == 2
    axis = figure.add_axes(box, projection=None if flat else "3d")
    axis.scatter(*one.points[order].T, c=shown[order], s=size, linewidths=0)  # type: ignore[misc]  # two or three of them
    axis.set_title(title(one), fontsize=10, fontweight="bold", color=INK, loc="left")
    if flat:
        axis.set_aspect("equal", adjustable="datalim")
    axis.tick_params(labelsize=6, length=2, color=SOFT, labelcolor=SOFT)
    _caption(figure, box, quality_words(one.quality))


def _inset(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Room for the numbers of a curve's axes."""
    left, bottom, width, height = box
    return left + 0.1 * width, bottom + 0.05 * height, 0.88 * width, 0.95 * height


def _curve(figure: Figure, box: tuple[float, float, float, float], curve: Sequence[Mapping[str, Any]], accuracy: float | None) -> None:
    axis: Axes = figure.add_axes(box)
    layers, values = [point["layer"] for point in curve], [point["knn_accuracy"] for point in curve]
    axis.plot(layers, values, marker="o", color=COLOURS[0])
    if accuracy is not None:
        axis.axhline(accuracy, color=SOFT, linewidth=1, linestyle="--")
        axis.text(layers[0], accuracy, f"the model itself {accuracy:.1%}", fontsize=7, color=SOFT, va="bottom")
    axis.set_ylim(0, 1)
    axis.set_xticks(layers)
    axis.tick_params(labelsize=7)
    axis.set_title("Classes told apart, by layer", fontsize=10, fontweight="bold", color=INK, loc="left")
    k, asked, among = (curve[0][name] for name in ("neighbours", "asked", "among"))
    _caption(figure, box, [f"share of {asked:,} photos whose {k} nearest among {among:,} others name their label"])


def _caption(figure: Figure, box: tuple[float, float, float, float], words: Sequence[str]) -> None:
    text = "\n".join(line for sentence in words for line in textwrap.wrap(sentence, 66))
    below = 0.22 / figure.get_size_inches()[1]
    figure.text(box[0], box[1] - below, text.replace("$", r"\$"), va="top", fontsize=7, color=SOFT, linespacing=1.35)


def _legend(figure: Figure, legend: Sequence[tuple[str, str]], left: float, top: float, heading: str) -> None:
    step = 0.19 / figure.get_size_inches()[1]
    figure.text(left, top, heading, fontsize=8, fontweight="bold", color=INK, va="top")
    for number, (name, colour) in enumerate(legend, start=1):
        figure.text(left, top - number * step, "●", fontsize=8, color=colour, va="top")
        short = textwrap.shorten(name, 24, placeholder=" …") or name[:24]
        figure.text(
            left + 0.15 / figure.get_size_inches()[0], top - number * step, short.replace("$", r"\$"), fontsize=7, color=INK, va="top"
        )
