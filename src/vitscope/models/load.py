"""load: from a reference (a scheme and a name, a folder, or an object) to a model ready to be traced."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitscope.capture.offload import Offload
from vitscope.core.memory import bytes_of
from vitscope.errors import ModelError
from vitscope.models import bare, checkpoint, huggingface, openclip, others, timm, torchvision
from vitscope.models.factory import SCHEMES, is_function, made
from vitscope.models.family import Loaded, Options
from vitscope.models.loaded import LoadedModel


def load(
    ref: str | Path | nn.Module,
    *,
    weights: str | Path | None = None,
    labels: str | Path | Sequence[str] | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    seed: int = 0,
    memory: str | int | None = None,
    offload: Offload = "",
    **given: Any,
) -> LoadedModel:
    """A model ready to be traced.

    Args:
        ref: ``builtin:photos``, ``hf:NAME-OR-FOLDER``, ``timm:NAME``, ``torchvision:NAME``, ``open_clip:NAME[/TAG]``, a local folder
            (Hugging Face's or timm's config.json in it), an ``nn.Module`` of your own, or ``package.module:function``, which gives one.
        weights: a local checkpoint to load in place of the published weights (timm, torchvision, open_clip); nothing is downloaded then.
        labels: class names: a text file, one a line, or a list.
        device: where to run; an object of your own is left where it is.
        dtype: in what precision; weights are read in float32 and converted. An object of your own is left as it is.
        seed: for everything drawn at random (measuring, hiding, re-drawing).
        memory: what a pass may have in use, weights not counted, in bytes or as "2GB"; one that would take more is refused before it runs.
        offload: where activations wait for the backward pass: "cpu" (of a GPU's pass) or "disk".
        given: ``input_size=(h, w)`` or a number; ``backend``, ``revision`` (hf); ``device_map``, ``offload_folder``, ``quantize="8bit"``
            (hf, as transformers takes them); ``processor`` (HF object); ``tokenizer`` (HF or open_clip two-tower object, whose ``labels``
            are texts); ``own_aspect=True`` (timm's naflexvit: photos keep their shape); ``preprocess`` (torchvision object, timm, own
            module), ``mean``, ``std``, ``resize`` (the same), ``patch``, ``prefix`` (own module).

    Raises:
        ModelError: unknown scheme or name, a folder without config, a checkpoint that does not fit, or something a module needs told.
        MissingExtra: the library of that scheme is not installed.
    """
    size = given.pop("input_size", None)
    limit = None if memory is None else bytes_of(memory)
    if offload not in ("", "cpu", "disk"):
        raise ModelError(f"offload {offload!r}", expected="cpu or disk", where="offload")
    placed = given.get("device_map") is not None or given.get("quantize") is not None
    if placed and device is not None:
        raise ModelError("device beside device_map or quantize", expected="one of them", where="load")
    given |= {"dtype": _dtype(dtype)} if placed else {}
    options = Options(Path(weights) if weights is not None else None, labels, _size(size), seed, given)
    if isinstance(ref, str) and is_function(ref):
        module, told = made(ref)
        options = replace(options, **_told(options, told))
        described = replace(_object(module, options), ref=ref)
    elif isinstance(ref, nn.Module):
        if device is not None or dtype is not None:
            raise ModelError("device or dtype for a module of your own", where="load", todo="move it yourself first: module.to(...)")
        described = _object(ref, options)
    else:
        described = _named(str(ref), options)
        if not placed:
            described.module.to(device=_device(device), dtype=_dtype(dtype))
        described.module.requires_grad_(requires_grad=False)
    return LoadedModel(_named_classes(described, options.labels), seed=seed, memory=limit, offload=offload)


def _told(options: Options, told: dict[str, Any]) -> dict[str, Any]:
    """What a function says of its model, where the caller does not say otherwise."""
    more = dict(told)
    size, labels = more.pop("input_size", None), more.pop("labels", None)
    return {
        "input_size": options.input_size or _size(size),
        "labels": options.labels if options.labels is not None else labels,
        "given": more | options.given,
    }


def _size(given: Any) -> tuple[int, int] | None:
    """``input_size`` as (h, w): a number, or two.

    Raises:
        ModelError: anything else, or less than one pixel.
    """
    if given is None:
        return None
    numbers = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(numbers) not in (1, 2) or not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in numbers):
        raise ModelError(f"input_size {given!r}", expected="a number of pixels, or (height, width)", where="load")
    return numbers[0], numbers[-1]


def _named(ref: str, options: Options) -> Loaded:
    scheme, colon, name = ref.partition(":")
    if colon and scheme not in SCHEMES and scheme in others.schemes():
        return others.family(scheme).load(name, options)
    if not colon or scheme not in SCHEMES:
        folder = Path(ref).expanduser()
        if folder.is_dir():
            return _folder(folder, options, str(ref))
        if colon and len(scheme) > 1 and "/" not in scheme:
            raise ModelError(
                f"unknown scheme {scheme!r}",
                where=ref,
                expected=", ".join(f"{s}:" for s in (*SCHEMES, *others.schemes()))
                + ", a folder, or MODULE:FUNCTION that Python can import",
            )
        raise ModelError("neither a folder nor a reference", where=ref, expected=", ".join(f"{s}:NAME" for s in SCHEMES) + " or a folder")
    if not name:
        raise ModelError("no name after the scheme", where=ref, expected=f"{scheme}:NAME")
    families: dict[str, Callable[[str, Options], Loaded]] = {
        "builtin": _builtin,
        "hf": _hugging_face,
        "timm": timm.load,
        "torchvision": torchvision.load,
        "open_clip": openclip.load,
    }
    return families[scheme](name, options)


def _builtin(name: str, options: Options) -> Loaded:
    """The model folder shipped under that name; nothing more than a place in the package."""
    home = Path(__file__).parent / "builtin"
    known = sorted(p.parent.name for p in home.glob("*/config.json"))
    if name not in known:
        raise ModelError(
            f"unknown built-in model {name!r}", where="builtin", expected=", ".join(known) or "none is shipped with this build"
        )
    return huggingface.load(str(home / name), options, ref=f"builtin:{name}")


def _hugging_face(name: str, options: Options) -> Loaded:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder, options, f"hf:{name}")
    if name.startswith((".", "/", "~")):
        raise ModelError("no such folder", where=name, expected="a folder with config.json")
    return huggingface.load(name, options)


def _folder(folder: Path, options: Options, ref: str) -> Loaded:
    """A model folder of Hugging Face's or timm's kind, told apart by its config.json."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError("a folder without config.json", where=str(folder), expected="a Hugging Face or timm model folder")
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"not readable as JSON ({error})", where=str(config), expected="a model configuration") from error
    if isinstance(found, dict) and "architecture" in found:
        return timm.load_folder(folder, found, options)
    if not isinstance(found, dict) or "model_type" not in found:
        raise ModelError("no model_type or architecture in it", where=str(config), expected="a Hugging Face or timm configuration")
    return huggingface.load(str(folder), options, ref=ref)


def _object(module: nn.Module, options: Options) -> Loaded:
    """A model object by the family it shows itself to be of; the plain rules where it is nobody's."""
    ref = type(module).__name__
    if options.weights is not None:
        raise ModelError("weights=FILE for a module of your own", where=ref, todo="load them into it yourself first")
    families: tuple[Any, ...] = (huggingface, openclip, timm, torchvision)
    family = next((family for family in (*families, *others.families()) if family.recognises(module)), bare)
    described: Loaded = family.describe(module, ref, options)
    return described


def _named_classes(described: Loaded, labels: str | Path | Sequence[str] | None) -> Loaded:
    """With the class names the caller gave; their number is checked when the model's scores are first seen."""
    if labels is None:
        return described
    if isinstance(labels, (str, Path)):
        return replace(described, labels=checkpoint.read_labels(labels), labels_from=str(labels))
    return replace(described, labels=tuple(str(name) for name in labels), labels_from="labels")


def _device(device: str | torch.device | None) -> torch.device:
    try:
        wanted = torch.device(device or "cpu")
    except RuntimeError as error:
        raise ModelError(f"device {device!r}", expected="cpu, cuda, cuda:0 …", where="device") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted.type not in there:
        raise ModelError(f"device {wanted.type}", expected="cpu, cuda, cuda:0 or mps", where="device")
    if not there[wanted.type]:
        raise ModelError(f"device {wanted.type}, but no GPU is available here", expected="cpu", where="device")
    return wanted


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    known = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype is not None and dtype not in known:
        raise ModelError(f"dtype {dtype!r}", expected=", ".join(known), where="dtype")
    return known[dtype or "float32"]
