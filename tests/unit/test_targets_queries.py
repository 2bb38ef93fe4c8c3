"""Segmentation by queries (MaskFormer, Mask2Former, EoMT): a class's score at a pixel is as their own post-processing makes it."""

from functools import cache

import numpy as np
import pytest
import torch
import transformers as hf

import vitscope as vs
from support.zoo import redraw
from vitscope.errors import ModelError
from vitscope.scoring import columns
from vitscope.trace import Needs

SIDE, CLASSES = 64, 5
PHOTO = np.random.default_rng(0).integers(0, 256, (50, 72, 3), dtype=np.uint8)


def _swin():
    stages = ["stage1", "stage2", "stage3", "stage4"]
    sizes = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4}
    return hf.SwinConfig(image_size=SIDE, patch_size=4, out_features=stages, **sizes)


def maskformer():
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 7}
    detr = hf.DetrConfig(d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **layers)
    config = hf.MaskFormerConfig(
        backbone_config=_swin(), decoder_config=detr, fpn_feature_size=32, mask_feature_size=32, num_labels=CLASSES
    )
    return hf.MaskFormerForInstanceSegmentation(config)


def mask2former():
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 16, "dim_feedforward": 16}
    layers = {"encoder_layers": 1, "decoder_layers": 3, "num_attention_heads": 2, "num_queries": 7}
    return hf.Mask2FormerForUniversalSegmentation(hf.Mask2FormerConfig(backbone_config=_swin(), num_labels=CLASSES, **sizes, **layers))


def eomt():
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    config = hf.EomtConfig(**sizes, num_blocks=1, num_queries=6, num_upscale_blocks=1, num_labels=CLASSES)
    return hf.EomtForUniversalSegmentation(config)


MODELS = {"maskformer": maskformer, "mask2former": mask2former, "eomt": eomt}
THEIRS = {"maskformer": "MaskFormer", "mask2former": "Mask2Former", "eomt": "Eomt"}
ALL = pytest.mark.parametrize("name", MODELS)


@cache
def loaded(name):
    torch.manual_seed(0)
    return vs.load(redraw(MODELS[name]()), mean=0.5, std=0.5, input_size=SIDE)


@ALL
def test_a_pixels_scores_are_those_of_the_librarys_post_processing(name):
    model = loaded(name)
    trace = model.trace(PHOTO)
    with torch.no_grad():
        out = model.module(pixel_values=trace.pixels)
    more = {"size": {"shortest_edge": SIDE, "longest_edge": SIDE}} if name == "eomt" else {}
    out.patch_offsets = None
    process = getattr(hf, f"{THEIRS[name]}ImageProcessor")().post_process_semantic_segmentation
    theirs = process(out, target_sizes=[PHOTO.shape[:2]], return_segmentation_scores=True, **more)[0]
    scores, won = theirs["segmentation_scores"], theirs["segmentation"]
    assert len(model.labels) == CLASSES
    for y, x in ((0, 0), (10, 33), (49, 71), (25, 2)):
        aim = trace.resolve(vs.Pixel(y, x))
        assert (columns(trace.whole, aim)[0] - scores[:, y, x]).abs().max() <= 1e-5 * scores.abs().max()
        assert aim.index == (int(won[y, x]),)
    everywhere = trace.resolve(vs.Region(label=2))
    assert float(columns(trace.whole, everywhere)[0, 2]) == pytest.approx(float(scores[2].double().mean()), rel=1e-5)


@ALL
def test_its_gradient_is_that_of_the_formula_written_out(name):
    model = loaded(name)
    trace = model.trace(PHOTO)
    aim = trace.resolve("region:10,5,50,40:3")
    found = trace.with_needs(Needs(pixel_gradients=True), aim).pixel_grads
    pixels = trace.pixels.clone().requires_grad_()
    out = model.module(pixel_values=pixels)
    masks, kinds = out.masks_queries_logits, out.class_queries_logits[0].softmax(dim=-1)
    side = {"maskformer": masks.shape[-2:], "mask2former": (384, 384), "eomt": (SIDE, SIDE)}[name]
    masks = torch.nn.functional.interpolate(masks, size=side, mode="bilinear")[0].sigmoid()
    dense = sum(kinds[q, 3] * masks[q] for q in range(len(masks)))
    weights = torch.as_tensor(aim.at[0].weights.array, dtype=torch.float32)
    slow = torch.autograd.grad((dense.flatten() * weights).sum(), pixels)[0]
    assert (found - slow).abs().max() <= 1e-4 * slow.abs().max()


@ALL
def test_what_applies_works_and_what_does_not_says_why(name):
    trace = loaded(name).trace([PHOTO, PHOTO[::-1].copy()])
    for make in (vs.grad_cam, vs.occlusion):
        both = make(trace, target="pixel:20,30:1")
        alone = make(loaded(name).trace(PHOTO), target="pixel:20,30:1")
        assert np.abs(both[0].grid - alone.grid).max() <= 1e-5
    why = {m["name"]: m["why"] for m in loaded(name).describe()["methods"]}
    assert why["grad-cam"] == ""
    if name != "eomt":
        assert "no one grid" in why["rollout"]


def test_a_model_that_wants_a_task_and_a_photo_cut_in_parts_are_refused_in_one_line(monkeypatch):
    config = hf.OneFormerConfig(backbone_config=_swin())
    with torch.device("meta"):
        module = hf.OneFormerForUniversalSegmentation(config).eval()
    from vitscope.models.huggingface import _caller

    with pytest.raises(ModelError, match=r"it does not run on a picture alone \(.*task_inputs"):
        _caller(module, None)(module, torch.zeros(1, 3, SIDE, SIDE, device="meta"))
    splitting = hf.EomtImageProcessor(size={"shortest_edge": SIDE, "longest_edge": None}, do_split_image=True, do_pad=False)
    model = vs.load(loaded("eomt").module, processor=splitting)
    with pytest.raises(ModelError, match="a photo cut into 2 pictures; expected one"):
        model.trace(np.zeros((64, 120, 3), dtype=np.uint8))
