"""TokenLayout of a loaded model: measured on the model itself, and compared with what its configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.errors import ProofError
from vitscope.models.measure import Forward, Grid, Read, at_first_attention, cutting, first_attention, plant, receptive_box
from vitscope.models.weights import works_in


class Outside(Protocol):
    """An attention call outside the blocks."""

    @property
    def path(self) -> str:
        """Where it was made."""
        ...

    @property
    def queries(self) -> int:
        """How many tokens ask."""
        ...

    @property
    def keys(self) -> int:
        """How many are asked."""
        ...


@dataclass(frozen=True)
class Told:
    """What the configuration, or the user, says about the tokens; None where it says nothing."""

    prefix: tuple[Kind, ...] | None
    patch: tuple[int, int] | None


def measure_layout(module: nn.Module, forward: Forward, noise: Tensor, told: Told) -> TokenLayout:
    """The layout for inputs of this size, without read-outs.

    Args:
        module: whose tokens.
        forward: runs it.
        noise: ``[1, 3, h, w]`` a picture of noise of that size.
        told: what else is known.

    Raises:
        ProofError: tokens that are neither patches nor the prefix tokens the configuration names, with the numbers.
    """
    first = first_attention(module, forward, noise)
    return _layout(at_first_attention(module, forward), noise, told, (first.cut, len(first.tokens)))


def planted_layout(module: nn.Module, forward: Forward, noise: Tensor, told: Told, read: Read) -> TokenLayout:
    """The same for tokens read elsewhere than at the first attention (before the first block of windows).

    Raises:
        ProofError: as :func:`measure_layout`.
    """
    with torch.no_grad():
        n = len(read(noise))
    return _layout(read, noise, told, (cutting(module, forward, noise), n))


def _layout(read: Read, noise: Tensor, told: Told, found: tuple[Grid | None, int]) -> TokenLayout:
    size = (int(noise.shape[-2]), int(noise.shape[-1]))
    cut, n = found
    grid = _fitting(cut, n, told) or _told_grid(told, size, n) or _felt_grid(read, noise, n)
    place = _raster(n, grid) if grid.overlapping else plant(read, noise, grid)
    if grid.overlapping:
        _check_corners(read, noise, grid, place)
    kinds = kinds_of(place, told.prefix, size, grid)
    cells = np.full((n, 3), -1, dtype=np.int32)
    patches = place >= 0
    cells[patches, 0] = 0
    cells[patches, 1], cells[patches, 2] = np.divmod(place[patches], grid.grid[1])
    return TokenLayout(kinds, cells, grid.grid, grid.patch, grid.stride, size, grid.origin, source="measured")


def _fitting(cut: Grid | None, n: int, told: Told) -> Grid | None:
    """The grid of the convolution that cut the picture, if its patches can be the tokens (a stem's first layer cannot)."""
    if cut is None or cut.grid[0] * cut.grid[1] > n:
        return None
    if told.patch is not None and told.patch not in (cut.patch, cut.stride):
        return None
    return cut


def _told_grid(told: Told, size: tuple[int, int], n: int) -> Grid | None:
    if told.patch is None:
        return None
    grid = (size[0] // told.patch[0], size[1] // told.patch[1])
    return Grid(grid, told.patch, told.patch) if 0 < grid[0] * grid[1] <= n else None


def _felt_grid(read: Read, noise: Tensor, n: int) -> Grid:
    """The grid from the pixels single tokens depend on, where no convolution shows it."""
    boxes = {i: receptive_box(read, noise, i) for i in range(min(n, 12))}
    depends = [i for i, box in boxes.items() if box is not None]
    felt = [i for i in depends if boxes[i] != (0, 0, *noise.shape[-2:])] or (depends if len(depends) == 1 else [])
    if not felt:
        raise ProofError(
            f"none of the first {len(boxes)} of {n} tokens depends on a part of the picture",
            expected="tokens made of patches",
            where="token layout",
            todo="give patch=(height, width) and prefix=number of tokens before the patches",
        )
    y0, x0, y1, x1 = boxes[felt[0]] or (0, 0, 0, 0)
    patch = (y1 - y0, x1 - x0)
    return Grid(
        (int(noise.shape[-2]) // patch[0], int(noise.shape[-1]) // patch[1]), patch, patch, (float(y0 % patch[0]), float(x0 % patch[1]))
    )


def _raster(n: int, grid: Grid) -> NDArray[np.int64]:
    """Overlapping patches: the last gh·gw tokens, row by row; checked at the corners."""
    count = grid.grid[0] * grid.grid[1]
    return np.arange(n, dtype=np.int64) - (n - count)


def _check_corners(read: Read, noise: Tensor, grid: Grid, place: NDArray[np.int64]) -> None:
    """Each corner patch must depend on its own pixels and on no others."""
    gh, gw = grid.grid
    h, w = (int(v) for v in noise.shape[-2:])
    for row, column in {(0, 0), (0, gw - 1), (gh - 1, 0), (gh - 1, gw - 1)}:
        token = int(np.flatnonzero(place == row * gw + column)[0])
        y0, x0, y1, x1 = grid.box(row, column)
        expected, found = (y0, x0, min(y1, h), min(x1, w)), receptive_box(read, noise, token)
        if found != expected:
            raise ProofError(
                f"token {token} depends on pixels {found}",
                expected=f"{expected}, patch ({row}, {column}) of {gh}×{gw}",
                where="token layout",
                todo="give patch=(height, width) and prefix=number of tokens before the patches",
            )


def kinds_of(place: NDArray[np.int64], prefix: tuple[Kind, ...] | None, size: tuple[int, int], grid: Grid) -> NDArray[np.int8]:
    """Kinds by token; the tokens that are no patch take the kinds the configuration names, in order.

    A learned token that joins after the first blocks (class attention) is not there to be named.
    """
    others = np.flatnonzero(place < 0)
    kinds = np.full(len(place), int(Kind.PATCH), dtype=np.int8)
    if prefix is None:
        named: Sequence[Kind] = [Kind.CLS, *[Kind.REGISTER] * (len(others) - 1)] if len(others) else []
    elif len(prefix) == len(others) or len(others) == 0:
        named = prefix[: len(others)]
    else:
        names = ", ".join(kind.name.lower() for kind in prefix) or "none"
        raise ProofError(
            f"{len(place)} tokens of which {len(place) - len(others)} stand for patches, {len(others)} for none",
            expected=f"{grid.grid[0] * grid.grid[1]} patches and {len(prefix)} others ({names})",
            where=f"token layout of a {size[0]}×{size[1]} input",
            todo="give patch=(height, width) and prefix=number of tokens before the patches",
        )
    kinds[others] = [int(kind) for kind in named]
    return kinds


def readouts(layout: TokenLayout, read: NDArray[np.bool_], outside: Sequence[Outside]) -> tuple[Readout, ...]:
    """How the head reads the last block's tokens, from which of them the output depends on; () where it depends on none.

    An output that depends on no token is that of a head nobody has trained yet (torchvision begins with zeros).

    Args:
        layout: what the tokens are.
        read: bool ``[n]``.
        outside: attention calls outside the blocks, whose keys may be the tokens.
    """
    pooling = pools(layout, outside)
    if pooling:
        return (Readout("attention pool", None, pooling[-1].path),)
    patches = read & (layout.kinds == Kind.PATCH)
    others = read & ~patches
    found: list[Readout] = []
    if others.any():
        found.append(Readout(_prefix_name(layout, others), _even(others)))
    if patches.any():
        count = int(patches.sum())
        total = len(layout.patches)
        found.append(Readout("patch mean" if count == total else f"mean of {count} of {total} patches", _even(patches)))
    return tuple(found)


def pools(layout: TokenLayout, outside: Sequence[Outside]) -> list[Outside]:
    """The calls outside the blocks that read all tokens with queries of their own."""
    return [call for call in outside if call.keys >= layout.n and call.queries != call.keys]


def _prefix_name(layout: TokenLayout, read: NDArray[np.bool_]) -> str:
    kinds = [Kind(int(k)) for k in layout.kinds[read]]
    if kinds == [Kind.CLS]:
        return "cls"
    if sorted(kinds) == [Kind.CLS, Kind.DISTILL]:
        return "cls and distillation mean"
    names = list(dict.fromkeys(kind.name.lower() for kind in kinds))
    return f"{' and '.join(names)} mean" if len(kinds) > 1 else names[0]


def _even(tokens: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(tokens / tokens.sum(), dtype=np.float64)


def configured_readout(layout: TokenLayout, reads: str) -> tuple[Readout, ...]:
    """What a headless model's head would read: its cls token where it has one, else the mean of its patches."""
    cls = layout.kinds == Kind.CLS
    if reads != "patch mean" and cls.sum() == 1:
        return (Readout("cls", _even(cls)),)
    return (Readout("patch mean", _even(layout.kinds == Kind.PATCH)),)


def noise_picture(size: tuple[int, int], module: nn.Module, seed: int = 0) -> Tensor:
    """``[1, 3, h, w]`` of seeded noise, where and in the precision the module works."""
    device, dtype = works_in(module, torch.zeros(1))
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed)).to(device=device, dtype=dtype)
