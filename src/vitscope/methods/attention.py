"""Attention of one layer: where one query looked."""

from __future__ import annotations

from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError
from vitscope.methods.fusion import fuse_heads, on_padding, push, push_heads, require_map
from vitscope.methods.looking import Look, look_of
from vitscope.methods.result import Said, per_picture, to_array, token_map
from vitscope.methods.starts import Query, Start, start_of
from vitscope.trace import AttentionCall, Trace, checked_layer

METHOD = "attention"
ALL = slice(None)


def attention(trace: Trace, layer: int = -1, head: int | str = "mean", query: Query = "pooled", start: int = 0) -> TokenMap:
    """The attention row of a query in one block.

    Formula:
        ``map = w · F``, ``F`` = head ``h``, or the mean, maximum or minimum over heads of ``A_l``; ``w`` = the query: one-hot for a token,
        the read-out weights for "pooled" (CLS: its row; mean pooling: the mean of the patches' rows). Where the head pools by attention,
        "pooled" is the pool's own row at the last layer, and that row (mean over the pool's heads) times ``A_l`` before it; of a class
        token that joins after the blocks, its last row without what it gives itself. Of a detector's box (``query="box 3"``, "box cat"):
        its query's row in a decoder layer's cross-attention, or in a block where boxes are tokens among the patches; of a patch of a
        detector with a decoder: its row in an encoder layer.

    Shapes:
        values ``[b, n]``.

    Units:
        attention weight; a row sums to 1 (not for max and min).

    Raises:
        ArgumentError: layer, head, query or start out of range.
    """
    look = look_of(trace, query)
    if look is not None:
        return _looked(trace, look, layer, head)
    require_map(trace, trace.blocks)
    number = _layer_number(trace, layer)
    begin = start_of(trace, query, start, number)
    values, call = _row(trace, begin, number, head)
    fused = head in ("max", "min")
    said = Said(
        method=METHOD,
        unit=f"attention weight ({head} over heads)" if fused else "attention weight (row sums to 1)",
        parameters={"start": start, "reads": begin.name, "call": call.path},
        layer=number,
        head=str(head),
        query=begin.query,
        notes=begin.notes,
        **({} if fused else on_padding(trace, 1.0 - values.sum(dim=1), values.new_ones(len(values)))),
    )
    return token_map(trace, to_array(values), said, trace.layout_read(number))


def attention_by_layer(trace: Trace, head: int | str = "mean", query: Query = "pooled", start: int = 0) -> list[Tensor]:
    """The row of every block (of a detector's box: of every layer in which it looks), first first: ``L`` tensors ``[b, n]``."""
    look = look_of(trace, query)
    if look is not None:
        return [_fused_row(call, look.weights, head) for call in look.calls]
    require_map(trace, trace.blocks)
    rows = (_row(trace, start_of(trace, query, start, n), n, head)[0] for n in range(len(trace.blocks)))
    return [trace.on_first(number, row) for number, row in enumerate(rows)]


def _looked(trace: Trace, look: Look, layer: int, head: int | str) -> TokenMap:
    """A detector's box, in a decoder layer's cross-attention or in a block where boxes are tokens; or a cell, in an encoder layer."""
    number = checked_layer(layer, len(look.calls))
    call = look.calls[number]
    fused = head in ("max", "min")
    said = Said(
        method=METHOD,
        unit=f"attention weight ({head} over heads)" if fused else "attention weight (row sums to 1)",
        parameters={"reads": look.name, "call": call.path},
        layer=number,
        head=str(head),
        query=look.query,
        meta={"box": per_picture(look.boxes)} if look.boxes else {},
    )
    return token_map(trace, to_array(_fused_row(call, look.weights, head)), said)


def _layer_number(trace: Trace, layer: int) -> int:
    trace.block(layer)  # raises with the valid range
    return layer % len(trace.blocks)


def head_rows(trace: Trace, begin: Start, layer: int) -> tuple[Tensor, AttentionCall]:
    """The start's row in every head of one layer, of the first picture, ``[h, n]``, and the call it was read from."""
    weights, call, columns = _read_at(trace, begin, layer)
    token = (weights[0] != 0).nonzero().flatten()
    if len(token) == 1 and float(weights[0, token[0]]) == 1.0:
        return call.rows(token)[0, :, 0, columns], call  # one token's row: no more than it is computed
    return call.vecmat(weights)[0][:, columns], call


def _row(trace: Trace, begin: Start, layer: int, head: int | str) -> tuple[Tensor, AttentionCall]:
    """The fused row, and the call it was read from."""
    weights, call, columns = _read_at(trace, begin, layer)
    return _fused_row(call, weights, head)[:, columns], call


def _read_at(trace: Trace, begin: Start, layer: int) -> tuple[Tensor, AttentionCall, slice]:
    """Which queries of which call are read at a layer, and where the layout's tokens are among its keys."""
    weights = begin.weights
    if weights is None:
        pool = begin.pool[-1]
        ones, columns = pool.out.new_ones(len(trace), 1), slice(pool.keys - begin.tokens, None)
        if layer == len(trace.blocks) - 1:
            return ones, pool, columns
        weights = pool.vecmat(ones).mean(dim=1)[:, columns]
    call = trace.block(layer)
    require_map(trace, (call,))
    return weights, call, ALL


def _fused_row(call: AttentionCall, weights: Tensor, head: int | str) -> Tensor:
    """``w · F``, heads fused entry by entry before the row is read."""
    if head == "mean":
        return push_heads(call, weights)
    if head in ("max", "min"):
        return push(call, weights, lambda at: fuse_heads(call.rows(at), str(head)))
    return push_heads(call, weights, head_number(call, head))


def head_number(call: AttentionCall, head: int | str) -> int:
    """A head's number, given as one or as text.

    Raises:
        ArgumentError: no such head.
    """
    text = str(head).strip()
    if isinstance(head, bool) or not text.isdecimal() or int(text) >= call.heads:
        raise ArgumentError(f"head {head!r}", expected=f"0 to {call.heads - 1}, mean, max or min", where="head")
    return int(text)
