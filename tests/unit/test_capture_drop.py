"""Dropping tokens: taken out of the sequence or masked as keys, and which of the two a model means."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from support import handwritten
from support.footprint import footprint
from support.zoo import CASES, Built, redraw
from vitscope.capture import choose_drop, run
from vitscope.errors import CaptureError
from vitscope.trace import Needs

BY_ID = {case.id: case for case in CASES}
HIDDEN = Needs(hidden=True)


def setting(name: str) -> tuple[Built, int, Tensor]:
    """The model, its tokens, and which of them are patches (the last ones)."""
    built = BY_ID[name].build()
    tokens = run(built.module, built.call, built.pixels).calls[0].keys
    prefix = tokens - int(tokens**0.5) ** 2
    return built, tokens, torch.arange(prefix, tokens)


def pattern(tokens: int) -> Tensor:
    keep = torch.ones(2, tokens, dtype=torch.bool)
    keep[0, [-1, -3, -4]] = False
    keep[1, [-2, -5, -7]] = False
    return keep


REMOVED = [
    "hf:vit",
    "hf:dinov2_with_registers",
    "hf:clip",
    "timm:deit3_small_patch16_224",
    "timm:vit_base_patch16_siglip_224",
    "timm:cait_xxs24_224",
    "torchvision:VisionTransformer",
    "own:joined-fused",
    "own:separate-written",
    "own:multihead",
    "own:encoder",
    "own:sequence-first",
]
MASKED = ["hf:dinov3_vit", "hf:beit", "timm:eva02_tiny_patch14_224", "timm:beit_base_patch16_224", "timm:vit_relpos_base_patch16_224"]


@pytest.mark.parametrize(("name", "expected"), [*((name, "removed") for name in REMOVED), *((name, "masked") for name in MASKED)])
def test_the_way_is_found_by_trying(name, expected):
    built, tokens, patches = setting(name)
    before = footprint(built.module)
    assert choose_drop(built.module, built.call, built.pixels, tokens=tokens, patches=patches) == expected
    assert footprint(built.module) == before


@pytest.mark.parametrize("name", [name for name in REMOVED if "cait" not in name])
def test_masked_and_removed_leave_the_same_tokens(name):
    built, tokens, _ = setting(name)
    keep = pattern(tokens)
    removed = run(built.module, built.call, built.pixels, needs=HIDDEN, keep=keep, drop="removed")
    masked = run(built.module, built.call, built.pixels, needs=HIDDEN, keep=keep, drop="masked")
    whole = run(built.module, built.call, built.pixels, needs=HIDDEN)
    for short, long, full in zip(removed.hidden, masked.hidden, whole.hidden, strict=True):
        torch.testing.assert_close(short, long[keep].view_as(short), atol=2e-5, rtol=1e-4)
        assert (long - full).abs().max() > 1e-2
    assert removed.calls[0].keys == tokens - 3


@pytest.mark.parametrize("name", ["hf:vit", "timm:beit_base_patch16_224", "hf:blip", "own:separate-written", "own:encoder"])
def test_masked_keys_get_no_attention_on_top_of_the_models_own_mask(name):
    built, tokens, _ = setting(name)
    keep = pattern(tokens)
    for call in run(built.module, built.call, built.pixels, keep=keep, drop="masked").calls:
        rows = call.rows()
        assert rows[0][:, :, ~keep[0]].max() == rows[1][:, :, ~keep[1]].max() == 0
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
        torch.testing.assert_close(rows @ call.v, call.out, atol=1e-5, rtol=1e-4)


def test_a_head_that_averages_patches_is_why_logits_are_not_compared():
    built, tokens, patches = setting("timm:vit_so150m2_patch16_reg1_gap_256")
    keep = torch.ones(2, tokens, dtype=torch.bool)
    keep[:, -5:] = False
    removed, masked = (run(built.module, built.call, built.pixels, keep=keep, drop=how) for how in ("removed", "masked"))
    assert (removed.logits - masked.logits).abs().max() > 1e-3
    assert choose_drop(built.module, built.call, built.pixels, tokens=tokens, patches=patches) == "removed"


class Slid(handwritten.JoinedFused):
    """Adds positions by place in the sequence: runs on a shorter one, and means something else by it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.linspace(-1, 1, 17)[None, : x.shape[1], None])


def test_a_model_that_runs_shortened_but_means_something_else_is_masked():
    module = redraw(handwritten.stacked(Slid))
    built, tokens, patches = setting("own:joined-fused")
    assert choose_drop(module, module, built.pixels, tokens=tokens, patches=patches) == "masked"


def test_uneven_and_misfitting_choices_are_refused():
    built, tokens, _ = setting("hf:vit")
    keep = pattern(tokens)
    keep[0, -2] = False
    with pytest.raises(CaptureError, match="pictures keep 13 to 14 tokens"):
        run(built.module, built.call, built.pixels, keep=keep)
    for how, text in (("removed", "the block is given"), ("masked", "cannot drop tokens here")):
        with pytest.raises(CaptureError, match=text):
            run(built.module, built.call, built.pixels, keep=pattern(tokens + 2), drop=how)
