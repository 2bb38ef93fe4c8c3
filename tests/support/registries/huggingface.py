"""transformers: every class its auto mappings name for pictures, from a configuration shrunk by rules over its attributes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from support.registries.configurations import configurations
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
    for configured in configurations(transformers, kind, cls):
        try:
            config = configured()
            if _parameters(cls, config) > LARGEST:
                raise MemoryError(f"more than {LARGEST:,} parameters at its smallest")  # noqa: TRY301
            return _ready(cls, config)
        except Exception as error:  # noqa: BLE001 - whatever the library says of this size
            failed = error
    raise failed or ValueError(name)


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
    if config.model_type == "depth_pro":  # its smallest crop is a quarter of the picture
        side = 4 * config.patch_size
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
    towers = all(hasattr(module, name) for name in ("get_image_features", "get_text_features")) and "pixel_values" in takes
    special = _special(module, config, vision, rng)
    if special is not None:  # patches of a grid of four by four stand for a picture
        square = (4 * vision.patch_size,) * 2 if "spatial_shapes" in takes else None
        return {**given, **special[0]}, special[1], square
    name = "pixel_values" if "pixel_values" in takes else module.main_input_name
    if name != "pixel_values":
        return {**given, name: pixels}, name, None
    alone = towers or not given or list(given) == ["noise"]  # of two towers, the picture's takes a picture alone
    return {**given, "pixel_values": pixels}, "pixel_values", (h, w) if alone else None


def _special(module: nn.Module, config: Any, vision: Any, rng: torch.Generator) -> tuple[dict[str, Any], str] | None:
    """Models whose pixels are not pictures ``[b, 3, h, w]``, or whose words stand for parts of the picture."""
    kind = config.model_type
    if kind == "imagegpt":  # reads colour numbers, not pixels
        return {"input_ids": torch.randint(0, 400, (BATCH, 16), generator=rng)}, "input_ids"
    if kind.startswith("siglip2"):
        patch = vision.patch_size
        flat = torch.randn(BATCH, 16, 3 * patch * patch, generator=rng)
        shapes, mask = torch.tensor([[4, 4]] * BATCH), torch.ones(BATCH, 16, dtype=torch.long)
        return {"pixel_values": flat, "pixel_attention_mask": mask, "spatial_shapes": shapes}, "pixel_values"
    if kind in ("timesformer", "videomae", "vivit", "videoprism", "videoprism_vision_model"):
        frames = getattr(vision, "num_frames", 8)
        side = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
        name = "pixel_values_videos" if "pixel_values_videos" in inspect.signature(module.forward).parameters else "pixel_values"
        return {name: torch.randn(BATCH, frames, 3, side, side, generator=rng)}, name
    if kind.startswith("mllama"):  # a picture in tiles, of this shape
        tiles = torch.randn(BATCH, 1, config.max_num_tiles, 3, config.image_size, config.image_size, generator=rng)
        shape, mask = torch.full((BATCH, 1), 6), torch.ones(BATCH, 1, config.max_num_tiles, dtype=torch.long)
        return {"pixel_values": tiles, "aspect_ratio_ids": shape, "aspect_ratio_mask": mask}, "pixel_values"
    if kind in ("cohere2_vision", "shieldgemma2"):
        ids = torch.tensor([[2, *[config.image_token_id] * 4, 5, 6, 7]] * BATCH)
        words = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if kind == "shieldgemma2":
            words["token_type_ids"] = (ids == config.image_token_id).long()
        return {**words, "pixel_values": torch.randn(BATCH, 3, vision.image_size, vision.image_size, generator=rng)}, "pixel_values"
    if kind == "blip-2":
        ids = torch.randint(3, 400, (BATCH, 8), generator=rng)
        words = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_image_text_matching_head": True}
        return {**words, "pixel_values": torch.randn(BATCH, 3, vision.image_size, vision.image_size, generator=rng)}, "pixel_values"
    return None
