"""Everything a capture could leave behind on a model or in torch, as plain values that compare equal or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as global_hooks

GLOBAL_HOOKS = [name for name in vars(global_hooks) if name.startswith("_global_") and "hook" in name]


def footprint(model: nn.Module) -> dict[str, Any]:
    """Attributes of every module, hooks, flags, modes, gradients, classes, and torch's own switches."""
    return {
        "modules": {path: _module(part) for path, part in model.named_modules()},
        "parameters": {path: (p.requires_grad, p.grad is None, p._version, id(p), p.data_ptr()) for path, p in model.named_parameters()},
        "buffers": {path: (b._version, id(b), b.data_ptr()) for path, b in model.named_buffers()},
        "classes": {cls: {name: id(value) for name, value in vars(cls).items()} for cls in {type(part) for part in model.modules()}},
        "torch": _torch(),
        "random": torch.get_rng_state().tolist(),
    }


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of weights and buffers."""
    return {path: x.detach().clone() for path, x in [*model.named_parameters(), *model.named_buffers()]}


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit-identical, also where not a number."""
    return one.keys() == other.keys() and all(_bits(one[name]) == _bits(other[name]) for name in one)


def _bits(x: Tensor) -> bytes:
    return x.contiguous().view(torch.uint8).numpy().tobytes() if x.dim() else x.numpy().tobytes()


def _module(part: nn.Module) -> dict[str, Any]:
    values = {}
    for name, value in vars(part).items():
        if isinstance(value, dict):
            values[name] = [(key, id(entry)) for key, entry in value.items()]
        elif isinstance(value, (bool, int, float, str, type(None))):
            values[name] = value
        else:
            values[name] = id(value)
    config = getattr(part, "config", None)
    values["config"] = repr(getattr(config, "_attn_implementation", None)), repr(getattr(config, "output_attentions", None))
    return values


def _torch() -> dict[str, Any]:
    cuda = torch.backends.cuda
    return {
        "hooks": {name: list(getattr(global_hooks, name) or []) for name in GLOBAL_HOOKS},
        "function modes": torch.overrides._len_torch_function_stack(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "kernels": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "functions": {name: id(value) for name, value in vars(F).items()},
    }
