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
from vitscope.methods.fusion import require_global
from vitscope.trace import BLOCK_VALUES, AttentionCall, Trace

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
    call = trace.block(layer)
    require_global(trace, (call,))
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
