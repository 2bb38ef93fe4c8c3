"""A sheet as one offline HTML file: sections of findings, sentences, pictures, tables and curves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from vitscope.core.files import write_atomically
from vitscope.views.colour import Limits
from vitscope.views.plain import percent, short
from vitscope.views.view import Panel, View
from vitscope.views.words import value_words
from vitscope.web.document import POLICY, document, texts
from vitscope.web.encode import input_picture
from vitscope.web.page import colour_bar

#: Width and height of a curve, in its own units.
CURVE = (520, 220)
SEVERITY_WORDS = {"fault": "Fault", "warning": "Warning", "note": "Note"}
#: Pictures below so many pixels are shown with sharp pixels.
SHARP = 512
#: Line colours, told apart by their dashes as well.
DASHES = ("", "7 4", "2 3", "9 3 2 3")


def render_sheet(view: View) -> str:
    """The sheet as one HTML text; the same view always gives the same text."""
    answer = view.meta.get("answer")
    page: dict[str, Any] = {
        "title": f"{view.title} · vitscope",
        "name": view.title,
        "answer": {"label": answer[0], "text": percent(answer[1])} if answer else None,
        "by": view.meta.get("by", ""),
        "policy": POLICY,
        "css": texts("report.css", "sheet.css"),
        "js": texts("theme.js"),
        "view": None,
        "sections": sections(view),
        "provenance": [row for panel in view.of_kind("provenance") for row in _provenance(panel)],
    }
    return document("sheet.html", page)


def write_sheet(view: View, path: str | os.PathLike[str]) -> Path:
    """Write :func:`render_sheet`'s text to ``path``, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_atomically(path, render_sheet(view).encode("utf-8"))


def sections(view: View) -> list[dict[str, Any]]:
    """What the template prints: each section with its runs of panels of one kind, in order."""
    out: list[dict[str, Any]] = []
    for panel in view.panels:
        if panel.kind == "section":
            out.append({"title": panel.facts["title"], "hint": panel.facts["hint"], "runs": []})
        elif panel.kind in _CARDS and out:
            runs = out[-1]["runs"]
            if not runs or runs[-1]["kind"] != panel.kind:
                runs.append({"kind": panel.kind, "cards": []})
            runs[-1]["cards"].append(_CARDS[panel.kind](view, panel))
    return out


def _finding(_: View, panel: Panel) -> dict[str, Any]:
    return {**panel.facts, "word": SEVERITY_WORDS.get(panel.facts["severity"], panel.facts["severity"])}


def _text(_: View, panel: Panel) -> dict[str, Any]:
    return dict(panel.facts)


def _picture(view: View, panel: Panel) -> dict[str, Any]:
    pixels = np.asarray(view.arrays[panel.arrays[0]], np.uint8)
    height, width = panel.facts["size"]
    bar = colour_bar(Limits(*panel.limits), panel.unit) if panel.limits else None
    return {
        **panel.facts,
        "height": height,
        "width": width,
        "picture": input_picture(pixels),
        "sharp": max(height, width) <= SHARP,
        "caption": panel.caption,
        "bar": bar,
    }


def _table(_: View, panel: Panel) -> dict[str, Any]:
    bars = panel.facts["bars"]
    rows = []
    for row in panel.facts["rows"]:
        bar = row[bars] if bars is not None and isinstance(row[bars], (int, float)) else None
        cells = [value_words(value) if bar is None or i != bars else percent(float(bar)) for i, value in enumerate(row)]
        rows.append({"cells": cells, "bar": None if bar is None else min(max(float(bar), 0.0), 1.0)})
    return {**panel.facts, "rows": rows}


def _curve(_: View, panel: Panel) -> dict[str, Any]:
    """Points of each series in the curve's own units, with the ends of both axes."""
    series: list[tuple[str, list[float]]] = panel.facts["series"]
    values = [v for _, line in series for v in line if v is not None]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    span = (high - low) or 1.0
    width, height = CURVE
    longest = max((len(line) for _, line in series), default=1)
    lines = []
    for number, (name, line) in enumerate(series):
        at = [(width * i / max(longest - 1, 1), height * (high - v) / span) for i, v in enumerate(line) if v is not None]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        lines.append({"name": name, "points": points, "dash": DASHES[number % len(DASHES)], "number": number, "dots": at})
    return {
        **panel.facts,
        "lines": lines,
        "width": width,
        "height": height,
        "zero": height * high / span,
        "low": short(low),
        "high": short(high),
        "last": longest - 1,
        "caption": panel.caption,
    }


_CARDS = {"finding": _finding, "text": _text, "picture": _picture, "table": _table, "curve": _curve}


def _provenance(panel: Panel) -> list[tuple[str, str]]:
    facts = {key: value for key, value in panel.facts.items() if key != "section"}
    return [
        (key, ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, dict) else value_words(value))
        for key, value in facts.items()
        if value not in ("", None, [], {})
    ]
