"""A model that is let go of is gone: neither a graph nor a list of ours keeps its weights."""

import gc
import weakref

import pytest
import torch
import torchvision
import transformers

import vitscope as vs
from support.zoo import redraw
from vitscope.errors import CaptureError
from vitscope.trace import Needs

EVERYTHING = Needs(gradients=True, hidden=True, pixel_gradients=True)
SHAPE = (1, 3, 64, 64)
SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 64, "patch_size": 8}


def plain():
    return transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, num_labels=5))


def windowed():
    """Its attention is written out, and its shapes are only known with values."""
    return torchvision.models.swin_transformer.SwinTransformer([4, 4], 24, [1, 1], [2, 4], [4, 4], num_classes=5)


def loaded(build, **given):
    torch.manual_seed(0)
    return vs.load(redraw(build(), spread=0.7), mean=0.5, std=0.5, input_size=64, **given)


def traced(model, needs=EVERYTHING):
    return vs.relevance(model.trace(torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)), needs=needs))


def not_to_the_pixels(model):
    """Its backward pass ends at the first attention: what lies before is saved and never fetched."""
    return traced(model, Needs(gradients=True, hidden=True))


def refused(model):
    with pytest.raises(CaptureError, match="memory"):
        model.trace(torch.zeros(SHAPE), needs=EVERYTHING)


USES = {
    "described": lambda model: model.describe(),
    "footprint": lambda model: model.footprint(SHAPE, EVERYTHING),
    "fullest": lambda model: model.fullest(SHAPE, EVERYTHING),
    "fullest with activations elsewhere": lambda model: model.fullest(SHAPE, EVERYTHING, moved=True),
    "traced": traced,
}


def outlived(build, use, **given):
    """How many weights are still there once the model is not."""
    model = loaded(build, **given)
    weights = [weakref.ref(p) for p in model.module.parameters()]
    use(model)
    del model
    gc.collect()
    return sum(ref() is not None for ref in weights)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("build", [plain, windowed])
def test_a_model_that_is_let_go_of_is_gone(build, use):
    assert outlived(build, USES[use]) == 0


@pytest.mark.parametrize("build", [plain, windowed])
def test_also_with_activations_on_disk(build):
    assert outlived(build, not_to_the_pixels, offload="disk") == 0


@pytest.mark.parametrize("build", [plain, windowed])
def test_also_where_the_limit_refuses_a_pass(build):
    assert outlived(build, refused, memory=1000) == 0
