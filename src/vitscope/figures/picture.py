"""One PNG: the photo with what the model saw outlined, and every map over it with its own colour bar in raw units."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.errors import MissingExtra
from vitscope.views.colour import Limits, table
from vitscope.views.frame import Frame
from vitscope.views.paint import paint_on_photo, to_rgba
from vitscope.views.plain import percent, short
from vitscope.views.view import Panel, View
from vitscope.views.words import fact_line, hidden_line, method_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT = "#17181a", "#5b5f66"
FONT = 8.5


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
    columns = _columns(len(maps) + 1, width / height)
    rows = -(-(len(maps) + 1) // columns)
    picture_height = min(max(3.0 * height / width, 0.35), 4.2)
    figure = Figure(figsize=(columns * 3.15 + 0.2, 0.55 + rows * (picture_height + 1.35)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(view), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _draw_photo(axes[0], view, frame)
    for panel, axis in zip(maps, axes[1:], strict=False):
        _draw_map(figure, axis, view, panel, frame, strength=strength, smooth=smooth)
    for axis in axes[len(maps) + 1 :]:
        axis.set_axis_off()
    return figure


def _columns(count: int, aspect: float) -> int:
    """Panoramas below one another, all else in rows of up to five."""
    return 1 if aspect > 4 else min(count, 5 if count == 5 else 4)


def _title(view: View) -> str:
    top = view.of_kind("answer")[0].facts["top"]
    return _literal(view.title + (f"  ·  {top[0][0]}, {percent(top[0][1])}" if top else ""))


def _literal(text: str) -> str:
    """Dollar signs in names are not mathematics."""
    return text.replace("$", r"\$")


def _shown_photo(view: View) -> NDArray[np.uint8]:
    return np.asarray(view.arrays["photo"], dtype=np.uint8)


def _draw_photo(axis: Axes, view: View, frame: Frame) -> None:
    photo = _shown_photo(view)
    shown = frame.resized(photo.shape[:2])
    dimmed = (photo * 0.35).astype(np.uint8)
    axis.imshow(np.where(shown.placement.seen_mask()[..., None], photo, dimmed), interpolation="antialiased")
    _outline(axis, shown.placement.seen, photo.shape[:2])
    _bare(axis, "Photo", f"the model saw {percent(frame.placement.seen_share)} of it")


def _outline(axis: Axes, box: tuple[float, float, float, float], size: tuple[int, int]) -> None:
    """The crop the model saw; nothing where it saw all."""
    from matplotlib.patches import Rectangle

    y0, x0, y1, x1 = box
    if (y0, x0, y1, x1) != (0, 0, *size):
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=1.4))


def _bare(axis: Axes, title: str, below: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title(_literal(title), loc="left", fontsize=10, fontweight="bold", color=INK)
    axis.set_xlabel(_literal(below), fontsize=FONT - 1.5, color=SOFT, loc="left", wrap=True)


def _draw_map(figure: Figure, axis: Axes, view: View, panel: Panel, frame: Frame, *, strength: float, smooth: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    limits = Limits(*(panel.limits or (0.0, 1.0)))
    photo = _shown_photo(view)
    shown = frame.resized(photo.shape[:2])
    axis.imshow(
        overlaid(photo, view.arrays[f"{panel.name}/grid"], shown, limits, strength=strength, smooth=smooth), interpolation="antialiased"
    )
    _outline(axis, shown.covered, photo.shape[:2])
    target = panel.facts["target"]
    _bare(axis, method_title(panel) + (f" for {target}" if target else ""), f"{fact_line(panel)}\n{hidden_line(panel)}")
    colours = ListedColormap(table(limits.colours) / 255.0)
    bar = figure.colorbar(ScalarMappable(Normalize(limits.low, limits.high), colours), ax=axis, location="bottom", fraction=0.05, pad=0.03)
    ticks = [limits.low, (limits.low + limits.high) / 2, limits.high]
    bar.set_ticks(ticks, labels=[short(tick) for tick in ticks])
    bar.ax.tick_params(labelsize=FONT - 1, length=2, color=SOFT, labelcolor=INK)
    bar.outline.set_visible(False)
    bar.set_label(_literal(panel.unit), fontsize=FONT - 1, color=SOFT, loc="left")


def overlaid(
    photo: NDArray[np.uint8], grid: NDArray[np.generic], shown: Frame, limits: Limits, *, strength: float, smooth: bool
) -> NDArray[np.uint8]:
    """A map's colours over the greyed photo, ``grey · (1 − s) + colour · s`` where the model saw; dimmed grey elsewhere.

    Shapes:
        photo uint8 ``[H, W, 3]``; grid ``[gh, gw]``; returns uint8 ``[H, W, 3]``.
    """
    grey = (photo @ np.array([0.2126, 0.7152, 0.0722]))[..., None]
    painted = to_rgba(paint_on_photo(np.asarray(grid, np.float64), shown, limits, smooth=smooth), limits.colours)
    opacity = strength * (painted[..., 3:] > 0)
    under = np.where(painted[..., 3:] > 0, grey, grey * 0.35)
    return np.asarray(np.rint(under * (1 - opacity) + painted[..., :3] * opacity), dtype=np.uint8)
