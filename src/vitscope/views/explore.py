"""What the interactive view is told of a photo (its catalogue entry), and what a file carries of it so that no Python is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample
from vitscope.views.coding import PRECISION as CODED
from vitscope.views.frame import Frame
from vitscope.views.marks import mark_of
from vitscope.views.photo import file_name
from vitscope.views.plain import plain
from vitscope.views.view import View, block

FORMAT = 1
FILE_WHY = "this is a file: only what it carries can be shown; vitscope serve computes the rest"

FLOAT16 = "float16: within 0.05 % of each value (below 0.00006: within 0.00000003)"
"""How exact rows from a live host are."""

ROWS, MEANS, POOLED, MAPS = "rows", "means", "pooled", "maps"
"""How much of a photo a file carries: every row; head means and the rows of named queries; the latter alone; nothing but maps."""

CARRY_BYTES = 16_000_000
"""What the rows of all photos of a file may take, before compression."""


@dataclass(frozen=True)
class Carried:
    """What a file carries of one photo.

    Attributes:
        source: its catalogue entry, ``stored`` and all but the number of the block.
        arrays: the block.
    """

    source: Mapping[str, Any]
    arrays: Mapping[str, NDArray[np.generic]]

    def block(self) -> View:
        """The arrays as one block."""
        return block(self.arrays, {"photo": self.source["photo"]})


@dataclass(frozen=True)
class Stored:
    """The parts a file carries: which, and how exact; see :func:`stored_facts`."""

    level: str
    named: tuple[str, ...] = ()
    maps: tuple[TokenMap, ...] = ()


def source_facts(sample: Sample, placement: Placement, layout: TokenLayout, made: Provenance) -> dict[str, Any]:
    """The part of a catalogue entry that photo and layout decide."""
    frame = Frame.of(placement, layout)
    readout = layout.readouts[0].name if layout.readouts else None
    return {
        "photo": file_name(sample),
        "model": made.model,
        "weights": made.weights,
        "frame": frame.as_facts(),
        "padded": [[int(y), int(x)] for y, x in np.argwhere(frame.padded())],
        "tokens": {"n": layout.n, "patches": [int(i) for i in layout.patches], "named": named_tokens(layout)},
        "pooled": {"name": readout} if readout else None,
        "size_note": size_note(layout),
        "notes": list(sample.notes),
    }


def named_tokens(layout: TokenLayout) -> list[dict[str, Any]]:
    """The tokens that are not patches; those with an id can be asked from ("cls", "register 0")."""
    rows = []
    for token in layout.prefix:
        kind = Kind(int(layout.kinds[token]))
        number = int(np.flatnonzero(layout.where(kind) == token)[0])
        several = len(layout.where(kind)) > 1
        name = {Kind.CLS: "CLS", Kind.DISTILL: "distillation token"}.get(kind, kind.name.lower())
        identity = f"register {number}" if kind == Kind.REGISTER else kind.name.lower() + (f" {number}" if several else "")
        numbered = f"{name} {number}" if several or kind == Kind.REGISTER else name
        rows.append({"id": identity, "name": numbered, "kind": kind.name.lower(), "token": int(token)})
    return rows


def size_note(layout: TokenLayout) -> str:
    """One line for people: "30 × 30 patches, 901 tokens"."""
    gh, gw = layout.grid
    extra = layout.n - gh * gw
    rest = f" ({extra} of them not patches)" if extra else ""
    return f"{gh} rows of {gw} patches, {layout.n} tokens{rest}"


def stored_facts(stored: Stored) -> dict[str, Any]:
    """``Source.stored`` but for the number of its block."""
    return {
        "rows": stored.level == ROWS,
        "means": stored.level in (ROWS, MEANS),
        "named": list(stored.named),
        "maps": [_map_facts(i, one) for i, one in enumerate(stored.maps)],
        "precision": precision(stored),
    }


def precision(stored: Stored) -> str:
    """How exact the numbers of a file are and what is not in it, for people."""
    boxes = sum(name.startswith("box ") for name in stored.named)
    asked = f"of the pooled query, of named tokens and of {boxes} boxes" if boxes else "of the pooled query and of named tokens"
    exact = f"rows {asked}, and the maps: exact (float32)"
    means = f"head means of every row: {CODED.split('; the')[0]}"
    text = {
        ROWS: f"every row of every head: {CODED}; head means of every row in the same code; {exact}",
        MEANS: f"{means}; {exact}; not carried, too large for a file: patches' rows of single heads",
        POOLED: f"{exact}; not carried (too large for a file, or over windows): rows of patches",
        MAPS: "the maps: exact (float32); rows of attention: none" if not stored.named else exact,
    }
    return text[stored.level]


def _map_facts(number: int, one: TokenMap) -> dict[str, Any]:
    return {
        "name": one.method + (f" for {one.target[0]}" if one.target and one.target[0] else ""),
        "method": one.method,
        "layer": one.layer,
        "head": one.head,
        "query": one.query,
        "target": one.target[0] if one.target else "",
        "mark": mark_of(one),
        "unit": one.unit,
        "signed": one.signed,
        "notes": list(one.notes),
        "hidden": plain(one.hidden_mass()),
        "parameters": plain(one.parameters),
        "array": f"maps/{number}",
    }


def file_catalogue(carried: Sequence[Carried], pictures: Sequence[str]) -> dict[str, Any]:
    """The catalogue of a file: all its photos, nothing that must be computed.

    Args:
        carried: what the file carries of each photo.
        pictures: each photo's ``data:`` URI, or ``#id`` of the element that has it.
    """
    sources = []
    for number, (one, picture) in enumerate(zip(carried, pictures, strict=True)):
        stored = {"block": number, **one.source["stored"]}
        sources.append({**one.source, "picture": picture, "stored": stored})
    said = sorted({str(source["stored"]["precision"]) for source in sources})
    return {
        "format": FORMAT,
        "sources": sources,
        "models": [],
        "capabilities": {"live": False, "upload": False, "why": FILE_WHY, "precision": " / ".join(said)},
    }


def level_for(sizes: Sequence[tuple[int, int, int]], limit: int = CARRY_BYTES) -> str:
    """How much of every photo a file can carry within a limit.

    Args:
        sizes: (L, M, n) of each photo: layers, heads of all layers together, tokens.
        limit: bytes for all photos together, before compression.
    """
    rows = sum(m * n * (n + 4 + 12) + layers * n * (n + 4) for layers, m, n in sizes)
    means = sum(layers * n * (n + 4) for layers, _, n in sizes)
    return ROWS if rows <= limit else MEANS if means <= limit else POOLED
