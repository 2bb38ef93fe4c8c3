"""torchvision: every model with attention, and the rest, which has none."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from support.registries.row import Small, everything, usable

BATCH = 2
#: One of these widths stands for all: the code is the same.
ONE_OF = (
    "swin_v2",
    "swin3d",
    "swin_",
    "vit_",
    "regnet_x",
    "regnet_y",
    "resne",
    "vgg",
    "densenet",
    "efficientnet_b",
    "quantized",
    "wide",
    "shufflenet",
    "convnext",
    "mnasnet",
)


#: The smallest of the families with attention.
SMALLER = ("swin_t", "swin_v2_t", "swin3d_t", "vit_b_16")


def entries() -> Iterator[str]:
    """Names of all models; of families whose sizes share one code, the smallest with attention or the first without."""
    import torchvision

    seen: set[str] = set()
    for name in sorted(torchvision.models.list_models(), key=lambda name: (SMALLER.index(name) if name in SMALLER else 9, name)):
        family = next((part for part in ONE_OF if name.startswith(part)), name)
        if family not in seen:
            seen.add(family)
            yield name


def build(name: str) -> Small:
    """One model; transformers by their own constructors at a small size where they take one."""
    import torchvision

    torch.manual_seed(0)
    made = {"weights": None}
    size = (64, 64) if name.startswith("swin") and "3d" not in name else (224, 224)
    if name.startswith("vit"):
        size = (int(name.rsplit("_", maxsplit=1)[-1]) * 4,) * 2
        made |= {"image_size": size[0]}
    if any(part in name for part in ("rcnn", "retinanet", "fcos", "ssd", "deeplab", "fcn_", "lraspp")):
        made |= {"weights_backbone": None}
    module = torchvision.models.get_model(name, **made).eval()
    clip = any(part in name for part in ("3d", "mvit", "mc3", "r2plus1d"))
    shape = (BATCH, 3, 16, 224, 224) if "mvit" in name else (BATCH, 3, 4, 64, 64) if clip else (BATCH, 3, *size)
    pixels = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    if "raft" in name:
        pixels = torch.randn(BATCH, 3, 128, 128, generator=torch.Generator().manual_seed(1))

    def forward(x: Tensor) -> Tensor:
        if "raft" in name:
            return everything(module(x, x.flip(0), num_flow_updates=1), len(x))
        return everything(module(list(x)) if "rcnn" in name or "retina" in name or "fcos" in name or "ssd" in name else module(x), len(x))

    usable(module, forward, pixels)
    return Small(module, forward, pixels, None if clip or "raft" in name else size)
