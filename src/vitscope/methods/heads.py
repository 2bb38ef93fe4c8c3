"""Every head of every layer at once: the rows of one query, and the tokens that all of them look at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.errors import ArgumentError
from vitscope.methods.attention import head_rows
from vitscope.methods.boxes import asking
from vitscope.methods.fusion import require_global, require_place
from vitscope.methods.looking import Look, look_of
from vitscope.methods.starts import Query, Start, start_of
from vitscope.methods.windows import on_first_grid, query_at, reach
from vitscope.trace import AttentionCall, Trace

#: A token is a sink where it receives so many times the share of an even spread (Xiao et al., 2024, call such tokens attention sinks).
SINK = 8.0

#: Said beside the rows of a hierarchical model.
STAGED = (
    "Each layer is drawn with its own tokens: a coarser one covers several patches, each shown with the token's whole weight, and "
    "patches outside the window of the token that asks have no weight."
)

#: Up to so many queries all are asked for sinks; of more, an even selection of a quarter as many.
ASKED = 2048


def rows_of_heads(trace: Trace, query: Query = "pooled") -> tuple[NDArray[np.float32], Start, tuple[str, ...]]:
    """The attention row of a query in every head of every layer, as ``attention(trace, layer, head, query)`` gives each.

    Of a hierarchical model each layer is drawn on the first grid, asked by its token that covers the query's patch; what lies outside that
    token's window is NaN (:mod:`vitscope.methods.windows`). Of a detector's box the layers are those in which it looks, of a patch of a
    detector with a decoder those of the encoder (:mod:`vitscope.methods.looking`).

    Shapes:
        trace: of one picture; returns ``[M, n]``, layer by layer, head by head, ``M`` the heads of all blocks together.

    Returns:
        The rows, what they start from, and notes a reader must see. Where the head's pool has fewer heads than the last
        block, the rest of that layer's rows are NaN; where it has more, they are left out, and a note says so.

    Raises:
        ArgumentError: no such query.
        MethodError: a block that does not attend over all tokens.
    """
    if trace.stages is not None:
        return _staged_rows(trace, query)
    look = look_of(trace, query)
    if look is not None:
        return _rows_looked(look), Start(look.query, look.name, look.weights, trace.layout.n), ()
    require_global(trace, trace.blocks)
    begin = start_of(trace, query)
    parts, notes = [], list(begin.notes)
    for layer, call in enumerate(trace.blocks):
        rows = head_rows(trace, begin, layer)[0]
        if len(rows) != call.heads:
            notes.append(f"At layer {layer} these are the rows of the pool, which has {len(rows)} heads; the layer has {call.heads}.")
            rows = torch.cat([rows[: call.heads], rows.new_full((max(call.heads - len(rows), 0), rows.shape[1]), float("nan"))])
        parts.append(rows)
    return np.asarray(torch.cat(parts).float().cpu().numpy()), begin, tuple(notes)


def _rows_looked(look: Look) -> NDArray[np.float32]:
    """Every head of every layer in which a detector's box, or a cell of its feature map, looks; ``[M, n]``."""
    rows = torch.cat([call.vecmat(look.weights.to(call.out.device))[0].cpu() for call in look.calls])
    return np.asarray(rows.float().numpy())


def _staged_rows(trace: Trace, query: Query) -> tuple[NDArray[np.float32], Start, tuple[str, ...]]:
    require_place(trace)
    pooled = isinstance(query, str) and query.strip().lower() == "pooled"
    first = start_of(trace, query) if pooled else _patch_start(trace, query)
    rows = []
    for layer, call in enumerate(trace.blocks):
        try:
            begin = start_of(trace, query_at(trace, query, layer), layer=layer)
        except ArgumentError:  # a cls token that joins later
            rows.append(np.full((call.heads, trace.layout.n), np.nan, dtype=np.float32))
            continue
        assert begin.weights is not None
        slots = call.vecmat(call.enter(begin.weights))
        tokens = torch.stack([call.leave(slots[:, head])[0] for head in range(call.heads)])
        values = np.asarray(tokens.float().cpu().numpy())
        values[:, ~reach(trace, layer, begin.weights[0].cpu().numpy())] = np.nan
        rows.append(on_first_grid(trace, trace.layout_read(layer), values))
    return np.concatenate(rows).astype(np.float32), first, (*first.notes, STAGED)


def _patch_start(trace: Trace, query: Query) -> Start:
    """What a query names on the first grid, or where it is the last grid's own (a cls token)."""
    try:
        return start_of(trace, query, layer=0)
    except ArgumentError:
        return start_of(trace, query)


def all_rows(trace: Trace) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Every row of every head, block by block of queries: (layer, first query, rows ``[h, m, n]``)."""
    for layer, call in enumerate(asking(trace)):
        for at in call.blocks():
            yield layer, int(at[0]), np.asarray(call.rows(at)[0].float().cpu().numpy())


def received(trace: Trace) -> tuple[NDArray[np.float64], int]:
    """How much attention each token receives, in even shares: the mean over layers, heads and queries times ``n``.

    Shapes:
        trace: of one picture; returns ``[n]`` and the number of queries asked (all, or an even selection of long sequences).
    """
    calls, n = asking(trace), trace.layout.n
    at = torch.arange(n) if n <= ASKED else torch.linspace(0, n - 1, ASKED // 4).round().long()
    vector = torch.zeros(1, n, dtype=torch.float64)
    vector[0, at] = 1.0 / len(at)
    total = sum((_mean_over_heads(call, vector) for call in calls), torch.zeros(n, dtype=torch.float64))
    return np.asarray((total * n / len(calls)).numpy()), len(at)


def _mean_over_heads(call: AttentionCall, vector: Tensor) -> Tensor:
    return call.vecmat(vector.to(call.out.device))[0].mean(dim=0).double().cpu()
