"""Where reading begins: the query whose row of attention is followed back, as weights over tokens or as a pool's own row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.core.readings import Box, Directions
from vitscope.core.spoken import noun_of
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, MethodError
from vitscope.methods.boxes import box_weights
from vitscope.methods.fusion import unmapped
from vitscope.trace import AttentionCall, Trace

#: What people may write: "pooled", "cls", "distill", (row, column), "row,column", ("register", i); of a detector "box 3", "box cat".
Query = str | tuple[int, int] | tuple[str, int] | Box


#: Tokens there is at most one of.
NAMED = {"cls": (Kind.CLS, "CLS token"), "distill": (Kind.DISTILL, "distillation token")}

#: Said beside every map of a model with class attention (CaiT).
LATE_CLASS_TOKEN = "A class token joins after the last block: what stays on it is on no token of this map, so shares sum to less than 1."  # noqa: S105


@dataclass(frozen=True)
class Start:
    """One start.

    Shapes:
        weights: ``[b, n]`` over the last block's tokens; None where the head pools by attention.

    Attributes:
        query: what was asked for, as text ("pooled", "cls", "3,4", "register 0").
        tokens: ``n``.
        name: what it is ("cls", "patch mean", "attention pool", "patch (3, 4)").
        pool: the pooling calls in the order they ran: one over the ``n`` tokens, or several of a class token that joins the ``n``
            tokens only after the blocks (class attention); empty where ``weights`` says it all.
        notes: what a reader must know about it.
    """

    query: str
    name: str
    weights: Tensor | None
    tokens: int
    pool: tuple[AttentionCall, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def pooled(self) -> bool:
        """Whether this is what the head reads."""
        return self.query == "pooled"


def start_of(trace: Trace, query: Query = "pooled", start: int = 0, layer: int = -1) -> Start:
    """The start a query names; a head with several read-outs has several starts, chosen by number and never averaged.

    Weights and tokens are those of block ``layer``; in a hierarchical model what the head reads is followed down to them.

    Raises:
        ArgumentError: no such query, token or start, with the valid range.
        MethodError: the read-out of this model is unknown.
    """
    if isinstance(query, str) and query.strip().lower() == "pooled":
        return _pooled(trace, start, layer)
    layout = trace.layout_of(layer)
    box = box_of(query)
    if box is not None:
        weights, numbers = box_weights(trace, box)
        if weights.shape[1] != layout.n:
            raise ArgumentError(f"query {query_text(box)!r}", expected="a detector whose boxes are tokens among the patches", where="query")
        same = len(set(numbers)) == 1
        return Start(query_text(Box(numbers[0]) if same else box), f"box {numbers[0]}" if same else "a box", weights, layout.n)
    token, text, name = _token(layout, query)
    return Start(text, name, _weights(trace, np.eye(1, layout.n, token)[0]), layout.n)


def start_for(trace: Trace, aim: Target, start: int = 0) -> Start:
    """Where the reading of a target's score begins: what the head reads, or, of a score at a pixel or a box, the tokens it depends on.

    Formula:
        of a score at a place: ``w_i = ‖∂s/∂Z_L[i]‖`` over their sum (one token alone where the score reads one alone).

    Raises:
        MethodError: a score that is not read off the last block's tokens alone, or off none of them.
    """
    if aim.blocks:
        rows = [reading.tokens.array.mean(axis=0) for reading in aim.at if isinstance(reading, Directions) and reading.tokens is not None]
        return Start("pooled", "what the axis reads", torch.cat([_weights(trace, row)[:1] for row in rows]), trace.layout.n)
    if not aim.placed:
        return start_of(trace, "pooled", start)
    if not trace.through_last:
        raise MethodError(
            "its head reads several blocks, not the last one's tokens alone",
            expected="a score that is read off the last block",
            where=trace.provenance.model,
            todo="use grad-cam, integrated-gradients or occlusion",
        )
    sizes = trace.hidden_grads[-1].to(trace.calls[0].dtype).norm(dim=-1)
    if not bool((sizes.sum(dim=1) > 0).all()):
        raise MethodError("no gradient of this score reaches the last block", where=trace.provenance.model, todo="choose another target")
    note = "Starts on the last block's tokens in proportion to this score's gradient on them."
    return Start("pooled", "what the score reads", sizes / sizes.sum(dim=1, keepdim=True), trace.layout.n, (), (note,))


def box_of(query: object) -> Box | None:
    """The box a query names: a Box, ("box", 3), "box 3", "box cat", "box" (the likeliest); None where it names something else."""
    if isinstance(query, Box):
        return query
    if isinstance(query, tuple) and len(query) == 2 and query[0] == "box":
        return Box(query[1])
    form, _, which = query.strip().replace(":", " ").partition(" ") if isinstance(query, str) else ("", "", "")
    if form.lower() != "box":
        return None
    found = noun_of(f"box:{which.strip()}") if which.strip() else Box()
    return found if isinstance(found, Box) else None


def query_text(query: Query) -> str:
    """One text for all ways to write a query ("3, 4", (3, 4) -> "3,4"); it need not exist in any model."""
    box = box_of(query)
    if box is not None:
        which = ",".join(f"{v:g}" for v in box.which) if isinstance(box.which, tuple) else box.which
        return "box" if which is None else f"box {which}"
    named = query.strip().lower() if isinstance(query, str) else ""
    if named == "pooled" or named in NAMED:
        return named
    first, second = _pair(query)
    return f"{first} {second}" if first == "register" else f"{first},{second}"


def _pooled(trace: Trace, start: int, layer: int) -> Start:
    readouts = trace.layout.readouts
    if trace.unmapped:
        raise unmapped(trace)
    if not readouts:
        raise MethodError(
            "it is not known which tokens this model's head reads",
            where=trace.provenance.model,
            todo='name a token: query="cls" or (row, column)',
        )
    if not 0 <= start < len(readouts):
        named = ", ".join(f"{i} ({r.name})" for i, r in enumerate(readouts))
        raise ArgumentError(f"start {start}", expected=named, where="start")
    chosen = readouts[start]
    others = [f"{r.name} (start {i})" for i, r in enumerate(readouts) if i != start]
    notes = (f"This head reads {chosen.name} beside {', '.join(others)}: two starts, shown apart.",) if others else ()
    if chosen.weights is None:
        pool = _pool_calls(trace, chosen)
        late = pool[-1].keys > trace.layout.n
        return Start("pooled", chosen.name, None, trace.layout.n, pool, (*notes, LATE_CLASS_TOKEN) if late else notes)
    weights = _weights(trace, chosen.weights)
    if trace.stages is not None:
        weights = trace.stages.down(weights, trace.stages.of[-1], trace.stages.of[layer])
    return Start("pooled", chosen.name, weights, int(weights.shape[1]), (), notes)


def pool_vector(begin: Start, row_of: Callable[[AttentionCall], Tensor], *, keep: float, mix: float) -> Tensor:
    """What the head's pooling reads of the last block's tokens, ``[b, n]``.

    Formula:
        one pool over the tokens: its row. Class attention: the class token's own weight ``c`` starts at 1 and, last call first,
        ``v ← v + c · mix · row_patches``, ``c ← c · (keep + mix · row_class)``; what is left of ``c`` is on a
        learned token, not on the picture.

    Args:
        begin: a start with a pool.
        row_of: one call's row ``[b, keys]``.
        keep: weight of the residual path around each call.
        mix: weight of the call.
    """
    last = begin.pool[-1]
    if last.keys == begin.tokens:
        return row_of(last)
    own = last.out.new_ones(last.out.shape[0], 1, dtype=last.dtype)
    out = own.new_zeros(len(own), begin.tokens)
    for call in reversed(begin.pool):
        row = row_of(call)
        out = out + own * mix * row[:, 1:]
        own = own * (keep + mix * row[:, :1])
    return out


def _pool_calls(trace: Trace, readout: Readout) -> tuple[AttentionCall, ...]:
    n, last = trace.layout.n, trace.call(readout.call)
    if (last.queries, last.keys) == (1, n):
        return (last,)
    if (last.queries, last.keys) == (1, n + 1):
        return tuple(call for call in trace.calls if call.block is None and (call.queries, call.keys) == (1, n + 1))
    raise MethodError(
        f"the pool has {last.queries} queries over {last.keys} tokens",
        expected=f"1 query over the {n} tokens of the last block, or over them and a class token",
        where=last.path,
        todo="name a token instead: query=(row, column)",
    )


def _token(layout: TokenLayout, query: Query) -> tuple[int, str, str]:
    """Token index, text and name of a query that names one token."""
    named = query.strip().lower() if isinstance(query, str) else ""
    if named in NAMED:
        kind, words = NAMED[named]
        found = layout.where(kind)
        if len(found) == 0:
            raise ArgumentError(f"this model has no {words}", expected="pooled or (row, column)", where="query")
        return int(found[0]), named, named
    first, second = _pair(query)
    if first == "register":
        registers = layout.where(Kind.REGISTER)
        if not 0 <= second < len(registers):
            raise ArgumentError(
                f"register {second}", expected=f"0 to {len(registers) - 1}" if len(registers) else "a model with registers", where="query"
            )
        return int(registers[second]), f"register {second}", f"register {second}"
    row = int(first)
    gh, gw = layout.grid
    if not (0 <= row < gh and 0 <= second < gw):
        raise ArgumentError(f"patch ({row}, {second})", expected=f"row 0 to {gh - 1}, column 0 to {gw - 1}", where="query")
    return layout.token_at(row, second), f"{row},{second}", f"patch ({row}, {second})"


def _pair(query: object) -> tuple[int | str, int]:
    parts = query.replace(",", " ").split() if isinstance(query, str) else query
    if isinstance(parts, (tuple, list)) and len(parts) == 2:
        first, second = parts
        head = "register" if str(first).strip().lower() == "register" else _whole(first)
        tail = _whole(second)
        if head is not None and tail is not None:
            return head, tail
    raise ArgumentError(f"query {query!r}", expected='"pooled", "cls", (row, column) or ("register", number)', where="query")


def _whole(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if text.removeprefix("-").isdecimal() and not isinstance(value, bool) else None


def _weights(trace: Trace, row: np.ndarray) -> Tensor:
    """A row of weights ``[n]`` for each picture of the batch, ``[b, n]``."""
    first = trace.calls[0].out
    dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
    return torch.as_tensor(row, dtype=dtype, device=first.device).expand(len(trace), -1)
