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

    Formula:
        tokens ``c ± a`` in pairs, ``a ⟂ c`` of fixed norm and zero mean: layer norm scales all of them alike, so that their mean
        does not depend on ``a`` nor on which tokens are paired. Weights of one's own, a gate, a maximum or a flattened head do.

    Args:
        module: the model; during this one pass the read tokens after its last block are exchanged.
        made: from pixels to the output ``[b, c]``.
        pixels: ``[1, 3, h, w]``.
        blocks: where the last block is.
        read: ``[m]`` indices of the tokens in question.
        n: tokens there are.
        form: how the block's output holds its tokens.
    """
    if len(read) < 2 or blocks.paths[-1] == "":
        return True
    count = 5

    def exchange(output: Tensor) -> Tensor:
        second = batch_second(output.shape, count, n)
        given, output = output, form.tokens(output)
        tokens = (output.transpose(0, 1) if second else output).clone()
        scale = tokens.float().std().clamp_min(1e-3)
        tokens[:, read.to(tokens.device)] = (_choices(tokens.shape[-1], len(read)) * scale.cpu()).to(tokens)
        return tokens.transpose(0, 1) if second else form.shaped(tokens, given)

    with replacing_output(module, blocks.paths[-1], exchange), ordinary_mode(grad=False):
        output = made(pixels.expand(count, -1, -1, -1).contiguous()).double()
    moved = (output[-1] - output[0]).abs().max()
    apart = (output[:-1] - output[0]).abs().max()
    return bool(apart <= TOLERANCE.get(pixels.dtype, 1e-3) * moved)


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
