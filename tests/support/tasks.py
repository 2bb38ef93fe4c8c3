"""Tiny seeded models that score pixels or boxes, by name."""

import torch
import transformers as hf

from support.zoo import redraw

SIDE, CLASSES = 64, 5
VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32, "image_size": SIDE, "patch_size": 16}
DETR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 6,
    "num_labels": CLASSES,
}


def _resnet():
    return hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"])


def segformer():
    sizes = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 16}
    return hf.SegformerForSemanticSegmentation(hf.SegformerConfig(**sizes, num_labels=CLASSES))


def upernet():
    swin = hf.SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = hf.UperNetConfig(backbone_config=swin, hidden_size=16, num_labels=CLASSES, use_auxiliary_head=False)
    return hf.UperNetForSemanticSegmentation(config)


def _dpt(**more):
    return hf.DPTConfig(
        **VIT, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, num_labels=CLASSES, **more
    )


def dpt():
    return hf.DPTForSemanticSegmentation(_dpt(use_auxiliary_head=False))


def dpt_depth():
    return hf.DPTForDepthEstimation(_dpt())


def beit():
    sizes = {**VIT, "num_hidden_layers": 4}
    return hf.BeitForSemanticSegmentation(hf.BeitConfig(**sizes, out_indices=[1, 2, 3, 4], num_labels=CLASSES, use_auxiliary_head=False))


def detr(name="Detr", **more):
    config = getattr(hf, f"{name}Config")(
        **{**DETR, **more}, backbone_config=_resnet(), use_pretrained_backbone=False, use_timm_backbone=False
    )
    return getattr(hf, f"{name}ForObjectDetection")(config)


def conditional_detr():
    return detr("ConditionalDetr")


def yolos():
    return hf.YolosForObjectDetection(hf.YolosConfig(**{**VIT, "image_size": [SIDE, SIDE]}, num_detection_tokens=6, num_labels=CLASSES))


def deformable_detr():
    return detr("DeformableDetr", num_feature_levels=1, encoder_n_points=2, decoder_n_points=2)


def rt_detr():
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    back = hf.RTDetrResNetConfig(**sizes, out_features=["stage2", "stage3", "stage4"])
    config = hf.RTDetrConfig(
        backbone_config=back, use_timm_backbone=False, encoder_hidden_dim=32, encoder_in_channels=[16, 16, 32], feat_strides=[8, 16, 32],
        encoder_layers=1, encoder_ffn_dim=32, encoder_attention_heads=4, d_model=32, num_queries=6, decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=32, decoder_layers=2, decoder_attention_heads=4, num_labels=CLASSES, num_denoising=0, hidden_expansion=0.5,
    )  # fmt: skip
    return hf.RTDetrForObjectDetection(config)


PIXELS = {"segformer": segformer, "upernet": upernet, "dpt": dpt, "dpt_depth": dpt_depth, "beit": beit}
BOXES = {"detr": detr, "conditional_detr": conditional_detr, "yolos": yolos, "deformable_detr": deformable_detr, "rt_detr": rt_detr}


def build(name):
    """One of them, seeded, in float64."""
    torch.manual_seed(0)
    return redraw({**PIXELS, **BOXES}[name](), spread=1.0).double()


def eager_rows(name, pixels):
    """A detector's own attention, written out: of the boxes, layer by layer ``[b, h, boxes, n]``, and of the patches ``[b, h, n, n]``."""
    module = build(name)
    for part in [module, *(part for _, part in module.named_modules() if hasattr(part, "config"))]:
        part.config._attn_implementation = "eager"
    with torch.no_grad():
        out = module(pixels, output_attentions=True)
    if name == "yolos":
        return [a[:, :, -6:] for a in out.attentions], list(out.attentions)
    return list(out.cross_attentions), list(out.encoder_attentions)
