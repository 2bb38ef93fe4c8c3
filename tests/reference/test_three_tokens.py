"""Three tokens (CLS and two patches), two layers, one head: every number below was worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support.handmade import CLS, trace_of
from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.targets import Target
from vitscope.methods import explain
from vitscope.trace import AttentionCall, Needs, Trace

A0 = [[0.50, 0.25, 0.25], [0.25, 0.50, 0.25], [0.25, 0.25, 0.50]]
A1 = [[0.2, 0.6, 0.2], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]]
G0 = [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, 2.0, 0.0]]
G1 = [[1.0, -1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
LAYER_G0 = [[-1.0, 3.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def tensor(x) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)[None, None]


def call(block: int, a, gradient, layer_gradient) -> AttentionCall:
    """q = log A, k = 1, scale 1: softmax(q kᵀ) is A; v = 1, so the gradient of the output is the gradient of A."""
    one, q = torch.eye(3, dtype=torch.float64)[None, None], tensor(a).log()
    return AttentionCall(
        f"block.{block}", "sdpa", q, one, one, tensor(a), block=block, grad_out=tensor(gradient), layer_grad=tensor(layer_gradient)
    )


@pytest.fixture
def trace() -> Trace:
    cls = Readout("cls", np.array([1.0, 0.0, 0.0]))
    layout = TokenLayout.plain((Kind.CLS,), (1, 2), (4, 4), (4, 8), readouts=(cls,))
    hidden = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, -1.0]]], dtype=torch.float64)
    grads = torch.tensor([[[7.0, 7.0], [1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    plain = trace_of(CLS, batch=1)
    return Trace(
        calls=(call(0, A0, G0, LAYER_G0), call(1, A1, G1, G1)),
        layout=layout,
        placements=(Placement.of_photo((4, 8)),),
        samples=plain.samples,
        pixels=torch.zeros(1, 3, 4, 8, dtype=torch.float64),
        logits=torch.tensor([[2.0, 1.0]], dtype=torch.float64),
        labels=("one", "two"),
        provenance=plain.provenance,
        rerun=plain.rerun,
        needs=Needs(hidden=True, gradients=True, layer_scores=True),
        target=Target((0,), (), ("one",)),
        hidden=(hidden, hidden),
        hidden_grads=(grads, grads * torch.tensor([[[1.0], [0.0], [0.0]]])),
    )


def test_attention(trace):
    assert explain(trace, "attention").values[0] == pytest.approx([0.2, 0.6, 0.2])
    assert explain(trace, "attention", layer=0, query=(0, 1)).values[0] == pytest.approx([0.25, 0.25, 0.5])


def test_rollout(trace):
    # Â1 of CLS: (.2 .6 .2)/2 + (1 0 0)/2 = (.6 .3 .1); times Â0 = ¾ on the diagonal and ⅛ elsewhere
    assert explain(trace, "rollout").values[0] == pytest.approx([0.5, 0.3125, 0.1875])


def test_rollout_in_the_wrong_order_would_be_seen(trace):
    # CLS row of Â0 times Â1 instead: (¾ ⅛ ⅛) · ((.6 .3 .1) (.15 .7 .15) (.05 .05 .9))
    assert explain(trace, "rollout").values[0] != pytest.approx([0.475, 0.31875, 0.20625], rel=1e-3)


def test_rollout_with_discard(trace):
    # half of two patches = the smaller one of each row: (.2 .6 .2) → (¼ ¾ 0); the tie of A0's first row is kept whole;
    # its second (.25 .5 .25) → (⅓ ⅔ 0). CLS itself is never discarded.
    assert explain(trace, "rollout", discard=0.5).values[0] == pytest.approx([0.53125, 0.390625, 0.078125])


def test_relevance(trace):
    # Ē1 of CLS: (.2 −.6 .4)⁺ = (.2 0 .4), v = (1.2 0 .4); Ē0: (0 .25 .25), –, (0 .5 0); v Ē0 = (0 .5 .3)
    assert explain(trace, "relevance", 0).values[0] == pytest.approx([1.2, 0.5, 0.7])


def test_gradient_rollout(trace):
    # F1 of CLS: (⅓ 0 ⅔), Â1 (⅔ 0 ⅓); Â0: (½ ¼ ¼) and (0 ½ ½)
    assert explain(trace, "gradient-rollout", 0).values[0] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    # without residual: ⅓ (0 ½ ½) + ⅔ (0 1 0)
    assert explain(trace, "gradient-rollout", 0, residual=0.0).values[0] == pytest.approx([0.0, 5 / 6, 1 / 6])


def test_legrad(trace):
    # ((0 3 1) + (1 0 2)) / 2
    assert explain(trace, "legrad", 0).values[0] == pytest.approx([0.5, 1.5, 1.5])


def test_grad_cam(trace):
    # weights: the mean of (1 0) and (0 1); (1 2)·(½ ½) and (3 −1)·(½ ½); block 1 has no gradient on patches
    found = explain(trace, "grad-cam", 0)
    assert found.layer == 0
    assert np.isnan(found.values[0][0])
    assert found.values[0][1:] == pytest.approx([1.5, 1.0])
