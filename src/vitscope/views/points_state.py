"""The part of the view's state that says what the scatter shows, checked strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

#: Corners of a lasso, at most.
MOST_CORNERS = 20_000
ZOOMS = (1e-3, 1e6)


def wrong(v: Any) -> str:
    """What was expected of ``State.points``; "" where it is so. Keys that are left out are the default.

    ``cloud``, ``map``: numbers in the catalogue · ``colour``: name of a column, "" none · ``camera``: ``x``, ``y`` (0..1 of the map),
    ``zoom``, ``turn`` (a quaternion) · ``lasso``: corners ``[x, y]`` 0..1, or null ·
    ``lasso_at``: ``map`` and ``turn`` it was drawn at, or null: those of this state · ``focus``: a row or null · ``size``: of a point ·
    ``hidden``: codes of categories that are switched off.
    """
    if v is None:
        return ""
    if not isinstance(v, Mapping):
        return "null or an object"
    return _first(v, _CHECKS)


def beyond(v: Mapping[str, Any] | None, maps: int, columns: Collection[str], count: int) -> str:
    """What of ``State.points`` one cloud of so many maps and points, with these columns, cannot show; "" where it is all there."""
    said = dict(v or {})
    on = max(int(said.get("map") or 0), int((said.get("lasso_at") or {}).get("map", 0)))
    if said.get("cloud"):
        return f"cloud {said['cloud']} of 1"
    if on >= maps:
        return f"map {on}; expected 0 to {maps - 1}"
    if said.get("colour") and said["colour"] not in columns:
        return f"colour {said['colour']!r}; expected {', '.join(columns)}"
    if said.get("focus") is not None and said["focus"] >= count:
        return f"focus {said['focus']}; expected 0 to {count - 1}"
    return ""


def _first(v: Mapping[str, Any], checks: Mapping[str, Callable[[Any], str]]) -> str:
    unknown = [str(key) for key in v if key not in checks]
    if unknown:
        return f"only {', '.join(checks)}, not {unknown[0]}"
    return next((f"{key}: {said}" for key, value in v.items() if (said := checks[key](value))), "")


def _count(v: Any) -> str:
    return "" if isinstance(v, int) and not isinstance(v, bool) and v >= 0 else "a whole number from 0 on"


def _number(v: Any) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)


def _finite(v: Any) -> str:
    return "" if _number(v) else "a number"


def _between(low: float, high: float) -> Callable[[Any], str]:
    return lambda v: "" if _number(v) and low <= v <= high else f"a number from {low:g} to {high:g}"


def _colour(v: Any) -> str:
    return "" if isinstance(v, str) and (v.strip() or not v) else 'the name of a column, or ""'


def _focus(v: Any) -> str:
    return "" if v is None else _count(v)


def _turn(v: Any) -> str:
    whole = isinstance(v, (list, tuple)) and len(v) == 4 and all(_number(one) for one in v)
    return "" if whole and abs(sum(one * one for one in v) - 1) < 0.01 else "four numbers, a quaternion of length 1"


def _lasso(v: Any) -> str:
    if v is None:
        return ""
    corners = isinstance(v, (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 2 and all(map(_number, p)) for p in v)
    return "" if corners and 3 <= len(v) <= MOST_CORNERS else f"null, or 3 to {MOST_CORNERS:,} corners [x, y]"


def _lasso_at(v: Any) -> str:
    if v is None:
        return ""
    if not isinstance(v, Mapping) or {"map", "turn"} - set(v):
        return "null, or an object with map and turn"
    return _first(v, {"map": _count, "turn": _turn})


def _hidden(v: Any) -> str:
    whole = isinstance(v, (list, tuple)) and not any(_count(one) for one in v)
    return "" if whole and len(set(v)) == len(v) and all(one <= 65_535 for one in v) else "codes of categories, each once"


def _camera(v: Any) -> str:
    checks = {"x": _finite, "y": _finite, "zoom": _between(*ZOOMS), "turn": _turn}
    return _first(v, checks) if isinstance(v, Mapping) else "an object with x, y, zoom, turn"


_CHECKS: dict[str, Callable[[Any], str]] = {
    "cloud": _count,
    "map": _count,
    "colour": _colour,
    "camera": _camera,
    "lasso": _lasso,
    "lasso_at": _lasso_at,
    "focus": _focus,
    "size": _between(0.1, 50),
    "hidden": _hidden,
}
