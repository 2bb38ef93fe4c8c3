"""What a request may say, read strictly: numbers come as numbers or as text, and what nobody understands is an error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from vitscope.errors import ArgumentError

#: Characters of a text in a request.
LONGEST = 500

Read = Callable[[str, Any], Any]


def whole(name: str, value: Any) -> int:
    """A whole number, as number or text."""
    text = str(value).strip()
    if isinstance(value, (bool, float)) or not text.removeprefix("-").isdecimal():
        raise ArgumentError(f"{name} {value!r}", expected="a whole number", where="request")
    return int(text)


def real(name: str, value: Any) -> float:
    """A finite number, as number or text."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise ArgumentError(f"{name} {value!r}", expected="a number", where="request")
    return number


def text(name: str, value: Any) -> str:
    """A short text; numbers become text."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and name == "query":
        return f"{value[0]},{value[1]}"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ArgumentError(f"{name} {str(value)[:80]!r}", expected="a short text", where="request")
    if len(str(value)) > LONGEST:
        raise ArgumentError(f"{name} of {len(str(value))} characters", expected=f"at most {LONGEST}", where="request")
    return str(value).strip()


def numbers(name: str, value: Any) -> tuple[int, ...]:
    """Whole numbers from 0 on: a list, or "1,5,9"; each once, in the order given."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    found = tuple(whole(name, part) for part in parts if str(part).strip())
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise ArgumentError(f"{name} {str(value)[:80]!r}", expected="whole numbers from 0 on, each once, as 1,5,9", where="request")
    return found


#: How each argument of any request is read.
KNOWN: dict[str, Read] = {
    "source": whole,
    "query": text,
    "method": text,
    "layer": whole,
    "head": text,
    "fuse": text,
    "residual": real,
    "discard": real,
    "target": text,
    "against": text,
    "start": whole,
    "size": whole,
    "stride": whole,
    "steps": whole,
    "baseline": real,
    "k": whole,
    "above": real,
    "name": text,
    "model": text,
}

#: Those of requests about clouds of points alone.
OF_CLOUDS: dict[str, Read] = {"cloud": whole, "map": whole, "row": whole, "rows": numbers}


def read(args: Mapping[str, Any], allowed: Collection[str], op: str) -> dict[str, Any]:
    """The arguments that say something: null and empty ones are left out.

    Raises:
        ArgumentError: an argument this operation does not have, or a value that cannot be read.
    """
    unknown = sorted(set(map(str, args)) - set(allowed))
    if unknown:
        raise ArgumentError(f"argument {', '.join(unknown)}", expected=f"among {', '.join(allowed)}", where=op, todo="leave it out")
    readers = {**KNOWN, **OF_CLOUDS}
    return {name: readers[name](name, value) for name, value in args.items() if value is not None and value != ""}
