"""What a file carries for the interactive view: catalogue entries and attention rows of every photo, as much as fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.catalogue import entry
from vitscope.api.drawn import on_patches_of
from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError
from vitscope.views.explore import CARRY_BYTES, MAPS, MEANS, POOLED, ROWS, Carried, Stored, level_for, stored_facts
from vitscope.views.marks import chosen_in, mark_of

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.core.sample import Sample
    from vitscope.trace import Trace

Arrays = dict[str, NDArray[np.generic]]


def carry(explained: Sequence[tuple[Trace, Sequence[TokenMap]]], limit: int = CARRY_BYTES, audits: Sequence[Audit] = ()) -> list[Carried]:
    """What a file carries of these photos: the same kind of rows for all of them, the best that fits.

    Args:
        explained: traces with their maps (each over the whole batch).
        limit: bytes of all photos' rows together, before compression.
        audits: one for each photo, or none.

    Raises:
        ArgumentError: audits of other photos.
    """
    photos = [(trace[i], [one[i] for one in maps]) for trace, maps in explained for i in range(len(trace))]
    entries = [entry(trace) for trace, _ in photos]
    sizes = [(len(e["layers"]), sum(layer["heads"] for layer in e["layers"]), int(e["tokens"]["n"])) for e in entries]
    room = limit // 4 // max(len(photos), 1) if any(e["boxes"] for e in entries) else 0
    level = level_for(sizes, limit - room * len(photos))
    told = _told([trace.samples[0] for trace, _ in photos], audits)
    return [
        _carried(trace, maps, {**facts, "audit": audit}, level, room)
        for (trace, maps), facts, audit in zip(photos, entries, told, strict=True)
    ]


def _told(samples: Sequence[Sample], audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """``Source.audit`` of each photo."""
    from vitscope.api.audit_panel import NOT_CARRIED, panel

    if not audits:
        return [{"how": "none", "why": NOT_CARRIED}] * len(samples)
    if [one.sample.digest for one in audits] != [one.digest for one in samples]:
        raise ArgumentError(f"{len(audits)} audits", expected=f"one of each of these {len(samples)} photos, in their order", where="audits")
    return [{"how": "carried", "why": "", "panel": panel(one)} for one in audits]


def _carried(trace: Trace, maps: Sequence[TokenMap], facts: dict[str, Any], level: str, room: int) -> Carried:
    level = MAPS if not facts["layers"] else level if trace.stages is None else POOLED
    arrays: Arrays = {f"maps/{i}": on_patches_of(trace, one).tokens for i, one in enumerate(maps)}
    names = () if level in (ROWS, MAPS) else _askable(facts)
    names += _boxes(facts, maps, level, room)
    arrays |= _exact_rows(trace, facts if level != MAPS else {"pooled": None}, names)
    if level in (ROWS, MEANS):
        arrays |= _coded(trace, heads=level == ROWS)
    return Carried({**facts, "stored": stored_facts(Stored(level, names, tuple(maps)))}, arrays)


def _boxes(facts: dict[str, Any], maps: Sequence[TokenMap], level: str, room: int) -> tuple[str, ...]:
    """The boxes whose rows are carried beside the others: those of the maps, then the likeliest, as many as have room; at least one."""
    boxes = facts["boxes"]
    if not boxes or boxes["why"] or ("layers" not in boxes and level == ROWS):
        return ()
    heads = sum(layer["heads"] for layer in boxes.get("layers", facts["layers"]))
    chosen = chosen_in([mark_of(one) for one in maps])
    ordered = sorted(boxes["found"], key=lambda one: one["number"] not in chosen)
    count = max(room // (4 * heads * int(facts["tokens"]["n"])), 1)
    return tuple(f"box {one['number']}" for one in ordered[:count])


def _askable(facts: dict[str, Any]) -> tuple[str, ...]:
    """Named tokens that a query can name."""
    return tuple(t["id"] for t in facts["tokens"]["named"] if t["kind"] in ("cls", "distill", "register"))


def _exact_rows(trace: Trace, facts: dict[str, Any], names: Sequence[str]) -> Arrays:
    """``pooled`` and ``named/<i>``, float32 ``[M, n]``."""
    from vitscope.methods.heads import rows_of_heads

    arrays: Arrays = {"pooled": rows_of_heads(trace)[0]} if facts["pooled"] else {}
    return arrays | {f"named/{i}": rows_of_heads(trace, name)[0] for i, name in enumerate(names)}


def _coded(trace: Trace, *, heads: bool) -> Arrays:
    """Head means of every row, and where asked every head's rows, in one byte a value."""
    from vitscope.methods.boxes import asking
    from vitscope.methods.heads import all_rows
    from vitscope.views.coding import TOP, encode

    calls, n = asking(trace), trace.layout.n
    layers, count = len(calls), sum(call.heads for call in calls)
    first = np.cumsum([0, *(call.heads for call in calls)])
    means: Arrays = {"means": np.zeros((layers, n, n), np.uint8), "means_max": np.zeros((layers, n), np.float32)}
    rows: Arrays = {
        "rows": np.zeros((count, n, n), np.uint8),
        "rows_max": np.zeros((count, n), np.float32),
        "rows_top": np.zeros((count, n, min(TOP, n)), np.float32),
        "rows_top_at": np.zeros((count, n, min(TOP, n)), np.uint16),
    }
    for layer, at, values in all_rows(trace):
        here = slice(at, at + values.shape[1])
        mean = encode(values.mean(axis=0), top=0)
        means["means"][layer, here], means["means_max"][layer, here] = mean.codes, mean.largest
        if heads:
            own, coded = slice(first[layer], first[layer + 1]), encode(values)
            rows["rows"][own, here], rows["rows_max"][own, here] = coded.codes, coded.largest
            rows["rows_top"][own, here], rows["rows_top_at"][own, here] = coded.top, coded.top_at
    return means | rows if heads else means
