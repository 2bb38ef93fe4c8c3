"""Every plain ViT name that timm knows, cut to two blocks and a small picture: proven, traced, rolled out, or refused in one line."""

import gc
import re
import sys

import numpy as np
import pytest
import torch

import vitscope as vs
from vitscope.errors import VitscopeError

FAMILIES = ["vision_transformer", "deit", "eva", "beit", "cait", "naflexvit", "vision_transformer_relpos", "vision_transformer_sam", "xcit"]

#: Names left out: wider copies of the same code, some of which cannot be cut and need tens of gigabytes.
TOO_WIDE = re.compile(r"_\db_|giant|huge|enormous|_7b|so400m|so150m|xlarge|pe_\w+_gigantic|gigantic|_large")

#: Refusals there are: part of the name, and words of the line that says why.
REFUSED = (
    ("xcit_", "one query slot"),  # attends over channels, not tokens, but for a class token that reads them in the end
    ("18x2", "which tokens this model's head reads"),  # two attentions side by side in a block
    ("naflexvit_base_patch16_map", "which tokens this model's head reads"),  # pools over the patches alone, not over all tokens
    ("vit_d", "2 attentions at one module"),  # differential attention: two maps a block, one taken from the other
    ("samvit_base_patch16", "which tokens this model's head reads"),  # its neck mixes places after the last attention
    ("vit_pe_core_tiny_patch16_384", "does not depend on attention"),  # untrained, one of its calls moves the answer no more than rounding
    ("_r26_", "depends on a part of the picture"),  # a convolutional stem whose every token sees the whole picture
    ("_r50_", "depends on a part of the picture"),
    ("resnet", "depends on a part of the picture"),
)


def build(timm, name):
    """A model of that name with two blocks and 112 px where its family can be cut, its own numbers otherwise."""
    torch.manual_seed(0)
    for short in ({"depth": 2, "img_size": 112}, {"depth": 2}, {}):
        try:
            return timm.create_model(name, pretrained=False, num_classes=7, **short).eval()
        except (TypeError, AssertionError, ValueError):
            continue
    raise AssertionError(name)


def trial(timm, name):
    """What went wrong with one name ("" for nothing)."""
    module = build(timm, name)
    for parameter in module.parameters():  # zero heads and tiny layer scales of untrained models hide what attention does
        if parameter.dim() <= 1 or not parameter.any():
            torch.nn.init.normal_(parameter.data, std=0.5)
    model = vs.load(module)
    pixels = torch.randn(1, 3, *model.input_size, generator=torch.Generator().manual_seed(1))
    trace = model.trace(pixels)
    m = vs.rollout(trace)
    gh, gw = trace.layout.grid
    total = float(m.values.sum()) + m.meta.get("padding", 0.0)  # SAM's windows reach beyond a small picture, and the map says by how much
    whole = abs(total - 1) < 1e-3 or (0 < total < 1 and any("sum to less than 1" in note for note in m.notes))
    if m.grid.shape != (gh, gw) or not whole or not np.isfinite(m.grid).all():
        return f"rollout sums to {total:.4f} on {m.grid.shape}"
    return ""


@pytest.mark.long
def test_every_plain_vit_of_timm(record_property):
    timm = pytest.importorskip("timm")
    names = sorted({name for family in FAMILIES for name in timm.list_models(module=family) if not TOO_WIDE.search(name)})
    wrong, refused = {}, {}
    for name in names:
        try:
            said = trial(timm, name)
            if said:
                wrong[name] = said
        except VitscopeError as error:
            refused[name] = str(error)
        gc.collect()
        sys.stdout.write(f"{name}: {wrong.get(name) or refused.get(name) or 'proven'}\n")
    record_property("names", len(names))
    record_property("refused", len(refused))
    unexpected = {n: s for n, s in refused.items() if not any(part in n and words in s for part, words in REFUSED)}
    assert not wrong, wrong
    assert not unexpected, unexpected
