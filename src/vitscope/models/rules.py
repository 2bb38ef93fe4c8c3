"""What capture must never do, tried on any model: change its answer, change it, or let photos of a batch see each other."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary_mode
from vitscope.capture.prove import OUT_TOLERANCE, Check
from vitscope.models.family import Loaded
from vitscope.models.weights import fingerprint


def keeps_rules(described: Loaded, noise: Tensor) -> dict[str, Check]:
    """Three rules, measured on a picture of noise and its mirror image.

    Args:
        described: the model.
        noise: ``[1, 3, h, w]``.
    """
    module = described.module
    tolerance = OUT_TOLERANCE.get(noise.dtype, 0.0)

    def made(pixels: Tensor) -> Tensor:
        return described.output(described.call(module, pixels))[1]

    pair = torch.cat([noise, noise.flip(-1)])
    before = fingerprint(module)
    with ordinary_mode(grad=False):
        plain = made(pair)
        with intercept(module, batch=2):
            heard = made(pair)
        alone = torch.cat([made(pair[:1]), made(pair[1:])])
    return {
        "answer": _check(heard, plain, tolerance, "with and without capture the output differs by {:.2g} of its largest value"),
        "batch": _check(alone, plain, 10 * tolerance, "alone and in a batch of two the output differs by {:.2g} of its largest value"),
        "weights": Check(before == fingerprint(module), float(before != fingerprint(module)), 0.0, "weights are what they were"),
    }


def _check(one: Tensor, other: Tensor, tolerance: float, text: str) -> Check:
    scale = other.abs().max().clamp_min(torch.finfo(other.dtype).tiny)
    off = float((one - other).abs().max() / scale)
    return Check(off <= tolerance, off, tolerance, text.format(off))
