"""open_clip: a CLIP model's vision tower, with open_clip's own image transform; its text tower, with open_clip's own tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.errors import ArgumentError, ModelError
from vitscope.models import checkpoint
from vitscope.models.family import Loaded, Options, fetching, library, nearest, pair
from vitscope.models.prefixes import learned_tokens
from vitscope.models.preparing import Preparation, steps_text, walk
from vitscope.models.words import TextTower


def recognises(module: nn.Module) -> bool:
    """Whether a module is an open_clip model or one of its vision towers."""
    return type(module).__module__.startswith("open_clip.")


def load(name: str, options: Options) -> Loaded:
    """A model by architecture name, or ``NAME/pretrained-tag``, or NAME with a local checkpoint.

    Raises:
        ModelError: unknown name or tag, or weights that cannot be had.
        MissingExtra: open_clip is not installed.
    """
    options.only()
    open_clip = library("open_clip", "open-clip", "open_clip: models")
    name, _, tag = name.partition("/")
    known = open_clip.list_models()
    if name not in known:
        raise ModelError(f"unknown model {name!r}", where="open_clip", expected=f"a name open_clip knows, such as {nearest(name, known)}")
    if options.weights is not None:
        module = _local(open_clip, name, options, options.weights)
        return _describe(module.eval(), f"open_clip:{name}", lambda: _tokenizer(open_clip, name))
    tag = _tag(open_clip, name, tag)
    ref = f"open_clip:{name}/{tag}"
    with fetching(ref), _quietly(), torch.random.fork_rng(devices=[]):
        model = open_clip.create_model(name, pretrained=tag, **_size(options))
    return _describe(model.eval(), ref, lambda: _tokenizer(open_clip, name))


def _tokenizer(open_clip: Any, name: str) -> Any:
    with fetching(f"open_clip:{name} (tokenizer)"), _quietly():
        return open_clip.get_tokenizer(name)


@contextmanager
def _quietly() -> Iterator[None]:
    """open_clip logs on the root logger (and so gives it a handler): both are kept from outlasting the load."""
    root = logging.getLogger()
    handlers = list(root.handlers)

    def others(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root.addFilter(others)
    try:
        yield
    finally:
        root.removeFilter(others)
        root.handlers[:] = handlers


def _size(options: Options) -> dict[str, Any]:
    return {"force_image_size": options.input_size} if options.input_size else {}


def _tag(open_clip: Any, name: str, tag: str) -> str:
    tags = list(open_clip.list_pretrained_tags_by_model(name))
    if not tags:
        raise ModelError("no published weights", where=f"open_clip:{name}", todo="give weights=FILE")
    if tag and tag not in tags:
        raise ModelError(f"unknown pretrained tag {tag!r}", where=f"open_clip:{name}", expected=f"such as {nearest(tag, tags)}")
    # OpenAI's own weights need another activation than the plain architecture of that name
    return tag or next((t for t in tags if t.startswith(("laion2b_s", "datacomp_xl"))), tags[0])


def _local(open_clip: Any, name: str, options: Options, file: Path) -> nn.Module:
    state = checkpoint.read(file)
    with _quietly(), torch.random.fork_rng(devices=[]):
        model = open_clip.create_model(name, pretrained=None, load_weights=False, **_size(options))
    tower = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    if tower and len(tower) < len(state):
        checkpoint.load_strictly(model, state, str(file))
        return model  # type: ignore[no-any-return]  # an open_clip model, whose type is not followed
    visual: nn.Module = model.visual
    checkpoint.load_strictly(visual, tower or state, str(file))
    return visual


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of an open_clip model or vision tower; a model's texts need its tokenizer.

    Raises:
        ModelError: a model without a vision tower, or another ``input_size`` than it was built for.
    """
    given = options.only("tokenizer")
    described = _describe(module, ref, lambda: given.get("tokenizer"))
    if options.input_size not in (None, described.input_size):
        took = f"{described.input_size}: this model takes no other"
        raise ModelError(f"input_size {options.input_size}", where=ref, expected=took, todo="create it with force_image_size=...")
    return described


def _describe(module: nn.Module, ref: str, tokenizer: Callable[[], Any]) -> Loaded:
    visual: Any = getattr(module, "visual", module)
    if not hasattr(visual, "image_size"):
        raise ModelError(f"{type(module).__name__} without a vision tower", where=ref, expected="an open_clip model or its .visual")
    whole = all(hasattr(module, name) for name in ("encode_image", "encode_text"))
    size = pair(visual.image_size)
    return Loaded(
        module=module if whole else visual,
        ref=ref,
        call=_encode_image if whole else lambda tower, pixels: tower(pixels),
        output=embedding,
        preparation=preparation_of(visual, size),
        input_size=size,
        prefix=learned_tokens(_without_pool(visual)),
        patch=_patch(visual),
        libraries=("open_clip_torch",),
        texts=_texts(tokenizer) if whole else None,
    )


def _encode_image(model: Any, pixels: Tensor) -> Any:
    return model.encode_image(pixels, normalize=False)


def _texts(tokenizer: Callable[[], Any]) -> TextTower:
    """How a whole model reads texts; its tokenizer is looked for when the first text is read."""

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        own = tokenizer()
        if own is None:
            raise ModelError("no tokenizer", expected="vs.load(model, tokenizer=open_clip.get_tokenizer(NAME))", where="target")
        _fits(own, texts)
        return {"text": own(list(texts))}

    def logits(whole: Any, pixels: Tensor, ids: dict[str, Tensor]) -> Tensor:
        out = whole(pixels, ids["text"])
        known: dict[str, Any] = out if isinstance(out, dict) else dict(zip(_OUT, out, strict=False))
        scores: Tensor = known["logit_scale"] * known["image_features"] @ known["text_features"].T
        return scores if known.get("logit_bias") is None else scores + known["logit_bias"]

    def embed(whole: Any, ids: dict[str, Tensor]) -> Tensor:
        rows: Tensor = whole.encode_text(ids["text"])
        return rows

    return TextTower(tokens, embed, logits)


#: What a model returns, where it is no dictionary.
_OUT = ("image_features", "text_features", "logit_scale", "logit_bias")


def _fits(tokenizer: Any, texts: Sequence[str]) -> None:
    """open_clip's tokenizer cuts a long text without a word.

    Raises:
        ArgumentError: a text longer than the model reads.
    """
    most = int(getattr(tokenizer, "context_length", None) or 0)
    for text in texts if most and hasattr(tokenizer, "encode") else ():
        count = len(tokenizer.encode(text)) + 2
        if count > most:
            raise ArgumentError(f"a text of {count} tokens", expected=f"at most {most}", where="target")


def preparation_of(visual: Any, size: tuple[int, int]) -> Preparation:
    """open_clip's own image transform from a tower's configuration."""
    open_clip = library("open_clip", "open-clip", "open_clip: models")
    config = open_clip.transform.PreprocessCfg(**{**(getattr(visual, "preprocess_cfg", None) or {}), "size": size})
    steps = open_clip.transform.image_transform_v2(config, is_train=False).transforms
    return Preparation(walk(steps), steps_text(steps), tuple(config.mean), tuple(config.std))


def _without_pool(visual: Any) -> nn.Module:
    """The tower itself: a timm trunk's learned tokens are its own."""
    return getattr(visual, "trunk", visual)  # type: ignore[no-any-return]  # Any in, a module by open_clip's convention


def _patch(visual: Any) -> tuple[int, int] | None:
    size = getattr(visual, "patch_size", None)
    return pair(size) if size else None


def embedding(out: Any) -> tuple[Tensor | None, Tensor]:
    """A tower gives an image embedding and no class scores (some configurations give their tokens too)."""
    return None, out[0] if isinstance(out, (tuple, list)) else out
