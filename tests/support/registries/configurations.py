"""Small configurations of transformers' models: rules over attributes, and what rules cannot know."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: Numbers of layers, in any configuration.
DEPTHS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "n_layer", "num_global_layers", "num_blocks", "depth")
#: Lists of numbers of layers, one a stage.
STAGED = ("depths", "depth", "num_encoder_blocks_depth", "num_block_repeats")
#: Lists of four layers that a head reads.
READ = ("out_indices", "backbone_out_indices", "segmentation_indices")
#: Width of the tokens, of what lies between two of them, and heads: narrowed together, where all of a configuration's are plain numbers.
WIDTHS = {"hidden_size": 64, "d_model": 64, "intermediate_size": 128, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "head_dim": 16}
HEADS = ("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads", "attention_heads", "num_key_value_heads")
#: Caps on what only costs memory.
CAPS = {"vocab_size": 1000, "num_latents": 32, "num_queries": 20, "two_stage_num_proposals": 20}

#: What rules over attributes cannot know: attributes of a model type or class, the rest shrunk as ever.
EXCEPT: dict[str, dict[str, Any]] = {
    "perceiver": {"num_cross_attention_heads": 1, "num_latents": 32, "d_latents": 64, "num_self_attends_per_block": 2, "num_blocks": 2},
    "imagegpt": {"n_embd": 64, "n_head": 4},
    "swin2sr": {"image_size": 16},
    "swin": {"image_size": 128, "window_size": 4},
    "mobilevit": {"image_size": 128},
    "donut-swin": {"image_size": 128, "window_size": 4},
    "llama4": {"intermediate_size": 256, "projector_input_dim": 64, "projector_output_dim": 64, "vision_output_dim": 64},
    "mllama": {"intermediate_layers_indices": [0, 1], "vision_output_dim": 192},
    "timm_backbone": {"backbone": "vit_tiny_patch16_dinov3_qkvb"},
    "timm_wrapper": {"architecture": "vit_tiny_patch16_dinov3_qkvb"},
    "convnext": {"hidden_sizes": [16, 32, 48, 64]},
    "convnextv2": {"hidden_sizes": [16, 32, 48, 64]},
    "focalnet": {"hidden_sizes": [16, 32, 48, 64]},
    "pp_doclayout_v2": {"class_thresholds": [0.0] * 5, "class_order": [0, 1, 2, 3, 4]},
    "BeitForSemanticSegmentation": {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]},
    "sapiens2": {"num_first_full_attention_layers": 1, "num_last_full_attention_layers": 1},
    "Sapiens2ForSemanticSegmentation": {"head_config": {"upsample_out_channels": [32, 32], "conv_out_channels": [32]}},
}
_VIT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_DINO = {"model_type": "dinov2", **_VIT, "image_size": 64, "patch_size": 16}
_WORDS = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
_WORDS |= {"intermediate_size": 128, "vocab_size": 500, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LARGE = {"arch": "L", "return_idx": [0, 1, 2, 3], "out_features": ["stage1", "stage2", "stage3", "stage4"]}
_BLOCKS = [[[3, 16, 16, 1, True]], [[3, 16, 24, 2, False]], [[3, 24, 32, 2, False]], [[3, 32, 48, 2, True]]]
_LC = {"model_type": "pp_lcnet_v4", "stem_channels": [3, 8, 16], "block_configs": _BLOCKS}
_LC |= {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
#: The strips a text detector's neck sees, as its publisher has them.
_STRIPS: dict[str, Any] = {
    "reduce_channel": [1, 1, 0],
    "return_channel": [1, 1, 0],
    "vertical_long_to_small_conv_longratio": [[7, 1], [1, 1], [3, 0]],
    "vertical_long_to_small_conv_midratio": [[5, 1], [1, 1], [2, 0]],
    "vertical_long_to_small_conv_shortratio": [[3, 1], [1, 1], [1, 0]],
    "horizontal_small_to_long_conv_longratio": [[1, 7], [1, 1], [0, 3]],
    "horizontal_small_to_long_conv_midratio": [[1, 5], [1, 1], [0, 2]],
    "horizontal_small_to_long_conv_shortratio": [[1, 3], [1, 1], [0, 1]],
    "symmetric_conv_long_longratio": [[7, 7], [1, 1], [3, 3]],
    "symmetric_conv_long_midratio": [[5, 5], [1, 1], [2, 2]],
    "symmetric_conv_long_shortratio": [[3, 3], [1, 1], [1, 1]],
}
_TEXT = {"scale_factor_list": [1, 2, 4, 8], "kernel_list": [3, 2, 2], "intraclass_block_config": _STRIPS}
#: Whole configurations, for models whose parts must agree with each other.
WHOLE: dict[str, dict[str, Any]] = {
    "cohere2_vision": {
        "vision_config": {"model_type": "siglip_vision_model", **_VIT, "image_size": 64, "patch_size": 16},
        "text_config": {"model_type": "cohere2", **_WORDS},
        "image_token_id": 499,
        "alignment_intermediate_size": 128,
    },
    "shieldgemma2": {
        "vision_config": {"model_type": "siglip_vision_model", **_VIT, "image_size": 64, "patch_size": 16},
        "text_config": {"model_type": "gemma3_text", **_WORDS},
        "mm_tokens_per_image": 4,
        "boi_token_index": 497,
        "eoi_token_index": 498,
        "image_token_index": 499,
        "yes_token_index": 10,
        "no_token_index": 11,
    },
    "blip-2": {
        "vision_config": {**_VIT, "image_size": 56, "patch_size": 14},
        "qformer_config": {**_VIT, "vocab_size": 500, "encoder_hidden_size": 64, "use_qformer_text_input": True},
        "text_config": {"model_type": "opt", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 500, "word_embed_proj_dim": 64},
        "num_query_tokens": 8,
        "image_text_hidden_size": 32,
        "image_token_index": 499,
    },
    "depth_pro": {
        "patch_size": 64,
        "fusion_hidden_size": 32,
        "intermediate_hook_ids": [1, 0],
        "intermediate_feature_dims": [32, 32],
        "scaled_images_feature_dims": [64, 64, 32],
        "image_model_config": _DINO,
        "patch_model_config": _DINO,
        "fov_model_config": _DINO,
    },
    "lw_detr": {
        "backbone_config": {
            "model_type": "lw_detr_vit",
            **_VIT,
            "image_size": 128,
            "pretrain_image_size": 64,
            "num_hidden_layers": 3,
            "num_windows": 4,
            "window_block_indices": [0, 1],
            "out_indices": [2, 3],
        },
        "projector_scale_factors": [2.0, 0.5],
        "d_model": 64,
        "decoder_layers": 2,
        "decoder_self_attention_heads": 4,
        "decoder_cross_attention_heads": 4,
        "decoder_ffn_dim": 128,
        "num_queries": 10,
        "group_detr": 1,
    },
    "rf_detr": {
        "backbone_config": {
            "model_type": "rf_detr_dinov2",
            **_VIT,
            "image_size": 64,
            "patch_size": 8,
            "num_hidden_layers": 3,
            "num_windows": 2,
            "num_register_tokens": 0,
            "out_features": ["stage1", "stage3"],
        },
        "d_model": 64,
        "decoder_layers": 2,
        "decoder_self_attention_heads": 4,
        "decoder_cross_attention_heads": 4,
        "decoder_ffn_dim": 128,
        "num_queries": 10,
        "group_detr": 1,
    },
    "tipsv2_dpt": {
        "backbone_config": {
            "model_type": "tipsv2_vision_model",
            **_VIT,
            "image_size": 56,
            "patch_size": 14,
            "num_hidden_layers": 4,
            "out_indices": [1, 2, 3, 4],
            "apply_layernorm": True,
            "reshape_hidden_states": False,
        },
        "neck_hidden_sizes": [16, 32, 48, 64],
        "fusion_hidden_size": 32,
    },
    "pp_ocrv5_server_det": {"backbone_config": {"model_type": "hgnet_v2", **_LARGE}, **_TEXT, "neck_out_channels": 64},
    "pp_ocrv6_medium_det": {"backbone_config": _LC, **_TEXT, "neck_out_channels": 64},
    "pp_ocrv6_small_det": {"backbone_config": _LC, "layer_list_out_channels": [16, 24, 32, 48], "neck_out_channels": 32},
}


@dataclass(frozen=True)
class Size:
    """How small a configuration is made: side of the picture, layers, memory capped or not, tokens narrowed or not."""

    side: int | None
    depth: int
    caps: bool
    narrow: bool


#: From the smallest a model may take to what its authors chose.
SIZES = (
    Size(64, 2, caps=True, narrow=True),
    Size(64, 4, caps=True, narrow=True),
    Size(64, 2, caps=True, narrow=False),
    Size(64, 4, caps=True, narrow=False),
    Size(64, 2, caps=False, narrow=False),
    Size(224, 2, caps=False, narrow=False),
    Size(None, 2, caps=False, narrow=False),
    Size(None, 99, caps=False, narrow=False),
)


def configurations(transformers: Any, kind: str, cls: Any) -> Iterator[Callable[[], Any]]:
    """How to make configurations of a class, the smallest first: one that was written by hand, or as the rules give them."""
    own = _class(transformers, kind, cls)
    if kind in WHOLE:
        yield lambda: _headed(own(**copy.deepcopy(WHOLE[kind])))
        return
    known = {**EXCEPT.get(kind, {}), **EXCEPT.get(cls.__name__, {})}
    for size in SIZES:
        yield lambda size=size: _headed(_shrunk(own, copy.deepcopy(known), size))


def _headed(config: Any) -> Any:
    config.num_labels = 5
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False
    return config


def _class(transformers: Any, kind: str, cls: Any) -> Any:
    """The class of a model's configuration: its own, where the mapping's model type has another; of two towers the one that sees."""
    own = getattr(cls, "config_class", None) or type(transformers.AutoConfig.for_model(kind))
    both = hasattr(own, "sub_configs_defaults") and hasattr(own(), "vision_config")
    if "Vision" in cls.__name__ and both and not cls.__name__.startswith(own.__name__.removesuffix("Config")):
        return type(own().vision_config)
    return own


def _shrunk(own: Any, known: dict[str, Any], size: Size) -> Any:
    short = {name: value for name, value in _smaller(own(), size).items() if name not in known}
    config = own(**short, **known)  # through the constructor: names of stages follow from the depths
    _shrink(config, size, known)
    return config


def _smaller(config: Any, size: Size) -> dict[str, Any]:
    """Layers cut, layers that a head reads among those that are left, tokens narrowed."""
    found: dict[str, Any] = {}
    deep = next((value for name, value in vars(config).items() if name in DEPTHS and _whole(value)), 0)
    for name, value in vars(config).items():
        if name in DEPTHS and _whole(value):
            found[name] = min(value, size.depth)
        elif name in STAGED and isinstance(value, (list, tuple)) and all(_whole(v) for v in value):
            found[name] = [min(v, size.depth) for v in value]
        elif name.removeprefix("_") in READ and isinstance(value, (list, tuple)) and len(value) == 4 and deep > size.depth:
            first = size.depth - 4 + (max(value) == deep)
            found[name.removeprefix("_")] = [max(0, first + i) for i in range(4)]
    plain = {name for name, value in vars(config).items() if _whole(value)}
    if size.narrow and plain & set(HEADS) and plain & {"hidden_size", "d_model"}:
        found |= {name: min(getattr(config, name), width) for name, width in WIDTHS.items() if name in plain}
        found |= {name: min(getattr(config, name), 4) for name in HEADS if name in plain}
    return found


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shrink(config: Any, size: Size, known: dict[str, Any]) -> None:
    """The rest, on the configuration itself and on those inside it."""
    for name, value in _smaller(config, size).items():
        if name not in known:
            setattr(config, name, value)
    for name, value in list(vars(config).items()):
        if name in known:
            continue
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            _shrink(value, size, {})
        elif name == "image_size" and size.side is not None and value is not None:
            patch = getattr(config, "patch_size", 16)
            patch = patch if isinstance(patch, int) else 16
            fit = max(size.side // patch, 4) * patch
            setattr(config, name, fit if isinstance(value, int) else [fit] * len(value))
        elif size.caps and name in CAPS and isinstance(value, int):
            setattr(config, name, min(value, CAPS[name]))
        elif size.caps and name.endswith(("_token_id", "_token_index")) and isinstance(value, int) and value >= CAPS["vocab_size"]:
            setattr(config, name, CAPS["vocab_size"] - 1 - value % 50)
