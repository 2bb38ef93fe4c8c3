"""Measured, not assumed: which token stands for which patch of pixels, and which tokens the head reads.

Patches: the pixels of every patch get a number (its place in raster order, from one). For each bit of the number, the pixels of all patches
with that bit are changed, and the model is run up to its first attention: the tokens that change have that bit. After a handful of runs
every token has spelled out which patch it stands for, and tokens that never change are no patches.

Read-out: ``∂output/∂(last block's tokens)`` is exactly zero for every token the head does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitscope.capture.blocks import Blocks
from vitscope.capture.hidden import batch_second, replacing_output
from vitscope.capture.intercept import Recorder, intercept
from vitscope.capture.kernel import kernel_of
from vitscope.capture.modes import ordinary_mode
from vitscope.errors import CaptureError, ProofError
from vitscope.grids import PLAIN_FORM, Form

Forward = Callable[[Tensor], Any]
#: From a picture ``[1, 3, h, w]`` to its tokens ``[n, features]``, with a graph where gradients are on.
Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Grid:
    """Where the patches lie: ``(gh, gw)`` patches of ``patch`` pixels, ``stride`` apart, the first at ``origin``."""

    grid: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    origin: tuple[float, float] = (0.0, 0.0)

    @property
    def overlapping(self) -> bool:
        """Whether a pixel belongs to several patches."""
        return self.stride[0] < self.patch[0] or self.stride[1] < self.patch[1]

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1) pixels of a patch, never outside the input at the top and left."""
        y0, x0 = self.origin[0] + row * self.stride[0], self.origin[1] + column * self.stride[1]
        return max(int(y0), 0), max(int(x0), 0), int(y0 + self.patch[0]), int(x0 + self.patch[1])


class _Reached(BaseException):
    """The first attention has been heard: the rest of the pass is not needed. Never leaves this file."""


class _FirstAttention(Recorder):
    """Hears the first attention and the convolution that cuts the picture, then stops the pass."""

    def __init__(self, module: nn.Module, size: tuple[int, int]) -> None:
        super().__init__(module, batch=1)
        self.size = size
        self.cut: Grid | None = None
        self.values: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = getattr(func, "__name__", "")
        kernel = kernel_of(name)
        if kernel is not None:
            self.values = kernel.read(args, kwargs or {}).value
            raise _Reached  # before the attention is computed: only its tokens are wanted
        out = super().__torch_function__(func, types, args, kwargs)
        if self.heard:
            heard = self.heard[0]
            self.values = heard.heads.unfold(heard.v)
            raise _Reached
        if self.cut is None and name == "conv2d":
            self.cut = _cut(args, kwargs or {}, out, self.size)
        return out


def _one_picture(value: Tensor) -> Tensor:
    """Values ``[1, h, n, d]`` (or ``[h, n, d]``) as tokens ``[n, h·d]``."""
    if value.dim() == 4 and value.shape[0] != 1:
        raise ProofError(
            f"{value.shape[0]} groups of {value.shape[2]} tokens in the first attention",
            expected="all tokens of the picture together",
            where="token layout",
            todo="models with windows or several clips are not supported here",
        )
    flat = value.reshape(-1, *value.shape[-2:])
    return flat.transpose(0, 1).flatten(1)


def _cut(args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor, size: tuple[int, int]) -> Grid | None:
    """The patch grid of a convolution over the whole picture, from its own arguments and output."""
    named = {**dict(zip(("input", "weight", "bias", "stride", "padding", "dilation"), args, strict=False)), **kwargs}
    beyond = [have - want for have, want in zip(named["input"].shape[-2:], size, strict=True)]  # padded up to whole patches, at the end
    if (
        not all(0 <= b < s for b, s in zip(beyond, _two(named.get("stride", 1)), strict=True))
        or named["input"].shape[-3] != 3
        or _two(named.get("dilation", 1)) != (1, 1)
    ):
        return None
    kernel = (int(named["weight"].shape[-2]), int(named["weight"].shape[-1]))
    padding = named.get("padding", 0)
    padding = (0, 0) if padding == "valid" else (kernel[0] // 2, kernel[1] // 2) if padding == "same" else _two(padding)
    grid = (int(out.shape[-2]), int(out.shape[-1]))
    return Grid(grid, kernel, _two(named.get("stride", 1)), (0.0 - padding[0], 0.0 - padding[1]))


def _two(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[-1])) if isinstance(value, (list, tuple)) else (int(value), int(value))


@dataclass(frozen=True)
class First:
    """What the first attention sees of a picture: its values ``[n, features]``, and the convolution that cut the picture, if one did."""

    tokens: Tensor
    cut: Grid | None


def first_attention(module: nn.Module, forward: Forward, pixels: Tensor, *, grad: bool = False) -> First:
    """Run one picture ``[1, 3, h, w]`` up to the first attention and no further.

    Raises:
        CaptureError: the whole pass went by without attention.
    """
    recorder = _FirstAttention(module, (int(pixels.shape[-2]), int(pixels.shape[-1])))
    with ordinary_mode(grad=grad):
        try:
            with recorder:
                forward(pixels)
        except _Reached:
            pass
    if recorder.values is None:
        raise CaptureError("no attention was heard", where=type(module).__name__, expected="at least one attention call")
    return First(_one_picture(recorder.values), recorder.cut)


def cutting(module: nn.Module, forward: Forward, pixels: Tensor) -> Grid | None:
    """The convolution that cut the picture, if one did before the first attention, whatever that attention is over."""
    recorder = _FirstAttention(module, (int(pixels.shape[-2]), int(pixels.shape[-1])))
    with ordinary_mode(grad=False), suppress(_Reached), recorder:
        forward(pixels)
    return recorder.cut


def at_first_attention(module: nn.Module, forward: Forward) -> Read:
    """Reads the tokens that the first attention sees."""
    return lambda pixels: first_attention(module, forward, pixels, grad=torch.is_grad_enabled()).tokens


def changed(a: Tensor, b: Tensor) -> NDArray[np.bool_]:
    """Bool ``[n]``: tokens that differ by more than rounding (a ten-thousandth of the largest difference)."""
    difference = (a.double() - b.double()).abs().amax(dim=1)
    return np.asarray((difference > 1e-4 * difference.max()).cpu().numpy())


def plant(read: Read, noise: Tensor, grid: Grid) -> NDArray[np.int64]:
    """Which patch each token stands for, ``[n]``: its place in raster order, or −1 for tokens that are no patch.

    Args:
        read: runs a picture up to its tokens.
        noise: ``[1, 3, h, w]`` a picture of noise, in which changes are planted.
        grid: where the patches lie.
    """
    gh, gw = grid.grid
    numbers = np.arange(1, gh * gw + 1).reshape(gh, gw)
    with torch.no_grad():
        before = read(noise)
        code = np.zeros(len(before), dtype=np.int64)
        bits = int(numbers.max()).bit_length()
        for bit in range(bits):
            code |= _after(read, noise, grid, (numbers >> bit) & 1 == 1, before) << bit
        # a token that hears of every patch changes with the bit and with its opposite: it is no patch
        both = _after(read, noise, grid, numbers & 1 == 0, before) & (code & 1)
    code[both.astype(bool)] = 0
    return code - 1


def _after(read: Read, noise: Tensor, grid: Grid, cells: NDArray[np.bool_], before: Tensor) -> NDArray[np.int64]:
    """1 for the tokens that change with the pixels of the chosen cells, else 0."""
    if not cells.any():
        return np.zeros(len(before), dtype=np.int64)
    chosen = torch.zeros(noise.shape[-2:], dtype=torch.bool, device=noise.device)
    for row, column in np.argwhere(cells):
        y0, x0, y1, x1 = grid.box(int(row), int(column))
        chosen[y0:y1, x0:x1] = True
    other = torch.where(chosen, noise.flip(1) * -1.5 + 0.25, noise)
    return changed(before, read(other)).astype(np.int64)


def receptive_box(read: Read, noise: Tensor, token: int) -> tuple[int, int, int, int] | None:
    """(y0, x0, y1, x1) of the pixels a token depends on; None for a token that depends on none."""
    pixels = noise.detach().clone().requires_grad_()
    with torch.enable_grad():
        tokens = read(pixels)
        if not tokens.requires_grad:
            return None
        grad = torch.autograd.grad(tokens[token].double().square().sum(), pixels, allow_unused=True)[0]
    if grad is None or not bool(grad.any()):
        return None
    seen = grad[0].abs().sum(dim=0) > 0
    rows, columns = seen.any(dim=1).nonzero().flatten(), seen.any(dim=0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def read_tokens(
    module: nn.Module, made: Callable[[Tensor], Tensor], pixels: Tensor, blocks: Blocks, tokens: int, form: Form = PLAIN_FORM
) -> NDArray[np.bool_]:
    """Bool ``[n]``: the last block's tokens on which the output depends.

    Formula:
        token i is read where ``∂(w · output)/∂Z_L[i] ≠ 0`` for random ``w``.

    Args:
        module: the model; during this one pass the graph is made to begin at its last block.
        made: from pixels to the output ``[1, c]``.
        pixels: ``[1, 3, h, w]``.
        blocks: where the last block is.
        tokens: ``n``.
        form: how the block's output holds its tokens.
    """
    if blocks.paths[-1] == "":  # attention in the model's own forward: there is no block to begin at
        return _read_after_attention(module, made, pixels)
    kept: list[Tensor] = []

    def begin_here(output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # the mode below ends it again
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    with replacing_output(module, blocks.paths[-1], begin_here), ordinary_mode(grad=False):
        grad = _random_gradient(made(pixels), kept[-1])
    grad = form.tokens(grad)
    grad = grad.transpose(0, 1) if batch_second(grad.shape, 1, tokens) else grad
    return np.asarray((grad[0] != 0).any(dim=-1).cpu().numpy())


def _read_after_attention(module: nn.Module, made: Callable[[Tensor], Tensor], pixels: Tensor) -> NDArray[np.bool_]:
    """The same from the last attention's output: what follows works token by token, so a token is read where its part of that is."""
    with ordinary_mode(grad=True), intercept(module, batch=1) as recorder:
        output = made(pixels.detach().requires_grad_())
        last = recorder.heard[-1]
        grad = last.heads.unfold(last.place(_random_gradient(output, last.out)))
    return np.asarray((grad[0] != 0).any(dim=-1).any(dim=0).cpu().numpy())


def _random_gradient(output: Tensor, at: Tensor) -> Tensor:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
    return torch.autograd.grad((output * weights).sum(), at)[0]
