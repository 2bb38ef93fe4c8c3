"""From a state to a scene: the same requests the interactive view makes, answered once and put together."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.errors import ArgumentError
from vitscope.views.colour import Limits, limits_of
from vitscope.views.frame import Frame
from vitscope.views.marks import Drawn, chosen_in, drawn, kept
from vitscope.views.normalise import NORM_WORDS, RANGE_WORDS, limits_for, normalise
from vitscope.views.plain import percent, short
from vitscope.views.scene import Large, Lines, Scene, Small
from vitscope.views.state import State
from vitscope.views.view import View, unpack
from vitscope.views.words import KIND_WORDS
from vitscope.web.compute import Compute


@dataclass(frozen=True)
class _Side:
    """One of the two that may be compared: what it is, and its map's patch values as coloured."""

    state: State
    source: Mapping[str, Any]
    values: NDArray[np.float64]
    facts: Mapping[str, Any]

    @property
    def grid(self) -> NDArray[np.float64]:
        """``[gh, gw]``."""
        return self.values.reshape(self.source["frame"]["grid"])


def scene_of(compute: Compute, state: State) -> Scene:
    """What a state shows, of the photos that ``compute`` has.

    Raises:
        ArgumentError: no such photo, layer, head, query or label.
        MethodError: undefined for this model.
    """
    sources = compute.catalogue()["sources"]
    a = _side(compute, sources, state)
    other = state.other()
    b = None if other is None else _side(compute, sources, other)
    small, beside = _small(compute, a, b)
    larges = _larges(a, b, beside)
    notes = []
    if b is not None:
        difference = _difference(a, b)
        larges += (difference,) if isinstance(difference, Large) else ()
        notes += [difference] if isinstance(difference, str) else []
    lines, said = _lines(compute, a)
    name, top = a.source["photo"], a.source["top"]
    title = name + (f"  ·  {top[0][0]}, {percent(top[0][1])}" if top else "")
    return Scene(title, larges, small, lines, state.palette, state.overlay, state.smooth, (*notes, *said))


def _side(compute: Compute, sources: list[Mapping[str, Any]], state: State) -> _Side:
    if state.source >= len(sources):
        raise ArgumentError(f"source {state.source}", expected=f"0 to {len(sources) - 1}", where="state")
    source = sources[state.source]
    block = _last(compute, "map", _request(source, state))
    return _Side(state, source, _patches(source, block.arrays["values"], state.norm), block.meta)


def _request(source: Mapping[str, Any], state: State) -> dict[str, Any]:
    """What the state's method takes of it."""
    method = next((m for m in source["methods"] if m["name"] == state.method), None)
    if method is None or not method["available"]:
        why = method["why"] if method else f"expected {', '.join(m['name'] for m in source['methods'])}"
        raise ArgumentError(f"method {state.method!r}", where="state", todo=why)
    taken = [name for name in (*method["options"], "against") if hasattr(state, name)]
    if not method["class_specific"]:
        taken = [name for name in taken if name not in ("target", "against")]
    return {"source": state.source, "method": state.method, **{name: getattr(state, name) for name in taken}}


def _last(compute: Compute, op: str, args: Mapping[str, Any]) -> View:
    """The last, the exact, part of an answer."""
    part = b""
    for part in compute.answer(op, args):  # noqa: B007 - the earlier ones are rougher
        pass
    return unpack(part)


def _patches(source: Mapping[str, Any], tokens: NDArray[np.generic], norm: str) -> NDArray[np.float64]:
    """Token values ``[..., n]`` to patch values ``[..., P]``, normalised."""
    return normalise(np.asarray(tokens, dtype=np.float64)[..., source["tokens"]["patches"]], norm)


def _padded(source: Mapping[str, Any]) -> NDArray[np.bool_]:
    padded = np.zeros(source["frame"]["grid"], dtype=bool)
    for y, x in source["padded"]:
        padded[y, x] = True
    return padded


def _small(compute: Compute, a: _Side, b: _Side | None) -> tuple[Small | None, list[Limits]]:
    """Every head of every layer, and the scale of each map on the photo where it belongs to the same ones."""
    source, state = a.source, a.state
    asked = layers_asked(source, state.query)
    if not asked:
        return None, []
    block = _last(compute, "rows", {"source": state.source, "query": state.query})
    values = _patches(source, block.arrays["rows"], state.norm)
    layers = tuple(i for i, layer in enumerate(asked) for _ in range(layer["heads"]))
    padded = _padded(source)
    rows, groups = values, list(layers)
    beside = [s for s in (a, b) if s is not None and s.state.method == "attention" and s.values.shape[-1] == values.shape[-1]]
    for side in beside:
        rows = np.concatenate([rows, side.values[None]])
        groups.append(_layer(side))
    limits = limits_for(rows, groups, state.range, signed=False, visible=~padded.ravel())
    words = (
        f"Every head of every layer, seen from {_from(state, source)}: layers down, heads across.",
        f"{_capital(NORM_WORDS[state.norm])}; {RANGE_WORDS[state.range]}. {_ends(limits[: len(layers)])}",
        *block.meta["notes"],
    )
    grids = values.reshape(-1, *source["frame"]["grid"])
    return Small(grids, layers, tuple(limits[: len(layers)]), padded, words), limits[len(layers) :]


def _layer(side: _Side) -> int:
    return len(layers_asked(side.source, side.state.query)) - 1 if side.state.layer is None else side.state.layer


def layers_asked(source: Mapping[str, Any], query: str) -> list[Mapping[str, Any]]:
    """The layers that a query's rows are of: of a detector's boxes, where they look from a decoder, that decoder's."""
    boxes: Mapping[str, Any] = source["boxes"] or {}
    own: list[Mapping[str, Any]] = boxes.get("layers", [])
    patches: list[Mapping[str, Any]] = source["layers"]
    return own if own and (query.startswith("box") or (query == "pooled" and source["pooled"] is None)) else patches


def _ends(limits: list[Limits]) -> str:
    highest = {limit.high for limit in limits}
    if len(highest) == 1:
        return f"Colours from 0 to {short(limits[0].high)}."
    return f"Colours from 0 to between {short(min(highest))} and {short(max(highest))}."


def _from(state: State, source: Mapping[str, Any]) -> str:
    if state.query == "pooled":
        return f"pooled ({source['pooled']['name']})" if source["pooled"] else "pooled"
    return f"patch ({state.query})" if "," in state.query else state.query


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _larges(a: _Side, b: _Side | None, beside: list[Limits]) -> tuple[Large, ...]:
    """A, and B where two are compared, on one scale unless every map has its own."""
    sides = [side for side in (a, b) if side is not None]
    signed = a.state.norm == "raw" and any(side.facts["signed"] for side in sides)
    visible = [side.values[~_padded(side.source).ravel()] for side in sides]
    if len(beside) == len(sides):
        limits = beside
    elif a.state.range == "map":
        limits = [limits_of([v], signed=signed) for v in visible]
    else:
        limits = [limits_of(list(visible), signed=signed)] * len(sides)
    names = ("",) if b is None else ("A: ", "B: ")
    return tuple(_large(side, limit, name) for side, limit, name in zip(sides, limits, names, strict=True))


def _large(side: _Side, limits: Limits, name: str) -> Large:
    facts, state, source = side.facts, side.state, side.source
    said = [facts["title"]]
    said += [f"layer {facts['layer']}"] if facts["layer"] is not None else []
    said += [f"head {facts['head']}"] if facts["head"] else []
    said += [f"from {_from(state, source)}"] if facts["query"] else []
    said += [f"for {facts['target']}"] if facts["target"] else []
    said += [f"rather than {facts['against']}"] if facts["against"] else []
    hidden = ", ".join(f"{KIND_WORDS.get(kind, kind)} {percent(share)}" for kind, share in facts["hidden"].items())
    unit = facts["unit"] if state.norm == "raw" else f"{NORM_WORDS[state.norm]}, of {facts['unit']}"
    words = (
        f"{source['model']} on {source['photo']}.",
        _scale_words(state, alone=not name),
        f"Not in the picture: {hidden}." if hidden else "All of the map is in the picture.",
        *facts["notes"],
    )
    place = state.query.split(",") if "," in state.query and facts["query"] else ()
    marked = (int(place[0]), int(place[1])) if place else None
    picture = _picture(source)
    marks = _marks(source, state, facts["mark"], (picture.shape[0], picture.shape[1]))
    return Large(name + ", ".join(said), side.grid, picture, _frame(source, picture), unit, limits, words, marked, marks)


def _marks(source: Mapping[str, Any], state: State, mark: Mapping[str, Any] | None, shown: tuple[int, int]) -> tuple[Drawn, ...]:
    """The likely boxes, and what the map is about, in pixels of the photo as shown; none where the state draws none."""
    if state.boxes is None:
        return ()
    size = source["frame"]["photo_size"]
    found = kept((source["boxes"] or {}).get("found", []), chosen_in([mark]), state.boxes)
    return tuple(one.scaled(shown[0] / size[0], shown[1] / size[1]) for one in drawn((size[0], size[1]), found, [mark]))


def _scale_words(state: State, *, alone: bool) -> str:
    """Which maps have the colours of this one."""
    if state.method == "attention":
        return f"{_capital(RANGE_WORDS[state.range])}."
    return "A colour scale of its own." if alone or state.range == "map" else "A and B have one colour scale."


def _picture(source: Mapping[str, Any]) -> NDArray[np.uint8]:
    data = base64.b64decode(source["picture"].partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.uint8)


def _frame(source: Mapping[str, Any], picture: NDArray[np.uint8]) -> Frame:
    return Frame.from_facts(source["frame"]).resized((picture.shape[0], picture.shape[1]))


def _difference(a: _Side, b: _Side) -> Large | str:
    """A − B patch by patch, or why there is none."""
    one, other = a.source["frame"]["grid"], b.source["frame"]["grid"]
    if one != other:
        return f"No difference map: the grids differ ({one[0]} × {one[1]} and {other[0]} × {other[1]} patches)."
    if a.facts["unit"] != b.facts["unit"] and a.state.method != "attention":
        return f"No difference map: the units differ ({a.facts['unit']}; {b.facts['unit']})."
    grid = a.grid - b.grid
    limits = limits_of([grid[~_padded(a.source)]], signed=True)
    shown = _large(a, limits, "")
    return replace(shown, title="A − B", grid=grid, unit=f"difference of {shown.unit}", words=("Positive where A is larger.",))


def _lines(compute: Compute, a: _Side) -> tuple[Lines | None, tuple[str, ...]]:
    """The strongest links of the layer and head, and the sentence that says what they leave out."""
    state, source = a.state, a.source
    if state.links is None or layers_asked(source, state.query) != source["layers"] or not source["layers"]:
        return None, ()
    wanted = {key: value for key, value in state.links.items() if key != "by"}
    head = state.head if state.head.isdecimal() else "mean"
    block = _last(compute, "links", {"source": state.source, "layer": _layer(a), "head": head, **wanted})
    cells = np.full((source["tokens"]["n"], 2), -1, dtype=np.intp)
    patches = np.asarray(source["tokens"]["patches"])
    cells[patches] = np.stack(np.divmod(np.arange(len(patches)), source["frame"]["grid"][1]), axis=1)
    start, end = (cells[np.asarray(block.arrays[name], dtype=np.intp)] for name in ("queries", "keys"))
    drawn = (start[:, 0] >= 0) & (end[:, 0] >= 0)
    weights = np.asarray(block.arrays["weights"], dtype=np.float32)
    rest = f", {int((~drawn).sum())} of them from or to tokens that are not patches" if not drawn.all() else ""
    left_out = percent(block.meta["left_out"])
    said = f"Links of layer {_layer(a)}, head {head}: {len(weights)}{rest}; {left_out} of the attention is in none of them."
    return Lines(start[drawn], end[drawn], weights[drawn]), (said,)
