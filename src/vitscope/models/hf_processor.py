"""transformers' image processors: their own tensor, and the placement recorded from their own resize, crop and pad."""

from __future__ import annotations

import copy
import math
from typing import Any

from PIL import Image
from torch import Tensor

from vitscope.core.placement import Placement
from vitscope.errors import ModelError
from vitscope.models.preparing import Preparation, numbers_text, size_of, window

_BACKENDS = ("PilBackend", "TorchvisionBackend")


def preparation_of(processor: Any) -> Preparation:
    """How a transformers image processor prepares a photo.

    Raises:
        ModelError: a processor that is not built on transformers' own resize, crop and pad.
    """
    recorder = recording(processor)

    def run(image: Image.Image, placement: Placement) -> tuple[Tensor, Placement]:
        seen: list[Placement] = [placement]
        one = copy.copy(recorder)
        one.placements = seen
        made = one(image, return_tensors="pt")
        if len(made["pixel_values"]) != 1:
            parts = f"a photo cut into {len(made['pixel_values'])} pictures"
            raise ModelError(parts, where=type(processor).__name__, expected="one", todo="a processor that does not split (do_split_image)")
        tensor = made["pixel_values"][0]
        if tensor.dim() == 2 and "spatial_shapes" in made:
            tensor = _picture(tensor, [int(side) for side in made["spatial_shapes"][0]])
        if tensor.dim() != 3:
            raise ModelError(f"a prepared picture {tuple(tensor.shape)}", where=type(processor).__name__, expected="[3, h, w]")
        return tensor, seen[-1]

    return Preparation(run, describe(processor), _triple(processor, "image_mean"), _triple(processor, "image_std"))


def _picture(patches: Tensor, grid: list[int]) -> Tensor:
    """The picture ``[3, h, w]`` of real patches ``[n, patch · patch · 3]``, row by row; what follows them is padding and is left out."""
    side = math.isqrt(patches.shape[1] // 3)
    real = patches[: grid[0] * grid[1]].reshape(grid[0], grid[1], side, side, 3)
    return real.permute(4, 0, 2, 1, 3).reshape(3, grid[0] * side, grid[1] * side)


def _triple(processor: Any, name: str) -> tuple[float, ...]:
    value = getattr(processor, name, None)
    if not getattr(processor, "do_normalize", False) or value is None:
        return (0.0,) * 3 if name == "image_mean" else (1.0,) * 3
    return tuple(float(v) for v in value) if isinstance(value, (list, tuple)) else (float(value),) * 3


def recording(processor: Any) -> Any:
    """A copy of a processor that does the same work and keeps the placement: a layer under its class, above transformers' own back end.

    The layer stands *below* the processor's own class, so that a class which resizes and crops in one go is followed through its
    calls to ``super()``.
    """
    base = next((c for c in type(processor).__mro__ if c.__name__ in _BACKENDS), None)
    if base is None:
        raise ModelError(
            f"image processor {type(processor).__name__}", expected="one built on transformers' own back ends", todo="feed prepared tensors"
        )
    layer = type("Recorder", (base,), {"resize": _resize(base), "center_crop": _center_crop(base), "pad": _pad(base)})
    twin = copy.deepcopy(processor)
    twin.__class__ = type(type(processor).__name__, (type(processor), layer), {})
    return twin


def _resize(base: Any) -> Any:
    def resize(self: Any, image: Any, *args: Any, **kwargs: Any) -> Any:
        out = base.resize(self, image, *args, **kwargs)
        after = size_of(out)
        self.placements.append(self.placements[-1].resize(after, detail=_resize_text(size_of(image), after)))
        return out

    return resize


def _resize_text(before: tuple[int, int], after: tuple[int, int]) -> str:
    return f"{before[1]}×{before[0]} → {after[1]}×{after[0]}"


def _center_crop(base: Any) -> Any:
    def center_crop(self: Any, image: Any, *args: Any, **kwargs: Any) -> Any:
        out = base.center_crop(self, image, *args, **kwargs)
        before = size_of(image)
        top, left, size = window(lambda index: base.center_crop(self, _as(image, index), *args, **kwargs), before)
        self.placements.append(self.placements[-1].crop(top, left, size))
        return out

    return center_crop


def _as(like: Any, index: Tensor) -> Any:
    """A picture of coordinates of the same kind (tensor or array, and so many axes) as the picture it stands for."""
    shaped = index.expand(*like.shape[:-3], *index.shape)
    return shaped if isinstance(like, Tensor) else shaped.numpy()


def _pad(base: Any) -> Any:
    def pad(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        out = base.pad(self, images, *args, **kwargs)
        padded = out[0] if isinstance(out, tuple) else out
        (h0, w0), (h, w) = size_of(images[0]), size_of(padded[0])
        if (h0, w0) != (h, w):  # both back ends pad at the bottom and on the right
            self.placements.append(self.placements[-1].pad(0, 0, h - h0, w - w0))
        return out

    return pad


def resized(processor: Any, size: tuple[int, int]) -> Any:
    """A copy of a processor that prepares for another input size, its resize kept in proportion to its crop.

    Raises:
        ModelError: a processor whose size cannot be set.
    """
    twin = copy.deepcopy(processor)
    h, w = size
    crop = _edges(getattr(twin, "crop_size", None)) if getattr(twin, "do_center_crop", False) else None
    old = dict(twin.size) if twin.size else {}
    old = {key: value for key, value in old.items() if value}
    if "shortest_edge" in old:
        factor = old["shortest_edge"] / min(crop) if crop else 1.0
        new = {"shortest_edge": round(max(h, w) * factor)}
    elif "height" in old:
        factors = (old["height"] / crop[0], old["width"] / crop[1]) if crop else (1.0, 1.0)
        new = {"height": round(h * factors[0]), "width": round(w * factors[1])}
    else:
        named = ", ".join(old) or "nothing"
        raise ModelError(f"a processor sized by {named}", expected="height and width, or shortest_edge", where="input_size")
    twin.size = _like(twin.size, new)
    if crop:
        twin.crop_size = _like(twin.crop_size, {"height": h, "width": w})
    return twin


def native_size(processor: Any) -> tuple[int, int] | None:
    """The input size a processor leads to: its crop, or its resize (of a shortest edge: the square); None where it says neither."""
    if getattr(processor, "do_center_crop", False) and getattr(processor, "crop_size", None):
        return _edges(processor.crop_size)
    size = dict(getattr(processor, "size", None) or {})
    return _edges(size) if size.get("height") or size.get("shortest_edge") else None


def _edges(size: Any) -> tuple[int, int] | None:
    if not size:
        return None
    found = dict(size)
    return (int(found["height"]), int(found["width"])) if found.get("height") else (int(found["shortest_edge"]),) * 2


def _like(kind: Any, values: dict[str, int]) -> Any:
    return values if isinstance(kind, dict) else type(kind)(**values)


def describe(processor: Any) -> str:
    """One line for people."""
    parts = []
    if getattr(processor, "do_resize", False):
        most = getattr(processor, "max_num_patches", None)
        to = _named(processor.size) if processor.size or not most else f"to at most {most} patches of {processor.patch_size} px"
        parts.append(f"resize {to} {_resample(processor)}")
    if getattr(processor, "do_center_crop", False):
        parts.append(f"centre crop {_named(processor.crop_size)}")
    if getattr(processor, "do_normalize", False):
        parts.append(f"mean {numbers_text(_triple(processor, 'image_mean'))}, std {numbers_text(_triple(processor, 'image_std'))}")
    back_end = getattr(processor, "backend", "")
    return ", ".join(parts or ["none"]) + (f" ({back_end} back end)" if back_end else "")


def _named(size: Any) -> str:
    found = {key: value for key, value in dict(size).items() if value}
    if "height" in found:
        return f"{found['height']}×{found['width']}"
    return " ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())


def _resample(processor: Any) -> str:
    value = getattr(processor, "resample", None)
    names = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
    return names.get(int(value), "") if isinstance(value, int) else str(getattr(value, "value", value or ""))


__all__ = ["native_size", "preparation_of", "recording", "resized"]
