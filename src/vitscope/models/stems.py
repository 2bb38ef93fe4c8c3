"""Tokens behind several convolutions: each sees a wide, overlapping part of the picture, and its cell lies around the middle of that.

Where each sees the whole picture, its cell lies where it hears most: the centre of mass of how much it changes with each band of pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vitscope.core.layout import TokenLayout
from vitscope.errors import ProofError
from vitscope.grids import Stage
from vitscope.models.layout import Told, kinds_of
from vitscope.models.measure import Forward, Grid, cutting
from vitscope.models.probing import PROBES, Changed, centres, in_rank, middles

#: Change of a token, over the largest, that counts as seeing a band.
SEEN = {torch.float64: 1e-12, torch.float32: 1e-6}


def stem_layout(
    module: nn.Module, forward: Forward, noise: Tensor, told: Told, entering: Callable[[Tensor], Tensor]
) -> tuple[TokenLayout, tuple[str, ...]]:
    """The layout from which tokens change with each band of pixel rows, and with each of columns; and what a reader of it must know.

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
    differences = {kind: _bands(noise, entering, axis, band) for axis, kind in ((2, "row"), (3, "column"))}
    bands = {kind: x > SEEN.get(x.dtype, 1e-4) * x.max() for kind, x in differences.items()}
    seen = max(float(bands[kind].double().sum(dim=0).max()) / len(bands[kind]) for kind in bands)
    there = bands["row"].any(dim=0) & bands["column"].any(dim=0)
    if not bool(there.any()):
        raise ProofError(
            f"none of the {len(there)} tokens that the first attention is among depends on the picture",
            expected="tokens made of patches",
            where="token layout",
        )
    stage = in_rank(middles(bands["row"]), middles(bands["column"]), there, size)
    if stage is None:
        return _by_strength(differences, there, told, size, seen)
    stride, origin = zip(*(_spacing(bands[kind], stage, axis, band) for axis, kind in ((0, "row"), (1, "column"))), strict=True)
    return _layout(stage, told, size, (stride[0], stride[1]), (origin[0], origin[1])), ()


def _by_strength(
    differences: Changed, there: Tensor, told: Told, size: tuple[int, int], seen: float
) -> tuple[TokenLayout, tuple[str, ...]]:
    """Cells of one size that fill the picture, each token in the one where it hears most, in rank and evenly spaced."""
    places = [centres(differences[kind]) / len(differences[kind]) for kind in ("row", "column")]
    stage = in_rank(places[0], places[1], there, size)
    if stage is None or any(_uneven(places[axis], stage, axis) for axis in (0, 1)):
        raise ProofError(
            f"tokens behind a stem, each of which sees up to {seen:.0%} of the picture's height or width, and whose views lie in no grid, "
            "neither by their middles nor by where they are strongest",
            expected="tokens whose places can be told by what they see",
            where="token layout",
            todo="try a larger picture: input_size=(height, width)",
        )
    own = [_own(differences[kind], stage, axis) for axis, kind in ((0, "row"), (1, "column"))]
    note = (
        f"Behind its stem each token sees up to {seen:.0%} of the picture's height or width: it is drawn where it hears most, and "
        f"{1 - own[0]:.0%} of what it hears comes from other rows of such cells, {1 - own[1]:.0%} from other columns (measured on noise)."
    )
    across = (-(-size[0] // stage.grid[0]), -(-size[1] // stage.grid[1]))
    return _layout(stage, told, size, across, (0.0, 0.0)), (note,)


def _uneven(places: Tensor, stage: Stage, axis: int) -> bool:
    """Whether some token hears most around a place a whole step or more off the line that evenly spaced rows (columns) make."""
    there = stage.cells[:, axis] >= 0
    number, at = stage.cells[there, axis].double(), places[there]
    number = number - number.mean()
    step = (number * at).sum() / number.square().sum().clamp_min(1e-12)
    return bool((at - at.mean() - step * number).abs().max() >= step)


def _own(difference: Tensor, stage: Stage, axis: int) -> float:
    """The mean share (squares) of what tokens hear that comes from their own cells' bands."""
    mass = difference.double().square()
    cell = (torch.arange(len(mass)) * stage.grid[axis]) // len(mass)
    inside = cell[:, None] == stage.cells[:, axis]
    return float(((mass * inside).sum(dim=0) / mass.sum(dim=0).clamp_min(1e-300))[stage.cells[:, axis] >= 0].mean())


def _layout(stage: Stage, told: Told, size: tuple[int, int], across: tuple[int, int], origin: tuple[float, float]) -> TokenLayout:
    """Tokens of a measured grid as a layout."""
    place = torch.where(stage.cells[:, 0] >= 0, stage.cells[:, 0] * stage.grid[1] + stage.cells[:, 1], -1).numpy()
    kinds = kinds_of(place, told.prefix, size, Grid(stage.grid, across, across))
    cells = np.full((len(place), 3), -1, dtype=np.int32)
    cells[place >= 0, 0] = 0
    cells[:, 1:] = stage.cells.numpy()
    return TokenLayout(kinds, cells, stage.grid, across, across, size, origin, source="measured")


def _bands(noise: Tensor, entering: Callable[[Tensor], Tensor], axis: int, band: int) -> Tensor:
    """``[bands, n]``: by how much each token changes with each band of pixels."""
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
        found.append((tokens[1:] - tokens[:1]).norm(dim=2))
    return torch.cat(found).cpu()


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
