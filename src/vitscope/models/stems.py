"""Tokens behind several convolutions: each sees a wide, overlapping part of the picture, and its cell lies around the middle of that."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vitscope.core.layout import TokenLayout
from vitscope.errors import ProofError
from vitscope.grids import Stage
from vitscope.models.layout import Told, kinds_of
from vitscope.models.measure import Forward, Grid, cutting
from vitscope.models.probing import PROBES

#: Change of a token, over the largest, that counts as seeing a band.
SEEN = {torch.float64: 1e-12, torch.float32: 1e-6}


def stem_layout(module: nn.Module, forward: Forward, noise: Tensor, told: Told, entering: Callable[[Tensor], Tensor]) -> TokenLayout:
    """The layout from which tokens change with each band of pixel rows, and with each of columns.

    Args:
        module: the model; forward: runs it.
        forward: see there.
        noise: ``[1, 3, h, w]``.
        told: what the configuration says of other tokens.
        entering: from pixels ``[p, 3, h, w]`` to the first block's tokens ``[p, n, c]``.

    Raises:
        ProofError: tokens whose middles make no grid (each may see the whole picture).
    """
    size = (int(noise.shape[-2]), int(noise.shape[-1]))
    cut = cutting(module, forward, noise)
    band = min(cut.stride) if cut is not None else 1
    bands = {kind: _bands(noise, entering, axis, band) for axis, kind in ((2, "row"), (3, "column"))}
    seen = max(float(bands[kind].double().sum(dim=0).max()) / len(bands[kind]) for kind in bands)
    stage = _in_rank(bands["row"], bands["column"], size)
    if stage is None:
        raise ProofError(
            f"tokens behind a stem, each of which sees up to {seen:.0%} of the picture's height or width, whose middles make no grid",
            expected="tokens whose places can be told by what they see",
            where="token layout",
            todo="try a larger picture: input_size=(height, width)",
        )
    stride, origin = zip(*(_spacing(bands[kind], stage, axis, band) for axis, kind in ((0, "row"), (1, "column"))), strict=True)
    place = torch.where(stage.cells[:, 0] >= 0, stage.cells[:, 0] * stage.grid[1] + stage.cells[:, 1], -1).numpy()
    kinds = kinds_of(place, told.prefix, size, Grid(stage.grid, (stride[0], stride[1]), (stride[0], stride[1])))
    cells = np.full((len(place), 3), -1, dtype=np.int32)
    cells[place >= 0, 0] = 0
    cells[:, 1:] = stage.cells.numpy()
    across = (stride[0], stride[1])
    return TokenLayout(kinds, cells, stage.grid, across, across, size, (origin[0], origin[1]), source="measured")


def _in_rank(rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Stage | None:
    """The one grid of the picture's shape into which as many tokens go, rows and columns by rank of the tokens' middles.

    None where there is no such grid, or where the middles of two rows (columns) overlap.
    """
    there = rows.any(dim=0) & columns.any(dim=0)
    count = int(there.sum())
    fits = [h for h in range(1, count + 1) if count % h == 0]
    if not fits:
        return None
    height = min(fits, key=lambda h: abs(math.log(h * h / count * size[1] / size[0])))
    grid = (height, count // height)
    cells = torch.full((len(there), 2), -1, dtype=torch.long)
    for axis, seen in enumerate((rows, columns)):
        first, last = seen.int().argmax(dim=0), len(seen) - 1 - seen.flip(0).int().argmax(dim=0)
        middle = (first + last)[there]
        order = middle.argsort(stable=True).view(grid[axis], -1)
        if bool((middle[order][1:].amin(dim=1) <= middle[order][:-1].amax(dim=1)).any()):
            return None
        place = torch.empty(count, dtype=torch.long)
        place[order] = torch.arange(grid[axis])[:, None].expand(order.shape)
        cells[there, axis] = place
    return Stage(grid, cells) if len(torch.unique(cells[there], dim=0)) == count else None


def _bands(noise: Tensor, entering: Callable[[Tensor], Tensor], axis: int, band: int) -> Tensor:
    """Bool ``[bands, n]``: the tokens that change with each band of pixels."""
    length = int(noise.shape[axis])
    starts = list(range(0, length, band))
    other = noise.flip(1) * -1.5 + 0.25
    found = []
    for first in range(0, len(starts), PROBES):
        some = starts[first : first + PROBES]
        pixels = noise.repeat(len(some) + 1, 1, 1, 1)
        for i, start in enumerate(some, start=1):
            at = (slice(i, i + 1), slice(None), *([slice(None)] * (axis - 2)), slice(start, start + band))
            pixels[at] = other[(slice(None), *at[1:])]
        tokens = entering(pixels)
        found.append((tokens[1:] - tokens[:1]).abs().amax(dim=2))
    difference = torch.cat(found)
    return (difference > SEEN.get(difference.dtype, 1e-4) * difference.max()).cpu()


def _spacing(bands: Tensor, stage: Stage, axis: int, band: int) -> tuple[int, float]:
    """Pixels from one token to the next, and where the first one's cell begins, from tokens whose view no edge cuts."""
    count, length = stage.grid[axis], len(bands) * band
    middles = {}
    for token in (stage.cells[:, axis] >= 0).nonzero().flatten().tolist():
        at = bands[:, token].nonzero().flatten()
        if int(at[0]) > 0 and int(at[-1]) < len(bands) - 1:
            middles[int(stage.cells[token, axis])] = (int(at[0]) + int(at[-1]) + 1) * band / 2
    known = sorted(middles)
    if len(known) < 2 or known[-1] == known[0]:
        return -(-length // count), 0.0
    stride = round((middles[known[-1]] - middles[known[0]]) / (known[-1] - known[0]))
    origin = middles[known[0]] - stride / 2 - known[0] * stride
    return stride, float(round(origin))
