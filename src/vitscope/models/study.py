"""What is learnt of a model before any photo: its blocks, its classes, what its head reads, and what every token stands for.

Everything that does not depend on the input's size is learnt on a small input where the model takes one; the layout at the size asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.capture.blocks import Blocks
from vitscope.capture.drop import choose_drop
from vitscope.capture.live import Pass
from vitscope.capture.prove import Proof, prove, prove_calls
from vitscope.capture.run import run
from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.errors import CaptureError, ProofError
from vitscope.models.evenness import reads_even_mean
from vitscope.models.family import Loaded
from vitscope.models.heads import made_of, through_last
from vitscope.models.laying import Laid, bare_layout, lay_out
from vitscope.models.layout import configured_readout, noise_picture, pools, readouts
from vitscope.models.measure import read_tokens
from vitscope.scoring import Made
from vitscope.trace import AttentionCall

#: Patches along a side that are enough to learn everything but the layout.
SMALL = 14

#: What a model makes, in a word.
CLASSES, PIXELS, BOXES, FEATURES = "class scores", "scores at pixels", "boxes", "features"

#: Patches of fewer pixels belong to models with stages.
PLAIN = 8


@dataclass(frozen=True)
class CallFacts:
    """One attention call without its tensors.

    Attributes:
        windows: windows in one picture (1 for a call over all tokens).
        each: bytes kept for each query, each key, and each pair of both, in all heads of one window.
    """

    path: str
    kind: str
    heads: int
    queries: int
    keys: int
    block: int | None
    windows: int = 1
    each: tuple[int, int, int] = (0, 0, 0)

    @property
    def kept(self) -> int:
        """Bytes a trace keeps of this call for one picture."""
        query, key, pair = self.each
        return self.windows * (self.queries * query + self.keys * key + self.queries * self.keys * pair)

    @classmethod
    def of(cls, call: AttentionCall, block: int | None) -> CallFacts:
        """What is worth remembering of a call on one picture."""
        each = (_bytes_of(call.q) + _bytes_of(call.out), _bytes_of(call.k) + _bytes_of(call.v))
        pair = 0 if call.weights is None else call.heads * call.weights.element_size()
        return cls(call.path, call.kind, call.heads, call.queries, call.keys, block, int(call.out.shape[0]), (*each, pair))

    def at(self, learnt: int, tokens: int) -> CallFacts:
        """The same call on an input of so many tokens, learnt on another of so many."""
        return replace(self, queries=self._scaled(self.queries, learnt, tokens), keys=self._scaled(self.keys, learnt, tokens))

    @staticmethod
    def _scaled(count: int, learnt: int, tokens: int) -> int:
        """A pool's own queries stay as many; keys that are the tokens (and a cls token that joins late) grow with them."""
        return tokens + count - learnt if count >= learnt else count


def _bytes_of(x: Tensor | None) -> int:
    """Bytes of one token in all heads."""
    return 0 if x is None else int(x.shape[1] * x.shape[-1]) * x.element_size()


@dataclass(frozen=True)
class Facts:
    """What does not depend on the input's size.

    Attributes:
        laid: where the tokens lie at the size this was learnt on (without the calls' tensors).
        calls: the attention calls there.
        classes: number of class scores; 0 for a headless model.
        read: bool ``[n]`` tokens the output depends on; None where the model gives its tokens themselves.
        even: whether the head reads even means of them (and not with weights of its own, a gate, a maximum or one by one).
        drop: how tokens are dropped: "removed", "masked", or "pixels": those of the picture are hidden.
        proof: the proofs of the capture; None for a model without attention.
        makes: "class scores", "scores at pixels", "boxes", "features", or "tokens" nobody pools.
        through_last: whether all that scores at pixels or boxes read passes the last block.
    """

    laid: Laid
    calls: tuple[CallFacts, ...]
    classes: int
    read: NDArray[np.bool_] | None
    even: bool
    drop: str
    proof: Proof | None
    makes: str = "class scores"
    through_last: bool = True

    @property
    def features(self) -> bool:
        """Whether it makes one vector a picture and no scores."""
        return self.makes == FEATURES

    @property
    def layout(self) -> TokenLayout:
        """The first grid at the size this was learnt on, without read-outs."""
        return self.laid.layout

    @property
    def blocks(self) -> Blocks:
        """The blocks' module paths."""
        return self.laid.blocks


@dataclass(frozen=True)
class Study:
    """What was learnt of a model for one input size: the layout with its read-outs, and the calls as they are at that size."""

    layout: TokenLayout
    calls: tuple[CallFacts, ...]
    laid: Laid


def small_size(described: Loaded, size: tuple[int, int]) -> tuple[int, int]:
    """A smaller size at which the same code runs, where the model takes inputs of any size; else the size itself.

    Never for small patches: they are merged in stages, and a Swin that once saw a small picture keeps smaller windows (transformers).
    """
    if not described.flexible or described.patch is None or min(described.patch) < PLAIN:
        return size
    return min(size[0], SMALL * described.patch[0]), min(size[1], SMALL * described.patch[1])


def learn(described: Loaded, size: tuple[int, int], seed: int) -> Facts:
    """Learn everything from noise of this size.

    Raises:
        CaptureError: the model's attention cannot be captured.
        ProofError: tokens that cannot be accounted for, or a capture that fails a proof.
    """
    noise = noise_picture(size, described.module, seed)
    laid = lay_out(described, noise)
    shapes: list[tuple[int, ...]] = []

    def forward(pixels: Tensor) -> Made:
        out = described.call(described.module, pixels)
        shapes.append(tuple(described.output(out)[1].shape))
        return made_of(described, out, laid.layout)

    passed = run(described.module, forward, noise, blocks=laid.blocks)
    makes, classes = _makes(passed)
    calls, light = _remembered(laid), replace(laid, calls=())
    if laid.unmapped:
        proof = _proven(described, noise, laid)
        return Facts(light, calls, classes, None, even=False, drop="pixels", proof=proof, makes=makes, through_last=False)
    pooled = len(shapes[-1]) == 2
    read = _read(described, noise, laid) if pooled else None
    return Facts(
        light,
        calls,
        classes,
        read,
        even=read is None or _even(described, noise, laid, read),
        drop="pixels"
        if laid.stages is not None or makes == PIXELS or len(shapes[-1]) == 4
        else _drop(described, noise, passed, laid.layout),
        proof=_proven(described, noise, laid, read),
        makes=makes,
        through_last=makes not in (PIXELS, BOXES) or through_last(described, noise, laid.blocks.paths[-1]),
    )


def _makes(passed: Pass) -> tuple[str, int]:
    """What a model makes, in a word, and how many classes it scores."""
    if passed.logits is not None:
        return CLASSES, int(passed.logits.shape[1])
    if passed.made.places is not None:
        return BOXES if passed.made.boxes is not None else PIXELS, passed.made.columns
    return FEATURES if passed.made.features is not None else "tokens", 0


def _remembered(laid: Laid) -> tuple[CallFacts, ...]:
    return tuple(CallFacts.of(call, laid.blocks.number(call.path)) for call in laid.calls)


def _proven(described: Loaded, noise: Tensor, laid: Laid, read: NDArray[np.bool_] | None = None) -> Proof | None:
    """The proofs that apply; None for a model without attention."""
    if laid.unmapped or laid.stages is not None:
        return prove_calls(described.module, _features(described), noise) if laid.calls else None
    return prove(described.module, _watched(described, read), noise, tokens=laid.layout.n, blocks=laid.blocks)


def _features(described: Loaded) -> Callable[[Tensor], Tensor]:
    """What the head makes; tokens where it makes nothing of them."""
    return lambda pixels: described.output(described.call(described.module, pixels))[1]


def _watched(described: Loaded, read: NDArray[np.bool_] | None) -> Callable[[Tensor], Tensor | None]:
    """What must move when attention changes: what the head makes, or (None) the last block's tokens where the head ignores them all.

    The head of an untrained model may be all zeros (torchvision's is): that says nothing about the capture.
    """

    def made(pixels: Tensor) -> Tensor | None:
        features = described.output(described.call(described.module, pixels))[1]
        return features if read is not None and read.any() else None

    return made


def _read(described: Loaded, noise: Tensor, laid: Laid) -> NDArray[np.bool_]:
    return read_tokens(described.module, _features(described), noise, laid.blocks, laid.layouts[-1].n, laid.form)


def _even(described: Loaded, noise: Tensor, laid: Laid, read: NDArray[np.bool_]) -> bool:
    """Patches and other tokens apart; a cls and a distillation token have heads of their own, whose answers are averaged."""
    layout = laid.layouts[-1]
    patches = layout.kinds == Kind.PATCH
    distilled = sorted(layout.kinds[read & ~patches].tolist()) == sorted([Kind.CLS, Kind.DISTILL])
    if laid.stages is None and pools(layout, [call for call in laid.calls if laid.blocks.number(call.path) is None]):
        return True
    groups = [read & patches] if distilled else [read & patches, read & ~patches]
    return all(
        reads_even_mean(
            described.module,
            _features(described),
            noise,
            laid.blocks,
            torch.as_tensor(np.flatnonzero(group)),
            layout.n,
            laid.form,
        )
        for group in groups
    )


def _drop(described: Loaded, noise: Tensor, passed: Pass, layout: TokenLayout) -> str:
    def scores(pixels: Tensor) -> Tensor | None:
        return described.output(described.call(described.module, pixels))[0]

    patches = torch.as_tensor(layout.patches, device=noise.device)
    try:
        return choose_drop(described.module, scores, noise, tokens=layout.n, patches=patches, blocks=passed.blocks)
    except CaptureError:  # attention whose keys cannot be left out: said when somebody asks for it
        return "masked"


def study(described: Loaded, facts: Facts, size: tuple[int, int], seed: int) -> Study:
    """The layout at one size, with what the head reads.

    Raises:
        ProofError: tokens that cannot be accounted for at this size.
    """
    laid, calls = facts.laid, facts.calls
    one = laid.stages is None and not laid.unmapped
    if size != facts.layout.input_size and one:
        laid = replace(laid, layout=bare_layout(described, noise_picture(size, described.module, seed)))
        calls = tuple(call.at(facts.layout.n, laid.layout.n) for call in calls)
    elif size != facts.layout.input_size:
        found = lay_out(described, noise_picture(size, described.module, seed))
        laid, calls = replace(found, calls=()), _remembered(found)
    return Study(replace(laid.layout, readouts=_readouts(described, facts, laid, calls)), calls, laid)


def _readouts(described: Loaded, facts: Facts, laid: Laid, calls: tuple[CallFacts, ...]) -> tuple[Readout, ...]:
    """Measured where the model makes one vector of its tokens; by configuration where it gives the tokens themselves.

    None for a head that reads otherwise than by even means: what it reads cannot be said as one start.
    """
    layout = laid.layouts[-1]
    if laid.unmapped:
        return ()
    if facts.makes == BOXES and (layout.kinds == Kind.QUERY).any():
        return (Readout("detection tokens, mean", (layout.kinds == Kind.QUERY) / (layout.kinds == Kind.QUERY).sum()),)
    if facts.makes == PIXELS:
        return (Readout("patches one by one, mean", configured_readout(layout, "patch mean")[0].weights),)
    if facts.read is None:
        return configured_readout(layout, described.reads)
    if not facts.even:
        return ()
    learnt = facts.laid.layouts[-1]
    read = facts.read if layout.n == learnt.n else _grown(facts.read, learnt, layout)
    found = readouts(layout, read, [call for call in calls if call.block is None])
    return found or configured_readout(layout, described.reads)


def _grown(learnt: NDArray[np.bool_], at: TokenLayout, layout: TokenLayout) -> NDArray[np.bool_]:
    """What is read at another size: the same prefix tokens, and all patches or none."""
    patches = learnt[at.kinds == Kind.PATCH]
    if patches.any() and not patches.all():
        raise ProofError(
            f"the head reads {int(patches.sum())} of {len(patches)} patches", expected="all or none at another input size", where="read-out"
        )
    read = np.zeros(layout.n, dtype=bool)
    read[layout.prefix] = learnt[at.prefix]
    read[layout.patches] = bool(patches.any())
    return read
