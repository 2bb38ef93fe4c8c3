"""open_clip: the vision tower of every configuration, its blocks cut to two."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from support.registries.row import Small, everything, usable

BATCH = 2


def entries() -> Iterator[str]:
    """Names of the configurations, one for each different vision tower."""
    import open_clip

    seen: set[str] = set()
    for name in open_clip.list_models():
        tower = {
            key: value
            for key, value in open_clip.get_model_config(name)["vision_cfg"].items()
            if key not in ("layers", "width", "image_size")
        }
        if str(tower) not in seen:
            seen.add(str(tower))
            yield name


def build(name: str) -> Small:
    """The vision tower alone."""
    import open_clip

    torch.manual_seed(0)
    config: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name))
    vision = config["vision_cfg"]
    trunk = vision.get("timm_model_name")
    if trunk is None and isinstance(vision.get("layers"), int):
        vision["layers"] = 2
        vision["image_size"] = 4 * vision["patch_size"]
    cfg = open_clip.model.CLIPVisionCfg(**{**vision, "timm_model_pretrained": False})
    module = open_clip.model._build_vision_tower(config["embed_dim"], cfg, quick_gelu=bool(config.get("quick_gelu"))).eval()
    side = vision.get("image_size", 224)
    size = (side, side) if isinstance(side, int) else tuple(side)
    pixels = torch.randn(BATCH, 3, *size, generator=torch.Generator().manual_seed(1))

    def forward(x: Tensor) -> Tensor:
        return everything(module(x), len(x))

    usable(module, forward, pixels)
    return Small(module, forward, pixels, size)
