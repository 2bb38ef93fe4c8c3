"""What people hand to ``trace``: paths, PIL images, arrays, Samples, lists of them, or prepared tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitscope.core.placement import Placement
from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError
from vitscope.inputs import read_samples


def is_prepared(source: Any) -> bool:
    """Whether these are prepared pixels: a tensor, or a list of tensors."""
    return isinstance(source, Tensor) or (
        isinstance(source, (list, tuple)) and len(source) > 0 and all(isinstance(s, Tensor) for s in source)
    )


def prepared_pixels(source: Tensor | Sequence[Tensor]) -> Tensor:
    """Prepared pixels ``[b, 3, h, w]`` from a tensor of one or several pictures, or a list of ``[3, h, w]``.

    Raises:
        ArgumentError: another shape, or an empty batch.
    """
    pixels = source if isinstance(source, Tensor) else torch.stack(list(source))
    pixels = pixels[None] if pixels.dim() == 3 else pixels
    if pixels.dim() != 4 or pixels.shape[1] != 3 or len(pixels) == 0 or not pixels.is_floating_point():
        raise ArgumentError(f"a tensor {tuple(pixels.shape)} of {pixels.dtype}", expected="prepared pixels [b, 3, h, w]", where="trace")
    return pixels


def shown(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[Sample, ...], tuple[Placement, ...]]:
    """Samples that show prepared pixels as pictures: normalisation undone where known, else stretched to its range."""
    samples = []
    values = pixels.detach().cpu().double()
    if mean and std:
        values = values * torch.tensor(std).double()[:, None, None] + torch.tensor(mean).double()[:, None, None]
        note = "fed as a tensor; shown with the model's normalisation undone"
    else:
        low, high = values.amin(dim=(1, 2, 3), keepdim=True), values.amax(dim=(1, 2, 3), keepdim=True)
        values = (values - low) / (high - low).clamp_min(1e-12)
        note = "fed as a tensor; shown stretched from its darkest to its lightest value"
    for i, picture in enumerate(values):
        array = (picture.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        samples.append(Sample(id="tensor" if len(values) == 1 else f"tensor-{i + 1}", pixels=array[None], notes=(note,), digest=digest))
    size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
    return tuple(samples), tuple(Placement.of_photo(size) for _ in samples)


def gather(source: Any) -> list[Sample]:
    """Samples from anything but tensors."""
    return read_samples(source)
