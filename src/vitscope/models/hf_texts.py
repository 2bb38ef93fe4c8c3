"""transformers' two-tower models (CLIP, SigLIP and kin): their text tower, with their own tokenizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vitscope.errors import ArgumentError, ModelError
from vitscope.models.family import fetching, library
from vitscope.models.words import TextTower

#: How pixels are given: ``(model, pixels, names it takes)`` to inputs by name.
PixelInputs = Callable[[Any, Tensor, Sequence[str]], dict[str, Any]]


def two_towers(model: Any) -> bool:
    """Whether a model (or its class) makes one vector of a picture, one of a text, and compares them."""
    both = all(callable(getattr(model, name, None)) for name in ("get_image_features", "get_text_features"))
    kind = str(getattr(getattr(model, "config_class", None), "model_type", ""))
    return both and not kind.startswith(("flava", "blip-2"))  # theirs are of every token


def named_tokenizer(name: str, where: dict[str, Any]) -> Any:
    """The tokenizer beside a model: of the folder or hub name it was loaded from.

    Raises:
        ModelError: none there.
    """
    if not name:
        raise ModelError("no tokenizer", expected="vs.load(model, tokenizer=AutoTokenizer.from_pretrained(...))", where="target")
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*token*")) and not any(folder.glob("*vocab*")):
        raise ModelError("no tokenizer there", expected="tokenizer.json and tokenizer_config.json beside the weights", where=name)
    with fetching(f"{name} (tokenizer)"):
        return library("transformers", "all", "hf: models").AutoTokenizer.from_pretrained(name, trust_remote_code=False, **_plain(where))


def _plain(where: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in where.items() if key == "revision"}


def text_tower(tokenizer: Callable[[], Any], pixel_inputs: PixelInputs, model: Any) -> TextTower:
    """How a two-tower model reads texts; its tokenizer is looked for when the first text is read."""
    most = int(getattr(getattr(model.config, "text_config", None), "max_position_embeddings", None) or 0)
    padded: dict[str, Any] = {"padding": True}
    if "siglip" in model.config.model_type:  # was trained on texts padded to one length, and reads the padding
        padded = {"padding": "max_length", "max_length": min(64, most or 64)}
    elif model.config.model_type == "aimv2" and most:  # is causal only where something is padded
        padded = {"padding": "max_length", "max_length": most}

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        made = dict(tokenizer()(list(texts), return_tensors="pt", **padded))
        count, limit = int(made["input_ids"].shape[1]), padded.get("max_length", most)
        if limit and count > limit:
            raise ArgumentError(f"a text of {count} tokens", expected=f"at most {limit}", where="target")
        return made

    return TextTower(tokens, _embed, lambda whole, pixels, ids: _logits(whole, pixels, ids, pixel_inputs))


def _known(function: Any, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tokens.items() if name in inspect.signature(function).parameters}


def _embed(model: Any, tokens: dict[str, Tensor]) -> Tensor:
    out = model.get_text_features(**_known(model.get_text_features, tokens))
    rows: Tensor = out if isinstance(out, Tensor) else out.pooler_output
    return rows


def _logits(model: Any, pixels: Tensor, tokens: dict[str, Tensor], pixel_inputs: PixelInputs) -> Tensor:
    """Their own scores.

    Raises:
        ModelError: a model that gives none.
    """
    inputs = pixel_inputs(model, pixels, list(inspect.signature(model.get_image_features).parameters))
    logits = getattr(model(**inputs, **_known(model.forward, tokens)), "logits_per_image", None)
    if not isinstance(logits, Tensor):
        raise ModelError("no scores of texts in what it returns", expected="logits_per_image", where=type(model).__name__)
    return logits.reshape(1, -1)  # one picture
