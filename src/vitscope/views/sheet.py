"""A sheet: findings, sentences, pictures, tables and curves in sections, as a View. What the audit and the misread photo are shown on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.views.colour import Limits
from vitscope.views.frame import Frame, fitted
from vitscope.views.paint import overlaid
from vitscope.views.plain import plain
from vitscope.views.view import Panel, View

LONGEST = 900
"""Longer side of a picture on a sheet, in pixels; small ones are kept as they are and shown with sharp pixels."""
Row = Sequence[object]


class Sheet:
    """Collects the panels of a sheet in order; ``view()`` is the sheet.

    Args:
        title: what it is about.
        answer: label and probability the model gives, or None.
        by: which model, in one line.
    """

    def __init__(self, title: str, *, answer: tuple[str, float] | None = None, by: str = "") -> None:
        self.title = title
        self.meta: dict[str, Any] = {"answer": list(answer) if answer else None, "by": by}
        self.panels: list[Panel] = []
        self.arrays: dict[str, NDArray[np.generic]] = {}
        self._section = ""

    def section(self, title: str, hint: str = "") -> None:
        """What follows stands under this heading."""
        self._section = title
        self._add("section", facts={"title": title, "hint": hint})

    def finding(self, entry: dict[str, object]) -> None:
        """One finding: severity, what, evidence, fix."""
        self._add("finding", facts=plain_facts(entry))

    def say(self, text: str, *, strong: bool = False) -> None:
        """A plain sentence."""
        self._add("text", facts={"text": text, "strong": strong})

    def picture(
        self,
        title: str,
        pixels: NDArray[np.uint8],
        caption: str,
        *,
        lines: str = "",
        scale: tuple[Limits, str] | None = None,
        wide: bool = False,
        enlarge: bool = True,
    ) -> None:
        """A picture uint8 ``[h, w, 3]`` with its caption.

        Args:
            title: its name.
            pixels: the picture.
            caption: one sentence or a number.
            lines: an SVG path drawn over it, in its own pixels (the patch borders).
            scale: limits and unit of the colours in it.
            wide: takes a whole row.
            enlarge: shown as large as its place, however few pixels it has.
        """
        height, width = pixels.shape[:2]
        size = fitted((height, width), LONGEST)
        kept = pixels if size == (height, width) else np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))
        facts = {"title": title, "size": [height, width], "lines": lines, "wide": wide, "enlarge": enlarge}
        limits = (scale[0].low, scale[0].high) if scale else None
        self._add(
            "picture",
            {"picture": kept},
            caption=caption,
            facts=facts,
            limits=limits,
            colours=scale[0].colours if scale else "",
            unit=scale[1] if scale else "",
        )

    def map(
        self, title: str, grid: NDArray[np.floating], photo: NDArray[np.uint8], frame: Frame, limits: Limits, *, unit: str, caption: str
    ) -> None:
        """Patch values ``[gh, gw]`` over a photo, in raw colours."""
        size = fitted((photo.shape[0], photo.shape[1]), LONGEST)
        small = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.LANCZOS))
        drawn = overlaid(small, grid, frame.resized(size), limits, strength=0.7, smooth=False)
        self.picture(title, drawn, caption, scale=(limits, unit))

    def table(self, title: str, head: Sequence[str], rows: Sequence[Row], *, bars: int | None = None) -> None:
        """Rows of words and numbers.

        Args:
            title: its name.
            head: a word for each column.
            rows: as many values each.
            bars: number of a column of shares 0..1, each drawn as a bar as well.
        """
        self._add("table", facts={"title": title, "head": list(head), "rows": plain([list(row) for row in rows]), "bars": bars})

    def curve(self, title: str, series: Sequence[tuple[str, Sequence[float]]], *, x: str, y: str, caption: str = "") -> None:
        """Values by layer, one line a series."""
        lines = [[name, [float(v) for v in values]] for name, values in series]
        self._add("curve", facts={"title": title, "series": plain(lines), "x": x, "y": y}, caption=caption)

    def provenance(self, entry: dict[str, object]) -> None:
        """What made it."""
        self._add("provenance", facts=plain_facts(entry))

    def view(self) -> View:
        """The sheet."""
        return View(self.title, tuple(self.panels), self.arrays, self.meta)

    def _add(self, kind: str, arrays: dict[str, NDArray[np.generic]] | None = None, **more: Any) -> None:
        name = f"{kind}-{len(self.panels)}"
        named = {f"{name}/{key}": array for key, array in (arrays or {}).items()}
        self.arrays.update(named)
        more["facts"] = {**more.get("facts", {}), "section": self._section}
        self.panels.append(Panel(name, kind, tuple(named), **more))


def plain_facts(entry: dict[str, object]) -> dict[str, Any]:
    """The same as plain JSON values."""
    made = plain(entry)
    assert isinstance(made, dict)
    return made


def borders(grid: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], size: tuple[int, int]) -> str:
    """True borders of the patches as an SVG path in input pixels: lines where patches abut, a box for each where they do not.

    Overlapping patches would cover the picture with lines: there, only the boxes of every patch that touches no other drawn one.
    """
    (gh, gw), (ph, pw), (sy, sx), (py, px), (h, w) = grid, patch, stride, padding, size
    if (ph, pw) == (sy, sx):
        rows = [f"M0 {_cut(y * sy - py, h):g}H{_cut(gw * sx - px, w):g}" for y in range(gh + 1)]
        columns = [f"M{_cut(x * sx - px, w):g} 0V{_cut(gh * sy - py, h):g}" for x in range(gw + 1)]
        return "".join([*rows, *columns])
    boxes = []
    for y in range(0, gh, max(-(-ph // sy), 1)):
        for x in range(0, gw, max(-(-pw // sx), 1)):
            y0, y1 = _cut(y * sy - py, h), _cut(y * sy - py + ph, h)
            x0, x1 = _cut(x * sx - px, w), _cut(x * sx - px + pw, w)
            boxes.append(f"M{x0:g} {y0:g}H{x1:g}V{y1:g}H{x0:g}Z")
    return "".join(boxes)


def _cut(value: float, size: int) -> float:
    return min(max(value, 0), size)


def spread(patches: NDArray[np.uint8], *, longest: int = LONGEST) -> NDArray[np.uint8]:
    """Patches ``[gh, gw, ph, pw, 3]`` laid out apart from each other, every pixel true; larger grids are cut to what fits.

    Shapes:
        returns uint8 ``[h, w, 3]`` on neutral grey.
    """
    gh, gw, ph, pw, _ = patches.shape
    gap = max(1, round(min(ph, pw) / 8))
    gh, gw = max(1, min(gh, longest // (ph + gap))), max(1, min(gw, longest // (pw + gap)))
    out = np.full((gh * (ph + gap) + gap, gw * (pw + gap) + gap, 3), 128, np.uint8)
    for y in range(gh):
        for x in range(gw):
            top, left = gap + y * (ph + gap), gap + x * (pw + gap)
            out[top : top + ph, left : left + pw] = patches[y, x]
    return out


def outlined(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A photo with everything but a mask dimmed."""
    return np.asarray(np.where(mask[..., None], photo, (photo * 0.35).astype(np.uint8)))
