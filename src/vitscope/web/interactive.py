"""The interactive view inside one file: its built script and style, what it is told, and what it may show, all inlined."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from vitscope.errors import OutputError
from vitscope.views.carried_cloud import CarriedCloud
from vitscope.views.explore import Carried, file_catalogue
from vitscope.views.state import State
from vitscope.views.view import pack
from vitscope.web.built import built, built_file

LOOKS = "Every head of every layer shows where it looks from {}. {}"
WEIGHTS = "The numbers are the model’s own attention weights, not evidence for its answer."
NO_PATCHES = "Rows of single patches are not in this file (too large, or over windows); vitscope serve shows them."
NOT_BUILT = "The interactive part of this report was not built with this copy of vitscope; the pictures below need no script."


def interactive_part(carried: Sequence[Carried], state: State | None = None, clouds: Sequence[CarriedCloud] = ()) -> dict[str, Any] | None:
    """What the report's template prints for the view; None where there is nothing to carry or nothing built.

    Args:
        carried: what is carried of each photo, in the order of the report; the photos themselves are taken from the report's elements.
        state: what the view shows first.
        clouds: of points; their blocks come after those of the photos.
    """
    if not (carried or clouds) or not built():
        return None
    pictures = [f"#photo-{number}-base" for number in range(1, len(carried) + 1)]
    return {
        **_heading(carried),
        "css": _safe("view.css", "</style"),
        "js": _safe("view.js", "</script"),
        "catalogue": for_script(with_clouds(file_catalogue(carried, pictures), clouds, len(carried))),
        "state": for_script((state or State()).as_dict()),
        "blocks": [deflated(pack(view)) for view in (*(one.block() for one in carried), *(one.block() for one in clouds))],
    }


def _heading(carried: Sequence[Carried]) -> dict[str, str]:
    """What stands above the view: what one can point at there."""
    boxes = [one.source.get("boxes") for one in carried]
    if any(found and not found["why"] for found in boxes):
        return {"heading": "Choose a box, or point at a patch", "hint": LOOKS.format("a box or a patch", WEIGHTS)}
    stored = [one.source.get("stored", {}) for one in carried if one.source.get("layers")]
    if stored and not any(one.get("rows") or one.get("means") for one in stored):
        return {"heading": "Point at the photo", "hint": f"{LOOKS.format('what the head reads', WEIGHTS)} {NO_PATCHES}"}
    if stored or not carried:
        return {"heading": "Point at a patch", "hint": LOOKS.format("there", WEIGHTS)}
    return {
        "heading": "Point at the photo",
        "hint": "The maps above, value by value. This model has no rows of attention to look along.",
    }


def with_clouds(catalogue: dict[str, Any], clouds: Sequence[CarriedCloud], first: int) -> dict[str, Any]:
    """A catalogue with clouds of points that are carried, whose blocks are counted from ``first``."""
    return {**catalogue, "clouds": [{**one.facts, "block": first + i} for i, one in enumerate(clouds)]} if clouds else catalogue


def for_script(facts: object) -> str:
    """JSON that may stand inside a script element: no ``<`` is left in it."""
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def deflated(data: bytes) -> str:
    """Base64 of raw DEFLATE, as ``DecompressionStream("deflate-raw")`` reads it."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(squeeze.compress(data) + squeeze.flush()).decode("ascii")


def _safe(name: str, ending: str) -> str:
    """A built file's text, which must not end the element it is put in.

    Raises:
        OutputError: it would.
    """
    text = built_file(name)
    if ending in text.lower():
        raise OutputError(f"{ending}> inside it", expected="a front end built for inlining", where=name, todo="build it again")
    return text
