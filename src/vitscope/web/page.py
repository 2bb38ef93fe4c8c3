"""From a View to what the report's templates print: words, numbers and pictures, nothing left to compute in the template."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.views.colour import LEVELS, Limits, limits_of, table
from vitscope.views.confidence import trust_words
from vitscope.views.frame import Frame, fitted
from vitscope.views.marks import AT_LEAST, drawn
from vitscope.views.paint import paint_grid, paint_on_photo, palette
from vitscope.views.plain import percent, short
from vitscope.views.view import Panel, View, pack
from vitscope.views.words import KIND_WORDS, fact_rows, map_words, method_title, value_words
from vitscope.web.encode import input_picture, palette_png, photo_jpeg

OVERLAY_LONGEST = 720
PIXELATED_BELOW = 160
LETTER = 0.028
"""Height of the words at a box, in longer sides of the photo."""
STRETCH_BYTES = 400_000


def photo_section(view: View, number: int) -> dict[str, Any]:
    """Everything the template prints for one photo; ``number`` keeps its element ids apart from the others'."""
    frame = Frame.from_facts(view.meta["frame"])
    photo, fed, answer = (view.of_kind(kind)[0] for kind in ("photo", "input", "answer"))
    height, width = photo.facts["size"]
    maps = [map_card(view, panel, frame, i) for i, panel in enumerate(view.of_kind("map"))]
    return {
        "id": f"photo-{number}",
        "name": view.title,
        "height": height,
        "width": width,
        "hatch": max(width, height) / 80,
        "pixelated": max(width, height) < PIXELATED_BELOW,
        "wide": width > 4 * height,
        "shares": (min(max(width / height, 0.4), 2.4), min(max(fed.facts["size"][1] / fed.facts["size"][0], 0.4), 2.4)),
        "photo": {"caption": photo.caption, "facts": photo.facts, "picture": photo_jpeg(np.asarray(view.arrays["photo"], np.uint8))},
        "shrunk": "" if photo.facts["shown"] == photo.facts["size"] else _shrunk(photo),
        "notes": photo.facts["notes"],
        "marks": _marks(frame, view.meta["boxes"], [panel.facts["mark"] for panel in view.of_kind("map")]),
        "marks_words": _marks_words(view),
        "seen": frame.placement.seen,
        "covered": frame.covered,
        "seen_all": frame.placement.seen_share > 1 - 1e-9,
        "input": _input(view, fed, frame),
        "top": [{"label": label, "share": p, "text": percent(p)} for label, p in answer.facts["top"]],
        "maps": maps,
        "layers": layer_rows(view, maps),
        "by": _by(view),
        "provenance": _provenance(view.of_kind("provenance")) + _calls(view),
        "packed": base64.b64encode(pack(_for_script(view))).decode("ascii"),
    }


def _marks(frame: Frame, boxes: list[dict[str, Any]], marks: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Boxes, pixel or region as paths in pixels of the photo, with their words; what a map is about comes last."""
    size = frame.placement.photo_size
    letter = max(size) * LETTER
    out = []
    for one in drawn(size, boxes, marks):
        path = "".join(f"M{x0:.2f} {y0:.2f}L{x1:.2f} {y1:.2f}" for x0, y0, x1, y1 in one.lines)
        x = min(one.at[0] + letter / 3, max(size[1] - letter * 0.55 * len(one.words), 0.0))
        y = min(one.at[1] + letter * 1.1, size[0] - letter / 3)
        out.append({"path": path, "words": one.words, "x": x, "y": y, "letter": letter, "chosen": one.chosen})
    return out


def _marks_words(view: View) -> str:
    """What the switch of the marks says."""
    if not view.meta["boxes"]:
        return "Show where the score is read"
    likely = sum(one["probability"] >= AT_LEAST for one in view.meta["boxes"])
    return f"Boxes from {percent(AT_LEAST)} on ({likely}); thick: what the maps are about"


def _shrunk(photo: Panel) -> str:
    height, width = photo.facts["shown"]
    return f"Shown here at {width} × {height} px; the model was given the full photo, and the maps are drawn from raw values."


def _for_script(view: View) -> View:
    """Only what the page's script reads: the geometry, the patch values, and each layer painted on its own scale."""
    keep = ("uniform", "signed", "method")
    padded = _padded(view)
    stretched = can_stretch(view)
    panels, arrays = [], {}
    for panel in view.of_kind("map"):
        arrays[f"{panel.name}/grid"] = view.arrays[f"{panel.name}/grid"]
        if stretched and f"{panel.name}/layers" in view.arrays:
            arrays[f"{panel.name}/steps"] = _own_scales(view, panel, padded)
            arrays[f"palette/{panel.facts['layers_colours']}"] = palette(panel.facts["layers_colours"])
        facts = {key: panel.facts[key] for key in keep} | {"layers_colours": panel.facts.get("layers_colours", "")}
        panels.append(Panel(panel.name, "map", (f"{panel.name}/grid",), panel.axes, panel.unit, panel.limits, panel.colours, facts=facts))
    return View(view.title, tuple(panels), arrays, view.meta)


def can_stretch(view: View) -> bool:
    """Whether the report also carries each layer on its own scale: not where that would take up much of its size."""
    return sum(array.size for name, array in view.arrays.items() if name.endswith("/layers")) <= STRETCH_BYTES


def _own_scales(view: View, panel: Panel, padded: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Palette indices ``[L, gh, gw]`` of a map's layers, each on a scale of its own; drawn only where a reader asks for it."""
    signed = panel.facts["layers_limits"][0] < 0
    rows = np.asarray(view.arrays[f"{panel.name}/layers"], np.float64)
    return np.stack([paint_grid(row, limits_of([row[~padded]], signed=signed), padded=padded) for row in rows])


def _padded(view: View) -> NDArray[np.bool_]:
    """Bool ``[gh, gw]``: patches that are all padding."""
    padded = np.zeros(view.meta["frame"]["grid"], dtype=bool)
    for y, x in view.meta["padded"]:
        padded[y, x] = True
    return padded


def _input(view: View, panel: Panel, frame: Frame) -> dict[str, Any]:
    h, w = panel.facts["size"]
    y0, x0, y1, x1 = frame.placement.content
    padded = y0 > 1e-6 or x0 > 1e-6 or y1 < h - 1e-6 or x1 < w - 1e-6
    return {
        "height": h,
        "width": w,
        "hatch": max(w, h) / 60,
        "caption": panel.caption,
        "facts": panel.facts,
        "tokens": _token_words(panel),
        "range": _range_words(panel),
        "picture": input_picture(np.asarray(view.arrays["input"], np.uint8)),
        "pixelated": max(w, h) <= 512,
        "lines": _grid_lines(frame),
        "content": (max(y0, 0.0), max(x0, 0.0), min(y1, h), min(x1, w)),
        "padded": padded,
    }


def _token_words(panel: Panel) -> str:
    prefix: dict[str, int] = panel.facts["prefix"]
    patches = int(panel.facts["tokens"]) - sum(prefix.values())
    parts = [f"{patches} patches", *(f"{n} {KIND_WORDS.get(kind, kind)}" for kind, n in prefix.items())]
    return f"{panel.facts['tokens']} tokens: " + " + ".join(parts)


def _range_words(panel: Panel) -> str:
    low, high = panel.facts["low"], panel.facts["high"]
    if not isinstance(low, list) or not isinstance(high, list) or not low:
        return ""
    pairs = zip(low, high, strict=True)
    return ", ".join(f"{name} {short(a)} … {short(b)}" for name, (a, b) in zip(("red", "green", "blue"), pairs, strict=False))


def _grid_lines(frame: Frame) -> str:
    """The patch borders as an SVG path, in input pixels."""
    t = frame.layout
    (gh, gw), (oy, ox), (sy, sx), (ph, pw) = t.grid, t.origin, t.stride, t.patch
    bottom, right = oy + (gh - 1) * sy + ph, ox + (gw - 1) * sx + pw
    rows = [f"M{ox:g} {y:g}H{right:g}" for y in [*(oy + i * sy for i in range(gh)), bottom]]
    columns = [f"M{x:g} {oy:g}V{bottom:g}" for x in [*(ox + i * sx for i in range(gw)), right]]
    return "".join(rows + columns)


def map_card(view: View, panel: Panel, frame: Frame, number: int) -> dict[str, Any]:
    """One map: its two overlays, its scale, its facts, its words."""
    grid = np.asarray(view.arrays[f"{panel.name}/grid"], np.float64)
    low, high = panel.limits or (0.0, 1.0)
    shown = frame.resized(fitted(frame.placement.photo_size, OVERLAY_LONGEST, enlarge=True))
    index = {smooth: paint_on_photo(grid, shown, Limits(low, high), smooth=smooth) for smooth in (True, False)}
    return {
        "number": number,
        "name": panel.name,
        "title": method_title(panel),
        "method": panel.facts["method"],
        "of": map_words(panel),
        "marks": _marks(frame, view.meta["boxes"], [panel.facts["mark"]]),
        "facts": fact_rows(panel),
        "smooth": palette_png(index[True], panel.colours),
        "patches": palette_png(index[False], panel.colours),
        "bar": colour_bar(Limits(low, high), panel.unit),
        "peak": _peak_words(panel, grid.size),
        "peak_value": panel.facts["peak"],
        "hidden": hidden_rows(panel.facts["hidden"]),
        "hidden_total": percent(sum(panel.facts["hidden"].values())),
        "hides": sum(panel.facts["hidden"].values()) > 0,
        "words": panel.facts["words"],
        "trust": trust_words(panel.facts["trust"]),
        "notes": panel.facts["notes"],
        "shared": panel.facts.get("maps_on_scale", 1),
        "layer": panel.facts["layer"],
    }


def colour_bar(limits: Limits, unit: str) -> dict[str, Any]:
    """Gradient and ticks of one raw scale."""
    colours = table(limits.colours)[np.linspace(0, LEVELS - 1, 26).round().astype(int)]
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in colours)
    ticks = [limits.low, 0.0, limits.high] if limits.signed else [0.0, limits.high / 2, limits.high]
    return {"gradient": stops, "ticks": [short(t) for t in ticks], "unit": unit, "low": limits.low, "high": limits.high}


def _peak_words(panel: Panel, count: int) -> str:
    peak = panel.facts["peak"]
    if not isinstance(peak, dict):
        return "undefined on every patch"
    return f"highest of {count}: row {peak['row']}, column {peak['column']}, {short(peak['value'], 6)}"


def hidden_rows(shares: dict[str, float]) -> list[dict[str, Any]]:
    """What the picture does not show, by kind, and the rest that it does."""
    rows = [{"kind": k, "words": KIND_WORDS.get(k, k), "share": v, "text": percent(v)} for k, v in shares.items()]
    on_picture = max(1.0 - sum(shares.values()), 0.0)
    return [{"kind": "patch", "words": "patches in the picture", "share": on_picture, "text": percent(on_picture)}, *rows]


def layer_rows(view: View, maps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """A row for each layer, a column for each map that develops; None where none does."""
    padded = _padded(view)
    columns = [p for p in view.of_kind("map") if f"{p.name}/layers" in view.arrays]
    if not columns:
        return None
    cells = {panel.name: _layer_cells(view, panel, padded) for panel in columns}
    depth = max(len(entry) for entry in cells.values())
    heads = [_layer_head(panel, next(card for card in maps if card["name"] == panel.name)) for panel in columns]
    rows = [{"layer": i, "cells": [cells[p.name][i] if i < len(cells[p.name]) else None for p in columns]} for i in range(depth)]
    aspect = padded.shape[1] / padded.shape[0]
    return {"heads": heads, "rows": rows, "aspect": aspect, "can_stretch": can_stretch(view)}


def _layer_limits(panel: Panel) -> Limits:
    low, high = panel.facts["layers_limits"]
    return Limits(low, high)


def _layer_head(panel: Panel, card: dict[str, Any]) -> dict[str, Any]:
    words: dict[str, str] = panel.facts["words"]
    return {
        "title": card["title"],
        "of": card["of"],
        "bar": colour_bar(_layer_limits(panel), panel.unit),
        "words": words.get("develops", ""),
    }


def _layer_cells(view: View, panel: Panel, padded: NDArray[np.bool_]) -> list[dict[str, Any]]:
    limits = _layer_limits(panel)
    hidden: list[float] = panel.facts["layer_hidden"]
    cells = []
    for i, grid in enumerate(np.asarray(view.arrays[f"{panel.name}/layers"], np.float64)):
        finite = grid[np.isfinite(grid)]
        largest = float(finite[np.abs(finite).argmax()]) if finite.size else float("nan")
        picture = palette_png(paint_grid(grid, limits, padded=padded), limits.colours)
        cells.append(
            {
                "at": f"{panel.name}:{i}",
                "picture": picture,
                "largest": short(largest),
                "hidden": percent(hidden[i]),
                "own": panel.facts["layer"] == i,
            }
        )
    return cells


def _provenance(panels: tuple[Panel, ...]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for panel in panels:
        made = panel.facts.get("made by")
        for key, value in made.items() if isinstance(made, dict) else ():
            text = ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, dict) else value_words(value)
            rows.append((key, text))
        rows += [(key, value_words(value)) for key, value in panel.facts.items() if key != "made by"]
    return [(key, value) for key, value in rows if value]


def _by(view: View) -> str:
    """Which model answered, in one line."""
    made = [panel.facts.get("made by") or {} for panel in view.of_kind("provenance")]
    return " · ".join(f"{entry.get('model')}, weights {entry.get('weights')}" for entry in made if entry.get("model"))


def _calls(view: View) -> list[tuple[str, str]]:
    """Which attention call each map was read at, where it was one."""
    called = [(method_title(panel), panel.facts["parameters"].get("call")) for panel in view.of_kind("map")]
    return [(f"{title} read at", str(call)) for title, call in called if call]
