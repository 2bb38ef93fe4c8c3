"""Targets as text: ``feature:12``, ``text:a photo of a cat``, ``pixel:120,340:road``, ``region:10,20,200,180:cat``, ``box:cat``."""

from __future__ import annotations

import math

from vitscope.core.readings import Box, Feature, Noun, Pixel, Region, Text
from vitscope.errors import ArgumentError

#: How each is written; those that need another photo or a file are read by :mod:`vitscope.api.aims`.
FORMS = {
    "feature": "feature:NUMBER",
    "text": "text:WORDS",
    "pixel": "pixel:ROW,COLUMN[:LABEL]",
    "region": "region:X0,Y0,X1,Y1[:LABEL] or region:MASK.png[:LABEL], a file that is there",
    "box": "box:NUMBER, box:LABEL or box:X,Y, and [:LABEL]",
}


def noun_of(text: str) -> Noun | None:
    """What a text names; None where it is of none of these forms (a label, then).

    Raises:
        ArgumentError: one of these forms with something else in it.
    """
    form, colon, rest = text.strip().partition(":")
    if not colon or form not in FORMS or not rest.strip():
        return None
    return Text(rest.strip()) if form == "text" else _counted(text, form, rest)


def _counted(text: str, form: str, rest: str) -> Noun:
    """One of the forms that begin with numbers."""
    first, _, label = rest.partition(":")
    said = label.strip() or None
    numbers = _numbers(first)
    whole = all(number.is_integer() and number >= 0 for number in numbers)
    if form == "feature" and not label and len(numbers) == 1 and whole:
        return Feature(int(numbers[0]))
    if form == "pixel" and len(numbers) == 2 and whole:
        return Pixel(int(numbers[0]), int(numbers[1]), said)
    if form == "region" and len(numbers) == 4:
        return Region((numbers[0], numbers[1], numbers[2], numbers[3]), label=said)
    if form == "region" and first.strip() == "all":
        return Region(label=said)
    if form == "box" and len(numbers) in (0, 1, 2) and (whole or len(numbers) != 1):
        which = (first.strip(), int(numbers[0]) if numbers else 0, tuple(numbers))[len(numbers)]
        return Box(which, said)  # type: ignore[arg-type]  # one of three, by how many numbers there are
    raise ArgumentError(f"target {text!r}", expected=FORMS[form], where="target")


def _numbers(text: str) -> list[float]:
    """The comma-separated finite numbers of a text; [] where it is none."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []
