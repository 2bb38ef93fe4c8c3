"""One photo's entry in the catalogue: what the interactive view can be told of a trace before anything is asked."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from vitscope.errors import VitscopeError

if TYPE_CHECKING:
    from vitscope.methods import Method
    from vitscope.trace import Trace

#: Methods that show a rough map first and refine it.
PROGRESSIVE = ("rollout",)

#: Settings that change how long a map takes, never what it is.
INTERNAL = ("batch", "progress")


def entry(trace: Trace) -> dict[str, Any]:
    """Everything of ``Source`` but its picture, of a trace of one picture."""
    from vitscope.views.explore import source_facts

    facts = source_facts(trace.samples[0], trace.placements[0], trace.layout, trace.provenance)
    why = _no_rows(trace)
    sinks, notes = ([], [f"No rows of attention here: {why}"]) if why else _sinks(trace)
    starts = trace.layout.readouts
    if len(starts) > 1:
        notes = [*notes, f"The head reads {' and '.join(r.name for r in starts)}; pooled is the first of them here."]
    return {
        **facts,
        "layers": [] if why else [_layer(trace, number) for number in range(len(trace.blocks))],
        "top": [[label, share] for label, share in trace.top(5)] if trace.answers else [],
        "labels": list(trace.labels),
        "methods": methods(trace, why),
        "sinks": sinks,
        "notes": [*facts["notes"], *notes],
    }


def _layer(trace: Trace, number: int) -> dict[str, Any]:
    """One layer; of a hierarchical model with its own grid, and how many tokens one query sees there."""
    call = trace.blocks[number]
    facts = {"path": call.path, "heads": call.heads, "kind": call.kind}
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
        rows.append(
            {
                "name": method.name,
                "title": method.title,
                "available": not why,
                "why": why,
                "class_specific": method.class_specific,
                "signed": method.signed,
                "options": [name for name in method.options if name not in INTERNAL],
                "shows": method.shows,
                "does_not_show": method.does_not_show,
                "source": method.source,
                "progressive": method.name in PROGRESSIVE,
            }
        )
    return rows


def _why_not(trace: Trace, method: Method, no_rows: str) -> str:
    if method.class_specific and not trace.answers:
        return "this model has no class scores"
    if method.reads_attention and no_rows:
        return no_rows
    if method.name == "integrated-gradients" and find_spec("captum") is None:
        return "captum is not installed: pip install 'vitscope[captum]'"
    return ""


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
