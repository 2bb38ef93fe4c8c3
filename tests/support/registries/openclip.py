"""open_clip: the vision tower of every configuration, its blocks cut to two."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from support.registries.row import Small, everything, usable

BATCH = 2
#: What only makes a tower wider, deeper or finer.
SIZES = ("layers", "width", "image_size", "patch_size", "head_width", "mlp_ratio", "ls_init_value", "attn_pooler_heads", "n_queries")
SIZES += ("timm_model_pretrained",)


def entries() -> Iterator[str]:
    """Names of the configurations, one (the smallest) for each different kind of vision tower: sizes share their code."""
    import open_clip
    import timm

    kinds: dict[str, list[str]] = {}
    for name in open_clip.list_models():
        tower = dict(open_clip.get_model_config(name)["vision_cfg"])
        trunk = tower.pop("timm_model_name", "")
        known = timm.models._registry._model_to_module.get(trunk.partition(".")[0], trunk)
        same = {key: value for key, value in sorted(tower.items()) if key not in SIZES}
        kinds.setdefault(f"{known} {same}", []).append(name)
    yield from sorted(min(names, key=_largeness) for names in kinds.values())


def _largeness(name: str) -> tuple[int, str]:
    order = ("-T", "-S", "-M", "tiny", "small", "-B", "base", "medium")
    return next((i for i, part in enumerate(order) if part in name), len(order)), name


def build(name: str) -> Small:
    """The vision tower alone."""
    import open_clip

    torch.manual_seed(0)
    config: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(name))
    vision = config["vision_cfg"]
    if vision.get("timm_model_name") is None and isinstance(vision.get("layers"), int):
        vision["layers"] = 2
        vision["image_size"] = 4 * vision["patch_size"]
    cfg = open_clip.model.CLIPVisionCfg(**{**vision, "timm_model_pretrained": False})
    with shallow():
        module = open_clip.model._build_vision_tower(config["embed_dim"], cfg, quick_gelu=bool(config.get("quick_gelu"))).eval()
    size = _side(module, vision.get("image_size", 224))
    pixels = torch.randn(BATCH, 3, *size, generator=torch.Generator().manual_seed(1))

    def forward(x: Tensor) -> Tensor:
        return everything(module(x), len(x))

    usable(module, forward, pixels)
    return Small(module, forward, pixels, size)


def _side(module: nn.Module, side: Any) -> tuple[int, int]:
    """A trunk of timm's that was built for a smaller picture says so."""
    built = getattr(getattr(getattr(module, "trunk", None), "patch_embed", None), "img_size", None)
    if isinstance(built, tuple):
        return built
    return (side, side) if isinstance(side, int) else tuple(side)


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """A trunk of timm's with two blocks and a small picture, where its family takes these."""
    import timm

    whole = timm.create_model

    def made(name: str, **options: Any) -> nn.Module:
        for short in ({"depth": 2, "img_size": 4 * 16}, {"depth": 2, "img_size": 4 * 14}, {"depth": 2, "img_size": 4 * 32}, {"depth": 2}):
            with contextlib.suppress(Exception):
                return whole(name, **options, **short)
        return whole(name, **options)

    with mock.patch("timm.create_model", made):
        yield
