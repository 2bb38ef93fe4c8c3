"""The table of tiny seeded models that capture and loading are tested on: one line a family.

``Case.build()`` gives a model with fused attention on, how it is called, and pixels. Weights are re-drawn large enough that
attention is far from uniform (a fresh initialisation has nothing to get wrong).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from support import handwritten

SIDE, PATCH, WIDTH, HEADS, DEPTH, CLASSES, BATCH = 32, 8, 32, 4, 2, 5, 2
HF_COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH,
    "image_size": SIDE,
    "patch_size": PATCH,
}


@dataclass(frozen=True)
class Built:
    """A model ready to run: ``forward(pixels)`` gives ``[b, classes]``; ``explicit()`` a twin that writes its attention out."""

    module: nn.Module
    forward: Callable[[nn.Module, Tensor], Tensor]
    pixels: Tensor
    explicit: Callable[[], nn.Module]

    def call(self, pixels: Tensor) -> Tensor:
        """The model's logits."""
        return self.forward(self.module, pixels)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    library: str
    make: Callable[[], Built]

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.library}:{self.name}"

    def build(self) -> Built:
        """The model, built once for each process: tests must leave it as it was, which is what they test."""
        return _built(self)


@cache
def _built(case: Case) -> Built:
    return case.make()


#: Parts of the names of parameters that multiply.
GAINS = ("norm", "bn", "gamma", "lambda", "ls1", "ls2", "layer_scale", "ln_")


def redraw(module: nn.Module, seed: int = 0, spread: float = 1.2) -> nn.Module:
    """Every floating parameter drawn anew: matrices with ``spread``/√fan-in, gains about one, biases about zero."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=rng)
            gain = p.dim() <= 1 and any(part in name.lower() for part in GAINS)
            if p.dim() > 1:
                p.copy_(noise * spread / max(1, p[0].numel()) ** 0.5)
            else:
                p.copy_(noise * 0.1 + (1.0 if gain and not name.endswith("bias") else 0.0))
    return module.eval()


def noise_pixels(*shape: int) -> Tensor:
    """Seeded noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def logits_of(output: Any) -> Tensor:
    """Class scores, or as many features of what the model pools."""
    for name in ("logits", "image_embeds", "pooler_output"):
        value = getattr(output, name, None)
        if isinstance(value, Tensor):
            return value if name == "logits" and value.dim() == 2 else value.flatten(1)[:, :CLASSES]
    hidden = output if isinstance(output, Tensor) else output.last_hidden_state
    return hidden[..., :CLASSES] if hidden.dim() == 2 else hidden.mean(dim=1)[:, :CLASSES]


def huggingface(
    kind: str, model: str = "AutoModel", *, kernel: str = "sdpa", inputs: dict[str, Any] | None = None, **config: Any
) -> Callable[[], Built]:
    """A transformers vision model by ``model_type`` and class, with its default attention (``kernel``)."""

    def make() -> Built:
        import transformers
        from transformers import AutoConfig

        settings = {**HF_COMMON, **config}
        made = AutoConfig.for_model(kind, **{name: value for name, value in settings.items() if value is not None})
        made.num_labels = CLASSES
        family = getattr(transformers, model)
        start = family.from_config if model.startswith("Auto") else family._from_config

        def build(attention: str) -> nn.Module:
            return start(copy.deepcopy(made), attn_implementation=attention)

        module = redraw(build(kernel))

        def explicit() -> nn.Module:
            twin = build("eager")
            twin.load_state_dict(module.state_dict())
            return twin.eval()

        def forward(model: nn.Module, pixels: Tensor) -> Tensor:
            return logits_of(model(pixel_values=pixels, **(inputs or {})))

        return Built(module, forward, noise_pixels(BATCH, 3, SIDE, SIDE), explicit)

    return make


def timm_model(name: str, *, side: int = 2 * SIDE, **options: Any) -> Callable[[], Built]:
    """A timm model by name, shrunk."""

    def make() -> Built:
        import timm

        settings = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": HEADS, "img_size": side, "num_classes": CLASSES, **options}
        module = redraw(timm.create_model(name, pretrained=False, **{k: v for k, v in settings.items() if v is not None}))

        def explicit() -> nn.Module:
            twin = copy.deepcopy(module)
            for part in twin.modules():
                if hasattr(part, "fused_attn"):
                    part.fused_attn = False
            return twin

        return Built(module, lambda model, pixels: model(pixels), noise_pixels(BATCH, 3, side, side), explicit)

    return make


def plain(build: Callable[[], nn.Module], side: int = SIDE, batch: int = BATCH, spread: float = 1.2) -> Callable[[], Built]:
    """Any model called on pixels alone; twelve layers want a smaller spread, or rounding alone parts two right answers."""

    def make() -> Built:
        module = redraw(build(), spread=spread)
        return Built(module, lambda model, pixels: model(pixels), noise_pixels(batch, 3, side, side), lambda: copy.deepcopy(module))

    return make


def torchvision_vit(**sizes: Any) -> Callable[[], nn.Module]:
    """torchvision's class at a small size, or ``vit_b_16`` itself."""

    def build() -> nn.Module:
        import torchvision

        return torchvision.models.VisionTransformer(**sizes) if sizes else torchvision.models.vit_b_16(weights=None)

    return build


def open_clip_tower() -> nn.Module:
    """The vision tower of ViT-B-32 itself."""
    import open_clip

    return open_clip.create_model("ViT-B-32").visual


CLASSIFIER = "AutoModelForImageClassification"

HUGGINGFACE = (
    Case("vit", "hf", huggingface("vit", CLASSIFIER)),
    Case("deit", "hf", huggingface("deit", "DeiTForImageClassificationWithTeacher")),
    Case("beit", "hf", huggingface("beit", CLASSIFIER, use_relative_position_bias=True)),
    Case("beit-shared-bias", "hf", huggingface("beit", use_shared_relative_position_bias=True)),
    Case("data2vec-vision", "hf", huggingface("data2vec-vision", CLASSIFIER, use_relative_position_bias=True)),
    Case("dinov2", "hf", huggingface("dinov2", CLASSIFIER, mlp_ratio=2)),
    Case("dinov2_with_registers", "hf", huggingface("dinov2_with_registers", CLASSIFIER, mlp_ratio=2)),
    Case("dinov3_vit", "hf", huggingface("dinov3_vit", num_register_tokens=4)),
    Case("clip", "hf", huggingface("clip_vision_model")),
    Case("siglip", "hf", huggingface("siglip_vision_model")),
    Case("ijepa", "hf", huggingface("ijepa", CLASSIFIER)),
    Case("mlcd", "hf", huggingface("mlcd_vision_model")),
    Case("aimv2", "hf", huggingface("aimv2_vision_model")),
    Case("vit_mae", "hf", huggingface("vit_mae", inputs={"noise": torch.linspace(0, 1, 16).expand(BATCH, -1)})),
    Case("vit_msn", "hf", huggingface("vit_msn", CLASSIFIER)),
    Case("yolos", "hf", huggingface("yolos", image_size=[SIDE, SIDE], num_detection_tokens=3)),
    Case("pixio", "hf", huggingface("pixio", mlp_ratio=2)),
    Case("chinese_clip", "hf", huggingface("chinese_clip_vision_model")),
    Case("blip", "hf", huggingface("blip_vision_model", "BlipVisionModel", kernel="eager")),
    Case("owlvit", "hf", huggingface("owlvit_vision_model", "OwlViTVisionModel")),
    Case("metaclip_2", "hf", huggingface("metaclip_2_vision_model", "MetaClip2VisionModel")),
    Case("altclip", "hf", huggingface("altclip_vision_model", "AltCLIPVisionModel")),
    Case("internvl", "hf", huggingface("internvl_vision", image_size=[SIDE, SIDE], patch_size=[PATCH, PATCH])),
)

TIMM = (
    Case("vit_tiny_patch16_224", "timm", timm_model("vit_tiny_patch16_224")),
    Case("deit_tiny_distilled_patch16_224", "timm", timm_model("deit_tiny_distilled_patch16_224")),
    Case("deit3_small_patch16_224", "timm", timm_model("deit3_small_patch16_224")),
    Case("vit_small_patch14_reg4_dinov2", "timm", timm_model("vit_small_patch14_reg4_dinov2", side=56)),
    Case("eva02_tiny_patch14_224", "timm", timm_model("eva02_tiny_patch14_224", side=56)),
    Case("vit_base_patch16_siglip_224", "timm", timm_model("vit_base_patch16_siglip_224")),
    Case("beit_base_patch16_224", "timm", timm_model("beit_base_patch16_224")),
    Case("cait_xxs24_224", "timm", timm_model("cait_xxs24_224")),
    Case("naflexvit_base_patch16_gap", "timm", timm_model("naflexvit_base_patch16_gap", img_size=None)),
    Case("naflexvit_base_patch16_siglip", "timm", timm_model("naflexvit_base_patch16_siglip", img_size=None)),
    Case("vit_base_patch16_clip_224", "timm", timm_model("vit_base_patch16_clip_224")),
    Case("vit_relpos_base_patch16_224", "timm", timm_model("vit_relpos_base_patch16_224")),
    Case("vit_base_patch16_rope_224", "timm", timm_model("vit_base_patch16_rope_224")),
    Case("vit_small_patch16_dinov3", "timm", timm_model("vit_small_patch16_dinov3")),
    Case("vit_so150m2_patch16_reg1_gap_256", "timm", timm_model("vit_so150m2_patch16_reg1_gap_256")),
)

TORCHVISION = (
    Case(
        "VisionTransformer",
        "torchvision",
        plain(
            torchvision_vit(
                image_size=SIDE, patch_size=PATCH, num_layers=DEPTH, num_heads=HEADS, hidden_dim=WIDTH, mlp_dim=64, num_classes=CLASSES
            )
        ),
    ),
    Case("vit_b_16", "torchvision", plain(torchvision_vit(), side=224, batch=1, spread=0.7)),
)

OPEN_CLIP = (Case("ViT-B-32", "open_clip", plain(open_clip_tower, side=224, batch=1, spread=0.7)),)

HANDWRITTEN = (
    Case("joined-fused", "own", plain(lambda: handwritten.stacked(handwritten.JoinedFused))),
    Case("separate-written", "own", plain(lambda: handwritten.stacked(handwritten.SeparateWritten))),
    Case("multihead", "own", plain(lambda: handwritten.stacked(handwritten.Multihead))),
    Case("encoder", "own", plain(handwritten.encoder)),
    Case("sequence-first", "own", plain(handwritten.SequenceFirst)),
)

CASES = (*HUGGINGFACE, *TIMM, *TORCHVISION, *OPEN_CLIP, *HANDWRITTEN)
