"""A model's weights as a fingerprint, and a copy with its weights re-drawn."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import Tensor, nn

from vitscope.errors import CaptureError, MethodError


def fingerprint(module: nn.Module) -> str:
    """First 16 hex digits of the sha256 over all parameters and buffers, by name; those kept on the CPU or on disk too."""
    digest = hashlib.sha256()
    for name, found in sorted(module.state_dict().items()):
        if isinstance(found, Tensor):
            value = _elsewhere(module, name) if found.is_meta else found
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _elsewhere(module: nn.Module, name: str) -> Tensor:
    """A weight that accelerate keeps on the CPU or on disk, and brings in when its module runs.

    Raises:
        CaptureError: a weight without a value anywhere.
    """
    path, _, own = name.rpartition(".")
    stored = getattr(getattr(module.get_submodule(path), "_hf_hook", None), "weights_map", None)
    if stored is None:
        raise CaptureError("this weight has no value (device meta)", expected="loaded weights", where=name)
    return torch.as_tensor(stored[own])


def works_in(module: nn.Module, otherwise: Tensor) -> tuple[torch.device, torch.dtype]:
    """Where a module takes its input and in what precision: as its first floating weight, or where accelerate runs it."""
    like = next((p for p in module.parameters() if p.is_floating_point()), otherwise)
    if not like.is_meta:
        return like.device, like.dtype
    hook = getattr(module, "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or "cpu"), like.dtype


#: Values are added up in rows of this many (a prime: a reordered weight hardly ever keeps its column sums).
ROW = 1021


def version(module: nn.Module) -> tuple[object, ...]:
    """Changes whenever a weight is written to or replaced, also through ``.data``; one read of every weight, exact integer sums."""
    found: list[tuple[object, ...]] = []
    sums: list[Tensor] = []
    for name, value in module.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            if value.is_meta:  # kept on the CPU or on disk, where nobody writes by way of the module
                found.append((name, "elsewhere", value.dtype, tuple(value.shape)))
                continue
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

    Raises:
        MethodError: weights that cannot be re-drawn: quantised ones, or ones that are kept elsewhere.
    """
    fixed = next((name for name, p in module.named_parameters() if p.dim() >= 2 and (p.is_meta or not p.is_floating_point())), "")
    if fixed:
        kind = "kept on the CPU or on disk" if module.get_parameter(fixed).is_meta else f"{module.get_parameter(fixed).dtype}, quantised"
        raise MethodError(f"weights {kind} are not re-drawn", expected="floating-point weights in memory", where=fixed)
    twin = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in twin.parameters():
            if weight.dim() >= 2 and weight.is_floating_point():
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return twin
