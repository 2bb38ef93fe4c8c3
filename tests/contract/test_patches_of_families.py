"""The patches of the audit are the model's own, family by family: put back together they equal the input exactly, and through the
model's own weights they give its own embedding. Where the rest of a model is refused (stages, windows), the cut is still read.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from vitscope.api.auditing import cut_of
from vitscope.auditing.cut import put_back_error
from vitscope.models import load


def timm_model(name, **options):
    def make():
        timm = pytest.importorskip("timm", reason="timm is not installed")
        return timm.create_model(name, pretrained=False, num_classes=5, **options)

    return make


def hf_model(kind, **options):
    def make():
        from transformers import AutoConfig, AutoModel

        return AutoModel.from_config(AutoConfig.for_model(kind, **options))

    return make


def torchvision_vit():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    return models.VisionTransformer(image_size=64, patch_size=16, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=32, num_classes=5)


def open_clip_tower():
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    vision = {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    return open_clip.model.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).visual


SMALL = {"depth": 1, "embed_dim": 32, "num_heads": 2}
HF_SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
STAGES = {"depths": [1, 1, 1, 1]}

#: name -> (model, input size, grid, kernel, stride, padding before the first patch)
FAMILIES = {
    "vit": (timm_model("vit_tiny_patch16_224", img_size=64, **SMALL), (64, 64), (4, 4), 16, 16, 0),
    "vit, not square": (timm_model("vit_tiny_patch16_224", img_size=(48, 80), **SMALL), (48, 80), (3, 5), 16, 16, 0),
    "deit3": (timm_model("deit3_small_patch16_224", img_size=64, **SMALL), (64, 64), (4, 4), 16, 16, 0),
    "eva02, patches of 14": (timm_model("eva02_tiny_patch14_224", img_size=56, **SMALL), (56, 56), (4, 4), 14, 14, 0),
    "vit, padded": (
        timm_model("vit_tiny_patch16_224", img_size=64, dynamic_img_size=True, dynamic_img_pad=True, **SMALL),
        (60, 70),
        (4, 5),
        16,
        16,
        0,
    ),
    "swin": (
        timm_model("swin_tiny_patch4_window7_224", img_size=56, embed_dim=24, depths=(1, 1), num_heads=(2, 2)),
        (56, 56),
        (14, 14),
        4,
        4,
        0,
    ),
    "pvt v2": (timm_model("pvt_v2_b0"), (64, 96), (16, 24), 7, 4, 3),
    "davit": (timm_model("davit_tiny"), (64, 64), (16, 16), 7, 4, 3),
    "mvitv2": (timm_model("mvitv2_tiny", img_size=64), (64, 64), (16, 16), 7, 4, 3),
    "torchvision vit": (torchvision_vit, (64, 64), (4, 4), 16, 16, 0),
    "open_clip tower": (open_clip_tower, (64, 64), (4, 4), 16, 16, 0),
    "hf vit": (hf_model("vit", image_size=64, patch_size=8, **HF_SMALL), (64, 64), (8, 8), 8, 8, 0),
    "hf dinov2, left-overs": (hf_model("dinov2", image_size=64, patch_size=14, mlp_ratio=1, **HF_SMALL), (64, 60), (4, 4), 14, 14, 0),
    "hf cvt": (hf_model("cvt", embed_dim=[16, 32, 32], depth=[1, 2, 3], num_heads=[1, 2, 2]), (64, 80), (16, 20), 7, 4, 2),
    "hf pvt": (
        hf_model("pvt", image_size=64, hidden_sizes=[16, 16, 32, 32], num_attention_heads=[1, 1, 2, 2], **STAGES),
        (64, 64),
        (16, 16),
        4,
        4,
        0,
    ),
    "hf pvt v2": (
        hf_model("pvt_v2", hidden_sizes=[16, 16, 32, 32], num_attention_heads=[1, 1, 2, 2], **STAGES),
        (64, 64),
        (16, 16),
        7,
        4,
        3,
    ),
    "hf segformer": (
        hf_model("segformer", hidden_sizes=[16, 16, 32, 32], num_attention_heads=[1, 1, 2, 2], **STAGES),
        (64, 64),
        (16, 16),
        7,
        4,
        3,
    ),
    "hf swin, padded": (
        hf_model("swin", image_size=64, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2]),
        (63, 66),
        (16, 17),
        4,
        4,
        0,
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_patches_are_the_models_own(name):
    make, size, grid, kernel, stride, padding = FAMILIES[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = make().eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    model = load(module, input_size=size, mean=0.5, std=0.5) if name in ("torchvision vit",) else load(module)
    tensor = torch.randn(3, *size, generator=torch.Generator().manual_seed(1)).numpy()
    cut, error = cut_of(model, tensor)
    assert cut.grid == grid
    assert {(axis.kernel, axis.stride, axis.padding) for axis in cut.axes} == {(kernel, stride, padding)}
    assert put_back_error(cut, tensor) == 0.0
    assert error is not None
    assert error < 1e-5
    back, covered = cut.put_back(cut.patches(tensor))
    assert np.array_equal(back, np.where(covered, tensor, 0.0))
    assert covered.all() == cut.covers()
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in before.items())


def test_left_over_pixels_are_counted():
    make, size, *_ = FAMILIES["hf dinov2, left-overs"]
    torch.manual_seed(0)
    cut, _ = cut_of(load(make().eval()), np.zeros((3, *size), np.float32))
    facts = cut.facts()
    assert facts["left_over_after"] == [8, 4]
    assert facts["uncovered_share"] == pytest.approx(1 - 56 * 56 / (64 * 60))


def test_padding_the_model_adds_is_counted_as_padding():
    make, size, *_ = FAMILIES["vit, padded"]
    torch.manual_seed(0)
    cut, _ = cut_of(load(make().eval()), np.zeros((3, *size), np.float32))
    assert cut.covers()
    assert cut.facts()["padding_share_of_patches"] == pytest.approx(1 - 60 * 70 / (64 * 80))
