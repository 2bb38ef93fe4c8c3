"""View: panels and arrays, all that a renderer sees; packs to a JSON header and aligned little-endian buffers.

The packed form, in order::

    8 bytes   magic b"VITSVIEW"
    uint32    format version (1)
    uint32    length of the header in bytes
    header    UTF-8 JSON: title, panels, meta, arrays [{name, dtype, shape, offset, nbytes}]; padded with spaces
    buffers   each starts at a multiple of 64 bytes, counted from the first buffer, C order

The first buffer starts at a multiple of 64 too, so a browser can lay typed arrays over the bytes without copying. A view without panels
is a *block*: what the interactive view asks for and is given (docs/concepts/transport.md).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import InputError

MAGIC = b"VITSVIEW"
VERSION = 1
ALIGNMENT = 64
PRELUDE = len(MAGIC) + 8
DTYPES = {"|u1": "u1", "<u2": "u2", "<i4": "i4", "<f2": "f2", "<f4": "f4", "<f8": "f8"}


@dataclass(frozen=True)
class Panel:
    """One thing to draw: which arrays, what their axes and values mean, on which colours.

    Attributes:
        name: unique in the view ("photo", "map-0").
        kind: what a renderer must know how to draw: "photo", "input", "answer", "map", "provenance".
        arrays: names of the arrays it draws.
        axes: what each axis of the first array is ("row", "column").
        unit: what a value is.
        limits: raw values at the two ends of the colour bar, or None where there are no colours.
        colours: name of the colour table ("" where there are none).
        caption: one plain sentence.
        facts: everything else, plain JSON values.
    """

    name: str
    kind: str
    arrays: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    unit: str = ""
    limits: tuple[float, float] | None = None
    colours: str = ""
    caption: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """Panels and the arrays they draw.

    Shapes:
        arrays: name -> array of uint8, uint16, int32, float16, float32 or float64, any shape.
    """

    title: str
    panels: tuple[Panel, ...]
    arrays: dict[str, NDArray[np.generic]]
    meta: dict[str, Any] = field(default_factory=dict)

    def of_kind(self, kind: str) -> tuple[Panel, ...]:
        """The panels of one kind, in order."""
        return tuple(panel for panel in self.panels if panel.kind == kind)

    def only(self, kinds: Iterable[str]) -> View:
        """The same view with panels of these kinds and the arrays they name."""
        wanted = set(kinds)
        panels = tuple(panel for panel in self.panels if panel.kind in wanted)
        names = {name for panel in panels for name in panel.arrays}
        return View(self.title, panels, {k: v for k, v in self.arrays.items() if k in names}, self.meta)


def block(arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> View:
    """Arrays with plain facts about them, and nothing to draw by itself."""
    return View("", (), dict(arrays), dict(meta))


def pack(view: View) -> bytes:
    """A view as bytes; the same view always gives the same bytes.

    Raises:
        InputError: an array of a type the format does not carry, or a fact that is not plain JSON.
    """
    entries: list[dict[str, object]] = []
    buffers: list[bytes] = []
    offset = 0
    for name, array in view.arrays.items():
        data, code = _little_endian(name, array)
        entries.append({"name": name, "dtype": code, "shape": list(array.shape), "offset": offset, "nbytes": len(data)})
        padding = -len(data) % ALIGNMENT
        buffers.append(data + bytes(padding))
        offset += len(data) + padding
    head = {"title": view.title, "panels": [_panel_dict(panel) for panel in view.panels], "meta": view.meta, "arrays": entries}
    header = _header_bytes(head)
    return MAGIC + struct.pack("<II", VERSION, len(header)) + header + b"".join(buffers)


def unpack(data: bytes) -> View:
    """The view that :func:`pack` wrote.

    Raises:
        InputError: not a packed view, another version, or cut short.
    """
    if len(data) < PRELUDE or data[: len(MAGIC)] != MAGIC:
        raise InputError(f"{len(data)} bytes starting {data[:8]!r}", expected=f"a packed view starting {MAGIC!r}", where="view")
    version, length = struct.unpack_from("<II", data, len(MAGIC))
    if version != VERSION:
        raise InputError(f"a packed view of version {version}", expected=f"version {VERSION}", where="view")
    start = PRELUDE + length
    if len(data) < start:
        raise InputError(f"{len(data)} bytes", expected=f"a header up to byte {start}", where="view", todo="the file is cut short")
    head = json.loads(data[PRELUDE:start].decode("utf-8"))
    arrays = {entry["name"]: _read_array(data, start, entry) for entry in head["arrays"]}
    return View(head["title"], tuple(_panel(p) for p in head["panels"]), arrays, head["meta"])


def _little_endian(name: str, array: NDArray[np.generic]) -> tuple[bytes, str]:
    ordered = np.ascontiguousarray(array)
    little = ordered.astype(ordered.dtype.newbyteorder("<"), copy=False)
    code = little.dtype.str
    if code not in DTYPES:
        raise InputError(f"array {name!r} of type {array.dtype}", expected=", ".join(DTYPES.values()), where="view")
    return little.tobytes(), DTYPES[code]


def _header_bytes(head: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a fact that is not plain JSON ({error})", expected="text, finite numbers, lists and dicts", where="view"
        ) from error
    raw = text.encode("utf-8")
    return raw + b" " * (-(PRELUDE + len(raw)) % ALIGNMENT)


def _panel_dict(panel: Panel) -> dict[str, object]:
    return {
        "name": panel.name,
        "kind": panel.kind,
        "arrays": list(panel.arrays),
        "axes": list(panel.axes),
        "unit": panel.unit,
        "limits": list(panel.limits) if panel.limits else None,
        "colours": panel.colours,
        "caption": panel.caption,
        "facts": panel.facts,
    }


def _panel(entry: Mapping[str, Any]) -> Panel:
    plain = dict(entry)
    for key in ("arrays", "axes"):
        plain[key] = tuple(plain[key])
    plain["limits"] = tuple(plain["limits"]) if plain["limits"] else None
    return Panel(**plain)


def _read_array(data: bytes, start: int, entry: Mapping[str, Any]) -> NDArray[np.generic]:
    begin = start + int(entry["offset"])
    end = begin + int(entry["nbytes"])
    if end > len(data):
        raise InputError(
            f"{len(data)} bytes", expected=f"array {entry['name']!r} up to byte {end}", where="view", todo="the file is cut short"
        )
    if entry["dtype"] not in DTYPES.values():
        raise InputError(f"array {entry['name']!r} of type {entry['dtype']!r}", expected=", ".join(DTYPES.values()), where="view")
    flat = np.frombuffer(data[begin:end], dtype="<" + str(entry["dtype"]))
    return flat.reshape(entry["shape"])
