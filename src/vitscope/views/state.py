"""State: what the interactive view shows, one small JSON: in the page's address, in the report, in Python, on the command line."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from vitscope.errors import ArgumentError
from vitscope.views.normalise import NORMS, RANGES
from vitscope.views.points_state import wrong as points_wrong

VERSION = 1
PALETTES = ("magma", "viridis", "grey")
FUSES = ("mean", "max", "min")
THEMES = ("auto", "light", "dark")
NAMED = ("pooled", "cls", "distill")
COMPARED = ("source", "layer", "head", "target")
MOST_LINKS = 5000


@dataclass(frozen=True)
class State:
    """What the view shows.

    Attributes:
        source: number of the photo in the catalogue.
        query: "pooled", "cls", "distill", "register 0", "row,column", or of a detector "box 3".
        fixed: whether the query stays when the pointer moves.
        layer: block number; None the last.
        head: "mean", "max", "min", or a number as text.
        target, against: labels, or places and boxes as text ("pixel:120,340", "box:3"); None the top prediction, and nothing to set it
            against.
        norm, range: what is done to values before they are coloured, and which maps share a scale.
        overlay: opacity of the map over the photo, 0..1.
        links: None, ``{"by": "top", "k": 200}`` or ``{"by": "above", "above": 0.05}``.
        boxes: probability from which a detector's boxes are drawn; None draws none, and no mark of a target either.
        points: None, or what the scatter shows; see :func:`vitscope.views.points_state.wrong`.
        compare: None, or the one thing that differs in B: ``{"source": 1}``, ``{"layer": 3}``, ``{"head": "2"}``, ``{"target": "dog"}``.
    """

    source: int = 0
    query: str = "pooled"
    fixed: bool = False
    layer: int | None = None
    head: str = "mean"
    method: str = "attention"
    target: str | None = None
    against: str | None = None
    fuse: str = "mean"
    residual: float = 0.5
    discard: float = 0.0
    norm: str = "raw"
    range: str = "layer"
    palette: str = "magma"
    overlay: float = 0.7
    smooth: bool = True
    links: Mapping[str, Any] | None = None
    compare: Mapping[str, Any] | None = None
    theme: str = "auto"
    points: Mapping[str, Any] | None = None
    boxes: float | None = 0.5

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            expected = check(getattr(self, name))
            if expected:
                raise ArgumentError(f"{name} {json.dumps(getattr(self, name), default=str):.200}", expected=expected, where="state")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: the version and what differs from the default."""
        default = State()
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)}
        return {"v": VERSION, **{name: dict(value) if isinstance(value, Mapping) else value for name, value in changed.items()}}

    def as_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, separators=(",", ":"))

    def as_address(self) -> str:
        """The same as it stands behind ``#s=`` in an address: base64url without padding."""
        return base64.urlsafe_b64encode(self.as_json().encode()).decode("ascii").rstrip("=")

    def other(self) -> State | None:
        """What B shows where two are compared: the same but for one thing."""
        return None if self.compare is None else replace(self, compare=None, **self.compare)


def from_dict(facts: Mapping[str, Any]) -> State:
    """The state that plain JSON says; what is left out is the default.

    Raises:
        ArgumentError: another version, an unknown key, or a value that cannot be; names it.
    """
    if not isinstance(facts, Mapping):
        raise ArgumentError(f"a state of type {type(facts).__name__}", expected="a JSON object", where="state")
    version = facts.get("v", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise ArgumentError(f"version {version!r}", expected=f"{VERSION}", where="state")
    known = [f.name for f in fields(State)]
    unknown = sorted(str(key) for key in facts if key != "v" and key not in known)
    if unknown:
        raise ArgumentError(f"unknown key {', '.join(map(repr, unknown))}", expected=f"among {', '.join(known)}", where="state")
    return State(**{str(key): value for key, value in facts.items() if key != "v"})


def from_json(text: str) -> State:
    """The state that a JSON text says.

    Raises:
        ArgumentError: not JSON, or see :func:`from_dict`.
    """
    try:
        facts = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"not JSON ({error.msg} at character {error.pos})", expected='as {"query": "3,4"}', where="state") from error
    return from_dict(facts)


def from_address(text: str) -> State:
    """The state behind ``#s=`` of an address; a whole address does too.

    Raises:
        ArgumentError: not base64url, or see :func:`from_dict`.
    """
    code = text.rsplit("#s=", 1)[-1]
    try:
        raw = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise ArgumentError("not base64url", expected="what stands behind #s= in the address", where="state") from error
    return from_json(raw)


Check = Callable[[Any], str]


def _one_of(choices: tuple[str, ...]) -> Check:
    return lambda v: "" if v in choices else ", ".join(choices)


def _truth(v: Any) -> str:
    return "" if isinstance(v, bool) else "true or false"


def _count(v: Any) -> str:
    return "" if isinstance(v, int) and not isinstance(v, bool) and v >= 0 else "a whole number from 0 on"


def _layer(v: Any) -> str:
    return "" if v is None or not _count(v) else "a whole number from 0 on, or null for the last"


def _share(v: Any) -> str:
    return "" if isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 else "a number from 0 to 1"


def _discard(v: Any) -> str:
    return "" if not _share(v) and v < 1 else "a number from 0 up to, not including, 1"


def _text(v: Any) -> str:
    return "" if isinstance(v, str) and v.strip() else "a text"


def _label(v: Any) -> str:
    return "" if v is None or not _text(v) else "a label or null"


def _head(v: Any) -> str:
    return "" if isinstance(v, str) and (v in FUSES or (v.isascii() and v.isdecimal())) else '"mean", "max", "min" or a number as text'


def _query(v: Any) -> str:
    words = v.replace(",", " ").split() if isinstance(v, str) else []
    numbers = words[1:] if words[:1] in (["register"], ["box"]) else words
    placed = len(words) == 2 and all(w.isascii() and w.isdecimal() for w in numbers)
    return "" if v in NAMED or placed else '"pooled", "cls", "distill", "register 0", "box 3" or "row,column"'


def _links(v: Any) -> str:
    if v is None:
        return ""
    if isinstance(v, Mapping) and set(v) == {"by", "k"} and v["by"] == "top" and not _count(v["k"]) and 1 <= v["k"] <= MOST_LINKS:
        return ""
    if isinstance(v, Mapping) and set(v) == {"by", "above"} and v["by"] == "above" and not _share(v["above"]):
        return ""
    return f'null, {{"by": "top", "k": 1 to {MOST_LINKS}}} or {{"by": "above", "above": 0 to 1}}'


def _compare(v: Any) -> str:
    if v is None:
        return ""
    if isinstance(v, Mapping) and len(v) == 1 and next(iter(v)) in COMPARED:
        name, value = next(iter(v.items()))
        wrong = _CHECKS[name](value) or ("a value" if value is None else "")
        return f"{name}: {wrong}" if wrong else ""
    return f"null or one of {', '.join(COMPARED)} with the value B has"


_CHECKS: dict[str, Check] = {
    "source": _count,
    "query": _query,
    "fixed": _truth,
    "layer": _layer,
    "head": _head,
    "method": _text,
    "target": _label,
    "against": _label,
    "fuse": _one_of(FUSES),
    "residual": _share,
    "discard": _discard,
    "norm": _one_of(NORMS),
    "range": _one_of(RANGES),
    "palette": _one_of(PALETTES),
    "overlay": _share,
    "smooth": _truth,
    "links": _links,
    "compare": _compare,
    "theme": _one_of(THEMES),
    "points": points_wrong,
    "boxes": lambda v: "" if v is None else _share(v),
}
