"""The probe counts attention by rules of its own; what the interceptor heard is held against it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitscope.capture import probe, prove_calls
from vitscope.capture.intercept import Recorder
from vitscope.errors import ProofError

PIXELS = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


class Own(nn.Module):
    """One linear layer, then whatever the test wants."""

    def __init__(self, tail):
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Linear(8, 24)
        self.tail = tail

    def forward(self, x):
        return self.tail(*self.qkv(x).chunk(3, dim=-1))


def written(q, k, v):
    return (q @ k.transpose(-1, -2) / 8**0.5).softmax(dim=-1) @ v


def linear(q, k, v):
    return q.softmax(dim=-1) @ (k.softmax(dim=-2).transpose(-1, -2) @ v)


def gated(q, k, v):
    return torch.softmax(q, dim=-1) * v


def einsum(q, k, v):
    weights = torch.einsum("b I d, b J d -> b I J", q, k).softmax(dim=-1)
    return torch.einsum("b I J, b J d -> b I d", weights, v)


@pytest.mark.parametrize(
    ("tail", "kinds", "weighted"),
    [
        (F.scaled_dot_product_attention, ["sdpa"], 0),
        (written, ["softmax"], 0),
        (einsum, ["softmax"], 0),
        (linear, [], 2),
        (gated, [], 0),
        (lambda q, k, v: written(q, k, F.scaled_dot_product_attention(q, k, v)), ["sdpa", "softmax"], 0),
    ],
    ids=["sdpa", "written", "einsum", "linear", "gate", "two"],
)
def test_what_is_counted(tail, kinds, weighted):
    module = Own(tail).eval()
    found = probe(module, module, PIXELS)
    assert [kind for _, kind in found.attention] == kinds
    assert len(found.weighted) == weighted
    assert bool(found) == bool(kinds)


def test_multi_head_attention_is_one():
    module = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    assert [kind for _, kind in probe(module, module, PIXELS).attention] == ["mha"]


def test_nothing_is_changed():
    module = Own(written).eval()
    before = module(PIXELS)
    probe(module, module, PIXELS)
    assert torch.equal(module(PIXELS), before)


@pytest.mark.parametrize("tail", [F.scaled_dot_product_attention, written, einsum], ids=["sdpa", "written", "einsum"])
def test_calls_are_proved_without_a_layout(tail):
    module = Own(tail).eval()
    proof = prove_calls(module, module, PIXELS)
    assert proof.complete.text == "1 of 1 attentions captured"
    assert proof.reconstruction.measured <= 1e-5


def test_an_attention_that_is_not_heard_fails_the_proof(monkeypatch):
    module = Own(lambda q, k, v: written(q, k, F.scaled_dot_product_attention(q, k, v))).eval()
    monkeypatch.setattr(Recorder, "_softmax", lambda self, func, args, kwargs: func(*args, **kwargs))
    with pytest.raises(ProofError, match=r"complete failed: 1 of 2 attentions captured"):
        prove_calls(module, module, PIXELS)
