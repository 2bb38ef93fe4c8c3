"""Hugging Face: hub names, local folders and model objects, with transformers' own image processor."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.core.layout import Kind
from vitscope.errors import ModelError
from vitscope.models import checkpoint
from vitscope.models.family import Loaded, Options, fetching, library, pair
from vitscope.models.given import OPTIONS, given_preparation
from vitscope.models.heads import places_of
from vitscope.models.hf_processor import native_size, preparation_of, resized
from vitscope.models.hf_texts import named_tokenizer, text_tower, two_towers
from vitscope.models.prefixes import learned_tokens
from vitscope.models.preparing import Preparation

#: Models that interpolate their position embeddings without being asked.
_ANY_SIZE = ("dinov2", "dinov2_with_registers", "dinov3_vit", "yolos")


def recognises(module: nn.Module) -> bool:
    """Whether a module is a transformers model."""
    return hasattr(module, "config") and hasattr(module.config, "model_type")


def load(name: str, options: Options, ref: str = "") -> Loaded:
    """A model from a local folder or the hub: safetensors only, and no code from the repository is ever run.

    Args:
        name: hub name or folder.
        options: ``backend="pil"`` or ``"torchvision"`` chooses among transformers' two image processors (its own choice by default).
        ref: what to call it, where that is not ``hf:name``.

    Raises:
        ModelError: no config, no safetensors, weights missing for the architecture, or the hub cannot be reached.
    """
    given = options.only("backend", "revision", "device_map", "offload_folder", "quantize", "dtype")
    ref = ref or f"hf:{name}"
    where: dict[str, Any] = {"trust_remote_code": False, **({"revision": given["revision"]} if "revision" in given else {})}
    if options.weights is not None:
        raise ModelError("weights=FILE", where=ref, todo="put config.json and model.safetensors into one folder")
    transformers = library("transformers", "all", "hf: models")
    with fetching(ref):
        config = transformers.AutoConfig.from_pretrained(name, **where)
    if config.model_type == "timm_wrapper":
        raise ModelError("a timm model", where=ref, todo=f"load it as timm:hf-hub:{name}")
    module = _module(transformers, name, config, {**where, **_large(transformers, given)}, ref)
    with fetching(f"{ref} (preprocessor_config.json)"):
        processor = _processor(transformers, name, given.get("backend"), where)
    if options.input_size is not None:
        processor = resized(processor, options.input_size)
    described = _describe(module, ref, preparation_of(processor), partial(named_tokenizer, name, where))
    return replace(described, input_size=options.input_size or described.input_size or native_size(processor))


def _module(transformers: Any, name: str, config: Any, where: dict[str, Any], ref: str) -> nn.Module:
    architecture = _base((getattr(config, "architectures", None) or [""])[0])
    kind = getattr(transformers, architecture, None)
    if kind is None or (getattr(kind, "main_input_name", "") != "pixel_values" and not two_towers(kind)):
        raise ModelError(
            f"architecture {architecture or config.model_type!r}", where=ref, expected="a transformers model of pictures (pixel_values in)"
        )
    extra: dict[str, Any] = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
    if hasattr(config, "mask_ratio"):
        extra["mask_ratio"] = 0.0  # a masked autoencoder hides patches at random; here every patch is wanted
    with fetching(ref), torch.random.fork_rng(devices=[]), _quiet(transformers):
        module, info = kind.from_pretrained(
            name,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **extra,
            **{"dtype": torch.float32, **where},
        )
    missing, mismatched = sorted(info["missing_keys"]), [str(entry[0]) for entry in info["mismatched_keys"]]
    if missing or mismatched:
        raise checkpoint.mismatch(missing, (), mismatched, ref)
    return module.eval()  # type: ignore[no-any-return]  # a transformers model, whose type is not followed


def _large(transformers: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What transformers is asked for a large model: where its parts go, its precision, and fewer bits.

    Raises:
        ModelError: another way to quantise.
        MissingExtra: accelerate or bitsandbytes is not installed.
    """
    asked = {name: given[name] for name in ("device_map", "offload_folder", "dtype") if given.get(name) is not None}
    quantize = given.get("quantize")
    if asked.get("device_map") is not None or quantize is not None:
        library("accelerate", "large", "device_map and quantize")
    if isinstance(quantize, str):
        if quantize not in ("8bit", "4bit"):
            raise ModelError(f"quantize {quantize!r}", expected="8bit, 4bit, or a transformers quantisation configuration", where="load")
        library("bitsandbytes", "large", f"quantize={quantize!r}")
        quantize = transformers.BitsAndBytesConfig(**{f"load_in_{quantize}": True})
    return asked | ({} if quantize is None else {"quantization_config": quantize})


def _base(architecture: str) -> str:
    """The class to load: of a model that fills in hidden patches the model itself."""
    for task in ("ForPreTraining", "ForMaskedImageModeling"):
        architecture = architecture.removesuffix(task) + "Model" if architecture.endswith(task) else architecture
    return architecture


class _quiet:  # noqa: N801 - reads as a statement: with _quiet(transformers)
    """transformers' loading report silenced: what it would warn about is raised as an error here."""

    def __init__(self, transformers: Any) -> None:
        self.logging = transformers.utils.logging

    def __enter__(self) -> None:
        self.level = self.logging.get_verbosity()
        self.bars = self.logging.is_progress_bar_enabled()
        self.logging.set_verbosity_error()
        self.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self.logging.set_verbosity(self.level)
        if self.bars:
            self.logging.enable_progress_bar()


def _processor(transformers: Any, name: str, backend: str | None, where: dict[str, Any]) -> Any:
    """Transformers' own choice of image processor, or its PIL one where torchvision cannot be imported."""
    with _quiet(transformers):
        if backend is not None:
            return transformers.AutoImageProcessor.from_pretrained(name, backend=backend, **where)
        try:
            return transformers.AutoImageProcessor.from_pretrained(name, **where)
        except ImportError:
            return transformers.AutoImageProcessor.from_pretrained(name, backend="pil", **where)


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of a transformers model object; its image processor is given, found in the folder it came from, or asked for.

    A two-tower model's texts need its tokenizer: given beside it or as part of a whole processor, or found in that folder.
    """
    given = options.only("processor", "tokenizer", *OPTIONS)
    processor = getattr(given.get("processor"), "image_processor", given.get("processor"))
    tokenizer = given.get("tokenizer") or getattr(given.get("processor"), "tokenizer", None)
    described = _describe(
        module, ref, None, lambda: tokenizer or named_tokenizer(str(getattr(module.config, "_name_or_path", "") or ""), {})
    )
    preparation, missing = given_preparation(options, described.input_size)
    folder = str(getattr(module.config, "_name_or_path", "") or "")
    if processor is None and preparation is None and (Path(folder) / "preprocessor_config.json").is_file():
        processor = _processor(library("transformers", "all", "hf models"), folder, None, {"trust_remote_code": False})
    if processor is not None:
        processor = resized(processor, options.input_size) if options.input_size else processor
        preparation, missing = preparation_of(processor), ()
    asked = ("processor=AutoImageProcessor.from_pretrained(...)",) if missing else ()
    size = options.input_size or described.input_size or (native_size(processor) if processor is not None else None)
    return replace(described, preparation=preparation, missing=asked, input_size=size)


def _describe(module: Any, ref: str, preparation: Preparation | None, tokenizer: Callable[[], Any]) -> Loaded:
    config = _vision(module.config)
    size = getattr(config, "image_size", None) or _largest_square(config)
    prefix = learned_tokens(getattr(module, "vision_model", module) if two_towers(module) else module)
    patch = getattr(config, "patch_size", None)
    return Loaded(
        module=module,
        ref=ref,
        call=_caller(module, pair(size) if size else None),
        output=output,
        preparation=preparation,
        input_size=pair(size) if size else None,
        labels=_labels(module.config, module),
        prefix=prefix,
        patch=pair(patch) if patch else None,
        reads="cls" if Kind.CLS in prefix else "patch mean",
        flexible=bool({"interpolate_pos_encoding", "spatial_shapes"} & set(_takes(module))) or config.model_type in _ANY_SIZE,
        libraries=("transformers",),
        rest=partial(places_of, classes=int(getattr(module.config, "num_labels", 0) or 0), side=_mask_side(module.config)),
        texts=text_tower(tokenizer, pixel_inputs, module) if two_towers(module) else None,
    )


def _mask_side(config: Any) -> tuple[int, int] | None:
    """What a model's own post-processing enlarges the masks of queries to before it reads them; None: nothing."""
    if config.model_type == "mask2former":
        return (384, 384)
    return pair(config.image_size) if config.model_type.startswith("eomt") else None


def _takes(module: Any) -> Sequence[str]:
    """What it can be given beside pixels: by its forward, or by the way in of its vision tower."""
    return list(inspect.signature(module.get_image_features if two_towers(module) else module.forward).parameters)


def _vision(config: Any) -> Any:
    """The vision part of a configuration."""
    return getattr(config, "vision_config", None) or config


def _largest_square(config: Any) -> int | None:
    """The side of the largest square of patches a model of variable grids takes (SigLIP 2); None for other models."""
    count = getattr(config, "num_patches", None)
    return math.isqrt(int(count)) * int(config.patch_size) if count else None


def as_patches(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """Pixels ``[b, 3, h, w]`` as a model of variable grids takes them: patches row by row, none of them padding.

    Shapes:
        pixel_values ``[b, gh · gw, patch · patch · 3]``, pixel_attention_mask ``[b, gh · gw]``, spatial_shapes ``[b, 2]``.
    """
    b, c, h, w = pixels.shape
    grid = (h // patch, w // patch)
    cut = pixels[..., : grid[0] * patch, : grid[1] * patch].reshape(b, c, grid[0], patch, grid[1], patch)
    values = cut.permute(0, 2, 4, 3, 5, 1).reshape(b, grid[0] * grid[1], -1)
    shapes = torch.tensor([grid] * b, device=pixels.device)
    mask = torch.ones(values.shape[:2], dtype=torch.int32, device=pixels.device)
    return {"pixel_values": values, "pixel_attention_mask": mask, "spatial_shapes": shapes}


def _caller(module: nn.Module, native: tuple[int, int] | None) -> Any:
    """How to call it: position embeddings are interpolated where the input is of another size and the model can; patches in their order."""
    takes, whole = _takes(module), two_towers(module)
    others = {"input_ids", "task_inputs"} & set(inspect.signature(module.forward).parameters)

    def call(model: Any, pixels: Tensor) -> Any:
        given = pixel_inputs(model, pixels, takes)
        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        if "interpolate_pos_encoding" in takes and native is not None and size != native:
            given["interpolate_pos_encoding"] = True
        if whole or not others:
            return (model.get_image_features if whole else model)(**given)
        try:
            return model(**given)
        except (ValueError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())[:120]
            raise ModelError(
                f"it does not run on a picture alone ({said})", where=type(model).__name__, expected="pixel_values in"
            ) from error

    return call


def pixel_inputs(model: Any, pixels: Tensor, takes: Sequence[str]) -> dict[str, Any]:
    """Pixels ``[b, 3, h, w]`` by the names a model takes them under."""
    if "spatial_shapes" in takes:
        return as_patches(pixels, int(_vision(model.config).patch_size))
    given: dict[str, Any] = {"pixel_values": pixels}
    if "noise" in takes and isinstance(model.config.patch_size, int):
        # masked autoencoders shuffle their patches by this noise: rising noise keeps the order
        count = (int(pixels.shape[-2]) * int(pixels.shape[-1])) // model.config.patch_size**2
        given["noise"] = torch.arange(count, device=pixels.device)[None].expand(len(pixels), -1).float()
    return given


def output(out: Any) -> tuple[Tensor | None, Tensor]:
    """Class scores where there are any, and what the head made: scores, else the pooled output, else the last tokens."""
    scores = getattr(out, "logits", None)
    if isinstance(scores, Tensor) and scores.dim() == 2:
        return scores, scores
    for name in ("image_embeds", "pooler_output", "last_hidden_state"):
        made = getattr(out, name, None)
        if isinstance(made, Tensor):
            return None, made
    maps = getattr(out, "feature_maps", None)  # backbones give one for each stage asked for
    return None, maps[-1] if maps else out[0]


def _labels(config: Any, module: nn.Module) -> tuple[str, ...]:
    """The configuration's class names; () where there are none but numbers."""
    if not any(task in type(module).__name__ for task in ("Classification", "Segmentation", "Detection")):
        return ()
    names: Sequence[str] = [str(name) for _, name in sorted((getattr(config, "id2label", None) or {}).items())]
    return () if all(name.startswith("LABEL_") for name in names) else tuple(names)
