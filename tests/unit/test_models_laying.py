"""Models without one grid of tokens: what is still measured and drawn of them, and what the line says of the rest."""

import numpy as np
import pytest
import torch
from torch import nn

import vitscope as vs
from vitscope.errors import MethodError
from vitscope.methods import explain

PIXELS = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


class Convolutional(nn.Module):
    """Two strided convolutions, a mean, a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 2, 2), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))


def convolutional():
    module = Convolutional().eval()
    return module, vs.load(module)


def test_a_model_without_attention_says_so_and_offers_the_rest():
    _, model = convolutional()
    found = model.describe((32, 48))
    assert found["why"] == "this model has no attention (2 convolutions in one pass)"
    assert [m["name"] for m in found["methods"] if m["available"]] == ["grad-cam", "integrated-gradients", "occlusion"]
    assert (found["layout"]["source"], found["layout"]["grid"], found["layout"]["patch"]) == ("pixels", [4, 6], [8, 8])
    assert found["proof"] == {}
    trace = model.trace(PIXELS)
    for name in ("attention", "rollout", "gradient-rollout", "relevance", "legrad"):
        with pytest.raises(MethodError, match=r"no attention .* use grad-cam.*or occlusion \(docs/errors/no-attention\.md\)"):
            explain(trace, name)


def test_grad_cam_of_a_convolution_is_the_formula():
    module, model = convolutional()
    shown = vs.grad_cam(model.trace(PIXELS), target=2)
    maps = module.features(PIXELS).detach().requires_grad_()
    grad = torch.autograd.grad(module.head(maps.mean(dim=(2, 3)))[:, 2].sum(), maps)[0]
    slow = (grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).clamp(min=0).detach()
    for i in range(2):
        np.testing.assert_allclose(shown[i].grid, slow[i], atol=1e-7)


def test_occlusion_of_a_convolution_hides_pixels():
    module, model = convolutional()
    shown = vs.occlusion(model.trace(PIXELS), target=1)
    for row, column in ((0, 0), (2, 3), (3, 5)):
        hidden = PIXELS.clone()
        hidden[..., row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 0
        slow = (module(PIXELS) - module(hidden))[:, 1].detach()
        assert [float(shown[i].grid[row, column]) for i in range(2)] == pytest.approx(slow.tolist(), abs=1e-6)


def test_integrated_gradients_of_a_convolution_add_up():
    pytest.importorskip("captum")
    _, model = convolutional()
    shown = vs.integrated_gradients(model.trace(PIXELS), steps=50)
    assert shown.values.sum(axis=1) == pytest.approx(shown.meta["change"], rel=0.05, abs=1e-3)


class TwoInABlock(nn.Module):
    """Two attentions side by side in each block: captured, but not one matrix a layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.ModuleList(nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2)
        for one, other in self.blocks:
            x = x + one(x, x, x, need_weights=False)[0] + other(x, x, x, need_weights=False)[0]
        return self.head(x.mean(dim=1))


def test_calls_are_captured_and_proved_where_no_map_can_be_made():
    model = vs.load(TwoInABlock().eval())
    found = model.describe((32, 48))
    assert found["proof"]["complete"]["text"] == "4 of 4 attentions captured"
    assert all(check["passed"] for check in found["proof"].values())
    trace = model.trace(PIXELS)
    assert len(trace.calls) == 4
    assert torch.allclose(trace.calls[0].rows().sum(dim=-1), torch.ones(()), atol=1e-5)
    with pytest.raises(MethodError, match=r"made 2 attention calls"):
        vs.rollout(trace)
    assert np.isfinite(vs.occlusion(trace).values).all()


class Talk(nn.Module):
    """Attention among learned queries alone, before anything of the picture reaches them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(3, 8, 8, 8)
        self.queries = nn.Parameter(torch.randn(1, 6, 8))
        self.talk = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        seen = self.cut(x).flatten(2).transpose(1, 2).mean(dim=1, keepdim=True)
        asked = self.queries.expand(len(x), -1, -1)
        return self.head((self.talk(asked, asked, asked, need_weights=False)[0] + seen).mean(dim=1))


def test_queries_that_hear_nothing_of_the_picture_are_no_patches():
    found = vs.load(Talk().eval()).describe((32, 48))
    assert "none of the 6 tokens that the first attention is among depends on the picture" in found["why"]
