"""Texts as targets of a two-tower model: embedded by its own text tower, scored by its own scale and bias, and both proved on noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.modes import ordinary_mode
from vitscope.capture.prove import OUT_TOLERANCE
from vitscope.core.readings import Directions, Values
from vitscope.errors import MethodError, ModelError, ProofError, VitscopeError
from vitscope.models.family import Loaded
from vitscope.models.layout import noise_picture
from vitscope.models.weights import works_in
from vitscope.scoring import along, wide


@dataclass(frozen=True)
class TextTower:
    """How a family's model reads texts.

    Attributes:
        tokens: from texts to what its tokenizer makes of them, by name; :class:`~vitscope.errors.ModelError` where there is no tokenizer.
        embed: the text tower's own pass: ``[k, w]``.
        logits: the whole model's own pass on pixels ``[1, 3, h, w]`` and these tokens: its score of each text, ``[1, k]``.
    """

    tokens: Callable[[Sequence[str]], dict[str, Tensor]]
    embed: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    logits: Callable[[nn.Module, Tensor, dict[str, Tensor]], Tensor]


class Words:
    """A model's texts, each list of them embedded once for the weights it has."""

    def __init__(self, described: Loaded, seed: int) -> None:
        self.described = described
        self.seed = seed
        self._known: dict[tuple[str, ...], Directions] = {}

    def forget(self) -> None:
        """After its weights changed."""
        self._known = {}

    def __call__(self, texts: Sequence[str]) -> Directions:
        """The directions that score a picture for each text as the model itself does: ``scale · cos + bias``.

        Raises:
            MethodError: a model without a text tower.
            ModelError: no tokenizer, or texts that the model does not take.
            ProofError: its own scores are of another form; with the measured difference.
        """
        key = tuple(texts)
        if key not in self._known:
            self._known[key] = _read(self.described, key, self.seed)
        return self._known[key]


def _read(described: Loaded, texts: Sequence[str], seed: int) -> Directions:
    tower, module = described.texts, described.module
    if tower is None:
        raise MethodError(
            "this model has no text tower",
            expected="a whole two-tower model (CLIP, SigLIP …)",
            where=described.ref,
            todo="" if described.labels else "load the model and not its vision tower alone",
        )
    if not texts or not all(text.strip() for text in texts):
        raise ModelError("an empty text", expected="words", where="target")
    noise = noise_picture(described.input_size or (224, 224), module, seed)
    device, _ = works_in(module, noise)
    tokens = {name: ids.to(device) for name, ids in tower.tokens(texts).items()}
    try:
        with ordinary_mode(grad=False):
            rows = tower.embed(module, tokens)
            image = described.output(described.call(module, noise))[1]
            own = tower.logits(module, noise, tokens)
    except VitscopeError:
        raise
    except Exception as error:  # whatever a text tower says of a text
        raise ModelError(f"texts cannot be scored ({' '.join(str(error).split())[:200]})", where=described.ref) from error
    return _proved(described, Values.of(rows.double().cpu().numpy()), wide(image[0]), wide(own[0]))


def _proved(described: Loaded, rows: Values, image: Tensor, own: Tensor) -> Directions:
    """The scale and bias by which these cosines are the model's own scores.

    Raises:
        ProofError: none of those that models have.
    """
    tolerance = OUT_TOLERANCE.get(next(described.module.parameters()).dtype, OUT_TOLERANCE[torch.float16])
    best = float("inf")
    for scale, bias in _scales(described.module):
        reading = Directions(rows, cosine=True, scale=scale, bias=bias)
        off = float((along(image, reading) - own).abs().max() / max(1.0, abs(scale), float(own.abs().max())))
        if off <= tolerance:
            return reading
        best = min(best, off)
    raise ProofError(
        f"scale · cosine + bias is {best:.2g} away from the model's own scores of these texts",
        expected=f"at most {tolerance:.2g}",
        where=described.ref,
    )


def _scales(module: Any) -> Iterator[tuple[float, float]]:
    """The (scale, bias) pairs a model may mean by what it holds."""
    bias, scale, most = (getattr(module, name, None) for name in ("logit_bias", "logit_scale", "max_log_logit_scale"))
    added = float(bias.detach()) if isinstance(bias, Tensor) else 0.0
    if isinstance(scale, Tensor):
        scale = scale.detach()
        yield float(scale.exp()), added
        if most is not None:
            yield float(scale.clamp(0.0, float(most)).exp()), added
    temperature = getattr(module, "temperature", None)
    if temperature is not None:
        yield 1.0 / float(torch.as_tensor(temperature).detach()), added
    yield 1.0, added


def with_classes(described: Loaded, words: Words) -> Loaded:
    """A two-tower model whose class names are texts: its scores of them are its class scores; any other model as it is."""
    if described.texts is None or not described.labels:
        return described
    reading = words(described.labels)

    def output(out: Any) -> tuple[Tensor | None, Tensor]:
        made = described.output(out)[1]
        return torch.stack([along(z, reading) for z in wide(made)]), made

    return replace(described, output=output)
