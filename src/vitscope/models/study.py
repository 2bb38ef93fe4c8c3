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
from vitscope.capture.prove import Proof, prove
from vitscope.capture.run import run
from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.errors import CaptureError, ProofError
from vitscope.models.evenness import reads_even_mean
from vitscope.models.family import Loaded
from vitscope.models.layout import Told, configured_readout, measure_layout, noise_picture, pools, readouts
from vitscope.models.measure import read_tokens
from vitscope.models.prefixes import in_token_order, learned_tokens
from vitscope.trace import AttentionCall

#: Patches along a side that are enough to learn everything but the layout.
SMALL = 14


@dataclass(frozen=True)
class CallFacts:
    """One attention call without its tensors."""

    path: str
    kind: str
    heads: int
    queries: int
    keys: int
    block: int | None

    @classmethod
    def of(cls, call: AttentionCall) -> CallFacts:
        """What is worth remembering of a call."""
        return cls(call.path, call.kind, call.heads, call.queries, call.keys, call.block)

    def at(self, learnt: int, tokens: int) -> CallFacts:
        """The same call on an input of so many tokens, learnt on another of so many."""
        return replace(self, queries=self._scaled(self.queries, learnt, tokens), keys=self._scaled(self.keys, learnt, tokens))

    @staticmethod
    def _scaled(count: int, learnt: int, tokens: int) -> int:
        """A pool's own queries stay as many; keys that are the tokens (and a cls token that joins late) grow with them."""
        return tokens + count - learnt if count >= learnt else count


@dataclass(frozen=True)
class Facts:
    """What does not depend on the input's size.

    Attributes:
        layout: at the size this was learnt on, without read-outs.
        blocks: the blocks' module paths.
        calls: the attention calls at that size.
        classes: number of class scores; 0 for a headless model.
        read: bool ``[n]`` tokens the output depends on; None where the model gives its tokens themselves.
        even: whether the head reads even means of them (and not with weights of its own, a gate, a maximum or one by one).
        drop: how tokens are dropped: "removed" or "masked".
        proof: the four proofs of the capture.
    """

    layout: TokenLayout
    blocks: Blocks
    calls: tuple[CallFacts, ...]
    classes: int
    read: NDArray[np.bool_] | None
    even: bool
    drop: str
    proof: Proof


@dataclass(frozen=True)
class Study:
    """What was learnt of a model for one input size: the layout with its read-outs, and the calls as they are at that size."""

    layout: TokenLayout
    calls: tuple[CallFacts, ...]


def small_size(described: Loaded, size: tuple[int, int]) -> tuple[int, int]:
    """A smaller size at which the same code runs, where the model takes inputs of any size; else the size itself."""
    if not described.flexible or described.patch is None:
        return size
    return min(size[0], SMALL * described.patch[0]), min(size[1], SMALL * described.patch[1])


def learn(described: Loaded, size: tuple[int, int], seed: int) -> Facts:
    """Learn everything from noise of this size.

    Raises:
        CaptureError: the model's attention cannot be captured.
        ProofError: tokens that cannot be accounted for, or a capture that fails a proof.
    """
    noise = noise_picture(size, described.module, seed)
    made: list[tuple[int, ...]] = []

    def scores(pixels: Tensor) -> Tensor | None:
        found, features = described.output(described.call(described.module, pixels))
        made.append(tuple(features.shape))
        return found

    passed = run(described.module, scores, noise)
    pooled = len(made[-1]) == 2
    layout = bare_layout(described, noise)
    read = _read(described, noise, passed, layout) if pooled else None
    return Facts(
        layout=layout,
        blocks=passed.blocks,
        calls=tuple(CallFacts.of(call) for call in passed.calls),
        classes=0 if passed.logits is None else int(passed.logits.shape[1]),
        read=read,
        even=read is None or _even(described, noise, passed, layout, read),
        drop=_drop(described, noise, passed, layout),
        proof=prove(described.module, _watched(described, read), noise, tokens=layout.n, blocks=passed.blocks),
    )


def _watched(described: Loaded, read: NDArray[np.bool_] | None) -> Callable[[Tensor], Tensor | None]:
    """What must move when attention changes: what the head makes, or (None) the last block's tokens where the head ignores them all.

    The head of an untrained model may be all zeros (torchvision's is): that says nothing about the capture.
    """

    def made(pixels: Tensor) -> Tensor | None:
        features = described.output(described.call(described.module, pixels))[1]
        return features if read is not None and read.any() else None

    return made


def bare_layout(described: Loaded, noise: Tensor) -> TokenLayout:
    """The layout, measured on this noise; without read-outs."""

    def forward(pixels: Tensor) -> object:
        return described.call(described.module, pixels)

    prefix = described.prefix
    if prefix and prefix == learned_tokens(described.module):  # read off names, not given: the order is still to be measured
        prefix = in_token_order(described.module, described.call, noise)
    return measure_layout(described.module, forward, noise, Told(prefix, described.patch))


def _read(described: Loaded, noise: Tensor, passed: Pass, layout: TokenLayout) -> NDArray[np.bool_]:
    def made(pixels: Tensor) -> Tensor:
        return described.output(described.call(described.module, pixels))[1]

    return read_tokens(described.module, made, noise, passed.blocks, layout.n)


def _even(described: Loaded, noise: Tensor, passed: Pass, layout: TokenLayout, read: NDArray[np.bool_]) -> bool:
    """Patches and other tokens apart; a cls and a distillation token have heads of their own, whose answers are averaged."""

    def made(pixels: Tensor) -> Tensor:
        return described.output(described.call(described.module, pixels))[1]

    patches = layout.kinds == Kind.PATCH
    distilled = sorted(layout.kinds[read & ~patches].tolist()) == sorted([Kind.CLS, Kind.DISTILL])
    if pools(layout, [call for call in passed.calls if call.block is None]):
        return True
    groups = [read & patches] if distilled else [read & patches, read & ~patches]
    return all(
        reads_even_mean(described.module, made, noise, passed.blocks, torch.as_tensor(np.flatnonzero(group)), layout.n) for group in groups
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
    same = size == facts.layout.input_size
    layout = facts.layout if same else bare_layout(described, noise_picture(size, described.module, seed))
    calls = tuple(call.at(facts.layout.n, layout.n) for call in facts.calls)
    return Study(replace(layout, readouts=_readouts(described, facts, layout, calls)), calls)


def _readouts(described: Loaded, facts: Facts, layout: TokenLayout, calls: tuple[CallFacts, ...]) -> tuple[Readout, ...]:
    """Measured where the model makes one vector of its tokens; by configuration where it gives the tokens themselves.

    None for a head that reads otherwise than by even means: what it reads cannot be said as one start.
    """
    if facts.read is None:
        return configured_readout(layout, described.reads)
    if not facts.even:
        return ()
    read = facts.read if layout.n == facts.layout.n else _grown(facts, layout)
    found = readouts(layout, read, [call for call in calls if call.block is None])
    return found or configured_readout(layout, described.reads)


def _grown(facts: Facts, layout: TokenLayout) -> NDArray[np.bool_]:
    """What is read at another size: the same prefix tokens, and all patches or none."""
    assert facts.read is not None
    patches = facts.read[facts.layout.kinds == Kind.PATCH]
    if patches.any() and not patches.all():
        raise ProofError(
            f"the head reads {int(patches.sum())} of {len(patches)} patches", expected="all or none at another input size", where="read-out"
        )
    read = np.zeros(layout.n, dtype=bool)
    read[layout.prefix] = facts.read[facts.layout.prefix]
    read[layout.patches] = bool(patches.any())
    return read
