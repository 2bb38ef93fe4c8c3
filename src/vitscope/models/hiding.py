"""Hiding patches of the picture itself, where tokens can neither be taken out nor masked (windows, convolutions)."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.core.layout import TokenLayout


def hide_pixels(pixels: Tensor, keep: Tensor, layout: TokenLayout) -> Tensor:
    """The pixels with every patch that is not kept set to 0: the mean colour, in the model's own normalised units.

    Shapes:
        pixels: ``[b, 3, h, w]``; keep: bool ``[b, n]``; where patches overlap, each stands for the stride around its middle.
    """
    patches = torch.as_tensor(layout.patches, device=keep.device)
    shown = keep[:, patches].view(-1, *layout.grid)
    for axis in (0, 1):
        size, stride = layout.input_size[axis], layout.stride[axis]
        first = layout.origin[axis] + (layout.patch[axis] - stride) / 2
        at = ((torch.arange(size, device=keep.device) + 0.5 - first) / stride).floor().long().clamp(0, layout.grid[axis] - 1)
        shown = shown.index_select(axis + 1, at)
    return pixels * shown[:, None].to(pixels)
