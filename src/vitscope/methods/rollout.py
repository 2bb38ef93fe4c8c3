"""Attention rollout, one row of it, without any N×N."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.methods.fusion import (
    RowsOf,
    check_fuse,
    check_share,
    discard_low,
    fuse_heads,
    normalise_rows,
    on_padding,
    patch_columns,
    push,
    push_heads,
    require_map,
    stage_notes,
)
from vitscope.methods.result import Said, to_array, token_map
from vitscope.methods.starts import Query, Start, pool_vector, start_of
from vitscope.trace import AttentionCall, Trace

METHOD = "rollout"


def rollout(
    trace: Trace, fuse: str = "mean", residual: float = 0.5, discard: float = 0.0, query: Query = "pooled", start: int = 0
) -> TokenMap:
    """Attention multiplied through all blocks: which patches could have reached the query.

    Formula:
        ``map = w · Â_{L−1} … Â_0``, ``Â = (1 − r)·F + r·I``; ``F`` = heads fused, then the lowest share of each row's patch columns
        discarded, then rows normalised. ``w`` = the query's weights; a pool's own row (fused, discarded and normalised alike,
        without residual) where the head pools by attention. Computed as a vector pushed from the last block to the first.

    Shapes:
        values ``[b, n]``.

    Units:
        share of the query's mass; sums to 1.

    Raises:
        ArgumentError: fuse, residual, discard, query or start out of range.
        MethodError: a block that does not attend over all tokens.

    Source:
        Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, eq. 1 (r = 0.5). The discard ratio is of
        common implementations, there over the whole matrix; here per row and never on prefix columns.
    """
    require_map(trace, trace.blocks)
    begin = start_of(trace, query, start)
    values = rollout_by_layer(trace, fuse, residual, discard, query, start)[0]
    said = said_of(begin, fuse, residual, discard, start)
    lost = on_padding(trace, 1.0 - values.sum(dim=1), values.new_ones(len(values)))
    return token_map(trace, to_array(values), replace(said, notes=(*said.notes, *stage_notes(trace)), **lost))


def said_of(begin: Start, fuse: str, residual: float, discard: float, start: int) -> Said:
    """What a rollout says about itself."""
    return Said(
        method=METHOD,
        unit="share of rolled-out attention (sums to 1)",
        parameters={"fuse": fuse, "residual": residual, "discard": discard, "start": start, "reads": begin.name},
        query=begin.query,
        notes=begin.notes,
    )


def rollout_by_layer(
    trace: Trace, fuse: str = "mean", residual: float = 0.5, discard: float = 0.0, query: Query = "pooled", start: int = 0
) -> list[Tensor]:
    """How the row develops: entry ``l`` is ``w · Â_{L−1} … Â_l`` ``[b, n]``, so entry 0 is the rollout itself."""
    return list(steps(trace, start_of(trace, query, start), fuse, residual, discard))[::-1]


def steps(trace: Trace, begin: Start, fuse: str, residual: float, discard: float) -> Iterator[Tensor]:
    """The row after each block, ``[b, n]`` (on a hierarchical model's first grid), last block first."""
    vector = first_vector(trace, begin, fuse, residual, discard)
    for number, call in reversed(list(enumerate(trace.blocks))):
        vector = trace.onto(number, vector)
        stays = trace.stays(number, residual)
        vector = (1.0 - stays) * through(trace, call, vector, fuse, discard) + stays * trace.past(number, vector)
        yield trace.on_first(number, vector)


def first_vector(trace: Trace, begin: Start, fuse: str, residual: float, discard: float) -> Tensor:
    """What is read of the last block's tokens, ``[b, n]``: the query's weights, or the pool's own row."""
    check_fuse(fuse)
    check_share(residual, "residual")
    check_share(discard, "discard", below_one=True)
    require_map(trace, trace.blocks)
    if begin.weights is not None:
        return begin.weights
    ones = trace.calls[0].out.new_ones(len(trace), 1)
    return pool_vector(begin, lambda call: through(trace, call, ones, fuse, discard), keep=residual, mix=1.0 - residual)


def through(trace: Trace, call: AttentionCall, vector: Tensor, fuse: str, discard: float) -> Tensor:
    """``vector · F`` for one call, ``F`` with rows that sum to one."""
    if fuse == "mean" and discard == 0.0:
        return push_heads(call, vector)  # v · mean_h A_h = mean_h (v · A_h); rows sum to one already
    return push(call, vector, fused_rows(trace, call, fuse, discard))


def fused_rows(trace: Trace, call: AttentionCall, fuse: str, discard: float) -> RowsOf:
    """Rows of ``F``: heads fused, the lowest discarded, what is left summing to one."""
    columns = patch_columns(trace.layout, call)
    return lambda at: normalise_rows(discard_low(fuse_heads(call.rows(at), fuse), discard, columns))
