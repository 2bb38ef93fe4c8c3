"""Any nn.Module of the user's own: what cannot be read from it is asked for, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vitscope.core.layout import Kind
from vitscope.core.placement import Placement
from vitscope.errors import ModelError
from vitscope.models.family import Loaded, Options, pair
from vitscope.models.opaque import opaque
from vitscope.models.prefixes import learned_tokens
from vitscope.models.preparing import Preparation, numbers_text, steps_text, walk

OPTIONS = ("mean", "std", "preprocess", "resize", "patch", "prefix")


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of a module nobody has described, together with what its owner says.

    Photos need ``input_size``, ``mean`` and ``std``, or a ``preprocess`` of the owner's own; prepared tensors need neither.
    """
    given = options.only(*OPTIONS)
    preparation, missing = _preparation(options)
    learned = learned_tokens(module)
    return Loaded(
        module=module,
        ref=ref,
        call=lambda model, pixels: model(pixels),
        output=output,
        preparation=preparation,
        input_size=options.input_size,
        prefix=_prefix(given["prefix"]) if "prefix" in given else (learned or None),
        patch=pair(given["patch"]) if "patch" in given else None,
        missing=missing,
    )


def _prefix(given: Any) -> tuple[Kind, ...]:
    """A number of prefix tokens (the first is taken for the cls token), or their kinds by name."""
    if isinstance(given, int) and not isinstance(given, bool):
        return (Kind.CLS, *[Kind.REGISTER] * (given - 1)) if given else ()
    try:
        return tuple(kind if isinstance(kind, Kind) else Kind[str(kind).upper()] for kind in given)
    except (KeyError, TypeError) as error:
        names = ", ".join(kind.name.lower() for kind in Kind)
        raise ModelError(f"prefix {given!r}", expected=f"a number, or a list of kinds among {names}", where="prefix") from error


def _preparation(options: Options) -> tuple[Preparation | None, tuple[str, ...]]:
    given = options.given
    if given.get("preprocess") is not None:
        return _given(given["preprocess"], given), ()
    needed = {"input_size": options.input_size, "mean": given.get("mean"), "std": given.get("std")}
    missing = tuple(name for name, value in needed.items() if value is None)
    if missing:
        return None, missing
    assert options.input_size is not None
    return plain(options.input_size, _triple(given["mean"]), _triple(given["std"]), str(given.get("resize", "squash"))), ()


def _given(preprocess: Any, given: Mapping[str, Any]) -> Preparation:
    """The owner's own preprocessing: followed step by step where it is a list of transforms, measured where it is one function."""
    mean = _triple(given["mean"]) if "mean" in given else ()
    std = _triple(given["std"]) if "std" in given else ()
    steps = getattr(preprocess, "transforms", None)
    if isinstance(steps, (list, tuple)):
        normalize = next((step for step in steps if type(step).__name__ == "Normalize"), None)
        mean, std = mean or tuple(getattr(normalize, "mean", ())), std or tuple(getattr(normalize, "std", ()))
        return Preparation(walk(steps), steps_text(steps), mean, std)
    if not callable(preprocess):
        raise ModelError(f"preprocess of type {type(preprocess).__name__}", expected="a function from a PIL image to a tensor [3, h, w]")
    return Preparation(opaque(preprocess), f"given by the user ({getattr(preprocess, '__name__', type(preprocess).__name__)})", mean, std)


def _triple(value: Any) -> tuple[float, ...]:
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
        resize: "squash" to the size, or "crop": shortest side to the size, then the centre.

    Raises:
        ModelError: another way to resize.
    """
    if resize not in ("squash", "crop"):
        raise ModelError(f"resize {resize!r}", expected="squash or crop", where="load")

    def run(image: Image.Image, placement: Placement) -> tuple[Tensor, Placement]:
        h, w = size
        if resize == "crop":
            factor = max(h / image.height, w / image.width)
            between = (max(h, round(image.height * factor)), max(w, round(image.width * factor)))
        else:
            between = size
        image = image.resize((between[1], between[0]), Image.Resampling.BILINEAR)
        placement = placement.resize(between, detail=f"to {between[1]}×{between[0]}, bilinear")
        if between != size:
            top, left = (between[0] - h) // 2, (between[1] - w) // 2
            image = image.crop((left, top, left + w, top + h))
            placement = placement.crop(top, left, size)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255.0).permute(2, 0, 1)
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None], placement

    how = "resize to" if resize == "squash" else "resize and centre crop to"
    return Preparation(run, f"{how} {size[0]}×{size[1]} bilinear, mean {numbers_text(mean)}, std {numbers_text(std)}", mean, std)


def output(out: Any) -> tuple[Tensor | None, Tensor]:
    """Class scores from what a module returns: a tensor, the first of a tuple, or "logits" of a dictionary or output object.

    Raises:
        ModelError: nothing among it looks like scores ``[b, c]`` or features.
    """
    found = out
    if isinstance(out, Mapping):
        found = next((out[key] for key in ("logits", "scores", "out", "output") if key in out), None)
    elif hasattr(out, "logits"):
        found = out.logits
    elif isinstance(out, (tuple, list)):
        found = out[0] if out else None
    if not isinstance(found, Tensor) or found.dim() < 2:
        raise ModelError(f"an output of type {type(out).__name__}", where="forward", expected="a tensor [b, c], or .logits holding one")
    return (found, found) if found.dim() == 2 else (None, found)
