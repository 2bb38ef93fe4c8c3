"""Heads to one matrix, row block by row block: fuse, discard, normalise, and the one product every method is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vitscope.core.layout import Kind, TokenLayout
from vitscope.errors import ArgumentError, MethodError
from vitscope.methods.result import per_picture
from vitscope.trace import AttentionCall, Trace

#: Share lost to padding that is worth a sentence.
SEEN = 1e-4

Fuse = Literal["mean", "max", "min"]

#: Rows ``[b, m, nk]`` of a fused matrix for query indices ``[m]``.
RowsOf = Callable[[Tensor], Tensor]


def check_fuse(fuse: str) -> None:
    """Raises ArgumentError for an unknown head fusion."""
    if fuse not in get_args(Fuse):
        raise ArgumentError(f"fuse {fuse!r}", expected="mean, max or min", where="fuse")


def check_share(value: float, name: str, *, below_one: bool = False) -> None:
    """Raises ArgumentError for a share outside 0..1 (1 excluded where that would leave nothing)."""
    if not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        raise ArgumentError(f"{name} {value}", expected="0 up to, not including, 1" if below_one else "0 to 1", where=name)


def fuse_heads(rows: Tensor, fuse: str) -> Tensor:
    """Rows of all heads ``[b, h, m, n]`` to rows of one matrix ``[b, m, n]``."""
    if fuse == "mean":
        return rows.mean(dim=1)
    return rows.amax(dim=1) if fuse == "max" else rows.amin(dim=1)


def discard_low(rows: Tensor, share: float, columns: Tensor) -> Tensor:
    """Set the lowest ``⌊share · P⌋`` of the ``P`` patch columns of every row to zero; prefix columns are never touched.

    The cut is per row. Values equal to the smallest one kept are kept too, so a constant row stays whole.

    Shapes:
        rows: ``[b, m, n]``, changed in place; columns: patch columns ``[P]``.
    """
    count = int(share * len(columns) + 1e-9)
    if count == 0:
        return rows
    patches = rows[..., columns]
    lowest_kept = patches.kthvalue(count + 1, dim=-1, keepdim=True).values
    rows[..., columns] = patches.masked_fill_(patches < lowest_kept, 0.0)
    return rows


def normalise_rows(rows: Tensor) -> Tensor:
    """Rows that sum to one; an empty row stays empty."""
    total = rows.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, rows / total.clamp_min(torch.finfo(rows.dtype).tiny), rows)


def push(call: AttentionCall, vector: Tensor, rows_of: RowsOf, lost: list[Tensor] | None = None) -> Tensor:
    """``vector · F`` for a matrix ``F`` given in row blocks, thrown away block by block; rows without weight are not computed.

    Shapes:
        vector: ``[b, nq]``; returns ``[b, nk]`` (for windows: over the grid's tokens both).
        vector and result are on one device, wherever the call was made.
        lost: where given, what went to windows' padding ``[b]`` is added to the list.
    """
    home = vector.device
    vector = call.enter(vector.to(call.out.device))
    out = torch.zeros(vector.shape[0], call.keys, dtype=call.dtype, device=call.out.device)
    used = (vector != 0).any(dim=0)
    for at in call.blocks():
        live = at[used[at]]
        if len(live):
            out += (vector[:, None, live].to(call.dtype) @ rows_of(live))[:, 0]
    left = call.leave(out)
    if lost is not None and call.seats is not None:
        lost.append(out.reshape(len(left), -1).sum(dim=1) - left.sum(dim=1))
    return left.to(home)


def push_heads(call: AttentionCall, vector: Tensor, head: int | None = None) -> Tensor:
    """``vector · A`` of one head, or of the mean of all heads, ``[b, n]``."""
    out = call.vecmat(call.enter(vector.to(call.out.device)))
    return call.leave(out.mean(dim=1) if head is None else out[:, head]).to(vector.device)


def on_padding(trace: Trace, lost: Tensor, whole: Tensor) -> dict[str, Any]:
    """What windows' padding took of a row: a figure and, where it is not just rounding, a sentence, for each picture.

    Shapes:
        lost, whole: ``[b]``: weight that went to padding, of how much.
    """
    if trace.stages is None:
        return {}
    shares = (lost / whole.clamp_min(1e-12)).clamp(0, 1).tolist()
    text = "{:.1%} went to padding that the model adds around the picture, and is on no patch."
    return {"meta": {"padding": per_picture(shares)}, "picture_notes": tuple((text.format(x),) if x > SEEN else () for x in shares)}


def stage_notes(trace: Trace) -> tuple[str, ...]:
    """What a map through a hierarchical model's blocks leaves out, with the measured shares."""
    return () if trace.stages is None else trace.stages.notes


def patch_columns(layout: TokenLayout, call: AttentionCall) -> Tensor:
    """Key positions of the patches; after a class token where one has joined the layout's tokens."""
    if call.seats is not None:  # a window's slots: patches all of them, but for padding, which holds no more than any other
        return torch.arange(call.keys, device=call.out.device)
    return torch.as_tensor(np.flatnonzero(layout.kinds == Kind.PATCH) + (call.keys - layout.n), device=call.out.device)


def require_place(trace: Trace) -> None:
    """Attention must have a place on the picture: one grid throughout, or stages that are known.

    Raises:
        MethodError: with why it has none; or as :func:`require_global` where there is one grid.
    """
    if trace.unmapped:
        raise unmapped(trace)


def unmapped(trace: Trace) -> MethodError:
    """Why attention cannot be put on the picture, what can be used instead, and the page about it."""
    page = "layout" if trace.calls else "no-attention"
    todo = f"use grad-cam, integrated-gradients or occlusion (docs/errors/{page}.md)"
    return MethodError(trace.unmapped, where=trace.provenance.model, todo=todo)


def require_map(trace: Trace, calls: tuple[AttentionCall, ...]) -> None:
    """Every block must mix all tokens of the layout, or those of its stage as measured.

    Raises:
        MethodError: as :func:`require_global`; windows and stages are welcome here.
    """
    require_place(trace)
    if trace.stages is None:
        require_global(trace, calls)


def require_global(trace: Trace, calls: tuple[AttentionCall, ...]) -> None:
    """Every block must mix all tokens of the layout.

    Raises:
        MethodError: no block calls, or one over windows or another number of tokens.
    """
    require_place(trace)
    if trace.stages is not None:
        raise MethodError(
            "windows and stages are not one matrix over all tokens",
            expected="attention over all tokens of the layout in every block",
            where=trace.provenance.model,
            todo="use rollout, relevance or attention of a layer",
        )
    if not calls:
        raise MethodError("no attention call belongs to a block of this model", where=trace.provenance.model, todo="see `vitscope inspect`")
    n, b = trace.layout.n, len(trace)
    for call in calls:
        if (call.queries, call.keys, call.out.shape[0]) != (n, n, b):
            raise MethodError(
                f"{call.queries} queries over {call.keys} keys for a batch of {call.out.shape[0]}",
                expected=f"{n} over {n} for {b} pictures: attention over all tokens of the layout in every block",
                where=call.path,
                todo="use grad-cam, integrated-gradients or occlusion",
            )
