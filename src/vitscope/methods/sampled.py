"""Rollout for big grids: a rough map first, refined in place until it is the exact one, with an error on each.

Formula:
    One step ``v ← (1 − r)·v F + r·v`` needs a row of attention for every token that carries mass. Here the patch grid is cut into
    cells of ``c × c`` tokens; from each cell one row is drawn with probability ∝ ``v`` and weighted with the cell's whole mass. Tokens
    that are not patches, and the heaviest 1/32 of all, keep their own rows. Each step is unbiased, so the map is; draws are independent
    for each head where heads are averaged and nothing is discarded, and shared by all heads where they must be fused entry by entry.
    Of a hierarchical model the cells are those of each block's own grid; blocks over windows are never drawn, for all their rows together
    cost no more than a drawn part of a whole grid's would.
    Draws are averaged with weights ∝ ``1/c²`` (about the inverse of their variance): ``x̄ = Σ w_k x_k / Σ w_k``, standard error
    ``√(Σ w_k (x_k − x̄)² / ((K − 1) Σ w_k))`` from the second draw on. ``c = 1`` is rollout itself.

The estimated L1 error is the sum of the standard errors, freed of their small-sample bias, with a margin: about half more than the error to
be expected, so that it covers the true one in 19 runs of 20 (measured in the tests).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.core.layout import TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError
from vitscope.methods.fusion import RowsOf, on_padding, require_map, stage_notes
from vitscope.methods.result import Said, to_array, token_map
from vitscope.methods.rollout import first_vector, fused_rows, said_of, steps, through
from vitscope.methods.starts import Query, start_of
from vitscope.trace import BLOCK_VALUES, TILE_ROWS, TILE_VALUES, AttentionCall, Trace

#: Cell sizes, one draw of the whole map each; then the exact map. Together about half the cost of the exact one.
PLAN = (8, 8, 4, 4, 2)

#: The heaviest share of tokens whose rows are never drawn but taken as they are.
HEAVIEST = 1 / 32

#: On the estimated L1 error: draws are few, and errors of neighbouring tokens go together.
MARGIN = 1.25

#: Given after the last draw: what is exact has no error.
EXACT = 1


@dataclass(frozen=True)
class Refined:
    """How far a map has come.

    Shapes:
        error: float64 ``[n]`` standard error of each value; None after the first draw, zeros when exact.

    Attributes:
        l1: estimated L1 distance to the exact map; None after the first draw.
        share: attention rows computed so far, as a share of those the exact map needs.
        cells: cell size of the last draw; 1 for the exact map.
        draws: how many draws are averaged.
        done: exact; nothing more comes.
    """

    error: NDArray[np.float64] | None
    l1: float | None
    share: float
    cells: int
    draws: int
    done: bool = False

    @property
    def progress(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"done": self.done, "cells": self.cells, "draws": self.draws, "l1": self.l1, "share": self.share}


def refine(
    trace: Trace,
    *,
    fuse: str = "mean",
    residual: float = 0.5,
    discard: float = 0.0,
    query: Query = "pooled",
    start: int = 0,
    plan: Sequence[int] = PLAN,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[TokenMap, Refined]]:
    """A rollout again and again, each time closer; the last one is :func:`~vitscope.methods.rollout.rollout` itself.

    Args:
        trace: of one picture.
        fuse: as in rollout, like the next four.
        residual: see there.
        discard: see there.
        query: see there.
        start: see there.
        plan: cell sizes of the draws, in order.
        seed: of the draws.
        stop: asked after every layer; once it is true nothing more comes.

    Raises:
        ArgumentError: several pictures, a cell size below 2, or what rollout refuses.
        MethodError: as rollout.
    """
    if len(trace) != 1 or any(c < 2 for c in plan):
        raise ArgumentError(f"{len(trace)} pictures, cells {list(plan)}", expected="one picture, cells of at least 2", where="refine")
    require_map(trace, trace.blocks)
    begin = start_of(trace, query, start)
    first = first_vector(trace, begin, fuse, residual, discard)
    said = said_of(begin, fuse, residual, discard, start)
    how = _Draw(torch.Generator().manual_seed(seed), fuse, discard, residual)
    whole = sum(len(call.out) * call.heads * call.queries for call in trace.blocks)
    draws: list[NDArray[np.float64]] = []
    used = 0
    for number, cells in enumerate(plan if any(_over_a_grid(call) for call in trace.blocks) else (), start=1):
        drawn = _draw(trace, first, cells, how, stop)
        if drawn is None:
            return
        draws.append(drawn[0])
        used += drawn[1]
        values, error, l1 = average(draws, [1.0 / c**2 for c in plan[:number]])
        yield _map(trace, torch.as_tensor(values[None], dtype=torch.float32), said), Refined(error, l1, used / whole, cells, number)
    rows = [first]
    for row in steps(trace, begin, fuse, residual, discard):
        if stop():
            return
        rows[0] = row
    yield _map(trace, rows[0], said), Refined(np.zeros(trace.layout.n), 0.0, 1.0, EXACT, len(draws), done=True)


def _map(trace: Trace, values: Tensor, said: Said) -> TokenMap:
    """Values ``[1, n]`` with what a rollout says of itself and of what padding took."""
    lost = on_padding(trace, 1.0 - values.sum(dim=1), values.new_ones(1))
    return token_map(trace, to_array(values), replace(said, notes=(*said.notes, *stage_notes(trace)), **lost))


def average(
    draws: Sequence[NDArray[np.float64]], weights: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, float | None]:
    """Weighted mean of draws ``[n]``, its standard error, and the estimated L1 error; the latter two from two draws on."""
    count, w = len(draws), np.asarray(weights)[:, None]
    mean = (w * np.stack(draws)).sum(axis=0) / w.sum()
    if count < 2:
        return mean, None, None
    error = np.sqrt((w * (np.stack(draws) - mean) ** 2).sum(axis=0) / ((count - 1) * w.sum()))
    bias = math.sqrt(2 / (count - 1)) * math.gamma(count / 2) / math.gamma((count - 1) / 2)
    return mean, error, MARGIN * float(error.sum() / bias)


def cells_of(layout: TokenLayout, size: int) -> NDArray[np.intp]:
    """The patch tokens of each cell, ``[C, size²]``; −1 where a cell at the edge is smaller."""
    gh, gw = layout.grid
    rows, columns = -(-gh // size), -(-gw // size)
    grid = np.full((rows * size, columns * size), -1, dtype=np.intp)
    grid[:gh, :gw] = layout.patches.reshape(gh, gw)
    return grid.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(rows * columns, size * size)


@dataclass(frozen=True)
class _Draw:
    """How rows are drawn and fused."""

    generator: torch.Generator
    fuse: str
    discard: float
    residual: float

    @property
    def by_head(self) -> bool:
        """Whether each head may draw its own rows: a mean of heads is a sum over heads of ``v A_h``."""
        return self.fuse == "mean" and self.discard == 0.0


def _over_a_grid(call: AttentionCall) -> bool:
    """Whether all its queries are in one matrix, a row for each token, so that rows may be drawn."""
    return call.seats is None or (call.seats.windows == 1 and call.seats.asks is None)


def _draw(trace: Trace, first: Tensor, cells: int, how: _Draw, stop: Callable[[], bool]) -> tuple[NDArray[np.float64], int] | None:
    """One draw of the whole map ``[n]``, and how many rows it took; None once nobody waits."""
    vector, used = first, 0
    for number, call in reversed(list(enumerate(trace.blocks))):
        if stop():
            return None
        vector = trace.onto(number, vector)
        stays = trace.stays(number, how.residual)
        if _over_a_grid(call):
            pushed, rows = _drawn(trace, call, vector, cells_of(trace.layout_of(number), cells), how)
        else:
            pushed, rows = through(trace, call, vector, how.fuse, how.discard), len(call.out) * call.heads * call.queries
        used += rows
        vector = (1.0 - stays) * pushed + stays * trace.past(number, vector)
    return np.asarray(trace.on_first(0, vector)[0].double().cpu().numpy()), used


def _drawn(trace: Trace, call: AttentionCall, vector: Tensor, cells: NDArray[np.intp], how: _Draw) -> tuple[Tensor, int]:
    """``vector · F`` of one call from drawn rows, ``[1, n]``, and how many they are."""
    at, weights = choose(vector[0].double().cpu(), cells, call.heads if how.by_head else 1, how.generator)
    if call.seats is not None:
        at = _slots(call.seats.queries[0], len(vector[0]))[at]
    at, weights = at.to(call.out.device), weights.to(call.out.device, call.dtype)
    if how.by_head:
        pushed = _by_head(call, at, weights)
    else:
        pushed = _shared(call, at[0], weights[0], fused_rows(trace, call, how.fuse, how.discard))
    return call.leave(pushed[None]).to(vector.device), at.shape[1] * call.heads


def _slots(tokens: Tensor, n: int) -> Tensor:
    """The slot at which each of ``n`` tokens asks, from the token at each slot (−1: padding)."""
    slots = torch.zeros(n, dtype=torch.long)
    inside = (tokens >= 0).nonzero().flatten()
    slots[tokens[inside]] = inside
    return slots


def choose(vector: Tensor, cells: NDArray[np.intp], heads: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which rows to compute and what each stands for: ``Σ weights · A[at]`` is ``vector · A`` on average, head by head.

    Shapes:
        vector: float64 ``[n]``; cells: ``[C, s]`` (−1: no token); returns at ``[heads, m]``, weights ``[heads, m]``.
    """
    table = torch.as_tensor(cells)
    drawn = torch.zeros(len(vector), dtype=torch.bool)
    drawn[table[table >= 0]] = True
    drawn &= vector > 0
    room = int(HEAVIEST * len(vector))
    if int(drawn.sum()) > room + len(table):  # else every row costs no more than its cell
        heaviest = torch.where(drawn, vector, -1.0).topk(room).indices
        drawn[heaviest] = False
    else:
        drawn[:] = False
    own = ((vector != 0) & ~drawn).nonzero().flatten()
    mass = torch.where((table >= 0) & drawn[table.clamp(min=0)], vector[table.clamp(min=0)], 0.0)
    mass, table = mass[mass.sum(dim=1) > 0], table[mass.sum(dim=1) > 0]
    sums = mass.cumsum(dim=1)
    total = sums[:, -1:]
    point = torch.rand(heads, len(table), 1, generator=generator, dtype=torch.float64) * total
    last = torch.where(mass > 0, torch.arange(mass.shape[1]), 0).amax(dim=1)
    place = torch.minimum((sums[None] <= point).sum(dim=-1), last)
    picked = table.gather(1, place.T).T
    at = torch.cat([own.expand(heads, -1), picked], dim=1)
    return at, torch.cat([vector[own].expand(heads, -1), total[:, 0].expand(heads, -1)], dim=1)


def _by_head(call: AttentionCall, at: Tensor, weights: Tensor) -> Tensor:
    """Mean over heads of ``Σ weights[h] · A[h, at[h]]``, ``[nk]``, each head with rows of its own."""
    out = torch.zeros(call.keys, dtype=call.dtype, device=call.out.device)
    step = max(TILE_ROWS, TILE_VALUES // call.keys)
    for head in range(call.heads):
        for some in range(0, at.shape[1], step):
            tile = call.rows(at[head, some : some + step], heads=slice(head, head + 1))[0, 0]
            out += weights[head, some : some + step] @ tile
    return out / call.heads


def _shared(call: AttentionCall, at: Tensor, weights: Tensor, rows_of: RowsOf) -> Tensor:
    """``Σ weights · F[at]``, ``[nk]``, the same rows for all heads."""
    out = torch.zeros(call.keys, dtype=call.dtype, device=call.out.device)
    step = max(1, BLOCK_VALUES // (call.heads * call.keys))
    for some in range(0, len(at), step):
        out += weights[some : some + step] @ rows_of(at[some : some + step])[0]
    return out
