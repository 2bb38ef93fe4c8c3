"""PNGs of what patches are made with and what becomes of them: token colours, patch filters, likeness of positions."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.errors import MissingExtra
from vitscope.projection.pca import fit_pca
from vitscope.projection.tokens import TokenPictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT = "#17181a", "#5b5f66"
#: Filters shown: so many principal components.
COMPONENTS = 28


def write_tokens(pictures: TokenPictures, path: str | os.PathLike[str], *, dpi: int = 130) -> Path:
    """Each photo above, its patches' colours below, on the photo's own place; grey where no patch is shown."""
    figure, axes = _sheet(2, len(pictures), 3.0, [photo.shape[1] / photo.shape[0] for photo in pictures.photos])
    for i in range(len(pictures)):
        axes[0][i].imshow(pictures.photos[i])
        axes[0][i].set_title(pictures.ids[i].replace("$", r"\$")[:40], fontsize=9, color=INK)
        colours = pictures.on_image(i, smooth=False)
        grey = np.repeat(pictures.photos[i].mean(axis=-1, keepdims=True) / 255.0 * 0.35, 3, axis=-1)
        axes[1][i].imshow(np.where(np.isfinite(colours), colours, grey))
    share = " + ".join(f"{value:.1%}" for value in pictures.pca.explained)
    which = "foreground patches" if pictures.foreground else "patches"
    about = f"layer {pictures.layer}: red, green, blue are the first three components of all {which} together ({share} of their variance)"
    left = f"; {sum(pictures.outlying)} patches left out, their vectors outlie the rest" if any(pictures.outlying) else ""
    return _save(figure, path, f"{about}; one colour range for all photos{left}", dpi)


def write_filters(filters: NDArray[np.floating], path: str | os.PathLike[str], *, dpi: int = 130) -> Path:
    """The first principal components of the patch filters as pictures; grey is zero, one range for all."""
    flat = filters.reshape(len(filters), -1)
    count = min(COMPONENTS, len(flat) - 1, flat.shape[1])
    pca = fit_pca(flat, count)
    pictures = pca.axes.reshape(count, *filters.shape[1:]).transpose(0, 2, 3, 1)
    limit = float(np.abs(pictures).max()) or 1.0
    figure, axes = _sheet(-(-count // 7), 7, 0.9, [1.0] * 7)
    for number, axis in enumerate(axis for row in axes for axis in row):
        if number < count:
            axis.imshow(0.5 + pictures[number] / (2 * limit), interpolation="nearest")
    return _save(
        figure, path, f"first {count} components of {len(flat)} filters, {pca.explained.sum():.1%} of their variance; ±{limit:.2g}", dpi
    )


def write_positions(likeness: NDArray[np.floating], path: str | os.PathLike[str], *, dpi: int = 130) -> Path:
    """For up to 7 × 7 patches, how like their position embedding is to every other's: cosine −1 (dark) to 1 (light)."""
    gh, gw = likeness.shape[:2]
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int)) for n in (gh, gw))
    figure, axes = _sheet(len(rows), len(columns), 0.9, [gw / gh] * len(columns))
    for row, some in zip(rows, axes, strict=True):
        for column, axis in zip(columns, some, strict=True):
            axis.imshow(likeness[row, column], vmin=-1, vmax=1, cmap="viridis", interpolation="nearest")
    return _save(
        figure, path, f"cosine of position embeddings, {gh}×{gw} patches; −1 dark, 1 light; each square is one patch against all", dpi
    )


def _sheet(rows: int, columns: int, side: float, aspects: Sequence[float]) -> tuple[Figure, list[list[Axes]]]:
    """Empty axes in rows and columns, with room for a line below."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "figures", purpose="PNG figures") from error
    widths = [side * aspect for aspect in aspects]
    figure = Figure(figsize=(max(sum(widths) + 0.2 * columns, 4.5), rows * side + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: Any = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    for axis in drawn.ravel():
        axis.set_axis_off()
    return figure, [list(row) for row in drawn]


def _save(figure: Figure, path: str | os.PathLike[str], words: str, dpi: int) -> Path:
    import textwrap

    figure.supxlabel("\n".join(textwrap.wrap(words, int(figure.get_size_inches()[0] * 16))), fontsize=7, color=SOFT)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None}, facecolor="white")
    return write_atomically(path, out.getvalue())
