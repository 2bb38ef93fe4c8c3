"""One raw scale per method, over all its maps and all photos shown together; never a picture's own minimum and maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitscope.views.colour import Limits, limits_of
from vitscope.views.view import Panel, View

Key = tuple[str, str]


def share_scales(views: Sequence[View]) -> list[View]:
    """The same views, every map with the one scale of its method: limits 0..largest value, or −largest..largest where signed.

    Maps of a method that measure in another unit have a scale of their own. The rows by layer share one scale per method too, apart
    from the maps': a reading half-way through a model need not be of the same size as its end.
    """
    maps: dict[Key, list[NDArray[np.floating]]] = {}
    rows: dict[Key, list[NDArray[np.floating]]] = {}
    signed: dict[Key, bool] = {}
    for view in views:
        visible = ~_padding(view)
        for panel in view.of_kind("map"):
            key = _key(panel)
            maps.setdefault(key, []).append(_visible(view.arrays[f"{panel.name}/grid"], visible))
            if f"{panel.name}/layers" in view.arrays:
                rows.setdefault(key, []).append(_visible(view.arrays[f"{panel.name}/layers"], visible))
            signed[key] = signed.get(key, False) or bool(panel.facts["signed"])
    map_limits = {key: limits_of(arrays, signed=signed[key]) for key, arrays in maps.items()}
    row_limits = {key: limits_of(arrays, signed=signed[key]) for key, arrays in rows.items()}
    count = {key: len(arrays) for key, arrays in maps.items()}
    return [replace(view, panels=tuple(_scaled(p, map_limits, row_limits, count) for p in view.panels)) for view in views]


def _key(panel: Panel) -> Key:
    return str(panel.facts["method"]), panel.unit


def _padding(view: View) -> NDArray[np.bool_]:
    """Bool ``[gh, gw]``: patches that are all padding, which no picture shows and no scale should follow."""
    frame = view.meta["frame"]
    padded = np.zeros(frame["grid"], dtype=bool)
    for y, x in view.meta["padded"]:
        padded[y, x] = True
    return padded


def _visible(values: NDArray[np.generic], visible: NDArray[np.bool_]) -> NDArray[np.floating]:
    return np.asarray(values, dtype=np.float64)[..., visible]


def _scaled(panel: Panel, maps: dict[Key, Limits], rows: dict[Key, Limits], count: dict[Key, int]) -> Panel:
    if panel.kind != "map":
        return panel
    key = _key(panel)
    limits, layers = maps[key], rows.get(key)
    facts = {**panel.facts, "maps_on_scale": count[key]}
    if layers is not None:
        facts |= {"layers_limits": [layers.low, layers.high], "layers_colours": layers.colours}
    return replace(panel, limits=(limits.low, limits.high), colours=limits.colours, facts=facts)
