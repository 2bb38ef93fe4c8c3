"""From a photo to the model's own tensor, and the exact map between the two.

Preprocessing is always run by the library it comes from; the placement is derived from what each step did to the picture's size and,
for crops and pads, from where the step put a picture whose pixels carry their own coordinates. So no library's rounding is guessed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitscope.core.placement import Placement
from vitscope.core.sample import Sample
from vitscope.errors import ModelError, ProofError

Prepare = Callable[[Image.Image, Placement], tuple[Tensor, Placement]]

#: Steps that stretch the whole picture, and steps that cut or border it, and steps that move no pixel.
_STRETCHES = ("Resize", "ResizeKeepRatio", "ResizeToSequence")
_CUTS = ("CenterCrop", "CenterCropOrPad", "TrimBorder", "Pad")
_STILL = (
    "ToTensor",
    "MaybeToTensor",
    "PILToTensor",
    "MaybePILToTensor",
    "MaybeConvertMode",
    "ToImage",
    "ToDtype",
    "ConvertImageDtype",
    "Normalize",
    "Grayscale",
)
_LIBRARIES = ("torchvision", "timm", "open_clip")


@dataclass(frozen=True)
class Preparation:
    """How a photo becomes the model's tensor.

    Attributes:
        run: the library's preprocessing of one picture, with the placement it leads to.
        text: one line for people ("resize shortest edge 248 bicubic, centre crop 224, mean 0.5, std 0.5").
        mean, std: what was subtracted and divided, where known, to show a tensor as a picture.
    """

    run: Prepare
    text: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, sample: Sample) -> tuple[Tensor, Placement]:
        """The tensor ``[3, h, w]`` of one photo and where it lies in the photo.

        Raises:
            ProofError: the placement does not account for the tensor's size.
        """
        image = Image.fromarray(sample.photo)
        tensor, placement = self.run(image, Placement.of_photo(sample.size, exif=sample.exif))
        size = (int(tensor.shape[-2]), int(tensor.shape[-1]))
        if placement.input_size != size:
            raise ProofError(
                f"a tensor of {size[0]}×{size[1]}",
                expected=f"{placement.input_size[0]}×{placement.input_size[1]} by the recorded steps",
                where=f"preprocessing of {sample.id or 'the photo'}",
            )
        return tensor, placement


def size_of(picture: Any) -> tuple[int, int]:
    """Height and width of a PIL image, or of a tensor or array ``[..., h, w]``."""
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return int(picture.shape[-2]), int(picture.shape[-1])


def window(cut: Callable[[Tensor], Any], size: tuple[int, int]) -> tuple[int, int, tuple[int, int]]:
    """Where a crop or pad takes its picture from: ``(top, left, (h, w))``; a negative corner means padding.

    Found by sending through a picture ``[2, h, w]`` whose pixels hold their own row and column, counted from one.
    """
    rows = torch.arange(1.0, size[0] + 1)[:, None].expand(size)
    columns = torch.arange(1.0, size[1] + 1)[None, :].expand(size)
    out = torch.as_tensor(np.asarray(cut(torch.stack([rows, columns]))))
    out = out.reshape(-1, *size_of(out))[:2]
    if not bool(out.any()):
        raise ModelError("a crop that keeps nothing of the photo", where="preprocessing", expected="a crop inside the photo")
    row, column = (int(i) for i in out[0].nonzero()[0])
    return int(out[0, row, column]) - 1 - row, int(out[1, row, column]) - 1 - column, size_of(out)


def followed(step: object) -> bool:
    """Whether it is known what a step does to the place of pixels: steps of the libraries, by name; all others must be measured."""
    if getattr(step, "__name__", "") == "_convert_to_rgb":
        return str(getattr(step, "__module__", "")).startswith("open_clip.")
    return type(step).__module__.split(".")[0] in _LIBRARIES and type(step).__name__ in (*_STRETCHES, *_CUTS, *_STILL)


def follow(step: object, placement: Placement, before: tuple[int, int], after: tuple[int, int]) -> Placement:
    """The placement after one step of a torchvision-style pipeline.

    Raises:
        ModelError: a step whose effect on the place of pixels is not known here.
    """
    name = type(step).__name__
    if name in _STRETCHES:
        return placement.resize(after, detail=f"{before[1]}×{before[0]} → {after[1]}×{after[0]}, {interpolation_name(step)}")
    if name in _CUTS:
        plain: Any = copy.copy(step)
        if hasattr(plain, "fill"):
            plain.fill = 0  # a border of another colour would hide where the picture begins
        top, left, size = window(plain, before)
        return placement.crop(top, left, size) if (top, left, size) != (0, 0, before) else placement
    if before != after or not followed(step):
        raise ModelError(
            f"preprocessing step {name}, {before[0]}×{before[1]} → {after[0]}×{after[1]}",
            expected="resize, centre crop, border trim, pad, or a step known to move no pixel",
            todo="give preprocess=None and feed tensors",
        )
    return placement


def walk(steps: Sequence[Any]) -> Prepare:
    """A torchvision-style list of transforms, run as it is, with the placement followed step by step."""

    def run(picture: Any, placement: Placement) -> tuple[Tensor, Placement]:
        for step in steps:
            before = size_of(picture)
            picture = step(picture)
            placement = follow(step, placement, before, size_of(picture))
        return picture, placement

    return run


def interpolation_name(step: object) -> str:
    """How a resize step interpolates: "bicubic", "bilinear" …"""
    mode = getattr(step, "interpolation", None)
    return str(getattr(mode, "value", mode) or "bilinear").lower()


def steps_text(steps: Sequence[Any]) -> str:
    """One line for people from a list of torchvision-style transforms."""
    parts: list[str] = []
    for step in steps:
        name = type(step).__name__
        size = getattr(step, "size", None)
        if name in _STRETCHES:
            parts.append(f"{_stretch_text(name, step, size)} {interpolation_name(step)}")
        elif name in _CUTS:
            parts.append(f"{'centre crop' if name == 'CenterCrop' else name} {_size_text(size)}")
        elif name == "Normalize":
            parts.append(f"mean {numbers_text(step.mean)}, std {numbers_text(step.std)}")
    return ", ".join(parts) or "none"


def _stretch_text(name: str, step: Any, size: Any) -> str:
    if name == "ResizeKeepRatio":
        return f"resize {'longest' if getattr(step, 'longest', 0) else 'shortest'} edge to fit {_size_text(size)}"
    shortest = isinstance(size, int) or (isinstance(size, (list, tuple)) and len(size) == 1)
    return f"resize {'shortest edge ' if shortest else 'to '}{_size_text(size)}"


def _size_text(size: Any) -> str:
    if isinstance(size, (list, tuple)):
        return "×".join(str(int(v)) for v in size) if len(set(size)) > 1 else str(int(size[0]))
    return str(size)


def numbers_text(values: Any) -> str:
    """0.5 for (0.5, 0.5, 0.5); "0.485 0.456 0.406" otherwise."""
    listed = [round(float(v), 6) for v in (values if isinstance(values, (list, tuple, Tensor)) else [values])]
    return f"{listed[0]:g}" if len(set(listed)) == 1 else " ".join(f"{v:g}" for v in listed)
