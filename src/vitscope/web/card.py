"""A map as a notebook shows it by itself: its patches, its raw scale, and what it does not show."""

from __future__ import annotations

from html import escape

import numpy as np

from vitscope.core.maps import TokenMap
from vitscope.views.colour import Limits, limits_of
from vitscope.views.frame import Frame
from vitscope.views.paint import paint_grid
from vitscope.views.photo import map_panel
from vitscope.views.view import Panel
from vitscope.views.words import fact_line, hidden_line, map_words, method_title
from vitscope.web.encode import palette_png
from vitscope.web.page import colour_bar

LONGEST = 280
"""Pixels of the longer side."""
MOST = 8
"""Maps of a batch that are shown."""


def as_html(maps: TokenMap) -> str:
    """A card for each map of a batch, the first eight."""
    cards = "".join(_card(one) for one in list(maps)[:MOST])
    more = f"<p>… and {len(maps) - MOST} more</p>" if len(maps) > MOST else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px;font:13px/1.4 system-ui,sans-serif">{cards}{more}</div>'


def _card(one: TokenMap) -> str:
    panel: Panel = map_panel(0, one, {}, None)[0]
    limits = _limits(one)
    bar = colour_bar(limits, one.unit)
    of = f" {map_words(panel)}" if map_words(panel) else ""
    said = [one.unit, fact_line(panel), hidden_line(panel), *one.notes]
    ticks = "".join(f"<span>{escape(tick)}</span>" for tick in bar["ticks"])
    return (
        f'<figure style="margin:0;width:{LONGEST}px"><figcaption><b>{escape(method_title(panel) + of)}</b></figcaption>'
        f'<img src="{_picture(one, limits)}" style="width:100%;image-rendering:pixelated" alt="{escape(panel.facts["method"])} map">'
        f'<div style="height:8px;background:linear-gradient(90deg,{bar["gradient"]})"></div>'
        f'<div style="display:flex;justify-content:space-between">{ticks}</div>'
        + "".join(f"<div>{escape(text)}</div>" for text in said if text)
        + "</figure>"
    )


def _limits(one: TokenMap) -> Limits:
    visible = one.grid[~Frame.of(one.placement, one.layout).padded()]
    return limits_of([visible], signed=one.signed)


def _picture(one: TokenMap, limits: Limits) -> str:
    cell = max(LONGEST // max(one.layout.grid), 1)
    padded = Frame.of(one.placement, one.layout).padded()
    return palette_png(paint_grid(np.asarray(one.grid, np.float64), limits, padded=padded, cell=cell), limits.colours)
