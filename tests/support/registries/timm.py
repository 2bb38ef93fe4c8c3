"""timm: every module that defines models, at least one model each, the smallest by its name, cut short where its family can be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from support.registries.row import Small, usable

BATCH = 2
#: Kinds that come in these widths only are wider copies of the same code.
WIDE = re.compile(r"giant|huge|gigantic|xlarge|enormous|_l2|154|_xl|_1b_|nasnet|hardcorenas_[^a]|_[bm]36|xlarge|tf_|test_")
#: Mixtures of block kinds that stand in rows of their own (halo, bottleneck, lambda), at 256 px, where a stem takes minutes to measure.
MIXED = re.compile(r"^(sehalonet|eca_halonext|halo2botnet|lamhalobotnet)")
#: Kinds whose last stage would be too small to tell its rows apart in a picture of less than 128 px.
LARGE = re.compile(r"^(maxvit|maxxvit|mobilevit|twins)")
#: Kinds whose only norms are batch norms, of no statistics yet: weights drawn large grow from block to block until rounding decides.
GENTLY = re.compile(r"^levit")
#: Words that make a model larger; fewer of them are smaller.
SIZES = ("pico", "femto", "atto", "nano", "xxs", "xxtiny", "xtiny", "xs", "tiny", "micro", "mini", "small", "_s", "medium", "base", "large")


def entries() -> Iterator[tuple[str, str]]:
    """(module, model) of one model for each variant of code: the smallest of each module, and of each kind inside the large modules."""
    import timm

    for module in sorted(set(timm.models._registry._model_to_module.values())):
        names = timm.list_models(module=module)
        kinds: dict[str, list[str]] = {}
        for name in names:
            kinds.setdefault(re.split(r"[\d.]|_(?=tiny|small|base|large|nano|pico|xs|s$|m$|l$)", name)[0].rstrip("_"), []).append(name)
        for name in sorted({min(group, key=_largeness) for group in kinds.values()}, key=_largeness):
            if not WIDE.search(name) and not MIXED.search(name):
                yield module, name


def _largeness(name: str) -> tuple[int, int, str]:
    rank = next((i for i, word in enumerate(SIZES) if word in name), SIZES.index("base"))
    numbers = [int(n) for n in re.findall(r"\d+", name)]
    return rank, max(numbers, default=0), name


def build(name: str) -> Small:
    """One model, cut to two blocks and a small picture where its family can be."""
    import timm

    failed: Exception | None = None
    for short in (
        {"depth": 2, "img_size": 64},
        {"depth": 2, "img_size": 112},
        {"depth": 2},
        {"img_size": 64},
        {"img_size": 112},
        {"img_size": 128},
        {},
        {"own": True},
    ):
        if LARGE.search(name) and short.get("img_size", 128) < 128:
            continue
        torch.manual_seed(0)
        made = {key: value for key, value in short.items() if key != "own"}
        try:
            module: nn.Module = timm.create_model(name, pretrained=False, num_classes=5, **made).eval()
            side = short.get("img_size") or _side(module, own="own" in short)
            return _ready(module, (side, side) if isinstance(side, int) else side, spread=1.0 if GENTLY.search(name) else 1.2)
        except Exception as error:  # noqa: BLE001 - whatever the library says of this size
            failed = error
    raise failed or ValueError(name)


def _side(module: nn.Module, *, own: bool) -> tuple[int, int] | int:
    """Models of any size get a small picture; the others their own."""
    _, h, w = module.pretrained_cfg["input_size"]
    return (h, w) if own or module.pretrained_cfg.get("fixed_input_size") else min(h, 128)


def _ready(module: nn.Module, size: tuple[int, int], spread: float) -> Small:
    pixels = torch.randn(BATCH, 3, *size, generator=torch.Generator().manual_seed(1))

    def forward(x: Tensor) -> Tensor:
        out = module(x)
        return out if isinstance(out, Tensor) else torch.stack(list(out)).mean(dim=0)

    usable(module, forward, pixels, spread)
    return Small(module, forward, pixels, size)
