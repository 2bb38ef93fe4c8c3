"""One photo's entry in the catalogue: what the interactive view can be told of a trace before anything is asked."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from vitscope.errors import MethodError, VitscopeError
from vitscope.methods.boxes import cell_calls

if TYPE_CHECKING:
    from vitscope.methods import Method
    from vitscope.trace import AttentionCall, Trace

#: Methods that show a rough map first and refine it.
PROGRESSIVE = ("rollout",)

#: Settings that change how long a map takes, never what it is.
INTERNAL = ("batch", "progress")


def entry(trace: Trace) -> dict[str, Any]:
    """Everything of ``Source`` but its picture, of a trace of one picture."""
    from vitscope.views.explore import source_facts

    facts = source_facts(trace.samples[0], trace.placements[0], trace.layout, trace.provenance)
    why = _no_rows(trace)
    cells = cell_calls(trace)
    layers = [_call(call) for call in cells] if why else [_layer(trace, number) for number in range(len(trace.blocks))]
    sinks, notes = _sinks(trace) if layers else ([], [])
    starts = trace.layout.readouts
    if len(starts) > 1:
        notes = [*notes, f"The head reads {' and '.join(r.name for r in starts)}; pooled is the first of them here."]
    boxes = boxes_entry(trace)
    return {
        **facts,
        "tokens": _tokens(facts["tokens"], boxes),
        "layers": layers,
        "boxes": boxes,
        "no_rows": why,
        "target_forms": _forms(trace),
        "top": [[label, share] for label, share in trace.top(5)] if trace.answers else [],
        "labels": list(trace.labels),
        "methods": methods(trace, why),
        "sinks": sinks,
        "notes": [*facts["notes"], *notes],
    }


def boxes_entry(trace: Trace) -> dict[str, Any] | None:
    """A detector's boxes, likeliest first, and the layers in which they look where those are not the patches' own; None without boxes."""
    from vitscope.aiming import found_boxes
    from vitscope.methods.boxes import box_calls
    from vitscope.views.marks import box_facts

    if trace.made.boxes is None:
        return None
    found, why = box_facts(found_boxes(trace.scene)), ""
    try:
        calls = box_calls(trace)
    except MethodError as error:
        calls, why = (), str(error)
    own = not why and calls != trace.blocks
    return {"found": found, "why": why, **({"layers": [_call(call) for call in calls]} if own else {})}


def _forms(trace: Trace) -> list[str]:
    """How targets that are no label of the whole photo are written."""
    if trace.made.boxes is not None:
        return ["box:NUMBER", "box:X,Y"]
    texts = ["text:WORDS"] if trace.words is not None else []
    return [*texts, *(["pixel:ROW,COLUMN", "region:X0,Y0,X1,Y1"] if trace.made.grid is not None else [])]


def _tokens(facts: dict[str, Any], boxes: dict[str, Any] | None) -> dict[str, Any]:
    """The tokens; those that are boxes are asked for as boxes."""
    if boxes is None or boxes["why"] or "layers" in boxes:
        return facts
    queries = [token for token in facts["named"] if token["kind"] == "query"]
    named = {token["token"]: f"box {number}" for number, token in enumerate(queries)}
    known = [{**token, "id": named[token["token"]], "name": named[token["token"]]} for token in queries]
    return {**facts, "named": [token for token in facts["named"] if token["kind"] != "query"] + known}


def _call(call: AttentionCall) -> dict[str, Any]:
    return {"path": call.path, "heads": call.heads, "kind": call.kind}


def _layer(trace: Trace, number: int) -> dict[str, Any]:
    """One layer; of a hierarchical model with its own grid, and how many tokens one query sees there."""
    facts = _call(trace.blocks[number])
    if trace.stages is None:
        return facts
    from vitscope.methods.windows import widest

    return {**facts, "grid": list(trace.layout_read(number).grid), "seen": widest(trace, number)}


def methods(trace: Trace, no_rows: str) -> list[dict[str, Any]]:
    """Every method: what it shows, and why it is not available where it is not."""
    from vitscope.methods import METHODS

    rows = []
    for method in METHODS.values():
        why = _why_not(trace, method, no_rows)
        named = [name for name in method.options if name not in INTERNAL]
        rows.append(
            {
                "name": method.name,
                "title": method.title,
                "available": not why,
                "why": why,
                "class_specific": method.class_specific,
                "signed": method.signed,
                "options": [name for name in named if name != "layer" or not no_rows or method.reads_attention],
                "shows": method.shows,
                "does_not_show": method.does_not_show,
                "source": method.source,
                "progressive": method.name in PROGRESSIVE,
            }
        )
    return rows


def _why_not(trace: Trace, method: Method, no_rows: str) -> str:
    if method.class_specific and not trace.answers and trace.words is None:
        return "this model has no class scores"
    if method.reads_attention and no_rows and not (method.name == "attention" and _detector_looks(trace)):
        return no_rows
    if method.name == "integrated-gradients" and find_spec("captum") is None:
        return "captum is not installed: pip install 'vitscope[captum]'"
    return ""


def _detector_looks(trace: Trace) -> bool:
    """Whether a detector's boxes or cells have rows of attention on the picture, where the model has no one grid."""
    from vitscope.methods.boxes import box_calls

    try:
        return bool(box_calls(trace))
    except MethodError:
        return bool(cell_calls(trace))


def _no_rows(trace: Trace) -> str:
    """Why this model's attention has no rows over all tokens; "" where it has."""
    from vitscope.methods.fusion import require_map

    try:
        require_map(trace, trace.blocks)
    except VitscopeError as error:
        return str(error)
    return ""


def _sinks(trace: Trace) -> tuple[list[dict[str, Any]], list[str]]:
    """Tokens that receive at least eight even shares of all attention, and a note where not all queries were asked."""
    from vitscope.methods.heads import SINK, received

    if trace.stages is not None:
        return [], ["Sinks are not looked for over windows and stages."]
    shares, asked = received(trace)
    found = [{"token": int(i), "received": float(shares[i])} for i in np.flatnonzero(shares >= SINK)]
    return found, [] if asked == trace.layout.n else [f"Sinks were looked for from {asked} of {trace.layout.n} queries, evenly spread."]
