"""What capture must never do, tried on any model: change its answer, change it, or let photos of a batch see each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary_mode
from vitscope.capture.prove import OUT_TOLERANCE, Check
from vitscope.models.family import Loaded
from vitscope.models.weights import fingerprint


def keeps_rules(described: Loaded, noise: Tensor) -> dict[str, Check]:
    """Four rules, measured on a picture of noise and its mirror image.

    Args:
        described: the model.
        noise: ``[1, 3, h, w]``.
    """
    module = described.module
    tolerance = OUT_TOLERANCE.get(noise.dtype, 0.0)

    def made(pixels: Tensor) -> Tensor:
        return described.output(described.call(module, pixels))[1]

    pair = torch.cat([noise, noise.flip(-1)])
    before, was = fingerprint(module), _state(module)
    with ordinary_mode(grad=False):
        plain = made(pair)
        with intercept(module, batch=2):
            heard = made(pair)
        alone = torch.cat([made(pair[:1]), made(pair[1:])])
    changed = sum(a != b for a, b in zip(was, _state(module), strict=True))
    return {
        "answer": _check(heard, plain, tolerance, "with and without capture the output differs by {:.2g} of its largest value"),
        "batch": _check(alone, plain, 10 * tolerance, "alone and in a batch of two the output differs by {:.2g} of its largest value"),
        "left": Check(changed == 0, float(changed), 0.0, f"{changed} modules have another hook, mode or flag than before"),
        "weights": Check(before == fingerprint(module), float(before != fingerprint(module)), 0.0, "weights are what they were"),
    }


def _state(module: nn.Module) -> list[tuple[object, ...]]:
    """Hooks, mode, own forward, and flags and gradients of the weights, module by module."""
    return [
        (
            len(part._forward_hooks),
            len(part._forward_pre_hooks),
            len(part._backward_hooks),
            part.training,
            id(part.__dict__.get("forward")),
            *((p.requires_grad, p.grad is None) for p in part.parameters(recurse=False)),
        )
        for part in module.modules()
    ]


def _check(one: Tensor, other: Tensor, tolerance: float, text: str) -> Check:
    scale = other.abs().max().clamp_min(torch.finfo(other.dtype).tiny)
    off = float((one - other).abs().max() / scale)
    return Check(off <= tolerance, off, tolerance, text.format(off))
