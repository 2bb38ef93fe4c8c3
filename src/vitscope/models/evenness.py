"""Whether a head that reads several tokens reads their even mean: by exchanging them for others with the same mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitscope.capture.blocks import Blocks
from vitscope.capture.hidden import batch_second, replacing_output
from vitscope.capture.modes import ordinary_mode
from vitscope.grids import PLAIN_FORM, Form

#: Largest change of the output between two choices of tokens with one mean, over its change with another mean.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}


def reads_even_mean(
    module: nn.Module, made: Callable[[Tensor], Tensor], pixels: Tensor, blocks: Blocks, read: Tensor, n: int, form: Form = PLAIN_FORM
) -> bool:
    """Whether the output follows from the mean of the read tokens alone (each normalised before, or the mean after, or neither).

    Or, where the model works on each token by itself once more, from the mean of what it makes of them.

    Formula:
        tokens ``c ± a`` in pairs, ``a ⟂ c`` of fixed norm and zero mean: layer norm scales all of them alike, so that their mean
        does not depend on ``a`` nor on which tokens are paired. Weights of one's own, a gate, a maximum or a flattened head do.
        Else: ``k`` of ``m`` tokens of one kind and the rest of another, wherever they stand; the output is affine in ``k``.

    Args:
        module: the model; during these passes the read tokens after its last block are exchanged.
        made: from pixels to the output ``[b, c]``.
        pixels: ``[1, 3, h, w]``.
        blocks: where the last block is.
        read: ``[m]`` indices of the tokens in question.
        n: tokens there are.
        form: how the block's output holds its tokens.
    """
    if len(read) < 2 or blocks.paths[-1] == "":
        return True
    tolerance = TOLERANCE.get(pixels.dtype, 1e-3)

    def output_of(sets: Callable[[int, int], Tensor]) -> Tensor:
        with replacing_output(module, blocks.paths[-1], _exchange(sets, read, n, form)), ordinary_mode(grad=False):
            return made(pixels.expand(SETS, -1, -1, -1).contiguous()).double()

    paired = output_of(_choices)
    moved, apart = (paired[-1] - paired[0]).abs().max(), (paired[:-1] - paired[0]).abs().max()
    if bool(apart <= tolerance * moved):
        return True
    mixed = output_of(_mixtures)
    share, whole = mixed.new_tensor(_counts(len(read)))[:, None] / len(read), mixed[-1] - mixed[0]
    return bool((mixed - mixed[0] - share * whole).abs().max() <= tolerance * whole.abs().max()) and bool(whole.any())


#: Sets of tokens tried together.
SETS = 5


def _exchange(sets: Callable[[int, int], Tensor], read: Tensor, n: int, form: Form) -> Callable[[Tensor], Tensor]:
    """A block's output ``[5, …]`` with each set in the place of the tokens read."""

    def exchange(output: Tensor) -> Tensor:
        second = batch_second(output.shape, SETS, n)
        given, output = output, form.tokens(output)
        tokens = (output.transpose(0, 1) if second else output).clone()
        scale = tokens.float().std().clamp_min(1e-3)
        tokens[:, read.to(tokens.device)] = (sets(tokens.shape[-1], len(read)) * scale.cpu()).to(tokens)
        return tokens.transpose(0, 1) if second else form.shaped(tokens, given)

    return exchange


def _counts(m: int) -> list[int]:
    """Tokens of the first kind in each mixture of ``m``; the second and third differ in where they stand."""
    return [0, max(1, m // 4), max(1, m // 4), max(1, m // 2), m]


def _mixtures(width: int, m: int) -> Tensor:
    """``[5, m, width]``: tokens of two kinds, so many of the first, at places drawn at random."""
    rng = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, width, generator=rng).double()
    sets = []
    for count in _counts(m):
        tokens = other.repeat(m, 1)
        tokens[torch.randperm(m, generator=rng)[:count]] = one
        sets.append(tokens)
    return torch.stack(sets)


def _choices(width: int, m: int) -> Tensor:
    """``[5, m, width]``: four sets of ``m`` tokens with one mean, and a fifth with another."""
    rng = torch.Generator().manual_seed(0)
    basis = torch.cat([torch.ones(width, 1), torch.randn(width, min(5, width - 1), generator=rng)], dim=1).double()
    axes = torch.linalg.qr(basis).Q.T[1:] * width**0.5  # zero mean, at right angles, of one norm
    c, other, a, b, odd = (axes[i % len(axes)] for i in range(5))
    sets = []
    for step, first in ((a, 0), (b, 0), (a, 1), (b, 1)):
        tokens = (c + odd).repeat(m, 1)
        for i in range(m // 2 * 2):
            tokens[(first + i) % m] = c + step * (-1) ** i
        sets.append(tokens)
    return torch.stack([*sets, sets[0] - c + other])
