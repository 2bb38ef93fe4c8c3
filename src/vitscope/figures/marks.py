"""What a map is about, drawn on a photo by matplotlib: boxes, a pixel's cross, a region's border."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitscope.views.marks import Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THICK, THIN, CASE = 1.8, 0.7, 1.4
"""Points: a line a map is about, another one, and the dark edge of both."""
FONT, LETTERS = 6.5, 32


def draw_marks(axis: Axes, marks: Sequence[Drawn], *, named: bool) -> None:
    """Draw them on axes that show a photo, one unit a pixel: thick and with their words where a map is about them, else thin.

    Args:
        axis: the photo's.
        marks: in pixels of the photo as shown there.
        named: words at the thin ones too.
    """
    from matplotlib.collections import LineCollection

    axis.set_autoscale_on(False)
    for one in marks:
        lines = [((x0 - 0.5, y0 - 0.5), (x1 - 0.5, y1 - 0.5)) for x0, y0, x1, y1 in one.lines]
        for colour, extra in (("black", CASE), ("white", 0.0)):
            thick = (THICK if one.chosen else THIN) + extra
            axis.add_collection(LineCollection(lines, colors=colour, linewidths=thick, capstyle="projecting"), autolim=False)
        if one.words and (named or one.chosen):
            text = textwrap.shorten(one.words, LETTERS, placeholder="…").replace("$", r"\$")
            behind = {"facecolor": "black", "alpha": 0.7, "pad": 1.0, "linewidth": 0}
            axis.text(one.at[0], one.at[1], text, fontsize=FONT, color="white", va="top", clip_on=True, bbox=behind)
