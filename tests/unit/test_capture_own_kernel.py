"""A fused kernel nobody has heard of: refused by name, until one line says how it is read."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vitscope.capture import KERNELS, Arguments, Kernel, intercept, prove_calls
from vitscope.errors import CaptureError

PIXELS = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))


@torch.library.custom_op("vitscope_tests::strange_attention", mutates_args=())
def strange_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention over ``[n, b, d]``."""
    return F.scaled_dot_product_attention(*(x.transpose(0, 1) for x in (q, k, v))).transpose(0, 1).clone()


class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = (part.transpose(0, 1) for part in self.qkv(x).chunk(3, dim=-1))
        return torch.ops.vitscope_tests.strange_attention(q, k, v).transpose(0, 1)


def read(args, kwargs):
    q, k, v = (x.transpose(0, 1) for x in args)
    return Arguments(q, k, v, None, 0.0, is_causal=False, scale=8**-0.5, grouped=False)


def swap(x):
    return x.transpose(0, 1)


def test_it_is_refused_and_the_line_names_the_extension_point():
    module = Strange().eval()
    line = r"a kernel that is not known here.*KERNELS\['.*strange_attention.*'\].*docs/errors/unknown-kernel"
    with pytest.raises(CaptureError, match=line):
        prove_calls(module, module, PIXELS)


def test_one_line_makes_it_known(monkeypatch):
    module = Strange().eval()
    with pytest.raises(CaptureError) as refused:
        prove_calls(module, module, PIXELS)
    name = str(refused.value).split("KERNELS['")[1].split("'")[0]
    monkeypatch.setitem(KERNELS, name, Kernel(read, swap, swap))
    proof = prove_calls(module, module, PIXELS)
    assert proof.reconstruction.measured <= 1e-5
    plain = module(PIXELS)
    with torch.no_grad(), intercept(module, batch=2) as recorder:
        assert torch.equal(module(PIXELS), plain)
    assert recorder.calls[0].rows().shape == (2, 1, 6, 6)


def test_xformers_layout_is_read():
    q, k, v = (torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    kernel = KERNELS["memory_efficient_attention"]
    made = kernel.back(kernel.read((q, k, v), {}).alone())
    slow = torch.einsum("bhqk,bkhd->bqhd", (torch.einsum("bqhd,bkhd->bhqk", q, k) / 2).softmax(dim=-1), v)
    assert torch.allclose(made, slow, atol=1e-6)
