"""How tokens are dropped from this model: taken out of the sequence, or kept and attended by nobody. Tried out, not guessed."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

import torch
from torch import Tensor, nn

from vitscope.capture import guards
from vitscope.capture.blocks import Blocks
from vitscope.capture.hidden import batch_second, replacing_output, without_tokens
from vitscope.capture.intercept import intercept
from vitscope.capture.live import Forward
from vitscope.capture.modes import ordinary, ordinary_mode
from vitscope.capture.run import Drop, find_blocks
from vitscope.errors import CaptureError

#: Largest relative difference of kept tokens between both ways, by the type the model works in.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}


def choose_drop(
    module: nn.Module, forward: Forward, pixels: Tensor, *, tokens: int, patches: Tensor, blocks: Blocks | None = None
) -> Drop | Literal["pixels"]:
    """Whether tokens can be "removed" (the model runs on a shortened sequence and means the same by it), else "masked".

    Where neither can be done ("pixels"), the picture itself is hidden there.

    A dropped key that nobody attends to changes the other tokens exactly as a token that is not there. So every kept token must
    leave the last block with the same value both ways. (The logits need not agree: a head that averages patches counts the masked
    ones in and the removed ones not, so removal is what dropping means there.) Rotary or relative positions computed for the whole
    grid make a shortened sequence fail or differ: those models get "masked".

    Args:
        module: the model.
        forward: how it is called.
        pixels: an input to try it on.
        tokens: tokens in the sequence.
        patches: ``[p]`` indices of tokens that may be dropped.
        blocks: from :func:`find_blocks`.
    """
    guards.check_module(module)
    blocks = blocks or find_blocks(module, forward, pixels)
    keep = _half(tokens, patches, len(pixels))
    with ordinary_mode(grad=False):
        try:
            masked, mixed = _last_block(module, forward, pixels, blocks, keep, "masked")
        except CaptureError:  # a gate between content and position gives a masked key its weight all the same
            return "pixels"
        try:
            removed, _ = _last_block(module, forward, pixels, blocks, keep, "removed")
        except (RuntimeError, ValueError, IndexError, AssertionError, CaptureError):  # the model's own complaint about a shorter sequence
            return "masked"
    if mixed:  # talking heads give even a masked key weight again, so the two cannot agree; a token that is gone is gone
        return "removed"
    if masked.dim() != 3 or masked.shape[:2] != keep.shape or removed.numel() != int(keep.sum()) * masked.shape[2]:
        return "masked"
    kept = masked[keep].view_as(removed)
    difference = (removed - kept).abs().max() / kept.abs().max().clamp_min(torch.finfo(kept.dtype).tiny)
    return "removed" if bool(difference <= TOLERANCE.get(kept.dtype, 0.0)) else "masked"


class _ReachedError(Exception):
    """The last block's output is there; the rest of the forward is not needed."""


def _last_block(module: nn.Module, forward: Forward, pixels: Tensor, blocks: Blocks, keep: Tensor, how: Drop) -> tuple[Tensor, bool]:
    """``[b, n, width]`` after the last block with tokens dropped, and whether any call mixes its heads."""
    found: list[Tensor] = []

    def stop(output: Tensor) -> Tensor:
        found.append(output)
        raise _ReachedError

    removed, masked = (keep, None) if how == "removed" else (None, keep)
    with (
        suppress(_ReachedError),
        without_tokens(module, blocks.paths[0], removed),
        replacing_output(module, blocks.paths[-1], stop),
        intercept(module, batch=len(pixels), keep=masked) as recorder,
    ):
        forward(ordinary(pixels))
    if not found:
        raise CaptureError("the last block did not run", where=blocks.paths[-1])
    tokens = int(keep.sum()) // len(keep) if how == "removed" else keep.shape[1]
    second = batch_second(found[0].shape, len(pixels), tokens)
    return found[0].transpose(0, 1) if second else found[0], any(call.mixed for call in recorder.heard)


def _half(tokens: int, patches: Tensor, batch: int) -> Tensor:
    """Every picture drops another half of its patches; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.ones(batch, tokens, dtype=torch.bool)
    for row in keep:
        row[patches.cpu()[torch.randperm(len(patches), generator=generator)[: len(patches) // 2]]] = False
    return keep.to(patches.device)
