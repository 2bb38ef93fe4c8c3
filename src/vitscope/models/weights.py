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


#: Values are added up in rows of this many (a prime: a reordered weight hardly ever keeps its column sums).
ROW = 1021


def version(module: nn.Module) -> tuple[object, ...]:
    """Changes whenever a weight is written to or replaced, also through ``.data``; one read of every weight, exact integer sums."""
    found: list[tuple[object, ...]] = []
    sums: list[Tensor] = []
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            found.append((name, value.data_ptr(), value._version, value.dtype, tuple(value.shape)))
            sums.append(_checksum(value.detach()).cpu())
    return (*found, tuple(torch.stack(sums).tolist()) if sums else ())


def _checksum(value: Tensor) -> Tensor:
    """A sum over the bits of a tensor that depends on their order; wraps around, and is the same for any number of threads."""
    flat = value.reshape(-1)
    words = 8 // flat.element_size() if flat.element_size() < 8 else 1
    whole = flat.numel() - flat.numel() % words
    body, rest = flat[:whole], flat[whole:]
    bits = (body.clone() if body.storage_offset() % words else body).view(torch.int64)
    rows = len(bits) // ROW
    columns = bits[: rows * ROW].view(rows, ROW).sum(dim=0)
    tail = torch.cat([bits[rows * ROW :], rest.to(torch.float64).view(torch.int64)])
    return _weighted(columns) + 7 * _weighted(tail)


def _weighted(x: Tensor) -> Tensor:
    return (x * torch.arange(1, 2 * len(x) + 1, 2, device=x.device)).sum()


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
