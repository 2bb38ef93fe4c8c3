"""Where reading begins: the query whose row of attention is followed back, as weights over tokens or as a pool's own row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitscope.core.layout import Kind, Readout
from vitscope.errors import ArgumentError, MethodError
from vitscope.trace import AttentionCall, Trace

#: What people may write: "pooled", "cls", (row, column), "row,column", ("register", i).
Query = str | tuple[int, int] | tuple[str, int]


@dataclass(frozen=True)
class Start:
    """One start.

    Shapes:
        weights: ``[b, n]`` over the last block's tokens; None where the head pools by attention.

    Attributes:
        query: what was asked for, as text ("pooled", "cls", "3,4", "register 0").
        name: what it is ("cls", "patch mean", "attention pool", "patch (3, 4)").
        pool: the pooling calls (usually one) in the order they ran; empty where ``weights`` says it all.
        notes: what a reader must know about it.
    """

    query: str
    name: str
    weights: Tensor | None
    pool: tuple[AttentionCall, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def pooled(self) -> bool:
        """Whether this is what the head reads."""
        return self.query == "pooled"


def start_of(trace: Trace, query: Query = "pooled", start: int = 0) -> Start:
    """The start a query names; a head with several read-outs has several starts, chosen by number and never averaged.

    Raises:
        ArgumentError: no such query, token or start, with the valid range.
        MethodError: the read-out of this model is unknown.
    """
    if isinstance(query, str) and query.strip().lower() == "pooled":
        return _pooled(trace, start)
    token, text, name = _token(trace, query)
    return Start(text, name, _weights(trace, np.eye(1, trace.layout.n, token)[0]))


def _pooled(trace: Trace, start: int) -> Start:
    readouts = trace.layout.readouts
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
        return Start("pooled", chosen.name, None, _pool_calls(trace, chosen), notes)
    return Start("pooled", chosen.name, _weights(trace, chosen.weights), (), notes)


def _pool_calls(trace: Trace, readout: Readout) -> tuple[AttentionCall, ...]:
    call = trace.call(readout.call)
    if call.queries != 1 or call.keys != trace.layout.n:
        raise MethodError(
            f"the pool has {call.queries} queries over {call.keys} tokens",
            expected=f"1 query over the {trace.layout.n} tokens of the last block",
            where=call.path,
            todo="name a token instead: query=(row, column)",
        )
    return (call,)


def _token(trace: Trace, query: Query) -> tuple[int, str, str]:
    """Token index, text and name of a query that names one token."""
    layout = trace.layout
    if isinstance(query, str) and query.strip().lower() == "cls":
        found = layout.where(Kind.CLS)
        if len(found) == 0:
            raise ArgumentError("this model has no CLS token", expected="pooled or (row, column)", where="query")
        return int(found[0]), "cls", "cls"
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
