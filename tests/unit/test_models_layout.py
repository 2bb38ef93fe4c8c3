"""Token layouts are measured: order, prefix tokens, odd grids and read-outs, on models made to be told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from support.zoo import redraw
from vitscope.core.layout import Kind
from vitscope.errors import MethodError, ProofError
from vitscope.methods import attention
from vitscope.models import load

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32, "patch_size": 8}
WIDTH = 8


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.norm = nn.Linear(WIDTH, 3 * WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return x + F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]


class Toy(nn.Module):
    """A small transformer whose tokens can be put in any order, whose prefix can be of any kind, and whose head can read anything."""

    def __init__(self, *, patch=8, stride=None, padding=0, order=None, prefix=1, suffix=0, read="cls", cut="conv", name="cls_token"):
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.order, self.read, self.cut, self.prefix, self.suffix = patch, order, read, cut, prefix, suffix
        if cut == "conv":
            self.embed = nn.Conv2d(3, WIDTH, patch, stride or patch, padding)
        else:
            self.embed = nn.Linear(3 * patch * patch, WIDTH)
        setattr(self, name, nn.Parameter(torch.randn(1, prefix + suffix, WIDTH)))
        self.token_name = name
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, 3)

    def tokens(self, x):
        if self.cut == "conv":
            return self.embed(x).flatten(2).transpose(1, 2)
        p = self.patch
        b, _, h, w = x.shape
        cells = x.reshape(b, 3, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).reshape(b, -1, 3 * p * p)
        return self.embed(cells)

    def forward(self, x):
        t = self.tokens(x)
        t = t if self.order is None else t[:, self.order(t.shape[1])]
        extra = getattr(self, self.token_name).expand(len(t), -1, -1)
        t = torch.cat([extra[:, : self.prefix], t, extra[:, self.prefix :]], dim=1)
        for block in self.blocks:
            t = block(t)
        n = t.shape[1]
        read = {
            "cls": lambda: t[:, 0],
            "mean": lambda: t[:, self.prefix : n - self.suffix].mean(dim=1),
            "both": lambda: t[:, 0] + t[:, self.prefix :].mean(dim=1),
            "some": lambda: t[:, self.prefix : self.prefix + 3].mean(dim=1),
            "max": lambda: t[:, self.prefix :].amax(dim=1),
            "weighted": lambda: (t[:, self.prefix :] * torch.linspace(0, 1, n - self.prefix).softmax(0)[:, None]).sum(dim=1),
            "gate": lambda: ((t @ self.head.weight[0]).softmax(1)[:, :, None] * t)[:, self.prefix :].sum(dim=1),
            "flat": lambda: t[:, self.prefix :].unflatten(1, (-1, 8)).mean(dim=1)[:, [0, 1, 2, 3, 4, 5, 6, 7], range(8)],
            "norm, mean": lambda: F.layer_norm(t, (WIDTH,))[:, self.prefix :].mean(dim=1),
            "mean, norm": lambda: F.layer_norm(t[:, self.prefix :].mean(dim=1), (WIDTH,)),
            "nothing": lambda: torch.ones(len(t), WIDTH),
        }[self.read]()
        return self.head(read)


def layout(toy, size=(32, 48), **given):
    return load(toy.eval(), input_size=size, **given).layout()


@pytest.mark.parametrize("cut", ["conv", "unfold"])
@pytest.mark.parametrize("size", [(32, 32), (32, 48), (24, 8), (8, 8), (64, 16)])
def test_grids_of_any_shape(cut, size):
    found = layout(Toy(cut=cut), size)
    assert found.grid == (size[0] // 8, size[1] // 8)
    assert found.patch == found.stride == (8, 8)
    assert found.source == "measured"
    assert [Kind(int(k)) for k in found.kinds[:1]] == [Kind.CLS]
    np.testing.assert_array_equal(found.patches, np.arange(found.n)[1:])


ORDERS = {
    "reversed": lambda n: torch.arange(n).flip(0),
    "columns first": lambda n: torch.arange(n).view(4, -1).t().flatten(),
    "shuffled": lambda n: torch.randperm(n, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_any_order_of_tokens_is_found(name, prefix):
    order = ORDERS[name]
    found = layout(Toy(order=order, prefix=prefix, read="mean"))
    place = order(24).numpy()
    np.testing.assert_array_equal(found.cells[prefix:, 1] * 6 + found.cells[prefix:, 2], place)
    np.testing.assert_array_equal(found.patches, prefix + np.argsort(place))
    assert len(found.prefix) == prefix


def test_tokens_behind_the_patches_are_found():
    found = layout(Toy(prefix=1, suffix=2))
    assert found.prefix.tolist() == [0, 25, 26]


@pytest.mark.parametrize(("patch", "stride", "padding"), [(8, 4, 0), (8, 4, 4), (7, 4, 3)])
def test_overlapping_patches(patch, stride, padding):
    found = layout(Toy(patch=patch, stride=stride, padding=padding), (32, 48))
    assert found.patch == (patch, patch)
    assert found.stride == (stride, stride)
    assert found.origin == (-padding, -padding)
    steps = [(side + 2 * padding - patch) // stride + 1 for side in (32, 48)]
    assert found.grid == tuple(steps)


def test_overlapping_patches_in_another_order_are_found_by_what_they_see():
    plain, found = (layout(Toy(patch=8, stride=4, order=order)) for order in (None, ORDERS["reversed"]))
    assert (found.grid, found.stride, found.origin) == (plain.grid, plain.stride, (2.0, 2.0))  # cells around the patches' middles
    np.testing.assert_array_equal(found.cells[1:], plain.cells[1:][::-1])


def test_input_that_is_not_a_multiple_of_the_patch():
    found = layout(Toy(), (37, 50))
    assert found.grid == (4, 6)
    assert found.input_size == (37, 50)


READS = {
    "cls": ["cls"],
    "mean": ["patch mean"],
    "norm, mean": ["patch mean"],
    "mean, norm": ["patch mean"],
    "both": ["cls", "patch mean"],
    "some": ["mean of 3 of 24 patches"],
}


@pytest.mark.parametrize("read", READS)
def test_what_the_head_reads_is_measured(read):
    found = layout(Toy(read=read))
    assert [r.name for r in found.readouts] == READS[read]
    for readout in found.readouts:
        assert readout.weights.sum() == pytest.approx(1)
    if read == "cls":
        assert found.readouts[0].weights[0] == 1
    if read == "some":
        np.testing.assert_allclose(found.readouts[0].weights[1:4], 1 / 3)


@pytest.mark.parametrize("read", ["max", "weighted", "gate", "flat"])
@pytest.mark.parametrize("size", [(32, 48), (24, 24), (32, 16)])
def test_a_head_that_reads_no_even_mean_is_never_called_one(read, size):
    if read == "flat" and size == (24, 24):
        pytest.skip("nine tokens do not come in eights")
    model = load(Toy(read=read).eval(), input_size=size)
    assert model.layout().readouts == ()
    trace = model.trace(torch.randn(1, 3, *size))
    with pytest.raises(MethodError, match="not known which tokens this model's head reads"):
        attention(trace)
    assert attention(trace, query="cls").values.shape == (1, model.layout().n)


def test_a_configuration_that_contradicts_the_tokens_is_refused():
    with pytest.raises(ProofError) as caught:
        layout(Toy(prefix=1), prefix=2)
    text = str(caught.value)
    assert "25 tokens of which 24 stand for patches, 1 for none" in text
    assert "24 patches and 2 others (cls, register)" in text
    with pytest.raises(ProofError):
        layout(Toy(cut="unfold"), patch=16)


def test_given_prefix_kinds_are_taken():
    found = layout(Toy(prefix=3, name="extra"), prefix=["cls", "distill", "register"])
    assert [Kind(int(k)).name for k in found.kinds[:3]] == ["CLS", "DISTILL", "REGISTER"]


def test_a_token_made_of_the_whole_picture_is_no_patch():
    class Averaged(Toy):
        def tokens(self, x):
            t = super().tokens(x)
            return torch.cat([t.mean(dim=1, keepdim=True), t], dim=1)

    found = layout(Averaged(prefix=0, read="cls"), prefix=1)
    assert found.prefix.tolist() == [0]
    assert found.grid == (4, 6)


def test_windows_and_merging_are_laid_out_stage_by_stage():
    config = transformers.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4)
    model = load(transformers.SwinForImageClassification(config).eval())
    layout = model.layout()
    assert (layout.grid, layout.patch, [r.name for r in layout.readouts]) == ((8, 8), (4, 4), ["patch mean"])
    assert [stage.grid for stage in model.study().laid.layouts] == [(8, 8), (4, 4)]


def hf(name, config, **more):
    torch.manual_seed(0)
    return getattr(transformers, name)(getattr(transformers, config)(**{**TINY, **more})).eval()


FAMILIES = {
    "vit": (lambda: hf("ViTForImageClassification", "ViTConfig"), ["cls"], ["cls"]),
    "deit": (lambda: hf("DeiTForImageClassificationWithTeacher", "DeiTConfig"), ["cls", "distill"], ["cls and distillation mean"]),
    "dinov2": (lambda: hf("Dinov2ForImageClassification", "Dinov2Config"), ["cls"], ["cls", "patch mean"]),
    "dinov2 backbone": (lambda: hf("Dinov2Model", "Dinov2Config"), ["cls"], ["cls"]),
    "dinov2 registers": (lambda: hf("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig"), ["cls"] + ["register"] * 4, ["cls"]),
    "dinov3": (lambda: hf("DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=2), ["cls", "register", "register"], ["cls"]),
    "beit": (lambda: hf("BeitForImageClassification", "BeitConfig"), ["cls"], ["patch mean"]),
    "siglip": (lambda: hf("SiglipVisionModel", "SiglipVisionConfig"), [], ["attention pool"]),
    "ijepa": (lambda: hf("IJepaForImageClassification", "IJepaConfig"), [], ["patch mean"]),
    "vit mae": (lambda: hf("ViTMAEModel", "ViTMAEConfig", mask_ratio=0.0), ["cls"], ["cls"]),
    "yolos": (lambda: hf("YolosModel", "YolosConfig", image_size=[32, 32], num_detection_tokens=3), ["cls"] + ["query"] * 3, ["cls"]),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    build, prefix, reads = FAMILIES[name]
    found = load(build()).layout()
    assert found.as_dict()["prefix"] == prefix
    assert found.grid == (4, 4)
    assert [r.name for r in found.readouts] == reads


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov2 registers", "dinov3", "siglip"])
def test_interpolated_position_embeddings(name):
    build, prefix, reads = FAMILIES[name]
    model = load(build())
    trace = model.trace(torch.randn(2, 3, 40, 64))
    assert trace.layout.grid == (5, 8)
    assert trace.layout.as_dict()["prefix"] == prefix
    assert [r.name for r in trace.layout.readouts] == reads
    assert trace.blocks[0].queries == trace.layout.n


def test_large_inputs_are_studied_small_and_measured_large():
    model = load(FAMILIES["dinov2"][0]())
    model.prove(torch.zeros(1, 3, 160, 168))
    assert model.facts().layout.grid == (14, 14)
    large = model.layout((160, 168))
    assert large.grid == (20, 21)
    assert [r.name for r in large.readouts] == ["cls", "patch mean"]
    np.testing.assert_allclose(large.readouts[1].weights[1:], 1 / 420)
    assert {(c.queries, c.keys) for c in model.study((160, 168)).calls} == {(421, 421)}


TIMM = {
    "vit_tiny_patch16_224": ({}, ["cls"], ["cls"]),
    "deit_tiny_distilled_patch16_224": ({}, ["cls", "distill"], ["cls and distillation mean"]),
    "vit_small_patch14_reg4_dinov2": ({"img_size": 56}, ["cls"] + ["register"] * 4, ["cls"]),
    "vit_base_patch16_siglip_224": ({}, [], ["attention pool"]),
    "eva02_tiny_patch14_224": ({"img_size": 56}, ["cls"], ["patch mean"]),
    "naflexvit_base_patch16_gap": ({}, ["register"] * 4, ["patch mean"]),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_layouts(name):
    import timm

    more, prefix, reads = TIMM[name]
    torch.manual_seed(0)
    made = {"img_size": 64, **more} if "naflex" not in name else {}
    module = redraw(timm.create_model(name, depth=2, embed_dim=24, num_heads=2, num_classes=3, **made))
    model = load(module)
    size = (made["img_size"], made["img_size"]) if made else (64, 96)
    found = model.layout(size)
    patch = 14 if "14" in name else 16
    assert found.grid == (size[0] // patch, size[1] // patch)
    assert found.as_dict()["prefix"] == prefix
    assert [r.name for r in found.readouts] == reads


def test_a_head_of_zeros_falls_back_to_the_configuration():
    from torchvision.models import vision_transformer

    module = vision_transformer._vision_transformer(16, 2, 2, 16, 16, weights=None, progress=False, image_size=32).eval()
    assert not module.heads.head.weight.any()
    model = load(module)
    assert [r.name for r in model.layout().readouts] == ["cls"]
    assert model.prove().effect.passed


@pytest.mark.parametrize("frozen", [False, True])
def test_registers_before_the_cls_token_keep_their_names(frozen):
    class Swapped(Toy):
        def __init__(self):
            super().__init__(prefix=2, name="register_tokens")
            self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))

        def tokens(self, x):
            return torch.cat([self.cls_token.expand(len(x), -1, -1), super().tokens(x)], dim=1)

        def forward(self, x):
            t = torch.cat([self.register_tokens.expand(len(x), -1, -1), self.tokens(x)], dim=1)
            for block in self.blocks:
                t = block(t)
            return self.head(t[:, 2])

    found = layout(Swapped().requires_grad_(not frozen))
    assert [Kind(int(k)).name for k in found.kinds[:3]] == ["REGISTER", "REGISTER", "CLS"]
    assert [r.name for r in found.readouts] == ["cls"]
    assert found.readouts[0].weights[2] == 1
