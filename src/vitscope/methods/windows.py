"""A hierarchical model's layers as seen from its first grid: whom a patch asks there, and which patches stand for a coarser token.

A coarser token is drawn as the cells of the first grid that it covers, each with the token's own weight. What lies outside the window of
the token that asks has no weight there, which is not a weight of zero: it is NaN.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.readings import Box
from vitscope.methods.starts import Query
from vitscope.trace import Trace


def query_at(trace: Trace, query: Query, layer: int) -> Query:
    """A patch of the first grid as the token of one layer that covers it; other queries as they are."""
    cell = _cell(query)
    if trace.stages is None or cell is None:
        return query
    own, first = trace.layout_of(layer).grid, trace.layout.grid
    return (cell[0] * own[0] // first[0], cell[1] * own[1] // first[1])


def _cell(query: Query) -> tuple[int, int] | None:
    if isinstance(query, Box):
        return None
    parts = query.replace(",", " ").split() if isinstance(query, str) else [str(part).strip() for part in query]
    numbers = [int(part) for part in parts if part.isdecimal()]
    return (numbers[0], numbers[1]) if len(parts) == 2 and len(numbers) == 2 else None


def on_first_grid(trace: Trace, layout: TokenLayout, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Values on a layer's tokens ``[…, m]`` as drawn on the first grid's ``[…, n]``; NaN on tokens the layer does not have."""
    first = trace.layout
    out = np.full((*values.shape[:-1], first.n), np.nan, dtype=values.dtype)
    rows, columns = (np.arange(first.grid[i]) * layout.grid[i] // first.grid[i] for i in (0, 1))
    out[..., first.patches] = values[..., layout.patches.reshape(layout.grid)[rows][:, columns].ravel()]
    if len(layout.prefix) == len(first.prefix) and (layout.kinds[layout.prefix] == first.kinds[first.prefix]).all():
        out[..., first.prefix] = values[..., layout.prefix]
    return out


def cells_of(trace: Trace, layout: TokenLayout) -> NDArray[np.int32]:
    """For each token of a layer, the token of the first grid at the middle of the cells it covers, ``[m]``; −1 where it covers none."""
    first, out = trace.layout, np.full(layout.n, -1, dtype=np.int32)
    places = layout.cells[layout.patches, 1:].astype(np.int64)
    middle = [((2 * places[:, i] + 1) * first.grid[i] // (2 * layout.grid[i])).clip(0, first.grid[i] - 1) for i in (0, 1)]
    out[layout.patches] = first.patches.reshape(first.grid)[middle[0], middle[1]]
    return out


def reach(trace: Trace, layer: int, asking: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of a layer's tokens those that ask ``[m]`` can see at all, bool ``[k]``: those in their windows."""
    seats = trace.block(layer).seats
    if seats is None:
        return np.ones(trace.layout_read(layer).n, dtype=bool)
    weights = torch.as_tensor(np.asarray(asking, dtype=np.float32))[None]
    windows = (seats.take(weights) != 0).any(dim=1)
    slots = windows[:, None].expand(-1, seats.keys.shape[0] // seats.windows).reshape(1, -1).float()
    return np.asarray((seats.give(slots)[0] > 0).numpy())


def widest(trace: Trace, layer: int) -> int:
    """Most tokens that one query of a layer can see."""
    seats = trace.block(layer).seats
    if seats is None:
        return trace.layout_read(layer).n
    each = seats.keys.shape[0] // seats.windows
    window, token = (seats.keys.row // each), seats.keys.column
    pairs = torch.unique(torch.stack([window, token]), dim=1)
    return int(torch.bincount(pairs[0], minlength=1).max())
