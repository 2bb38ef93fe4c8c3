"""The heaviest links of one layer and head, found in row blocks, with what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.errors import ArgumentError
from vitscope.methods.attention import head_number
from vitscope.methods.boxes import asking
from vitscope.methods.fusion import require_place
from vitscope.methods.windows import cells_of
from vitscope.trace import BLOCK_VALUES, AttentionCall, Trace, checked_layer

#: More links than this are nothing a picture could show.
MOST = 5000


@dataclass(frozen=True)
class Links:
    """Links of one head, or of the mean over heads.

    Shapes:
        queries, keys: int32 ``[e]``; weights: float32 ``[e]``, heaviest first.

    Attributes:
        left_out: share of the whole mass (each row sums to 1) that is in none of these links.
        total: how many links weigh more than the threshold; without one, how many weigh anything.
    """

    queries: NDArray[np.int32]
    keys: NDArray[np.int32]
    weights: NDArray[np.float32]
    left_out: float
    total: int


def links(
    trace: Trace,
    layer: int,
    head: int | str = "mean",
    *,
    k: int | None = None,
    above: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Links | None:
    """The ``k`` heaviest links, or those that weigh more than ``above`` (at most 5000 either way).

    Args:
        trace: of one picture.
        layer: block number; negative numbers count from the last.
        head: a number, or "mean": the mean over heads, entry by entry.
        k: so many.
        above: a weight; one of the two is given.
        stop: asked after each row block; once it is true, None is returned.

    Raises:
        ArgumentError: layer, head, k or above out of range, or both or none of the two.
    """
    count, least = _wanted(k, above)
    if trace.stages is not None:
        require_place(trace)
        return _in_windows(trace, layer, head, (count, least), stop)
    calls = asking(trace)
    call = calls[checked_layer(layer, len(calls))]
    heads = slice(None) if head == "mean" else slice(head_number(call, head), head_number(call, head) + 1)
    n, total = call.keys, 0
    weights = torch.zeros(0, device=call.out.device)
    places = torch.zeros(0, dtype=torch.long, device=call.out.device)
    for at in _blocks(call, heads):
        if stop():
            return None
        flat = call.rows(at, heads=heads)[0].mean(dim=0).flatten().float()
        heavy = (flat > least).nonzero().flatten()
        total += len(heavy)
        if len(weights) == count:
            heavy = heavy[flat[heavy] > weights[-1]]
        weights, places = _heaviest(torch.cat([weights, flat[heavy]]), torch.cat([places, heavy + int(at[0]) * n]), count)
    left_out = max(1.0 - float(weights.double().sum()) / call.queries, 0.0)
    queries, keys = (places // n).int().cpu().numpy(), (places % n).int().cpu().numpy()
    return Links(queries, keys, np.asarray(weights.cpu().numpy()), left_out, total)


def _in_windows(trace: Trace, layer: int, head: int | str, wanted: tuple[int, float], stop: Callable[[], bool]) -> Links | None:
    """The same over windows, in tokens of the first grid: padding asks nothing, and a reduced key lies at the middle of its tokens."""
    call, (count, least) = trace.block(layer), wanted
    heads = slice(None) if head == "mean" else slice(head_number(call, head), head_number(call, head) + 1)
    asks, asked = _slot_cells(trace, layer)
    weights, places = torch.zeros(0, device=call.out.device), torch.zeros(0, dtype=torch.long, device=call.out.device)
    total, mass = 0, 0.0
    for at in _blocks(call, heads):
        if stop():
            return None
        rows = call.rows(at, heads=heads).mean(dim=1).float()  # [w, m, nk]
        real = torch.as_tensor(asks >= 0, device=rows.device)[:, at]
        mass += float(real.sum())
        drawn = real[:, :, None] & torch.as_tensor(asked >= 0, device=rows.device)[:, None]
        flat, number = rows.masked_fill(~drawn, 0.0).flatten(), torch.arange(rows.numel(), device=rows.device)
        heavy = number[flat > least]
        total += len(heavy)
        window, query, key = heavy // rows[0].numel(), heavy // call.keys % len(at) + int(at[0]), heavy % call.keys
        place = (window * call.queries + query) * call.keys + key
        weights, places = _heaviest(torch.cat([weights, flat[heavy]]), torch.cat([places, place]), count)
    found = places.cpu().numpy()
    at_window, at_query, at_key = found // (call.queries * call.keys), found // call.keys % call.queries, found % call.keys
    left_out = max(1.0 - float(weights.double().sum()) / max(mass, 1.0), 0.0)
    return Links(asks[at_window, at_query], asked[at_window, at_key], np.asarray(weights.cpu().numpy()), left_out, total)


def _slot_cells(trace: Trace, layer: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Tokens of the first grid at each query slot ``[w, nq]`` and key slot ``[w, nk]``; −1 for padding and tokens without a place."""
    seats = trace.block(layer).seats
    assert seats is not None
    asks = np.append(cells_of(trace, trace.layout_of(layer)), np.int32(-1))[seats.queries.numpy()]
    read = trace.layout_read(layer)
    middle = np.full((seats.keys.shape[0], 2), -1.0)
    count = np.bincount(seats.keys.row.numpy(), minlength=len(middle))
    placed = read.cells[:, 1:].astype(np.float64)
    for axis in (0, 1):
        summed = np.bincount(seats.keys.row.numpy(), weights=placed[seats.keys.column.numpy(), axis], minlength=len(middle))
        middle[count > 0, axis] = summed[count > 0] / count[count > 0]
    token = np.full(len(middle), -1)
    inside = (middle >= 0).all(axis=1)
    cells = middle[inside].round().astype(int)
    token[inside] = read.patches.reshape(read.grid)[cells[:, 0], cells[:, 1]]
    asked = np.append(cells_of(trace, read), np.int32(-1))[token]
    return asks.astype(np.int32), asked.reshape(seats.windows, -1).astype(np.int32)


def _wanted(k: int | None, above: float | None) -> tuple[int, float]:
    """How many links at most, and what each must exceed."""
    if (k is None) == (above is None):
        raise ArgumentError(f"k {k} and above {above}", expected="one of the two", where="links")
    if k is not None and k < 1:
        raise ArgumentError(f"the heaviest {k}", expected="at least 1", where="links")
    if above is not None and not 0.0 <= above < 1.0:
        raise ArgumentError(f"above {above}", expected="0 up to, not including, 1", where="links")
    return (MOST, above) if above is not None else (min(k or 1, MOST), 0.0)


def _blocks(call: AttentionCall, heads: slice) -> tuple[Tensor, ...]:
    number = len(range(call.heads)[heads])
    return torch.split(torch.arange(call.queries, device=call.out.device), max(1, BLOCK_VALUES // (number * call.keys)))


def _heaviest(weights: Tensor, places: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first so many by weight; among equals the earlier place, so that block sizes change nothing."""
    order = torch.sort(weights, descending=True, stable=True).indices[:count]
    return weights[order], places[order]
