"""One photo, what the model was fed, what it answered, and any number of maps: the View behind a report or a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.placement import UNCOVERED, Placement
from vitscope.core.provenance import Provenance
from vitscope.core.readings import Detected
from vitscope.core.sample import Sample
from vitscope.views.frame import Frame, fitted
from vitscope.views.marks import box_facts, chosen_in, kept, mark_of
from vitscope.views.plain import TIED, percent, plain
from vitscope.views.scale import share_scales
from vitscope.views.view import Panel, View

PHOTO_LONGEST = 1280
"""Longer side, in pixels, of the photo kept in a view; maps are raw values and do not depend on it."""
INPUT_LONGEST = 768


@dataclass(frozen=True)
class Fed:
    """What the model was fed for one photo.

    Shapes:
        pixels: float32 ``[h, w, 3]``: the input tensor, un-normalised to 0..1 for display.

    Attributes:
        low, high: smallest and largest value per channel of the tensor as fed (normalised).
    """

    pixels: NDArray[np.floating]
    placement: Placement
    layout: TokenLayout
    provenance: Provenance
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def build_photo_view(
    sample: Sample,
    fed: Fed,
    top: Sequence[tuple[str, float]],
    maps: Sequence[TokenMap],
    *,
    develop: Mapping[int, NDArray[np.floating]] | None = None,
    explain: Mapping[str, Mapping[str, str]] | None = None,
    boxes: Sequence[Detected] = (),
) -> View:
    """One photo and its maps as a View.

    Args:
        sample: the photo as displayed.
        fed: what the model was fed for it, and with what placement, layout and provenance.
        top: (label, probability), best first; empty for a model without classes.
        maps: maps of this photo, one picture each.
        develop: number of a map -> values ``[L, n]``, the same reading after each block.
        explain: method -> plain words: "title", "shows", "does_not_show", "source", and "develops" for the layer rows.
        boxes: a detector's, likeliest first; those that are likely, or that a map is about, are drawn.
    """
    photo = displayed(sample)
    shown = (photo.shape[0], photo.shape[1])
    frame = Frame.of(fed.placement, fed.layout)
    arrays: dict[str, NDArray[np.generic]] = {
        "photo": photo,
        "input": _resized(_to_uint8(fed.pixels), fitted(_to_uint8(fed.pixels).shape[:2], INPUT_LONGEST)),
    }
    panels = [_photo_panel(sample, fed, shown), _input_panel(fed), _answer_panel(top)]
    for i, one in enumerate(maps):
        panel, values = map_panel(i, one, (explain or {}).get(one.method, {}), (develop or {}).get(i))
        panels.append(panel)
        arrays.update(values)
    provenance = plain(fed.provenance.as_dict())
    panels.append(Panel("provenance", "provenance", facts={"made by": provenance, "sha256 of the photo": sample.digest}))
    name = file_name(sample)
    marks = [panel.facts["mark"] for panel in panels if panel.kind == "map"]
    meta: dict[str, Any] = {
        "name": name,
        "frame": frame.as_facts(),
        "padded": _padded_cells(frame),
        "boxes": kept(box_facts(boxes), chosen_in(marks)),
    }
    return share_scales([View(name, tuple(panels), arrays, meta)])[0]


def displayed(sample: Sample) -> NDArray[np.uint8]:
    """The photo as a view shows it, uint8 ``[H, W, 3]``, its longer side at most :data:`PHOTO_LONGEST`."""
    return _resized(sample.photo, fitted(sample.size, PHOTO_LONGEST))


def file_name(sample: Sample) -> str:
    """What to call a photo: the name of its file, or its id."""
    return sample.path.replace("\\", "/").rsplit("/", 1)[-1] if sample.path else sample.id


def _to_uint8(pixels: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255), dtype=np.uint8)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS))


def _padded_cells(frame: Frame) -> list[list[int]]:
    """(row, column) of the patches that are all padding."""
    return [[int(y), int(x)] for y, x in np.argwhere(frame.padded())]


def _photo_panel(sample: Sample, fed: Fed, shown: tuple[int, int]) -> Panel:
    height, width = sample.size
    seen = fed.placement.seen_share
    uncovered = "".join(f" ({step.detail})" for step in fed.placement.steps if step.name == UNCOVERED)
    part = f"the model saw {percent(seen)} of it; the rest, dimmed, was left out{uncovered}"
    left_out = "the model saw all of it" if seen > 1 - 1e-9 else part
    facts = {
        "size": [height, width],
        "shown": list(shown),
        "seen_share": seen,
        "exif": sample.exif,
        "steps": [[step.name, step.detail] for step in fed.placement.steps],
        "notes": list(sample.notes),
        "label": sample.label,
    }
    return Panel("photo", "photo", ("photo",), ("row", "column", "channel"), caption=f"{_by(width, height)} px; {left_out}.", facts=facts)


def _input_panel(fed: Fed) -> Panel:
    t = fed.layout
    prefix = {kind.name.lower(): len(t.where(kind)) for kind in Kind if kind != Kind.PATCH and len(t.where(kind))}
    facts = {
        "size": list(fed.pixels.shape[:2]),
        "prefix": prefix,
        "tokens": t.n,
        "low": plain(list(fed.low)),
        "high": plain(list(fed.high)),
        "preprocessing": fed.provenance.preprocessing,
        "layout_source": t.source,
        "readout": [readout.name for readout in t.readouts],
    }
    h, w = fed.pixels.shape[:2]
    rows = f"{t.grid[0]} rows of {t.grid[1]} patches"
    caption = f"{_by(w, h)} px, cut into {rows}, {_by(t.patch[1], t.patch[0])} px each{_spacing(t)}."
    return Panel("input", "input", ("input",), ("row", "column", "channel"), caption=caption, facts=facts)


def _by(width: int, height: int) -> str:
    return f"{width}{TIED}×{TIED}{height}"


def _spacing(layout: TokenLayout) -> str:
    """Said only where patches overlap or leave gaps."""
    return "" if layout.stride == layout.patch else f", one every {_by(layout.stride[1], layout.stride[0])} px"


def _answer_panel(top: Sequence[tuple[str, float]]) -> Panel:
    rows = [[str(label), float(probability)] for label, probability in top]
    return Panel("answer", "answer", unit="probability", limits=(0.0, 1.0), facts={"top": rows})


def map_panel(
    number: int, one: TokenMap, words: Mapping[str, str], layers: NDArray[np.floating] | None
) -> tuple[Panel, dict[str, NDArray[np.generic]]]:
    """One map as a panel and its arrays: the patch grid, and the same reading after each block ``[L, gh, gw]`` where given."""
    name = f"map-{number}"
    grid = one.grid
    arrays: dict[str, NDArray[np.generic]] = {f"{name}/grid": grid}
    facts: dict[str, Any] = {
        "method": one.method,
        "layer": one.layer,
        "head": one.head,
        "query": one.query,
        "target": one.target[0] if one.target else "",
        "signed": one.signed,
        "parameters": plain(one.parameters),
        "hidden": plain(one.hidden_mass()),
        "uniform": mean_token(one),
        "mark": mark_of(one),
        "notes": list(one.notes),
        "trust": plain(one.meta.get("trust") or {}),
        "words": {key: str(value) for key, value in words.items()},
        "peak": _peak(grid),
    }
    if layers is not None and len(layers):
        arrays[f"{name}/layers"] = np.asarray(one.layout.to_grid(np.asarray(layers)), dtype=np.float32)
        facts["layer_hidden"] = [_hidden_share(row, one.layout) for row in np.asarray(layers)]
    panel = Panel(name, "map", tuple(arrays), ("row", "column"), unit=one.unit, facts=facts)
    return panel, arrays


def mean_token(one: TokenMap) -> float | None:
    """What every token would have if the same total were spread evenly; None where that means nothing (signed, undefined, zero)."""
    tokens = one.tokens.astype(np.float64)
    mean = float(tokens.mean()) if np.isfinite(tokens).all() else 0.0
    return mean if mean > 0 and not one.signed and not (tokens < 0).any() else None


def _peak(grid: NDArray[np.floating]) -> dict[str, object] | None:
    """The patch with the largest value."""
    if not np.isfinite(grid).any():
        return None
    row, column = np.unravel_index(int(np.nanargmax(np.where(np.isfinite(grid), grid, np.nan))), grid.shape)
    return {"row": int(row), "column": int(column), "value": float(grid[row, column])}


def _hidden_share(row: NDArray[np.floating], layout: TokenLayout) -> float:
    """Share of the absolute values that lies on tokens that are not patches."""
    size = np.abs(np.nan_to_num(np.asarray(row, dtype=np.float64)))
    return float(size[layout.prefix].sum() / size.sum()) if size.sum() > 0 else 0.0
