"""transformers: every class its auto mappings name for pictures, from a configuration shrunk by rules over its attributes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from support.registries.row import Small, everything, usable

TASKS = {
    "image classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "features": "MODEL_FOR_IMAGE_MAPPING_NAMES",
    "backbone": "MODEL_FOR_BACKBONE_MAPPING_NAMES",
    "zero-shot classification": "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "object detection": "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "semantic segmentation": "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
}
BATCH = 2
#: Parameters a model may have.
LARGEST = 700_000_000
#: What rules over attributes cannot know.
EXCEPT: dict[str, dict[str, Any]] = {
    "perceiver": {"num_cross_attention_heads": 1, "num_latents": 32},
    "imagegpt": {"n_embd": 64, "n_head": 4},
}
#: Numbers of layers, in any configuration.
DEPTHS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "n_layer", "num_global_layers", "num_blocks", "depth")
#: Lists of numbers of layers, one a stage.
STAGED = ("depths", "depth", "num_encoder_blocks_depth", "num_block_repeats")
#: Caps on what only costs memory.
CAPS = {"vocab_size": 1000, "num_latents": 32, "num_queries": 20, "two_stage_num_proposals": 20}


def entries() -> Iterator[tuple[str, str, str]]:
    """(task, model type, class name) of everything registered, each class once."""
    from transformers.models.auto import modeling_auto

    seen: set[str] = set()
    for task, mapping in TASKS.items():
        for kind, names in getattr(modeling_auto, mapping).items():
            for name in (names,) if isinstance(names, str) else names:
                if name not in seen:
                    seen.add(name)
                    yield task, kind, name


def build(kind: str, name: str) -> Small:
    """One model: as small as it will go."""
    import transformers

    cls = getattr(transformers, name)
    failed: Exception | None = None
    for side, depth, caps in ((64, 2, True), (64, 2, False), (224, 2, False), (None, 2, False), (None, 99, False)):
        try:
            config = _config(transformers, kind, cls, depth)
            _shrink(config, side, depth, caps)
            if _parameters(cls, config) > LARGEST:
                raise MemoryError(f"more than {LARGEST:,} parameters at its smallest")  # noqa: TRY301
            return _ready(cls, config)
        except Exception as error:  # noqa: BLE001 - whatever the library says of this size
            failed = error
    raise failed or ValueError(name)


def _config(transformers: Any, kind: str, cls: Any, depth: int) -> Any:
    """The default configuration of a class (its own, where the mapping's model type has another), cut short."""
    own = getattr(cls, "config_class", None) or type(transformers.AutoConfig.for_model(kind))
    if "Vision" in cls.__name__ and hasattr(own(), "vision_config"):
        own = type(own().vision_config)
    short = {name: value for name, value in _shorter(own(), depth).items() if name not in EXCEPT.get(kind, {})}
    config = own(**short, **EXCEPT.get(kind, {}))  # through the constructor: names of stages follow from the depths
    config.num_labels = 5
    return config


def _shorter(config: Any, depth: int) -> dict[str, Any]:
    """The numbers of layers, cut."""
    found: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in DEPTHS and isinstance(value, int) and not isinstance(value, bool):
            found[name] = min(value, depth)
        elif name in STAGED and isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value):
            found[name] = type(value)(min(v, depth) for v in value)
    return found


def _shrink(config: Any, side: int | None, depth: int, caps: bool) -> None:
    for name, value in _shorter(config, depth).items():
        setattr(config, name, type(getattr(config, name))(value))
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            _shrink(value, side, depth, caps)
        elif name == "image_size" and side is not None and value is not None:
            patch = getattr(config, "patch_size", 16)
            patch = patch if isinstance(patch, int) else 16
            fit = max(side // patch, 4) * patch
            setattr(config, name, fit if isinstance(value, int) else [fit] * len(value))
        elif caps and name in CAPS and isinstance(value, int):
            setattr(config, name, min(value, CAPS[name]))
        elif caps and name.endswith(("_token_id", "_token_index")) and isinstance(value, int) and value >= CAPS["vocab_size"]:
            setattr(config, name, CAPS["vocab_size"] - 1 - value % 50)
    if hasattr(config, "use_pretrained_backbone"):
        config.use_pretrained_backbone = False


def _parameters(cls: Any, config: Any) -> int:
    with torch.device("meta"):
        make = cls._from_config if hasattr(cls, "_from_config") else cls
        return sum(p.numel() for p in make(copy.deepcopy(config)).parameters())


def _ready(cls: Any, config: Any) -> Small:
    torch.manual_seed(0)
    make = cls._from_config if hasattr(cls, "_from_config") else cls
    module: nn.Module = make(config).eval()
    inputs, varied, size = _inputs(module, config)

    def forward(x: Tensor) -> Tensor:
        return everything(module(**{**inputs, varied: x}), len(x))

    usable(module, forward, inputs[varied])
    return Small(module, forward, inputs[varied], size)


def _inputs(module: nn.Module, config: Any) -> tuple[dict[str, Any], str, tuple[int, int] | None]:
    """What the forward wants, the name of the pixels among it, and their size where there is nothing else."""
    takes = inspect.signature(module.forward).parameters
    rng = torch.Generator().manual_seed(1)
    vision = getattr(config, "vision_config", None) or getattr(config, "backbone_config", None) or config
    side = getattr(vision, "image_size", None) or getattr(config, "image_size", None) or 64
    h, w = (side, side) if isinstance(side, int) else (int(side[0]), int(side[-1]))
    channels = getattr(vision, "num_channels", 3)
    pixels = torch.randn(BATCH, channels if isinstance(channels, int) else 3, h, w, generator=rng)
    given: dict[str, Any] = {}
    text = getattr(config, "text_config", None)
    if "input_ids" in takes and text is not None:
        ids = torch.randint(3, min(getattr(text, "vocab_size", 500), 500), (BATCH, 8), generator=rng)
        given["input_ids"] = ids
        if "attention_mask" in takes:
            given["attention_mask"] = torch.ones_like(ids)
    if "noise" in takes and isinstance(config.patch_size, int):
        given["noise"] = torch.arange((h // config.patch_size) * (w // config.patch_size)).float().expand(BATCH, -1)
    special = _special(module, config, vision, rng)
    if special is not None:
        return {**given, **special[0]}, special[1], None
    name = "pixel_values" if "pixel_values" in takes else module.main_input_name
    if name != "pixel_values":
        return {**given, name: pixels}, name, None
    return {**given, "pixel_values": pixels}, "pixel_values", (h, w) if not given or list(given) == ["noise"] else None


def _special(module: nn.Module, config: Any, vision: Any, rng: torch.Generator) -> tuple[dict[str, Any], str] | None:
    """Models whose pixels are not pictures ``[b, 3, h, w]``."""
    kind = config.model_type
    if kind == "imagegpt":  # reads colour numbers, not pixels
        return {"input_ids": torch.randint(0, 400, (BATCH, 16), generator=rng)}, "input_ids"
    if kind.startswith("siglip2"):
        patch = vision.patch_size
        flat = torch.randn(BATCH, 16, 3 * patch * patch, generator=rng)
        return {
            "pixel_values": flat,
            "pixel_attention_mask": torch.ones(BATCH, 16, dtype=torch.long),
            "spatial_shapes": torch.tensor([[4, 4]] * BATCH),
        }, "pixel_values"
    if kind in ("timesformer", "videomae", "vivit", "videoprism", "videoprism_vision_model"):
        frames = getattr(vision, "num_frames", 8)
        side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        name = "pixel_values_videos" if "pixel_values_videos" in inspect.signature(module.forward).parameters else "pixel_values"
        return {name: torch.randn(BATCH, frames, 3, side, side, generator=rng)}, name
    return None
