"""A model's weights as a fingerprint, and a copy with its weights re-drawn."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import Tensor, nn


def fingerprint(module: nn.Module) -> str:
    """First 16 hex digits of the sha256 over all parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def version(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes whenever a weight is written to or replaced; cheap."""
    return tuple((value.data_ptr(), value._version) for value in module.state_dict(keep_vars=True).values() if isinstance(value, Tensor))


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A copy whose every weight of two or more axes has its own values in another order; the module itself is not touched.

    Shuffling keeps each weight's distribution, so that the copy works at the same scales and knows nothing.
    """
    twin = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in twin.parameters():
            if weight.dim() >= 2 and weight.is_floating_point():
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return twin
