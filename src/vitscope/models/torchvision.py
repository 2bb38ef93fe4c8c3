"""torchvision: models by name with the transform their weights were trained for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vitscope.core.placement import Placement
from vitscope.errors import ModelError
from vitscope.models import checkpoint
from vitscope.models.family import Loaded, Options, fetching, library, nearest, pair
from vitscope.models.given import OPTIONS, given_preparation
from vitscope.models.prefixes import learned_tokens
from vitscope.models.preparing import Preparation, follow, numbers_text, size_of


def recognises(module: nn.Module) -> bool:
    """Whether a module is one of torchvision's models."""
    return type(module).__module__.startswith("torchvision.models")


def load(name: str, options: Options) -> Loaded:
    """A model by torchvision's name, with its default weights or a local checkpoint; no download for preprocessing or labels.

    Raises:
        ModelError: unknown name, or weights that cannot be had.
        MissingExtra: torchvision is not installed.
    """
    options.only()
    library("torchvision", "torchvision", "torchvision: models")
    models = library("torchvision.models", "torchvision", "torchvision: models")
    known = models.list_models()
    if name not in known:
        raise ModelError(
            f"unknown model {name!r}", where="torchvision", expected=f"a name torchvision knows, such as {nearest(name, known)}"
        )
    weights = models.get_model_weights(name).DEFAULT
    ref = f"torchvision:{name}"
    if options.weights is not None:
        state = checkpoint.read(options.weights)
    else:
        with fetching(ref):
            state = weights.get_state_dict(progress=False, check_hash=True)
    module = _build(models, name, state, options)
    categories = tuple(weights.meta.get("categories", ()))
    preset = weights.transforms()
    size = options.input_size or _built_for(module)
    described = _described(module, ref, preparation_of(preset, size), size or _cropped(preset))
    return replace(described, labels=categories)


def _build(models: Any, name: str, state: dict[str, Tensor], options: Options) -> nn.Module:
    count = checkpoint.class_count(state, ("heads.head", "head", "classifier", "fc"))
    made: dict[str, Any] = {} if count is None else {"num_classes": count}
    with torch.random.fork_rng(devices=[]):
        module: Any = models.get_model(name, weights=None, **made)
        checkpoint.load_strictly(module, state, str(options.weights or f"torchvision:{name}"))
        size = options.input_size
        if size is None or not hasattr(module, "image_size") or size == (module.image_size, module.image_size):
            return module.eval()  # type: ignore[no-any-return]  # a torchvision model, whose type is not followed
        if size[0] != size[1]:
            raise ModelError(f"input_size {size}", where=f"torchvision:{name}", expected="a square: this ViT takes no other")
        resized = models.vision_transformer.interpolate_embeddings(size[0], module.patch_size, dict(state))
        module = models.get_model(name, weights=None, image_size=size[0], **made)
        module.load_state_dict(resized)
    return module.eval()  # type: ignore[no-any-return]  # as above


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of a torchvision model object: everything but its preprocessing, which lives with the weights.

    The caller may give the weights' own transform as ``preprocess=weights.transforms()``, or ``mean`` and ``std``.

    Raises:
        ModelError: another ``input_size`` than the one a model was built for.
    """
    given = options.only(*OPTIONS)
    preset, built = given.get("preprocess"), _built_for(module)
    size = options.input_size or built
    if built is not None and size != built:
        raise ModelError(f"input_size {size}", where=ref, expected=f"{built}: this model takes no other")
    if hasattr(preset, "crop_size"):
        return _described(module, ref, preparation_of(preset, size), size or _cropped(preset))
    preparation, missing = given_preparation(options, size)
    return replace(_described(module, ref, preparation, size), missing=("preprocess=weights.transforms()",) if missing else ())


def _built_for(module: Any) -> tuple[int, int] | None:
    """The one size a model takes; None where it takes any."""
    return pair(module.image_size) if hasattr(module, "image_size") else None


def _cropped(preset: Any) -> tuple[int, int]:
    """``(h, w)`` that a set of weights' transform leads to."""
    return (preset.crop_size[0], preset.crop_size[-1])


def _described(module: Any, ref: str, preparation: Preparation | None, size: tuple[int, int] | None) -> Loaded:
    return Loaded(
        module=module,
        ref=ref,
        call=lambda model, pixels: model(pixels),
        output=lambda out: (out, out),
        preparation=preparation,
        input_size=size,
        prefix=learned_tokens(module),
        patch=pair(module.patch_size) if hasattr(module, "patch_size") else None,
        libraries=("torchvision",),
    )


def preparation_of(preset: Any, size: tuple[int, int] | None) -> Preparation:
    """The transform that belongs to a set of weights (``ImageClassification``), at another input size where asked."""
    transforms = library("torchvision.transforms", "torchvision", "torchvision: models")
    if size is not None and size != _cropped(preset):
        scale, longest = preset.resize_size[0] / preset.crop_size[0], max(size)  # its shortest edge must cover either side
        preset = type(preset)(
            crop_size=longest, resize_size=round(longest * scale), mean=preset.mean, std=preset.std, interpolation=preset.interpolation
        )
        preset.crop_size = list(size)
    steps = [
        transforms.Resize(list(preset.resize_size), interpolation=preset.interpolation, antialias=preset.antialias),
        transforms.CenterCrop(list(preset.crop_size) * (2 if len(preset.crop_size) == 1 else 1)),
    ]

    def run(image: Image.Image, placement: Placement) -> tuple[Tensor, Placement]:
        blank: Any = Image.new("L", image.size)
        for step in steps:
            before = size_of(blank)
            blank = step(blank)
            placement = follow(step, placement, before, size_of(blank))
        return preset(image), placement

    text = (
        f"resize shortest edge {preset.resize_size[0]} {preset.interpolation.value}, centre crop {'×'.join(map(str, preset.crop_size))}, "
        f"mean {numbers_text(preset.mean)}, std {numbers_text(preset.std)}"
    )
    return Preparation(run, text, tuple(preset.mean), tuple(preset.std))
