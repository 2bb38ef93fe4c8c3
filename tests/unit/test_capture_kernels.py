"""The interceptor on fused kernels and nn.MultiheadAttention: every argument they take, against the sums written out in float64."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitscope.capture import intercept
from vitscope.errors import CaptureError

B, H, N, D = 2, 4, 7, 8
RNG = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RNG)


class Kernel(nn.Module):
    """One fused call with whatever arguments."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **options)


def slowly(q: Tensor, k: Tensor, *, mask: Tensor | None = None, causal: bool = False, scale: float | None = None) -> Tensor:
    """softmax, one row at a time, float64."""
    q, k = q.double(), k.double()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    rows = torch.zeros(*q.shape[:3], k.shape[2], dtype=torch.float64)
    for i in range(q.shape[2]):
        scores = (q[:, :, i : i + 1] * k).sum(-1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if causal:
            scores[:, :, i + 1 :] = -torch.inf
        if mask is not None:
            row = mask.expand(*q.shape[:3], k.shape[2])[:, :, i]
            scores = torch.where(row, scores, -torch.inf) if mask.dtype == torch.bool else scores + row.double()
        rows[:, :, i] = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return rows


KEEP = torch.rand(B, 1, N, N, generator=RNG) > 0.3
KEEP |= torch.eye(N, dtype=torch.bool)
FUSED = {
    "plain": ({}, {}),
    "scale": ({"scale": 0.7}, {"scale": 0.7}),
    "causal": ({"is_causal": True}, {"causal": True}),
    "bool mask": ({"attn_mask": KEEP}, {"mask": KEEP}),
    "float mask": ({"attn_mask": (bias := noise(1, H, N, N))}, {"mask": bias}),
    "float mask with dropped keys": ({"attn_mask": (drop := noise(1, 1, N, N).masked_fill(~KEEP[:1], -torch.inf))}, {"mask": drop}),
    "mask for all": ({"attn_mask": KEEP[0, 0]}, {"mask": KEEP[0, 0]}),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_arguments(name):
    options, meaning = FUSED[name]
    q, k, v = noise(B, H, N, D), noise(B, H, N, D), noise(B, H, N, D)
    module = Kernel()
    with intercept(module) as recorder:
        out = module(q, k, v, **options)
    (call,) = recorder.calls
    rows = slowly(q, k, **meaning)
    torch.testing.assert_close(call.rows().double(), rows, atol=1e-6, rtol=0)
    torch.testing.assert_close((rows @ v.double()).float(), out, atol=1e-5, rtol=0)
    assert call.q.data_ptr() == q.data_ptr(), "kept by reference"
    assert call.kind == "sdpa"


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("folded", [False, True])
def test_dropped_keys_on_top_of_every_kind_of_mask(name, folded):
    options, meaning = FUSED[name]
    if folded and "attn_mask" in options:
        pytest.skip("masks here are written for separate heads")
    q, k, v = noise(B, H, N, D), noise(B, H, N, D), noise(B, H, N, D)
    keep = torch.ones(B, N, dtype=torch.bool)
    keep[0, 2] = keep[1, 4] = False
    shaped = [x.flatten(0, 1) if folded else x for x in (q, k, v)]
    with intercept(Kernel(), batch=B, keep=keep) as recorder:
        out = F.scaled_dot_product_attention(*shaped, **options)
    rows = slowly(q, k, **meaning) * keep[:, None, None]
    rows = rows / rows.sum(-1, keepdim=True)
    torch.testing.assert_close(recorder.calls[0].rows().double(), rows, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.view(B, H, N, D).double(), rows @ v.double(), atol=1e-5, rtol=0)


def test_positional_arguments_and_another_number_of_keys():
    q, k, v, mask = noise(B, H, 3, D), noise(B, H, N, D), noise(B, H, N, 5), noise(3, N)
    with intercept(Kernel()) as recorder:
        F.scaled_dot_product_attention(q, k, v, mask, 0.0, False)
    (call,) = recorder.calls
    assert (call.queries, call.keys, call.out.shape[-1]) == (3, N, 5)
    torch.testing.assert_close(call.rows().double(), slowly(q, k, mask=mask), atol=1e-6, rtol=0)


def test_grouped_queries():
    q, k, v = noise(B, H, N, D), noise(B, 2, N, D), noise(B, 2, N, D)
    with intercept(Kernel()) as recorder:
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    (call,) = recorder.calls
    torch.testing.assert_close(call.rows().double(), slowly(q, k), atol=1e-6, rtol=0)
    torch.testing.assert_close(call.rows() @ v.repeat_interleave(2, dim=1), out, atol=1e-5, rtol=0)


def test_heads_folded_into_the_batch_come_back():
    q, k, v = noise(B * H, N, D), noise(B * H, N, D), noise(B * H, N, D)
    with intercept(Kernel(), batch=B) as recorder:
        F.scaled_dot_product_attention(q, k, v)
    (call,) = recorder.calls
    assert call.q.shape == call.out.shape == (B, H, N, D)
    torch.testing.assert_close(call.rows()[1, 2], torch.softmax(q[H + 2] @ k[H + 2].T / D**0.5, -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    q, k, v = (noise(B, H, N, D).to(dtype) for _ in range(3))
    with intercept(Kernel()) as recorder:
        F.scaled_dot_product_attention(q, k, v)
    (call,) = recorder.calls
    assert call.rows().dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(call.rows().double(), slowly(q, k), atol=1e-12 if dtype == torch.float64 else 1e-6, rtol=0)


def test_under_autocast_the_rows_are_of_what_the_kernel_saw():
    q, k, v = noise(B, H, N, D), noise(B, H, N, D), noise(B, H, N, D)
    with torch.autocast("cpu", dtype=torch.bfloat16), intercept(Kernel()) as recorder:
        out = F.scaled_dot_product_attention(q, k, v)
    (call,) = recorder.calls
    assert out.dtype == call.q.dtype == torch.bfloat16
    torch.testing.assert_close(call.rows().double(), slowly(q.bfloat16(), k.bfloat16()), atol=1e-6, rtol=0)


MULTIHEAD = {
    "plain": ({}, {}),
    "batch first": ({"batch_first": True}, {}),
    "own key and value widths": ({"kdim": 20, "vdim": 12}, {}),
    "bias keys": ({"add_bias_kv": True}, {}),
    "zero key": ({"add_zero_attn": True}, {}),
    "padding": ({"batch_first": True}, {"key_padding_mask": torch.arange(N)[None] >= torch.tensor([[N], [N - 2]])}),
    "mask": ({"batch_first": True}, {"attn_mask": torch.ones(N, N).triu(1).bool()}),
    "mask for each head": ({"batch_first": True}, {"attn_mask": noise(B * H, N, N)}),
    "no bias": ({"bias": False}, {}),
}


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("name", MULTIHEAD)
def test_multi_head_attention(name, need_weights):
    made, asked = MULTIHEAD[name]
    torch.manual_seed(0)
    module = nn.MultiheadAttention(H * D, H, **made).eval()
    shape = (B, N) if made.get("batch_first") else (N, B)
    x = [noise(*shape, width) for width in (H * D, made.get("kdim", H * D), made.get("vdim", H * D))]
    plain, weights = module(*x, need_weights=True, average_attn_weights=False, **asked)
    with intercept(module) as recorder:
        out, _ = module(*x, need_weights=need_weights, **asked)
    (call,) = recorder.calls
    assert call.kind == "mha"
    assert call.weights is None
    torch.testing.assert_close(call.rows(), weights, atol=1e-6, rtol=0)
    torch.testing.assert_close(out, plain, atol=1e-6, rtol=0)


def test_one_picture_without_a_batch():
    module = nn.MultiheadAttention(H * D, H).eval()
    x = noise(N, H * D)
    weights = module(x, x, x, average_attn_weights=False)[1]
    with intercept(module) as recorder:
        module(x, x, x, need_weights=False)
    torch.testing.assert_close(recorder.calls[0].rows()[0], weights, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_encoders_native_fast_path_is_off_only_inside(norm_first, padded):
    layer = nn.TransformerEncoderLayer(H * D, H, 16, batch_first=True, norm_first=norm_first)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=padded).eval()
    mask = torch.arange(N)[None] >= torch.tensor([[N], [N - 2]]) if padded else None
    x = noise(B, N, H * D)
    with torch.no_grad():
        before = module(x, src_key_padding_mask=mask)
        with intercept(module) as recorder:
            inside = module(x, src_key_padding_mask=mask)
        after = module(x, src_key_padding_mask=mask)
    assert [call.path for call in recorder.calls] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert torch.equal(before, after)
    seen = ~mask if padded else torch.ones(B, N, dtype=torch.bool)
    torch.testing.assert_close(inside[seen], before[seen], atol=2e-6, rtol=0)


def test_another_thread_running_the_same_model_sees_and_shows_nothing():
    layer = nn.TransformerEncoderLayer(H * D, H, 16, batch_first=True)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = noise(B, N, H * D)
    plain, seen = module(x), []

    def elsewhere():
        seen.append((module(x), torch.overrides._len_torch_function_stack()))

    with intercept(module) as recorder:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert recorder.calls == ()
        module(x)
    assert len(recorder.calls) == 2
    assert torch.equal(seen[0][0], plain)
    assert seen[0][1] == 0


def test_the_mode_ends_with_an_exception():
    lengths = []

    def fail() -> None:
        lengths.append(torch.overrides._len_torch_function_stack())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), intercept(Kernel()):
        fail()
    assert lengths == [1]
    assert torch.overrides._len_torch_function_stack() == 0


def test_kernels_that_keep_their_attention_to_themselves_are_refused():
    q = noise(B, H, N, D)
    with pytest.raises(CaptureError, match=r"attention runs in .*flash_attention.*not known here"), intercept(Kernel()):
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)


def test_dropout_inside_attention_is_refused():
    q = noise(B, H, N, D)
    with pytest.raises(CaptureError, match=r"dropout 0.1 is active.*model\.eval\(\)"), intercept(Kernel()):
        F.scaled_dot_product_attention(q, q, q, dropout_p=0.1)
    module = nn.MultiheadAttention(H * D, H, dropout=0.2).train()
    x = noise(N, B, H * D)
    with pytest.raises(CaptureError, match=r"dropout 0.2 is active"), intercept(module):
        module(x, x, x, need_weights=False)


def test_writing_over_a_kept_tensor_is_noticed():
    q = noise(B, H, N, D)
    with intercept(Kernel()) as recorder:
        F.scaled_dot_product_attention(q, q, q).mul_(2)
    with pytest.raises(CaptureError, match="writes over"):
        _ = recorder.calls


def test_nothing_quadratic_is_kept():
    n = 1500
    q = noise(1, 2, n, D)
    with intercept(Kernel()) as recorder:
        F.scaled_dot_product_attention(q, q + 1, q - 1)
    (call,) = recorder.calls
    held = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in vars(call).values() if isinstance(x, Tensor)}
    assert sum(held.values()) == 4 * q.numel() * 4
