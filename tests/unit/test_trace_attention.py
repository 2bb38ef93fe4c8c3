"""AttentionCall: rows, gradients, products and heaviest links, against whole matrices; masks, causal order, grouped heads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from vitscope import trace as trace_module
from vitscope.errors import CaptureError
from vitscope.trace import AttentionCall

B, H, N, M, D = 2, 4, 9, 7, 5
CASES = ["plain", "keep mask", "float mask", "causal", "grouped", "weights kept"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(trace_module, "BLOCK_VALUES", 2 * B * H * M)
    monkeypatch.setattr(trace_module, "TILE_VALUES", 3 * B * M)
    monkeypatch.setattr(trace_module, "TILE_ROWS", 1)


def made(case: str, dtype: torch.dtype = torch.float64) -> tuple[AttentionCall, torch.Tensor, torch.Tensor]:
    """A call, its whole attention matrix, and autograd's gradient of it."""
    rng = torch.Generator().manual_seed(3)
    groups = 2 if case == "grouped" else H
    q = torch.randn((B, H, N, D), generator=rng, dtype=torch.float64)
    k, v = (torch.randn((B, groups, M, D), generator=rng, dtype=torch.float64) for _ in range(2))
    mask = {"keep mask": torch.arange(M) < 5, "float mask": torch.randn((H, 1, M), generator=rng, dtype=torch.float64)}.get(case)
    causal = case == "causal"
    wide_k, wide_v = (x.repeat_interleave(H // groups, dim=1) for x in (k, v))
    scores = q @ wide_k.transpose(-1, -2) * 0.7
    if case == "keep mask":
        scores = scores.masked_fill(~mask, float("-inf"))
    if case == "float mask":
        scores = scores + mask
    if causal:
        scores = scores.masked_fill(torch.ones(N, M, dtype=torch.bool).triu(1), float("-inf"))
    a = torch.softmax(scores, dim=-1).requires_grad_()
    out = a @ wide_v
    upstream = torch.randn(out.shape, generator=rng, dtype=torch.float64)
    (grad_a,) = torch.autograd.grad(out, a, upstream)
    kernel = sdpa(q, wide_k, wide_v, attn_mask=mask if mask is None or mask.dim() > 1 else mask[None], is_causal=causal, scale=0.7)
    assert torch.allclose(out, kernel)
    kept = (
        {"q": None, "k": None, "weights": a.detach(), "grad_weights": grad_a}
        if case == "weights kept"
        else {"q": q.to(dtype), "k": k.to(dtype)}
    )
    call = AttentionCall(
        "x", "sdpa", v=v.to(dtype), out=out.detach().to(dtype), scale=0.7, mask=mask, is_causal=causal, grad_out=upstream.to(dtype), **kept
    )
    return call, a.detach(), grad_a


@pytest.mark.parametrize("case", CASES)
def test_rows_and_gradient_rows(case):
    call, a, grad = made(case)
    assert (call.heads, call.queries, call.keys) == (H, N, M)
    assert torch.allclose(call.rows(), a, atol=1e-12)
    assert torch.allclose(call.rows([5, 0]), a[:, :, [5, 0]], atol=1e-12)
    assert torch.allclose(call.grad_rows(torch.tensor([8, 2])), grad[:, :, [8, 2]], atol=1e-12)
    assert torch.equal(torch.cat(list(call.blocks())), torch.arange(N))
    assert max(len(at) for at in call.blocks()) == 2


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("zeros", [0, 4, N])
@pytest.mark.parametrize("tile", [1, 3 * B * M, 10**9])
def test_a_vector_times_attention(case, zeros, tile, monkeypatch):
    monkeypatch.setattr(trace_module, "TILE_VALUES", tile)
    call, a, _ = made(case)
    one = torch.rand(B, N, dtype=torch.float64)
    one[:, :zeros] = 0
    each = torch.rand(B, H, N, dtype=torch.float64)
    assert torch.allclose(call.vecmat(one), torch.einsum("bm,bhmn->bhn", one, a), atol=1e-12)
    assert torch.allclose(call.vecmat(each), torch.einsum("bhm,bhmn->bhn", each, a), atol=1e-12)


def test_a_row_used_by_one_picture_only_is_not_skipped():
    call, a, _ = made("plain")
    vector = torch.zeros(B, N, dtype=torch.float64)
    vector[1, 4] = 1
    assert torch.allclose(call.vecmat(vector)[1], a[1, :, 4], atol=1e-12)


@pytest.mark.parametrize("case", ["plain", "grouped", "weights kept"])
@pytest.mark.parametrize("k", [1, 10, N * M])
def test_heaviest_links(case, k):
    call, a, _ = made(case)
    queries, keys, weights = call.top_edges(k)
    expected = a.flatten(2).sort(dim=-1, descending=True).values[..., :k]
    assert torch.allclose(weights, expected, atol=1e-12)
    picked = a.flatten(2).gather(-1, queries * M + keys)
    assert torch.allclose(picked, weights, atol=1e-12)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_the_softmax(half):
    call, a, _ = made("plain", half)
    assert call.rows().dtype == torch.float32
    assert torch.allclose(call.rows().sum(-1), torch.ones(B, H, N), atol=1e-6)
    assert (call.rows() - a).abs().max() < 0.03


def test_without_gradients_or_scores_it_says_so():
    call, *_ = made("plain")
    bare = AttentionCall("blocks.3.attn", "sdpa", None, None, None, call.out)
    with pytest.raises(CaptureError, match=r"^blocks\.3\.attn: no gradients in this trace; expected a trace with target gradients$"):
        bare.grad_rows([0])
    with pytest.raises(CaptureError, match="neither queries and keys nor weights were kept"):
        AttentionCall("x", "sdpa", None, call.k, None, call.out).rows([0])


def test_scores_too_large_for_a_bare_exponential():
    call, *_ = made("plain", torch.float32)
    steep = replace(call, scale=500.0)
    one = torch.rand(B, N)
    found = steep.vecmat(one)
    assert torch.isfinite(found).all()
    assert torch.allclose(found, torch.einsum("bm,bhmn->bhn", one, steep.rows()), atol=1e-5)
