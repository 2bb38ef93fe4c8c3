"""timm: models by name, by a timm-style folder, or as objects, with the transform of their own pretrained_cfg."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.errors import ModelError
from vitscope.models import checkpoint
from vitscope.models.family import Loaded, Options, fetching, library, nearest, pair
from vitscope.models.given import OPTIONS, given_preparation, triple
from vitscope.models.prefixes import learned_tokens
from vitscope.models.preparing import Preparation, steps_text, walk


def recognises(module: nn.Module) -> bool:
    """Whether a module is a timm model."""
    return hasattr(module, "pretrained_cfg") and not type(module).__module__.startswith("open_clip.")


def load(name: str, options: Options) -> Loaded:
    """A model by timm's name (with or without tag), with its published weights or a local checkpoint.

    Raises:
        ModelError: unknown name, or weights that cannot be had.
        MissingExtra: timm is not installed.
    """
    options.only("own_aspect", *OPTIONS)
    timm = library("timm", "timm", "timm: models")
    ref = f"timm:{name}"
    if name.startswith(("hf-hub:", "hf_hub:")):
        with fetching(ref), torch.random.fork_rng(devices=[]):
            return _sized(timm.create_model(name, pretrained=True), ref, options)
    if not timm.is_model(name):
        known = timm.list_models()
        raise ModelError(f"unknown model {name!r}", where="timm", expected=f"a name timm knows, such as {nearest(name, known)}")
    if options.weights is not None:
        state = checkpoint.read(options.weights)
        return _sized(_build(timm, name, state, {}, str(options.weights)), ref, options)
    with fetching(ref), torch.random.fork_rng(devices=[]):
        module = timm.create_model(name, pretrained=True)
    return _sized(module, ref, options)


def load_folder(folder: Path, config: dict[str, Any], options: Options) -> Loaded:
    """A timm-style folder: config.json with "architecture", and model.safetensors (or options.weights) beside it.

    Raises:
        ModelError: unknown architecture, no weights, or weights of another architecture.
    """
    options.only(*OPTIONS)
    timm = library("timm", "timm", "timm models")
    name = str(config["architecture"])
    if not timm.is_model(name):
        raise ModelError(
            f"unknown architecture {name!r}", where=str(folder / "config.json"), expected=f"such as {nearest(name, timm.list_models())}"
        )
    file = options.weights or folder / "model.safetensors"
    overlay = {key: value for key, value in (config.get("pretrained_cfg") or {}).items() if value is not None}
    made: dict[str, Any] = dict(config.get("model_args") or {})
    made["pretrained_cfg_overlay"] = overlay
    if isinstance(config.get("label_names"), list):
        overlay["label_names"] = config["label_names"]
    return _sized(_build(timm, name, checkpoint.read(file), made, str(file)), str(folder), options)


def folder_config(path: Path) -> dict[str, Any] | None:
    """The config.json of a timm-style folder; None for any other."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and "architecture" in config else None


def _build(timm: Any, name: str, state: dict[str, Tensor], made: dict[str, Any], where: str) -> nn.Module:
    heads = (timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()).classifier or "head"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    count = checkpoint.class_count(state, heads)
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = timm.create_model(name, pretrained=False, num_classes=0 if count is None else count, **made)
    checkpoint.load_strictly(module, state, where)
    return module


def _sized(module: Any, ref: str, options: Options) -> Loaded:
    """The freshly loaded model, made ready for another input size where asked."""
    size = options.input_size
    if size is not None and size != _own_size(module):
        if hasattr(module, "set_input_size"):
            module.set_input_size(img_size=size)
        elif module.pretrained_cfg.get("fixed_input_size"):
            raise ModelError(
                f"input_size {size[0]}×{size[1]}", where=ref, expected=f"{_own_size(module)}: this architecture takes no other"
            )
    return _aspect(_describe(module.eval(), ref, options), options)


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of a timm model object."""
    options.only("own_aspect", *OPTIONS)
    return _aspect(_describe(module, ref, options), options)


def _describe(module: Any, ref: str, options: Options) -> Loaded:
    size = options.input_size or _own_size(module)
    classes = int(getattr(module, "num_classes", 0) or 0)
    patch = getattr(getattr(module, "patch_embed", None) or getattr(module, "embeds", None), "patch_size", None)
    return Loaded(
        module=module,
        ref=ref,
        call=lambda model, pixels: model(pixels),
        output=_scores if classes else _features,
        preparation=_preparation(module, size, options),
        input_size=size,
        labels=_labels(module, classes),
        prefix=learned_tokens(module),
        patch=pair(patch) if patch else None,
        flexible=not module.pretrained_cfg.get("fixed_input_size", True) or bool(getattr(module, "dynamic_img_size", False)),
        libraries=("timm",),
    )


def _aspect(described: Loaded, options: Options) -> Loaded:
    """Where ``own_aspect`` was asked: photos keep their shape, in as many patches as the model's square has (timm's NaFlex transform).

    Raises:
        ModelError: a model that does not take variable grids.
    """
    if not options.given.get("own_aspect"):
        return described
    if type(described.module).__name__ != "NaFlexVit" or described.patch is None or described.input_size is None:
        raise ModelError("own_aspect", where=described.ref, expected="a model of variable grids (timm's naflexvit)", todo="leave it out")
    data = library("timm.data", "timm", "timm models")
    config = data.resolve_data_config({"input_size": (3, *described.input_size), **_normalised(options)}, model=described.module)
    (ph, pw), (h, w) = described.patch, described.input_size
    steps = data.create_transform(**config, naflex=True, patch_size=(ph, pw), max_seq_len=(h // ph) * (w // pw)).transforms
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return replace(described, preparation=Preparation(walk(steps), steps_text(steps), mean, std))


def _scores(out: Any) -> tuple[Tensor | None, Tensor]:
    # a distilled model gives two sets of scores only while training
    scores: Tensor = torch.stack(list(out)).mean(dim=0) if isinstance(out, (tuple, list)) else out
    return scores, scores


def _features(out: Any) -> tuple[Tensor | None, Tensor]:
    return None, out


def _own_size(module: Any) -> tuple[int, int]:
    """The size the model was built for, else the one its weights were trained at."""
    built = getattr(getattr(module, "patch_embed", None), "img_size", None)
    return pair(built if built else module.pretrained_cfg["input_size"])


def _preparation(module: Any, size: tuple[int, int], options: Options) -> Preparation:
    """The owner's own where they say so: all of it, or their mean and std in timm's transform."""
    if options.given.get("preprocess") is None and "resize" not in options.given:
        return preparation_of(module, size, _normalised(options))
    known = {"mean": tuple(module.pretrained_cfg["mean"]), "std": tuple(module.pretrained_cfg["std"])}
    said = options.given if options.given.get("preprocess") is not None else known | options.given
    found, _ = given_preparation(replace(options, given=said), size)
    assert found is not None
    return found


def _normalised(options: Options) -> dict[str, tuple[float, ...]]:
    """The owner's mean and std, where given."""
    return {name: triple(options.given[name]) for name in ("mean", "std") if options.given.get(name) is not None}


def preparation_of(module: Any, size: tuple[int, int], own: dict[str, tuple[float, ...]] | None = None) -> Preparation:
    """Timm's own evaluation transform: ``create_transform(**resolve_data_config(model))``; ``own``: another mean and std in it."""
    data = library("timm.data", "timm", "timm models")
    asked: dict[str, Any] = {"input_size": (3, *size)} if size != pair(module.pretrained_cfg["input_size"]) else {}
    asked |= own or {}
    config = data.resolve_data_config(asked, model=module)
    steps = data.create_transform(**config).transforms
    return Preparation(walk(steps), steps_text(steps), tuple(config["mean"]), tuple(config["std"]))


def _labels(module: Any, classes: int) -> tuple[str, ...]:
    names = module.pretrained_cfg.get("label_names")
    if names and len(names) == classes:
        return tuple(names)
    if classes != 1000:
        return ()
    info = library("timm.data", "timm", "timm models").ImageNetInfo()
    return tuple(info.index_to_description(i) for i in range(1000))
