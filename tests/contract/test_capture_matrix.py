"""Every family against what it writes out itself: attention, gradients, block numbers, proofs; and nothing left on the model."""

from __future__ import annotations

import pytest
import torch

from support.explicit_attention import Explicit, as_heads, explicit_attention
from support.footprint import footprint, same_tensors, tensors
from support.zoo import CASES, DEPTH, Built, Case
from vitscope.capture import Pass, find_blocks, prove, run
from vitscope.core.targets import Target
from vitscope.scoring import Made
from vitscope.trace import Needs

ATTENTION = 1e-6
GRADIENT = 1e-5
EVERYTHING = Needs(hidden=True, gradients=True, layer_scores=True, pixel_gradients=True)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def top(made: Made) -> Target:
    return Target(tuple(made.scores.argmax(dim=-1).tolist()))


def captured(case: Case) -> Pass:
    built = case.build()
    return run(built.module, built.call, built.pixels, needs=Needs(gradients=True), pick_target=top)


def explicit_gradients(explicit: Explicit, target: Target) -> list[torch.Tensor]:
    score = explicit.logits[torch.arange(len(target.index)), torch.tensor(target.index)].sum()
    return list(torch.autograd.grad(score, explicit.weights))


@every_case
def test_attention_and_gradients_equal_the_models_own(case):
    passed, explicit = captured(case), explicit_attention(case.build())
    batch = len(case.build().pixels)
    assert len(passed.calls) == len(explicit.weights) > 0
    gradients = explicit_gradients(explicit, passed.target)
    for call, weights, gradient in zip(passed.calls, explicit.weights, gradients, strict=True):
        theirs, their_gradient = as_heads(weights, batch), as_heads(gradient, batch)
        assert (call.rows() - theirs).abs().max() <= ATTENTION, call.path
        assert (call.grad_rows() - their_gradient).abs().max() <= GRADIENT * their_gradient.abs().max(), call.path
        assert theirs.max() > 1.5 / theirs.shape[-1], "a test on uniform attention proves nothing"


@every_case
def test_blocks_are_numbered_and_all_four_proofs_hold(case):
    built = case.build()
    blocks = find_blocks(built.module, built.call, built.pixels)
    assert len(blocks.paths) == {"vit_b_16": 12, "ViT-B-32": 12}.get(case.name, 3 if case.library == "own" else DEPTH)
    proof = prove(built.module, built.call, built.pixels, blocks=blocks)
    assert proof.reconstruction.measured <= 1e-5
    assert proof.effect.measured > 1e-4


@every_case
def test_nothing_is_left_on_the_model(case):
    built = case.build()
    logits = plain_logits(built)  # what a first call may cache for itself is there before we look
    state, weights = footprint(built.module), tensors(built.module)
    assert torch.equal(plain_logits(built), logits)
    assert footprint(built.module) == state
    run(built.module, built.call, built.pixels, needs=EVERYTHING, pick_target=top)
    prove(built.module, built.call, built.pixels)
    assert footprint(built.module) == state
    assert same_tensors(weights, tensors(built.module))
    assert all(p.grad is None for p in built.module.parameters())
    assert torch.equal(plain_logits(built), logits)


def plain_logits(built: Built) -> torch.Tensor:
    with torch.no_grad():
        return built.call(built.pixels)


class MidForwardError(Exception):
    """Raised inside a model while it is captured."""


@every_case
@pytest.mark.parametrize("where", ["first", "last"])
def test_nothing_is_left_after_an_exception_inside_the_model(case, where):
    built = case.build()
    blocks = find_blocks(built.module, built.call, built.pixels)
    block = built.module.get_submodule(blocks.paths[0 if where == "first" else -1])
    armed = [False]

    def explode(*_):
        if armed[0]:
            raise MidForwardError

    handle = block.register_forward_hook(explode)
    try:
        state, weights = footprint(built.module), tensors(built.module)
        armed[0] = True
        with pytest.raises(MidForwardError):
            run(built.module, built.call, built.pixels, needs=EVERYTHING, pick_target=top, blocks=blocks)
        with pytest.raises(MidForwardError):
            prove(built.module, built.call, built.pixels, blocks=blocks)
        armed[0] = False
        assert footprint(built.module) == state
        assert same_tensors(weights, tensors(built.module))
    finally:
        handle.remove()


def test_the_table_is_as_wide_as_promised():
    count = {library: len({case.name for case in CASES if case.library == library}) for library in ("hf", "timm", "own")}
    assert count["hf"] >= 18
    assert count["timm"] >= 12
    assert count["own"] >= 4
    assert {"torchvision:vit_b_16", "open_clip:ViT-B-32"} <= {case.id for case in CASES}
