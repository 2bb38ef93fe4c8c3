"""Attention as people write it out: followed to q, k, scale and mask where it can be, else the model's own weights; nothing else taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitscope.capture import intercept
from vitscope.capture.following import Track
from vitscope.capture.heard import Heads
from vitscope.capture.scores import TOLERANCE, explains
from vitscope.errors import CaptureError
from vitscope.trace import AttentionCall

B, H, N, D = 2, 4, 6, 8
RNG = torch.Generator().manual_seed(0)
Q, K, V = (torch.randn(B, H, N, D, generator=RNG) for _ in range(3))
BIAS = torch.randn(1, H, N, N, generator=RNG)
DROP = (torch.rand(B, 1, N, N, generator=RNG) > 0.7) & ~torch.eye(N, dtype=torch.bool)
PER_HEAD = torch.rand(H, 1, 1, generator=RNG) + 0.5
MIX = torch.randn(H, H, generator=RNG)


class Seen:
    """What a form of attention gave: its own weights, to compare."""

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def keep(self, weights: Tensor) -> Tensor:
        self.weights = weights
        return weights


def matmul(s: Seen) -> Tensor:
    return s.keep((Q @ K.transpose(-2, -1) * D**-0.5).softmax(-1)) @ V


def scale_first(s: Seen) -> Tensor:
    return torch.matmul(s.keep(torch.softmax(torch.matmul(Q / 3.0, K.mT), dim=-1)), V)


def divided(s: Seen) -> Tensor:
    return torch.matmul(s.keep(nn.Softmax(dim=-1)(torch.matmul(Q, K.permute(0, 1, 3, 2)) / torch.tensor(D**0.5))), V)


def in_place(s: Seen) -> Tensor:
    scores = Q @ K.mT
    scores *= D**-0.5
    scores += BIAS
    return s.keep(F.softmax(scores, dim=-1)) @ V


def folded(s: Seen) -> Tensor:
    q, k, v = (x.reshape(B * H, N, D) for x in (Q, K, V))
    return torch.bmm(s.keep(F.softmax(torch.bmm(q, k.transpose(1, 2)), dim=2)), v)


def folded_and_unfolded(s: Seen) -> Tensor:
    q, k, v = (x.reshape(B * H, N, D) for x in (Q, K, V))
    scores = torch.bmm(q, k.transpose(1, 2)).view(B, H, N, N) + BIAS
    weights = s.keep(F.softmax(scores.view(B * H, N, N), dim=-1)).view(B, H, N, N).view(B * H, N, N)
    return torch.bmm(F.dropout(weights, 0.1, training=False), v)


def added(s: Seen) -> Tensor:
    q, k, v = (x.reshape(B * H, N, D) for x in (Q, K, V))
    bias = BIAS.expand(B, -1, -1, -1).reshape(B * H, N, N)
    return torch.bmm(s.keep(torch.baddbmm(bias, q, k.mT, beta=2, alpha=0.3).softmax(-1)), v)


def einsum(s: Seen) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (Q, K, V))
    weights = s.keep(torch.einsum("bnhd,bmhd->bhnm", q, k).mul(0.2).softmax(-1))
    return torch.einsum("bhnm,bmhd->bnhd", weights, v)


def einsum_with_dots(s: Seen) -> Tensor:
    return torch.einsum("...ij,...jd->...id", s.keep(torch.einsum("...id,...jd->...ij", Q, K).softmax(-1)), V)


def masked_fill(s: Seen) -> Tensor:
    return s.keep((Q @ K.mT).masked_fill(DROP, torch.finfo(Q.dtype).min).softmax(-1)) @ V


def where(s: Seen) -> Tensor:
    return s.keep(torch.where(DROP, torch.tensor(-1e9), Q @ K.mT).softmax(-1)) @ V


def bias_then_scale(s: Seen) -> Tensor:
    return s.keep(((BIAS + Q @ K.mT) * 0.5 - 1.0).softmax(-1)) @ V


def stable(s: Seen) -> Tensor:
    scores = Q @ K.mT
    return s.keep((scores - scores.amax(-1, keepdim=True)).softmax(-1)) @ V


def in_float32(s: Seen) -> Tensor:
    return s.keep(F.softmax(Q @ K.mT * 0.3, dim=-1, dtype=torch.float32).to(Q.dtype)) @ V


def cosine(s: Seen) -> Tensor:
    return s.keep((F.normalize(Q, dim=-1) @ F.normalize(K, dim=-1).mT * PER_HEAD).softmax(-1)) @ V


def relative_scores(s: Seen) -> Tensor:
    relative = torch.einsum("bhid,ijd->bhij", Q, torch.linspace(-1, 1, N * N * D).view(N, N, D))
    return s.keep((Q @ K.mT + relative).softmax(-1)) @ V


def keys_first(s: Seen) -> Tensor:
    weights = s.keep((Q @ K.mT).softmax(-1))
    return (V.mT @ weights.mT).mT


def heads_outermost(s: Seen) -> Tensor:
    weights = s.keep((Q @ K.mT).softmax(-1)).permute(1, 0, 2, 3)
    return weights @ V.transpose(0, 1)


FOLLOWED = [
    heads_outermost,
    matmul,
    scale_first,
    divided,
    in_place,
    folded,
    folded_and_unfolded,
    added,
    einsum,
    einsum_with_dots,
    masked_fill,
    where,
    bias_then_scale,
    stable,
    in_float32,
    cosine,
    relative_scores,
    keys_first,
]


def talking_heads(s: Seen) -> Tensor:
    scores = F.linear((Q @ K.mT).permute(0, 2, 3, 1), MIX).permute(0, 3, 1, 2)
    weights = s.keep(scores.softmax(-1))
    return F.linear(weights.permute(0, 2, 3, 1), MIX).permute(0, 3, 1, 2) @ V


def mixed_by_einsum(s: Seen) -> Tensor:
    weights = s.keep((Q @ K.mT).softmax(-1))
    return torch.einsum("bhij,hg->bgij", weights, MIX) @ V


def capped(s: Seen) -> Tensor:
    return s.keep((5 * torch.tanh(Q @ K.mT / 5)).softmax(-1)) @ V


def heads_last(s: Seen) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (Q, K, V))
    weights = torch.einsum("bnhd,bmhd->bnmh", q, k).softmax(dim=2)
    s.keep(weights.permute(0, 3, 1, 2))
    return torch.einsum("bnmh,bmhd->bnhd", weights, v)


def over_the_left_operand(s: Seen) -> Tensor:
    weights = (K @ Q.mT).softmax(dim=-2)
    s.keep(weights.mT)
    return weights.mT @ V


def gated(s: Seen) -> Tensor:
    """Content and position, each with its softmax, mixed by a gate for each head, divided by the sum again (ConViT)."""
    gate = torch.sigmoid(PER_HEAD.view(1, H, 1, 1))
    weights = (1 - gate) * (Q @ K.mT * D**-0.5).softmax(-1) + gate * BIAS.expand(B, -1, -1, -1).softmax(-1)
    weights /= weights.sum(dim=-1).unsqueeze(-1)
    return s.keep(weights) @ V


def gated_heads_last(s: Seen) -> Tensor:
    weights = torch.einsum("bnhd,bmhd->bnmh", Q.transpose(1, 2), K.transpose(1, 2)).softmax(dim=2)
    weights = 0.25 * weights + 0.75 * BIAS.permute(0, 2, 3, 1).softmax(dim=2)
    s.keep(weights.permute(0, 3, 1, 2))
    return torch.einsum("bnmh,bmhd->bnhd", weights, V.transpose(1, 2))


KEPT = [talking_heads, mixed_by_einsum, capped, heads_last, over_the_left_operand, gated, gated_heads_last]


class Runs(nn.Module):
    """A form of attention as a module."""

    def __init__(self, form) -> None:
        super().__init__()
        self.form, self.seen = form, Seen()

    def forward(self) -> Tensor:
        return self.form(self.seen)


def captured(form) -> tuple[AttentionCall, Tensor]:
    module = Runs(form)
    with intercept(module, batch=B) as recorder:
        module()
    (call,) = recorder.calls
    assert call.kind == "written out"
    return call, module.seen.weights.reshape(B, H, N, N)


@pytest.mark.parametrize("form", FOLLOWED)
def test_followed_to_queries_and_keys(form):
    call, weights = captured(form)
    assert call.weights is None
    assert call.q.shape == call.k.shape == call.out.shape == (B, H, N, D)
    torch.testing.assert_close(call.rows(), weights, atol=1e-6, rtol=0)
    torch.testing.assert_close(call.rows() @ call.v, call.out, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", KEPT)
def test_weights_kept_where_queries_and_keys_cannot_be_followed(form):
    call, weights = captured(form)
    assert call.q is None
    assert call.mixed == (form in (talking_heads, mixed_by_einsum))
    assert torch.equal(call.rows(), weights)
    if not call.mixed:
        torch.testing.assert_close(call.rows() @ call.v, call.out, atol=1e-5, rtol=0)


def test_a_gate_between_content_and_position_gives_the_gradient_of_the_weights_themselves():
    v = V.clone().requires_grad_()
    module = Runs(lambda s: s.keep((0.5 * (Q @ K.mT).softmax(-1) + 0.5 * BIAS.softmax(-1)).requires_grad_()) @ v)
    with intercept(module, batch=B) as recorder:
        out = module()
    out.square().sum().backward(inputs=[module.seen.weights])
    slow = torch.autograd.grad(recorder.heard[0].out.square().sum(), recorder.heard[0].out)[0] @ v.detach().mT
    torch.testing.assert_close(module.seen.weights.grad, slow, atol=1e-4, rtol=1e-5)


def test_a_gate_that_attends_to_a_dropped_key_is_no_dropping():
    keep = torch.ones(B, N, dtype=torch.bool)
    keep[0, 2] = False
    with pytest.raises(CaptureError, match="cannot drop"), intercept(Runs(gated), batch=B, keep=keep) as recorder:
        gated(Seen())
    with intercept(Runs(matmul), batch=B, keep=keep) as recorder:
        matmul(Seen())
    assert float(recorder.calls[0].rows()[0, :, :, 2].max()) == 0


def test_writing_over_the_output_of_written_out_attention_changes_nothing_that_was_captured():
    def shortcut(s: Seen) -> Tensor:  # MViT v2 in torchvision
        out = matmul(s)
        out[:, :, 1:] += Q[:, :, 1:]
        return out.mul_(2)

    call, weights = captured(shortcut)
    torch.testing.assert_close(call.out, weights @ V, atol=1e-5, rtol=0)
    again = matmul(Seen())
    again[:, :, 1:] += Q[:, :, 1:]
    assert torch.equal(shortcut(Seen()), 2 * again)


def test_under_autocast():
    module = Runs(matmul)
    with torch.autocast("cpu", dtype=torch.bfloat16), intercept(module, batch=B) as recorder:
        module()
    (call,) = recorder.calls
    assert call.q.dtype == torch.bfloat16
    torch.testing.assert_close(call.rows(), module.seen.weights.float(), atol=2e-2, rtol=0)


def no_values(_: Seen) -> Tensor:
    return (Q @ K.mT).softmax(-1).mean(1)


def classification(_: Seen) -> Tensor:
    return F.linear(Q, torch.randn(5, D)).softmax(-1) @ torch.randn(B, H, 5, D)


def routing_by_a_matrix(_: Seen) -> Tensor:
    return (Q @ torch.randn(D, 3)).softmax(-1) @ torch.randn(B, H, 3, D)


@pytest.mark.parametrize("form", [no_values, classification, routing_by_a_matrix])
def test_a_softmax_that_is_not_attention_is_left_alone(form):
    module = Runs(form).eval()
    with intercept(module, batch=B) as recorder:
        module()
    assert recorder.calls == ()


def test_scores_that_do_not_explain_the_weights_are_not_believed(monkeypatch):
    """A step the following gets wrong must show up in the numbers and fall back to the model's own weights."""
    from vitscope.capture import following

    wrong = following._scaled
    monkeypatch.setattr(following, "_scaled", lambda track, by, **k: wrong(track, 1.001 * by, **k))
    call, weights = captured(matmul)
    assert call.q is None
    assert torch.equal(call.rows(), weights)


@pytest.mark.parametrize(("wrong", "believed"), [(0.0, True), (1e-4, False)])
def test_large_scores_are_believed_within_their_own_rounding(wrong, believed):
    """Scores beyond a hundred are rounded by some hundred-thousandth, which the weights show; a scale that is off by more is not."""
    rng = torch.Generator().manual_seed(0)
    q, k = (6 * torch.randn(1, 1, 64, 32, generator=rng) for _ in range(2))
    exact = ((1 + wrong) * 32**-0.5 * q.double() @ k.double().mT).softmax(-1).float()
    apart = float(((q @ k.mT * 32**-0.5).softmax(-1) - exact).abs().max())
    assert apart > TOLERANCE[torch.float32]  # what small scores are allowed
    assert explains(Track((2, 3), (0, 1), q, k, 32**-0.5), exact, Heads((1, 1), 1)) is believed
