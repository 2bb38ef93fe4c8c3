"""A module whose one attention stands in its own forward, without blocks: what its head reads is still measured."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import vitscope as vs


class WithoutBlocks(nn.Module):
    """Four by four patches and a cls token, one attention in the forward itself."""

    def __init__(self, pool):
        super().__init__()
        torch.manual_seed(0)
        self.pool = pool
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.qkv = nn.Linear(32, 96)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], dim=1)
        q, k, v = (part.unflatten(-1, (2, 16)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, -1))
        tokens = tokens + functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(tokens[:, 0] if self.pool == "cls" else tokens[:, 1:].mean(dim=1))


@pytest.mark.parametrize(("pool", "readout"), [("cls", "cls"), ("patches", "patch mean")])
def test_what_the_head_reads_without_any_block(pool, readout):
    model = vs.load(WithoutBlocks(pool).eval(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert [r.name for r in model.layout().readouts] == [readout]
    trace = model.trace(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert vs.rollout(trace)[1].grid.shape == (4, 4)
    with pytest.raises(vs.VitscopeError, match="block outputs"):
        vs.grad_cam(trace)
