"""Every plain ViT name that timm knows, cut to two blocks: loaded, proven, traced, rolled out — or refused in one line, by name."""

import gc
import sys

import numpy as np
import pytest
import torch

import vitscope as vs
from vitscope.errors import VitscopeError

FAMILIES = ["vision_transformer", "deit", "eva", "beit", "cait", "naflexvit", "vision_transformer_relpos", "vision_transformer_sam", "xcit"]

#: Names that are refused, by what the refusal says: attention that is not over tokens, or windows of them.
REFUSED = {"xcit_": "attention", "samvit_": "token"}


def build(timm, name):
    """A model of that name with two blocks where its family can be cut, its own number of them otherwise."""
    torch.manual_seed(0)
    for short in ({"depth": 2}, {}):
        try:
            return timm.create_model(name, pretrained=False, num_classes=7, **short).eval()
        except TypeError:
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
    if m.grid.shape != (gh, gw) or abs(float(m.values.sum()) - 1) > 1e-3 or not np.isfinite(m.grid).all():
        return f"rollout sums to {float(m.values.sum()):.4f} on {m.grid.shape}"
    return ""


@pytest.mark.long
def test_every_plain_vit_of_timm(record_property):
    timm = pytest.importorskip("timm")
    names = sorted({name for family in FAMILIES for name in timm.list_models(module=family)})
    wrong, refused = {}, {}
    for name in names:
        try:
            said = trial(timm, name)
            if said:
                wrong[name] = said
        except VitscopeError as error:
            refused[name] = str(error)
        gc.collect()
    record_property("names", len(names))
    record_property("refused", len(refused))
    sys.stdout.writelines(f"refused {name}: {said}\n" for name, said in refused.items())
    unexpected = {n: s for n, s in refused.items() if not any(n.startswith(p) and w in s for p, w in REFUSED.items())}
    assert not wrong, wrong
    assert not unexpected, unexpected
