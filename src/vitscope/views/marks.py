"""What is explained, drawn on the photo: a detector's boxes, a pixel, a region; in plain numbers that travel inside a View."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitscope.core.maps import TokenMap
from vitscope.core.readings import BoxXY, Detected, Mark, Places
from vitscope.views.plain import percent

AT_LEAST = 0.5
"""Probability from which a box is drawn that nobody chose."""

MOST = 100
"""Boxes drawn at most."""

ARM, GAP = 0.04, 0.008
"""Of the cross at a pixel, in longer sides of the photo: how far it reaches, and how near it comes."""

Facts = dict[str, Any]


def box_facts(boxes: Sequence[Detected]) -> list[Facts]:
    """Boxes as plain numbers, likeliest first: number, label, probability, ``(x0, y0, x1, y1)`` in pixels of the photo."""
    return [{**asdict(one), "box": list(one.box)} for one in boxes]


def mark_of(one: TokenMap) -> Facts | None:
    """Where on the photo what a map explains is read, or whose attention it shows; None where it is of the whole photo."""
    number = one.meta.get("box")
    if isinstance(number, int):
        return {"kind": "box", "number": number}
    reading = one.aim.at[0] if one.aim is not None and one.aim.placed else None
    return mark_facts(reading.mark) if isinstance(reading, Places) and reading.mark is not None else None


def mark_facts(mark: Mark) -> Facts:
    """A mark as plain numbers: of a box its number (the boxes say where it is), else its corners, and a mask's border."""
    if mark.kind == "box":
        return {"kind": "box", "number": mark.number}
    return {"kind": mark.kind, "box": list(mark.box), "outline": [list(line) for line in mark.outline]}


def chosen_in(marks: Sequence[Mapping[str, Any] | None]) -> set[int]:
    """Numbers of the boxes that some map is about."""
    return {int(mark["number"]) for mark in marks if mark is not None and mark["kind"] == "box"}


def kept(boxes: Sequence[Facts], chosen: set[int], at_least: float = AT_LEAST) -> list[Facts]:
    """The boxes a view keeps: the likely ones, and those that were chosen; the likeliest where nobody chose one."""
    wanted = {one["number"] for one in boxes[:MOST] if one["probability"] >= at_least}
    wanted |= chosen or {one["number"] for one in boxes[:1]}
    return [one for one in boxes if one["number"] in wanted]


@dataclass(frozen=True)
class Drawn:
    """Lines on the photo, and what is written at them.

    Attributes:
        lines: ``(x0, y0, x1, y1)`` in pixels of the photo.
        words: label and score; "" where nothing is written.
        at: ``(x, y)`` of the upper left corner of the words' place, inside the photo.
        chosen: whether this is what a map is about.
    """

    lines: tuple[BoxXY, ...]
    words: str
    at: tuple[float, float]
    chosen: bool

    def scaled(self, y: float, x: float) -> Drawn:
        """The same on a photo shown so many times as high and as wide."""
        lines = tuple((x0 * x, y0 * y, x1 * x, y1 * y) for x0, y0, x1, y1 in self.lines)
        return Drawn(lines, self.words, (self.at[0] * x, self.at[1] * y), self.chosen)


def drawn(size: tuple[int, int], boxes: Sequence[Facts], marks: Sequence[Mapping[str, Any] | None]) -> list[Drawn]:
    """What is drawn on a photo ``(H, W)``: thin boxes first, then what the maps with these marks are about."""
    chosen = chosen_in(marks)
    ordered = sorted(boxes, key=lambda one: (one["number"] in chosen, one["probability"]))
    found = [Drawn(_around(one["box"]), box_words(one), _corner(one["box"], size), one["number"] in chosen) for one in ordered]
    places = {str(mark): mark for mark in marks if mark is not None and mark["kind"] != "box"}
    return found + [Drawn(_lines(mark, size), "", _corner(mark["box"], size), chosen=True) for mark in places.values()]


def _lines(mark: Mapping[str, Any], size: tuple[int, int]) -> tuple[BoxXY, ...]:
    if mark["kind"] == "pixel":
        return _cross(mark["box"], max(size))
    return tuple((*line,) for line in mark["outline"]) or _around(mark["box"])


def _around(box: Sequence[float]) -> tuple[BoxXY, ...]:
    x0, y0, x1, y1 = box
    return (x0, y0, x1, y0), (x1, y0, x1, y1), (x1, y1, x0, y1), (x0, y1, x0, y0)


def _cross(box: Sequence[float], side: int) -> tuple[BoxXY, ...]:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    near, far = GAP * side, ARM * side
    return (x - far, y, x - near, y), (x + near, y, x + far, y), (x, y - far, x, y - near), (x, y + near, x, y + far)


def _corner(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    """The upper left corner of what of a box lies in the photo."""
    return min(max(box[0], 0.0), float(size[1])), min(max(box[1], 0.0), float(size[0]))


def box_words(one: Mapping[str, Any]) -> str:
    """A box's label and score: "cat 93.2 %"."""
    return f"{one['label']} {percent(one['probability'])}"
