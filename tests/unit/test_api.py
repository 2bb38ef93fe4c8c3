"""The verbs: maps and traces that belong together, several read-outs, classes that share a name."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import vitscope as vs
from vitscope.api.views import development


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 16)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        return x + self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TwoReadouts(nn.Module):
    """A head that reads cls beside the mean of the patches, as DINOv2's classifier does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 32))
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(torch.cat([x[:, 0], x[:, 1:].mean(dim=1)], dim=-1))


@pytest.fixture(scope="module")
def model():
    names = ["crane", "crane", "ship", "truck"]  # ImageNet, too, has two cranes
    return vs.load(TwoReadouts().eval(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, labels=names)


def photo(seed):
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def test_two_readouts_are_two_maps_each_with_its_own_layers(model):
    found = vs.explain(photo(0), model, ("relevance", "rollout"))
    assert [m.method for m in found.maps] == ["relevance", "relevance", "rollout", "rollout"]
    for m in found.maps:
        np.testing.assert_allclose(development(found.trace, m)[0, 0], m.values[0], rtol=1e-5)
    assert np.abs(found.maps[0].values - found.maps[1].values).max() > 1e-3


def test_classes_that_share_a_name_keep_their_own_layers(model):
    trace = model.trace(photo(0))
    maps = [vs.relevance(trace, target=index) for index in (0, 1)]
    assert np.abs(maps[0].values - maps[1].values).max() > 1e-6
    for m in maps:
        np.testing.assert_allclose(development(trace, m)[0, 0], m.values[0], rtol=1e-5)


def test_maps_of_other_photos_are_refused(model, tmp_path):
    one, other = model.trace(photo(0)), model.trace(photo(1))
    m = vs.rollout(other)
    for act in (
        lambda: vs.report(one, [m], tmp_path / "r.html"),
        lambda: vs.save(one, m, tmp_path / "m.npz"),
        lambda: vs.check(one, m),
        lambda: vs.figure(one, m, tmp_path / "f.png"),
    ):
        with pytest.raises(vs.VitscopeError, match="other photos"):
            act()
    assert list(tmp_path.iterdir()) == []


def test_a_batch_saves_each_photo_with_its_own_answer(model, tmp_path):
    trace = model.trace([photo(0), photo(1)])
    m = vs.check(trace, vs.relevance(trace))[0]

    metas = []
    for picture in (0, 1):
        vs.save(trace, m, tmp_path / f"{picture}.npz", picture=picture)
        found = np.load(tmp_path / f"{picture}.npz")
        np.testing.assert_array_equal(found["grid"], m[picture].grid)
        metas.append(json.loads(str(found["meta"])))
    assert metas[0]["photo"]["sha256"] != metas[1]["photo"]["sha256"]
    assert metas[0]["trust"] != metas[1]["trust"]
    assert metas[0]["target"] == trace.top(1, 0)[0][0]


class Gated(TwoReadouts):
    """A head with weights of its own over the patches: no single start says what it reads."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(32, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x).flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head((x[:, 1:] * torch.softmax(self.gate(x[:, 1:]), dim=1)).sum(dim=1))


def test_a_head_that_no_start_describes_is_refused_and_never_left_out():
    model = vs.load(Gated().eval(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(vs.VitscopeError, match="not known which tokens"):
        vs.explain(photo(0), model, ("attention",))
    assert vs.attention(model.trace(photo(0)), query=(1, 2)).grid.shape == (4, 4)


class Skipping(Block):
    """Stochastic depth under a name that says nothing."""

    def forward(self, x):
        return x + (super().forward(x) - x) * (torch.rand(len(x), 1, 1) > 0.5) if self.training else super().forward(x)


def test_random_depth_of_any_name_is_refused_in_training_mode():
    module = TwoReadouts()
    module.blocks[1] = Skipping()
    state = torch.get_rng_state()
    with pytest.raises(vs.VitscopeError, match="training mode"):
        vs.load(module.train(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3).trace(photo(0))
    assert torch.equal(state, torch.get_rng_state())
    assert module.training
    assert vs.load(module.eval(), input_size=32, mean=(0.5,) * 3, std=(0.5,) * 3).trace(photo(0)).top(1)
