"""The four proofs hold for honest captures, and each fails, with its numbers, for a capture that is wrong in its way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from support import handwritten
from support.zoo import CASES, redraw
from vitscope.capture import intercept, prove
from vitscope.capture.prove import prove_reconstruction, prove_rows, prove_shape
from vitscope.errors import ProofError
from vitscope.trace import AttentionCall

BY_ID = {case.id: case for case in CASES}


def calls(name: str) -> list[AttentionCall]:
    built = BY_ID[name].build()
    with torch.no_grad(), intercept(built.module, batch=2) as recorder:
        built.call(built.pixels)
    return list(recorder.calls)


def test_as_plain_values():
    built = BY_ID["hf:vit"].build()
    proof = prove(built.module, built.call, built.pixels, tokens=17, heads=4).as_dict()
    assert list(proof) == ["complete", "shape", "rows", "reconstruction", "effect"]
    for check in proof.values():
        assert check["passed"] is True
        assert set(check) == {"passed", "measured", "tolerance", "text"}
    assert proof["shape"]["text"] == "2 calls of 17 queries × 17 keys"


@pytest.mark.parametrize(("tokens", "heads"), [(16, None), (17, 3)])
def test_a_wrong_layout_fails_by_shape(tokens, heads):
    built = BY_ID["hf:vit"].build()
    with pytest.raises(ProofError, match=rf"proof of shape failed.*has 17 queries, 17 keys, 4 heads; the layout has {tokens} tokens"):
        prove(built.module, built.call, built.pixels, tokens=tokens, heads=heads)


def test_shape_counts_the_calls_that_differ():
    one, two = calls("hf:vit")
    short = replace(two, k=two.k[:, :, 1:], v=two.v[:, :, 1:])
    assert prove_shape([one, short], None, None).measured == 1


def test_rows_that_do_not_sum_to_one_fail():
    call = calls("hf:vit")[0]
    assert prove_rows([call]).passed
    off = replace(call, weights=call.rows() * 1.001)
    check = prove_rows([call, off])
    assert not check.passed
    assert check.measured == pytest.approx(1e-3, rel=1e-2)
    assert not prove_rows([replace(call, mask=torch.zeros(17, 17, dtype=torch.bool))]).passed, "a row with every key masked is not a number"


@pytest.mark.parametrize("wrong", ["scale", "causal", "values"])
def test_a_capture_that_does_not_give_the_output_fails(wrong):
    call = calls("hf:vit")[0]
    assert prove_reconstruction([call]).passed
    changes = {"scale": {"scale": 0.4}, "causal": {"is_causal": True}, "values": {"v": call.v.roll(1, dims=2)}}
    check = prove_reconstruction([call, replace(call, **changes[wrong])])
    assert not check.passed
    assert check.measured > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_have_their_own_tolerance(dtype):
    module = redraw(handwritten.stacked(handwritten.JoinedFused)).to(dtype)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    proof = prove(module, module, pixels)
    assert proof.reconstruction.tolerance == (1e-10 if dtype == torch.float64 else 2e-2)


def test_talking_heads_are_reconstructed_up_to_their_linear_mix_and_no_further():
    call = calls("timm:cait_xxs24_224")[0]
    assert call.mixed
    assert prove_reconstruction([call]).passed
    assert not prove_reconstruction([replace(call, weights=call.weights.flip(-1))]).passed


class Idle(nn.Module):
    """Attention that runs and is thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.body = redraw(handwritten.stacked(handwritten.JoinedFused))
        self.head = nn.Linear(3, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        self.body(pixels)
        return self.head(pixels.mean(dim=(2, 3)))


def test_attention_without_effect_fails():
    module = Idle().eval()
    with pytest.raises(ProofError, match=r"proof of effect failed.*changes the output by 0 of.*expected more than \d"):
        prove(module, module, torch.randn(2, 3, 32, 32))


class Whisper(Idle):
    """Attention that moves the answer by about as much as rounding does."""

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(pixels.mean(dim=(2, 3))) + 1e-7 * self.body(pixels)[:, :5]


def test_an_effect_as_small_as_rounding_fails():
    module = Whisper().eval()
    with pytest.raises(ProofError, match=r"proof of effect failed.*changes the output by [1-9.]+e-0[78].*expected more than 1\.\d+e-06"):
        prove(module, module, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", [handwritten.JoinedFused, handwritten.SeparateWritten])
def test_uniform_attention_still_has_an_effect(kind):
    module = redraw(handwritten.stacked(kind))
    with torch.no_grad():
        for block in module.blocks:
            for part in (block.qkv,) if kind is handwritten.JoinedFused else (block.q, block.k):
                part.weight[: 2 * handwritten.WIDTH] = 0
                part.bias[: 2 * handwritten.WIDTH] = 0
    assert prove(module, module, torch.randn(2, 3, 32, 32)).effect.measured > 1e-3


def test_a_model_without_logits_is_proven_on_its_last_block():
    module = redraw(handwritten.stacked(handwritten.SeparateWritten))
    assert prove(module, lambda x: (module(x), None)[1], torch.randn(2, 3, 32, 32)).effect.measured > 1e-3
