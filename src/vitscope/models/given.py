"""Preprocessing as the user gives it: numbers, a list of transforms, or a function of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitscope.core.placement import Placement
from vitscope.errors import ModelError
from vitscope.models.family import Options
from vitscope.models.opaque import opaque
from vitscope.models.preparing import Preparation, followed, numbers_text, steps_text, walk

#: The options understood here.
OPTIONS = ("mean", "std", "preprocess", "resize")


def given_preparation(options: Options, size: tuple[int, int] | None) -> tuple[Preparation | None, tuple[str, ...]]:
    """The preprocessing the user describes, or None and the names of all that is missing for it.

    Args:
        options: ``preprocess``; or ``mean`` and ``std`` (and ``resize``).
        size: the model's own input size, where it has one.
    """
    given = options.given
    if given.get("preprocess") is not None:
        return _own(given["preprocess"], given), ()
    size = options.input_size or size
    needed = {"input_size": size, "mean": given.get("mean"), "std": given.get("std")}
    missing = tuple(name for name, value in needed.items() if value is None)
    if missing or size is None:
        return None, missing
    return plain(size, triple(given["mean"]), triple(given["std"]), str(given.get("resize", "squash"))), ()


def _own(preprocess: Any, given: dict[str, Any]) -> Preparation:
    """The user's own preprocessing: followed step by step where every step is known, else measured."""
    mean = triple(given["mean"]) if "mean" in given else ()
    std = triple(given["std"]) if "std" in given else ()
    steps = getattr(preprocess, "transforms", None)
    if isinstance(steps, (list, tuple)) and all(followed(step) for step in steps):
        normalize = next((step for step in steps if type(step).__name__ == "Normalize"), None)
        mean, std = mean or triple(getattr(normalize, "mean", 0.0)), std or triple(getattr(normalize, "std", 1.0))
        return Preparation(walk(steps), steps_text(steps), mean, std)
    if not callable(preprocess):
        raise ModelError(f"preprocess of type {type(preprocess).__name__}", expected="a function from a PIL image to a tensor [3, h, w]")
    return Preparation(opaque(preprocess), f"given by the user ({getattr(preprocess, '__name__', type(preprocess).__name__)})", mean, std)


def triple(value: Any) -> tuple[float, ...]:
    """Three numbers, of three or of one.

    Raises:
        ModelError: any other count.
    """
    listed = [float(v) for v in value] if isinstance(value, (list, tuple, np.ndarray, Tensor)) else [float(value)] * 3
    if len(listed) != 3:
        raise ModelError(f"{len(listed)} numbers for mean or std", expected="one, or three (red, green, blue)")
    return tuple(listed)


def plain(size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...], resize: str = "squash") -> Preparation:
    """Resize (bilinear), scale to 0..1, subtract ``mean``, divide by ``std``.

    Args:
        size: ``(h, w)`` of the model input.
        mean: what to subtract from red, green and blue, 0..1.
        std: what to divide by.
        resize: "squash" to the size; "crop": cover the size, keep the centre; "pad": fit into the size, pad with the mean.

    Raises:
        ModelError: another way to resize.
    """
    if resize not in ("squash", "crop", "pad"):
        raise ModelError(f"resize {resize!r}", expected="squash, crop or pad", where="load")
    level = tuple(round(255 * v) for v in mean)

    def run(image: Image.Image, placement: Placement) -> tuple[Tensor, Placement]:
        between = _between((image.height, image.width), size, resize)
        image = image.resize((between[1], between[0]), Image.Resampling.BILINEAR)
        placement = placement.resize(between, detail=f"to {between[1]}×{between[0]}, bilinear")
        if between != size:
            top, left = (between[0] - size[0]) // 2, (between[1] - size[1]) // 2
            whole = Image.new("RGB", (size[1], size[0]), level)
            whole.paste(image, (-left, -top))
            image, placement = whole, placement.crop(top, left, size)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255.0).permute(2, 0, 1)
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None], placement

    how = {"squash": "resize to", "crop": "resize and centre crop to", "pad": "resize and pad to"}[resize]
    return Preparation(run, f"{how} {size[0]}×{size[1]} bilinear, mean {numbers_text(mean)}, std {numbers_text(std)}", mean, std)


def _between(photo: tuple[int, int], size: tuple[int, int], resize: str) -> tuple[int, int]:
    """The size a photo is resized to before it is cropped or padded."""
    if resize == "squash":
        return size
    ratios = (size[0] / photo[0], size[1] / photo[1])
    factor = max(ratios) if resize == "crop" else min(ratios)
    at_least = max if resize == "crop" else min
    return max(1, at_least(size[0], round(photo[0] * factor))), max(1, at_least(size[1], round(photo[1] * factor)))
