"""torchvision: every model with attention, and the rest, which has none, one of each family whose sizes share their code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from support.registries.row import Small, everything, usable

BATCH = 2
#: One of these widths without attention stands for all: the code is the same.
ONE_OF = (
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
#: The small ones of these.
SMALL = ("regnet_x_400mf", "regnet_y_400mf", "resnet18", "wide_resnet50_2", "convnext_tiny")
#: Detectors, and what keeps their boxes few.
DETECTORS: dict[str, dict[str, int]] = {
    "rcnn": {"min_size": 64, "max_size": 64, "rpn_pre_nms_top_n_test": 20, "rpn_post_nms_top_n_test": 10},
    "retinanet": {"min_size": 64, "max_size": 64, "topk_candidates": 20},
    "fcos": {"min_size": 64, "max_size": 64, "topk_candidates": 20},
    "ssd": {"topk_candidates": 20},
}
CLIPS = ("3d", "mvit", "mc3", "r2plus1d")


def entries() -> Iterator[str]:
    """Names of all models, but for sizes of a family without attention."""
    import torchvision

    seen: set[str] = set()
    for name in sorted(torchvision.models.list_models(), key=lambda name: (name not in SMALL, name)):
        family = next((part for part in ONE_OF if name.startswith(part)), name)
        if family not in seen:
            seen.add(family)
            yield name


def build(name: str) -> Small:
    """One model, small where its constructor takes a size; its transformer blocks cut to two."""
    import torchvision

    torch.manual_seed(0)
    made: dict[str, Any] = {"weights": None}
    size = (64, 64) if name.startswith(("swin", "maxvit")) else (320, 320) if "ssd" in name else (224, 224)
    if name.startswith("vit"):
        size = (int(name.rsplit("_", maxsplit=1)[-1]) * 4,) * 2
        made |= {"image_size": size[0]}
    if any(part in name for part in (*DETECTORS, "deeplab", "fcn_", "lraspp")):
        made |= {"weights_backbone": None}
    for part, few in DETECTORS.items():
        made |= few if part in name else {}
    with shallow():
        module = torchvision.models.get_model(name, **made).eval()
    clip = any(part in name for part in CLIPS)
    shape = (BATCH, 3, 16, 224, 224) if name == "s3d" else (BATCH, 3, 4, 64, 64) if clip else (BATCH, 3, *size)
    if "raft" in name:
        shape = (BATCH, 3, 128, 128)
    pixels = torch.randn(*shape, generator=torch.Generator().manual_seed(1))

    def forward(x: Tensor) -> Tensor:
        return everything(_answer(name, module, x), len(x))

    usable(module, forward, pixels)
    return Small(module, forward, pixels, size if len(shape) == 4 and "raft" not in name else None)


def _answer(name: str, module: nn.Module, x: Tensor) -> Any:
    if "raft" in name:
        return module(x, x.flip(0), num_flow_updates=1)
    if any(part in name for part in DETECTORS):
        with mock.patch("torchvision.ops.boxes.nms", suppressed):
            return module.backbone(x), module(list(x))  # boxes are few or none with random weights; features are always there
    return module(x)


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """ViT and Swin of any size with two blocks (in each stage), MaxViT and MViT for small inputs, by their own constructors."""
    import torchvision

    vit, swin, mvit = torchvision.models.VisionTransformer, torchvision.models.SwinTransformer, torchvision.models.video.MViT
    maxvit = torchvision.models.MaxVit

    def two(image_size: int, patch_size: int, num_layers: int, *args: Any, **more: Any) -> nn.Module:
        return vit(image_size, patch_size, min(num_layers, 2), *args, **more)

    def staged(*args: Any, depths: list[int], **more: Any) -> nn.Module:
        return swin(*args, depths=[min(depth, 2) for depth in depths], **more)

    def clips(**more: Any) -> nn.Module:
        return mvit(**more | {"spatial_size": (64, 64), "temporal_size": 4})

    def partitioned(**more: Any) -> nn.Module:
        return maxvit(**more | {"input_size": (64, 64), "partition_size": 2, "block_layers": [1, 1, 1, 1]})

    with (
        mock.patch("torchvision.models.maxvit.MaxVit", partitioned),
        mock.patch("torchvision.models.video.mvit.MViT", clips),
        mock.patch("torchvision.models.vision_transformer.VisionTransformer", two),
        mock.patch("torchvision.models.swin_transformer.SwinTransformer", staged),
    ):
        yield


def suppressed(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression written out: torchvision's wheels bring theirs for CUDA builds of torch only."""
    import torchvision

    overlapping = torchvision.ops.box_iou(boxes, boxes) > threshold
    kept: list[int] = []
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    for i in scores.argsort(descending=True).tolist():
        if not gone[i]:
            kept.append(i)
            gone |= overlapping[i]
    return torch.tensor(kept, dtype=torch.long)
