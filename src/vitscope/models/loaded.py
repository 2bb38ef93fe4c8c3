"""LoadedModel: a model ready to be traced; what every family becomes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.aiming import Scene, aim
from vitscope.capture.footprint import Footprint
from vitscope.capture.live import Pass
from vitscope.capture.modes import ordinary_mode
from vitscope.capture.offload import Offload
from vitscope.capture.prove import Check, Proof
from vitscope.capture.run import run
from vitscope.core.embedding import Embedding
from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.readings import Axis, Directions
from vitscope.core.sample import Sample
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, CaptureError, ModelError
from vitscope.models.budget import at_fullest, of_pass, pass_in_words, passes, within
from vitscope.models.checkpoint import check_labels, plain_labels
from vitscope.models.embedding import hear_embedding
from vitscope.models.factory import is_function
from vitscope.models.family import Loaded
from vitscope.models.heads import made_of
from vitscope.models.hiding import hide_pixels
from vitscope.models.laying import Laid
from vitscope.models.layout import noise_picture
from vitscope.models.rules import keeps_rules
from vitscope.models.sources import gather, is_prepared, prepared_pixels, shown
from vitscope.models.study import BOXES, Facts, Study, learn, small_size, study
from vitscope.models.weights import fingerprint, redrawn, version, works_in
from vitscope.models.words import Words, with_classes
from vitscope.scoring import Made
from vitscope.trace import AttentionCall, Inputs, Needs, Trace

#: Methods, and what each needs of a model: class scores, another library.
METHODS = (
    ("attention", False, ""),
    ("rollout", False, ""),
    ("gradient-rollout", True, ""),
    ("relevance", True, ""),
    ("grad-cam", True, ""),
    ("legrad", True, ""),
    ("integrated-gradients", True, "captum"),
    ("occlusion", True, ""),
)


#: Methods that need no place for tokens.
ON_PIXELS = ("grad-cam", "integrated-gradients", "occlusion")

#: What can be explained of a model without a head.
FEATURES = "feature:NUMBER, similar-to:PHOTO or axis:NUMBER@FILE.vectors"

#: And of a two-tower model.
TEXTS = "text:WORDS, "


class LoadedModel:
    """A model ready to be traced. The module inside is never edited and never switched.

    Attributes:
        module: the model itself, as loaded or as the user gave it.
        ref: the reference it was loaded by.
        memory: bytes that a pass may have in use; None: as many as it takes.
        offload: where activations wait for the backward pass: "cpu", "disk", or "" where they are.
    """

    def __init__(self, described: Loaded, *, seed: int = 0, memory: int | None = None, offload: Offload = "") -> None:
        self.memory = memory
        self.offload: Offload = offload
        self._passes: dict[tuple[object, ...], Footprint] = {}
        self._fullest: dict[tuple[object, ...], int] = {}
        self._given = described
        self._words = Words(described, seed)
        self.described = with_classes(described, self._words)
        self.module = described.module
        self.ref = described.ref
        self.seed = seed
        self._facts: Facts | None = None
        self._studies: dict[tuple[int, int], Study] = {}
        self._fingerprint: tuple[object, str] | None = None
        self._twin: tuple[object, nn.Module] | None = None
        self._learnt_from = "" if self.described is described else self.weights_fingerprint()

    def __repr__(self) -> str:
        return f"LoadedModel({self.ref!r})"

    # what is known without a photo

    @property
    def input_size(self) -> tuple[int, int]:
        """``(h, w)`` the model was built for, or was said to take.

        Raises:
            ModelError: nobody said.
        """
        if self.described.input_size is None:
            raise self._missing(("input_size", *self.described.missing))
        return self.described.input_size

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index (empty for a model without class scores)."""
        return self._labels(self.facts().classes)

    def _labels(self, classes: int) -> tuple[str, ...]:
        given = self.described.labels
        if not classes and given:
            raise ModelError(f"{len(given)} class names", where=self.described.labels_from, expected="none: this model has no class scores")
        if not classes:
            return ()
        return check_labels(given, classes, self.described.labels_from) if given else plain_labels(classes)

    def facts(self, input_size: tuple[int, int] | None = None) -> Facts:
        """What does not depend on the input's size, the proofs of the capture among it: learnt once, at the first size asked for.

        Raises:
            CaptureError: the model's attention cannot be captured.
            ProofError: a proof failed.
        """
        self._renew()
        return self._facts_at(input_size)

    def _facts_at(self, input_size: tuple[int, int] | None) -> Facts:
        if self._facts is None:
            size = small_size(self.described, input_size or self.input_size)
            self._facts = learn(self.described, size, self.seed)
        return self._facts

    def _renew(self) -> str:
        """Forget what was learnt of other weights; the fingerprint of those the module has now."""
        now = self.weights_fingerprint()
        if now != self._learnt_from:
            self._facts, self._studies, self._learnt_from, self._passes, self._fullest = None, {}, now, {}, {}
            self._reread()
        return now

    def _reread(self) -> None:
        """Texts are embedded by the weights the module has now."""
        self._words.forget()
        self.described = with_classes(self._given, self._words)

    def words(self, texts: Sequence[str]) -> Directions:
        """How a two-tower model scores a picture for each of these texts; each list of texts is embedded once.

        Raises:
            MethodError: a model without a text tower.
            ModelError: no tokenizer, or texts the model does not take.
            ProofError: its own scores are of another form.
        """
        self._renew()
        return self._words(texts)

    def study(self, input_size: tuple[int, int] | None = None) -> Study:
        """The layout and the calls for an input of this size (the model's own where not given): measured once, then kept."""
        self._renew()
        return self._study_at(input_size or self.input_size)

    def _study_at(self, size: tuple[int, int]) -> Study:
        if size not in self._studies:
            self._studies[size] = study(self.described, self._facts_at(size), size, self.seed)
        return self._studies[size]

    def layout(self, input_size: tuple[int, int] | None = None) -> TokenLayout:
        """What each token is, for an input of this size."""
        return self.study(input_size).layout

    def prove(self, pixels: Tensor | None = None) -> Proof | None:
        """The proofs of the capture (complete, shape, rows, reconstruction, effect); None where there is no attention.

        Run once for each model, here or at its first trace.

        Args:
            pixels: prepared pixels of the size that will be used; the model's own size where not given.

        Raises:
            ProofError: with the measured numbers.
        """
        size = None if pixels is None else (int(pixels.shape[-2]), int(pixels.shape[-1]))
        self.study(size)
        return self._facts_at(size).proof

    def describe(self, input_size: tuple[int, int] | None = None) -> dict[str, Any]:
        """Plain values for ``vitscope inspect``: attention calls, token layout, methods with why one is not available, proofs."""
        found = self.study(input_size)
        facts = self.facts(input_size)
        shown_of = ("path", "kind", "heads", "queries", "keys", "windows")
        calls = [{name: getattr(call, name) for name in shown_of} for call in found.calls]
        return {
            "model": self.ref,
            "weights": self.weights_fingerprint(),
            "classes": facts.classes,
            "makes": facts.makes,
            "preprocessing": self.described.preparation.text if self.described.preparation else "not known",
            "calls": calls,
            "memory": sum(call.kept for call in found.calls),
            "passes": passes(self.described, found),
            "layout": found.layout.as_dict(),
            "stages": [list(layout.grid) for layout in found.laid.layouts],
            "dropping": facts.drop,
            "methods": [self._method(found, name, needs, class_specific=scored) for name, scored, needs in METHODS],
            "proof": facts.proof.as_dict() if facts.proof else {},
            "why": found.laid.unmapped,
        }

    def rules(self, input_size: tuple[int, int] | None = None) -> dict[str, Check]:
        """The rules every model keeps here, tried out on noise (``vitscope inspect --prove``): see :mod:`vitscope.models.rules`."""
        self.study(input_size)
        return keeps_rules(self.described, noise_picture(input_size or self.input_size, self.module, self.seed))

    def footprint(self, shape: tuple[int, ...], needs: Needs = Needs()) -> Footprint:  # noqa: B008 - frozen
        """Bytes that a pass over pixels of this shape ``[b, 3, h, w]`` would keep, by the shapes alone; nothing is computed.

        Raises:
            CaptureError: the model's forward depends on values, so that this cannot be known beforehand.
        """
        key = (tuple(shape), needs)
        if key not in self._passes:
            self._passes[key] = of_pass(self.described, self._study_at((int(shape[-2]), int(shape[-1]))), shape, needs)
        return self._passes[key]

    def fullest(self, shape: tuple[int, ...], needs: Needs = Needs(), *, moved: bool = False) -> int:  # noqa: B008 - frozen
        """Bytes in use at the fullest moment of such a pass; ``moved``: with activations elsewhere until the backward pass.

        Raises:
            CaptureError: as :meth:`footprint`.
        """
        key = (tuple(shape), needs, moved)
        if key not in self._fullest:
            found = self._study_at((int(shape[-2]), int(shape[-1])))
            self._fullest[key] = at_fullest(self.described, found, shape, needs, moved=moved)
        return self._fullest[key]

    def admit(self, pixels: Tensor, needs: Needs) -> None:
        """Refuse a pass that would take more than the limit, before it runs.

        Raises:
            CaptureError: with the numbers and what to do.
        """
        if self.memory is None:
            return
        shape, out = tuple(pixels.shape), bool(self.offload)
        found = self.footprint(shape, needs)
        within(
            self.memory,
            found.captured if out else found.whole,
            self.fullest(shape, needs, moved=out),
            pixels,
            moved=None if out else lambda: self.fullest(shape, needs, moved=True),
            gradients=bool(found.graph),
            where=self.ref,
        )

    def _boxes_look(self, found: Study) -> bool:
        """Whether a detector's boxes weigh cells of the picture."""
        return self.facts().makes == BOXES and found.laid.on_cells

    def _method(self, found: Study, name: str, needs: str, *, class_specific: bool) -> dict[str, Any]:
        why = ""
        if found.laid.unmapped and name not in ON_PIXELS and not (name == "attention" and self._boxes_look(found)):
            why = found.laid.unmapped
        elif name == "grad-cam" and not found.laid.blocks.paths:
            why = "no block or feature map whose values could be drawn"
        elif name == "legrad" and found.laid.stages is not None and not found.laid.stages.alike:
            why = "the head cannot be put on tokens of an earlier stage"
        elif class_specific and not self.facts().classes:
            why = (
                f"only of a target of its own: {TEXTS if self.described.texts else ''}{FEATURES}"
                if self.facts().features
                else "this model has no class scores"
            )
        elif name in ("relevance", "gradient-rollout", "legrad") and not self.facts().through_last:
            why = "its head reads several blocks, not the last one's tokens alone"
        elif needs and importlib.util.find_spec(needs) is None:
            why = f"{needs} is not installed: pip install 'vitscope[{needs}]'"
        return {"name": name, "available": not why, "why": why}

    # running it

    def prepare(self, samples: Sequence[Sample]) -> tuple[Tensor, tuple[Placement, ...]]:
        """The library's own tensor ``[b, 3, h, w]`` (float32, on the CPU), and where it lies in each photo.

        Raises:
            ModelError: nothing is known about the model's preprocessing, or photos prepared to different sizes.
        """
        if self.described.preparation is None:
            raise self._missing(self.described.missing)
        pairs = [self.described.preparation(sample) for sample in samples]
        sizes = sorted({tuple(tensor.shape[-2:]) for tensor, _ in pairs})
        if len(sizes) > 1:
            raise ModelError(
                f"photos prepared to {' and '.join(f'{h}×{w}' for h, w in sizes)}", expected="one size", todo="trace them one at a time"
            )
        return torch.stack([tensor for tensor, _ in pairs]), tuple(placement for _, placement in pairs)

    def _missing(self, names: Sequence[str]) -> ModelError:
        example = {"input_size": "input_size=224", "mean": "mean=(0.5, 0.5, 0.5)", "std": "std=(0.5, 0.5, 0.5)"}
        call = ", ".join(example.get(name, name) for name in dict.fromkeys(names))
        function = is_function(self.ref)
        return ModelError(
            f"not known: {', '.join(dict.fromkeys(names))}",
            where=self.ref,
            expected=f"{self.ref.partition(':')[2]}() to return (model, dict({call}))" if function else f"vs.load(model, {call})",
            todo="" if function else "or feed prepared tensors [b, 3, h, w]",
        )

    def trace(
        self,
        samples: Any,
        needs: Needs = Needs(),  # noqa: B008 - frozen
        target: Any = None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> Trace:
        """One forward pass on a path, PIL image, array, Sample or prepared tensor, or a list of them.

        Args:
            samples: the photos, or pixels already prepared.
            needs: what to keep beyond attention and scores.
            target: what gradients are of: a label, an index, a pair (this rather than that), or None for the top prediction.
            tell: told in words what the pass will keep, before it runs.

        Raises:
            CaptureError: a pass that would keep more than the limit.
            PhotoError: a photo that cannot be read.
            ProofError: the capture fails one of its proofs, at first use.
        """
        if is_prepared(samples):
            pixels = prepared_pixels(samples)
            preparation = self.described.preparation
            shots, placements = shown(pixels, preparation.mean if preparation else (), preparation.std if preparation else ())
        else:
            shots = tuple(gather(samples))
            pixels, placements = self.prepare(shots)
        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        weights = self._renew()
        found, facts = self._study_at(size), self._facts_at(size)
        placements = tuple(placement.only(found.layout.covered) for placement in placements)
        if tell is not None:
            tell(pass_in_words(self.described, found, tuple(pixels.shape), needs))
        return _Again(self, found, facts, weights, self._placed(pixels), shots, placements).run(needs, target, Inputs())

    def _placed(self, pixels: Tensor) -> Tensor:
        device, dtype = works_in(self.module, pixels)
        return pixels.to(device=device, dtype=dtype)

    def answer(self, pixels: Tensor) -> Tensor | None:
        """Class scores ``[b, c]`` of prepared pixels by a plain pass, nothing captured; None for a model without any."""
        self._renew()
        with ordinary_mode(grad=False):
            scores = self.described.output(self.described.call(self.module, self._placed(pixels)))[0]
        return None if scores is None else scores.detach()

    def embedding(self, pixels: Tensor) -> Embedding | None:
        """The convolution that cuts prepared pixels ``[1, 3, h, w]`` into patches; None where none does.

        This works for models whose attention cannot be captured, too.
        """
        return hear_embedding(self.module, self.described.call, self._placed(pixels))

    def redrawn(self, seed: int) -> nn.Module:
        """A copy with its weights re-drawn; the last one is kept."""
        key = (seed, version(self.module))
        if self._twin is None or self._twin[0] != key:
            self._twin = (key, redrawn(self.module, seed))
        return self._twin[1]

    def weights_fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over the weights; computed again when they have changed."""
        key = version(self.module)
        if self._fingerprint is None or self._fingerprint[0] != key:
            self._fingerprint = (key, fingerprint(self.module))
        return self._fingerprint[1]

    def provenance(self, passed: Pass, pixels: Tensor, samples: Sequence[Sample], *, weights: str, redraw: int | None) -> Provenance:
        """What made a result; ``weights``: their fingerprint; ``redraw``: the seed its weights were re-drawn with."""
        libraries = ("vitscope", "torch", *self.described.libraries)
        return Provenance(
            model=self.ref,
            weights=weights + ("" if redraw is None else f" re-drawn with seed {redraw}"),
            preprocessing=self.described.preparation.text if self.described.preparation else "none: fed as prepared tensors",
            dtype=str(pixels.dtype).removeprefix("torch."),
            device=str(pixels.device),
            attention=", ".join(dict.fromkeys(call.kind for call in passed.calls)),
            seed=self.seed,
            versions={name: _version(name) for name in libraries},
            samples=tuple(sample.digest or sample.id for sample in samples),
        )


def _reads_blocks(target: object) -> bool:
    """Whether a target's score is read off a block's tokens."""
    return target.blocks if isinstance(target, Target) else isinstance(target, Axis) and target.block is not None


def _seated(calls: tuple[AttentionCall, ...], laid: Laid, pictures: int) -> tuple[AttentionCall, ...]:
    """The calls with where their slots sit."""
    if laid.stages is None:
        return calls
    seats = laid.stages.seats
    cuts = [None if call.block is None else seats[call.block].cut for call in calls]
    turned = [call if cut is None or cut.usual else call.turned(pictures, cut) for call, cut in zip(calls, cuts, strict=True)]
    return tuple(call if call.block is None else replace(call, seats=seats[call.block]) for call in turned)


def _tokens(z: Tensor, block: int, laid: Laid) -> Tensor:
    """A block's output as ``[b, n, c]``."""
    return laid.form.tokens(z) if laid.stages is None else laid.stages.forms[block].tokens(z)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True)
class _Again:
    """The way back to the model that a trace carries: ``again(needs, target, inputs)``.

    A trace of re-drawn weights goes back to those weights (``redraw``: their seed); one of weights that have changed since, nowhere.
    """

    model: LoadedModel
    study: Study
    facts: Facts
    weights: str
    pixels: Tensor
    samples: tuple[Sample, ...]
    placements: tuple[Placement, ...]
    redraw: int | None = None

    def __call__(self, needs: Needs, target: Any, inputs: Inputs) -> Trace:
        self._unchanged()
        return self.run(needs, target, inputs)

    def words(self, texts: Sequence[str]) -> Directions:
        """How its pictures are scored for these texts."""
        self._unchanged()
        return self.model.words(texts)

    def _unchanged(self) -> None:
        now = self.model.weights_fingerprint()
        if now != self.weights:
            raise CaptureError(
                f"the weights changed since this trace (they are {now})", expected=self.weights, where=self.model.ref, todo="trace again"
            )

    def run(self, needs: Needs, target: Any, inputs: Inputs) -> Trace:
        """The pass itself, with the weights the module has now."""
        model = self.model
        pixels = self.pixels if inputs.pixels is None else model._placed(inputs.pixels)
        if pixels.shape[1:] != self.pixels.shape[1:]:
            raise ArgumentError(
                f"pixels {tuple(pixels.shape)}", expected=f"[b, {', '.join(map(str, self.pixels.shape[1:]))}]", where="again"
            )
        seed = self.redraw if inputs.redraw is None else inputs.redraw
        module = model.module if seed is None else model.redrawn(seed)
        described = model.described
        labels = model._labels(self.facts.classes)

        layout, keep = self.study.layout, inputs.keep
        placements = self._matching(len(pixels))[1]

        def forward(x: Tensor) -> Made:
            return made_of(described, described.call(module, x), layout, keep if keep is not None and len(keep) == len(x) else None)

        def pick(made: Made) -> Target:
            return aim(target, Scene(made, labels, layout, placements, model.ref, model.words if described.texts else None))

        if keep is not None and self.facts.drop == "pixels":
            pixels, keep = hide_pixels(pixels, keep, layout), None
        wanted = needs | Needs(hidden=_reads_blocks(target))
        model.admit(pixels, wanted)
        passed = run(
            module,
            forward,
            pixels,
            needs=wanted,
            offload=model.offload,
            pick_target=pick,
            keep=keep,
            drop="masked" if self.facts.drop == "masked" else "removed",
            blocks=self.study.laid.blocks,
        )
        return replace(self, redraw=seed)._trace(passed, pixels, needs, labels)

    def _trace(self, passed: Pass, pixels: Tensor, needs: Needs, labels: tuple[str, ...]) -> Trace:
        samples, placements = self._matching(len(pixels))
        preparation = self.model.described.preparation
        mean, std = (preparation.mean, preparation.std) if preparation else ((), ())
        laid = self.study.laid
        return Trace(
            calls=_seated(passed.calls, laid, len(pixels)),
            layout=self.study.layout,
            placements=placements,
            samples=samples,
            pixels=pixels,
            logits=passed.logits,
            labels=labels,
            provenance=self.model.provenance(passed, pixels, samples, weights=self.weights, redraw=self.redraw),
            rerun=replace(self, pixels=pixels, samples=samples, placements=placements),
            needs=needs,
            target=passed.target,
            hidden=tuple(_tokens(z, i, laid) for i, z in enumerate(passed.hidden)),
            hidden_grads=tuple(_tokens(g, i, laid) for i, g in enumerate(passed.hidden_grads)),
            pixel_grads=passed.pixel_grads,
            layer_pools=passed.layer_pools,
            layer_logits=passed.layer_logits,
            exact_drop=self.facts.drop,
            layouts=laid.layouts,
            stages=laid.stages,
            unmapped=laid.unmapped,
            made=passed.made,
            on_cells=laid.on_cells,
            through_last=self.facts.through_last,
            words=self.words if self.model.described.texts else None,
            mean=mean or (0.0, 0.0, 0.0),
            std=std or (1.0, 1.0, 1.0),
        )

    def _matching(self, count: int) -> tuple[tuple[Sample, ...], tuple[Placement, ...]]:
        """Samples and placements for so many pictures: other pixels may come several to a photo."""
        if count == len(self.samples):
            return self.samples, self.placements
        if count % len(self.samples) == 0 and len(self.samples) > 0:
            times = count // len(self.samples)
            return self.samples * times, self.placements * times
        return (self.samples[0],) * count, (self.placements[0],) * count
