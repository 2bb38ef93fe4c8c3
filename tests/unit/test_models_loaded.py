"""A loaded model traced in every way: photos, tensors, batches, fewer tokens, re-drawn weights; and nothing left on it."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from support.handwritten import JoinedFused, Multihead, SeparateWritten, encoder, stacked
from vitscope import methods
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, CaptureError, ModelError, PhotoError
from vitscope.methods.attention import attention
from vitscope.models import load
from vitscope.models.opaque import opaque
from vitscope.models.preparing import Preparation
from vitscope.models.weights import version
from vitscope.trace import Inputs, Needs

PHOTOS = [np.random.default_rng(i).integers(0, 256, (40 + 10 * i, 60, 3), dtype=np.uint8) for i in range(3)]
EVERYTHING = Needs(hidden=True, gradients=True, layer_scores=True, pixel_gradients=True)


def vit(**more):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 32,
        "patch_size": 8,
    }
    return transformers.ViTForImageClassification(transformers.ViTConfig(**{**sizes, "num_labels": 4, **more})).eval()


def loaded(module=None, **given):
    return load(module or vit(), mean=0.5, std=0.5, **given)


def state(module):
    return (
        {name: value.clone() for name, value in module.state_dict().items()},
        [(name, part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for name, part in module.named_modules()],
        [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in module.parameters()],
        sorted(vars(module)),
    )


def same(a, b):
    return all(torch.equal(a[0][name], b[0][name]) for name in a[0]) and a[1:] == b[1:]


def test_one_batch_equals_one_by_one_and_the_model_itself():
    model = loaded()
    batch = model.trace(PHOTOS)
    assert len(batch) == 3
    for i, photo in enumerate(PHOTOS):
        one = model.trace(photo)
        torch.testing.assert_close(one.logits[0], batch.logits[i], atol=1e-6, rtol=0)
        assert one.placements[0] == batch.placements[i]
    with torch.no_grad():
        torch.testing.assert_close(model.module(batch.pixels).logits, batch.logits, atol=1e-6, rtol=0)


def test_paths_pictures_arrays_and_samples_are_the_same_photo(tmp_path):
    model = loaded()
    Image.fromarray(PHOTOS[0]).save(tmp_path / "p.png")
    traces = [model.trace(source) for source in (PHOTOS[0], Image.fromarray(PHOTOS[0]), tmp_path / "p.png", str(tmp_path / "p.png"))]
    assert all(torch.equal(t.logits, traces[0].logits) for t in traces)
    assert torch.equal(model.trace(traces[2].samples[0]).logits, traces[0].logits)
    with pytest.raises(PhotoError):
        model.trace(tmp_path / "none.png")


def test_prepared_tensors_are_shown_with_the_normalisation_undone():
    model = loaded()
    photo = model.trace(PHOTOS[0])
    fed = model.trace(photo.pixels)
    assert torch.equal(fed.logits, photo.logits)
    shown = fed.samples[0].photo.astype(int)
    expected = ((photo.pixels[0] * 0.5 + 0.5) * 255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(shown - expected).max() <= 1
    assert "fed as a tensor" in fed.samples[0].notes[0]
    assert fed.placements[0].photo_size == (32, 32)
    assert len(model.trace([photo.pixels[0], photo.pixels[0]])) == 2
    unknown = load(stacked(JoinedFused).eval())
    assert unknown.trace(torch.randn(2, 3, 32, 32)).samples[1].id == "tensor-2"
    for wrong in (torch.zeros(3, 3), torch.zeros(1, 4, 32, 32), torch.zeros(0, 3, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)):
        with pytest.raises(ArgumentError, match="prepared pixels"):
            model.trace(wrong)


@pytest.mark.parametrize("build", [vit, lambda: stacked(JoinedFused).eval(), lambda: encoder().eval()], ids=["hf", "own", "encoder"])
def test_the_model_is_left_as_it_was(build):
    module = build()
    before = state(module)
    model = load(module, input_size=32, mean=0.5, std=0.5)
    trace = model.trace(PHOTOS[:2], needs=EVERYTHING, target=1)
    trace.again(Needs(), None, Inputs(redraw=3))
    trace.again(Needs(), None, Inputs(keep=torch.arange(17)[None].expand(2, -1) != 5))
    model.describe()
    assert same(before, state(module))
    with pytest.raises(ArgumentError):
        model.trace(PHOTOS[0], needs=EVERYTHING, target="no such label")
    assert same(before, state(module))


def test_randomness_of_the_caller_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loaded(copy.deepcopy(MODULE)).trace(PHOTOS[0], needs=EVERYTHING)
    assert torch.equal(torch.rand(3), expected)


MODULE = vit()


def test_training_mode_is_refused_and_not_switched():
    module = vit(hidden_dropout_prob=0.5).train()
    with pytest.raises(CaptureError, match="training mode"):
        loaded(module).trace(PHOTOS[0])
    assert module.training


def test_again_with_a_target_equals_autograd():
    model = loaded()
    trace = model.trace(PHOTOS[:2])
    found = trace.again(EVERYTHING, Target((1, 2), (0, 0)))
    pixels = trace.pixels.clone().requires_grad_()
    logits = model.module(pixels).logits
    (expected,) = torch.autograd.grad(logits[0, 1] - logits[0, 0] + logits[1, 2] - logits[1, 0], pixels)
    torch.testing.assert_close(found.pixel_grads, expected, atol=1e-6, rtol=1e-4)
    assert len(found.hidden) == len(found.hidden_grads) == 2
    assert found.target.index == (1, 2)
    assert trace.again(Needs(gradients=True)).target.index == tuple(trace.logits.argmax(dim=-1).tolist())


def test_other_pixels_and_other_batch_sizes():
    trace = loaded().trace(PHOTOS[:2])
    more = torch.cat([trace.pixels, trace.pixels.flip(-1)])
    found = trace.again(Needs(), None, Inputs(pixels=more))
    torch.testing.assert_close(found.logits[:2], trace.logits, atol=1e-6, rtol=0)
    assert found.placements == trace.placements * 2
    assert len(trace.again(Needs(), None, Inputs(pixels=more[:1]))) == 1
    with pytest.raises(ArgumentError, match="pixels"):
        trace.again(Needs(), None, Inputs(pixels=torch.zeros(1, 3, 64, 64)))


@pytest.mark.parametrize("block", [JoinedFused, SeparateWritten, Multihead])
def test_dropped_tokens_are_gone(block):
    torch.manual_seed(0)
    module = stacked(block).eval()
    torch.nn.init.normal_(module.position)
    trace = load(module, input_size=32, mean=0.5, std=0.5).trace(PHOTOS[:2])
    keep = torch.ones(2, 17, dtype=torch.bool)
    keep[0, [3, 4]] = keep[1, [7, 16]] = False
    found = trace.again(Needs(), None, Inputs(keep=keep))
    assert found.exact_drop == "removed"
    with torch.no_grad():
        for i in range(2):
            x = module.embed(trace.pixels[i : i + 1]).flatten(2).transpose(1, 2)
            x = (torch.cat([module.cls, x], dim=1) + module.position)[:, keep[i]]
            expected = module.head(module.norm(module.blocks(x))[:, 0])
            torch.testing.assert_close(found.logits[i], expected[0], atol=1e-5, rtol=0)


def test_redrawn_weights_are_a_seeded_shuffle_of_a_copy():
    model = loaded()
    trace = model.trace(PHOTOS[0])
    one, again, other = (trace.again(Needs(), None, Inputs(redraw=seed)).logits for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, trace.logits)
    twin = model.redrawn(1)
    assert twin is model.redrawn(1)
    for (name, mine), theirs in zip(model.module.named_parameters(), twin.parameters(), strict=True):
        if mine.dim() >= 2:
            assert torch.equal(mine.flatten().sort().values, theirs.flatten().sort().values)
            assert mine.numel() < 3 or not mine.any() or not torch.equal(mine, theirs), name
        else:
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("method", ["occlusion", "integrated_gradients"])
def test_methods_on_a_trace_of_redrawn_weights_stay_with_them(method):
    if method == "integrated_gradients":
        pytest.importorskip("captum")
    model = loaded()
    trace = model.trace(PHOTOS[0])
    twin_trace = trace.again(Needs(), None, Inputs(redraw=3))
    assert twin_trace.provenance.weights == f"{model.weights_fingerprint()} re-drawn with seed 3"
    run = getattr(methods, method)
    found = run(twin_trace, target=1).values
    np.testing.assert_allclose(found, run(loaded(model.redrawn(3)).trace(PHOTOS[0]), target=1).values, atol=1e-6)
    assert not np.allclose(found, run(trace, target=1).values, atol=1e-3)


def test_fingerprint_follows_the_weights():
    model = loaded()
    first = model.trace(PHOTOS[0]).provenance.weights
    assert len(first) == 16
    assert load(copy.deepcopy(model.module)).weights_fingerprint() == first
    with torch.no_grad():
        model.module.classifier.bias.add_(1)
    assert model.trace(PHOTOS[0]).provenance.weights != first


@pytest.mark.parametrize("change", [lambda w: w.data.mul_(1.5), lambda w: w.data.copy_(w.data.flip(0)), lambda w: w.data[0, :1].add_(1e-3)])
def test_weights_changed_since_a_trace_are_refused_and_learnt_anew(change):
    model = loaded()
    trace = model.trace(PHOTOS[0])
    first, twin = model.weights_fingerprint(), model.redrawn(1)
    change(model.module.classifier.weight)
    assert model.weights_fingerprint() != first
    assert model.redrawn(1) is not twin
    with pytest.raises(CaptureError, match=r"the weights changed since this trace.*trace again"):
        trace.again(Needs(), None, Inputs(pixels=trace.pixels))
    assert model.trace(PHOTOS[0]).again(Needs(gradients=True)).needs.gradients


def test_a_new_head_is_learnt_anew():
    model = loaded()
    torch.nn.init.zeros_(model.module.classifier.weight)
    assert model.trace(PHOTOS[0]).labels == tuple(model.labels)
    model.module.classifier = torch.nn.Linear(16, 9)
    model.described = dataclasses.replace(model.described, labels=())
    trace = model.trace(PHOTOS[0], needs=EVERYTHING, target=8)
    assert len(trace.labels) == trace.logits.shape[1] == len(model.labels) == 9


def test_the_checksum_of_weights_takes_any_tensor():
    tensors = {
        "odd": torch.randn(3001)[1:],
        "half": torch.randn(5).half(),
        "bool": torch.ones(3, dtype=torch.bool),
        "empty": torch.empty(0),
        "scalar": torch.tensor(3),
        "complex": torch.randn(3, dtype=torch.complex64),
        "strided": torch.randn(40, 60).t(),
    }
    module = torch.nn.Module()
    for name, value in tensors.items():
        module.register_buffer(f"weight_{name}", value)
    seen = {version(module)}
    for name, value in tensors.items():
        assert version(module) in seen
        if value.numel():
            value.data.reshape(-1)[-1:].logical_not_() if value.dtype == torch.bool else value.data[..., -1:].mul_(
                -2
            ) if value.dim() else value.data.mul_(2)
            assert version(module) not in seen, name
            seen.add(version(module))


def test_provenance_names_what_made_the_result():
    provenance = loaded(seed=7).trace(PHOTOS[0]).provenance
    assert provenance.model == "ViTForImageClassification"
    assert provenance.preprocessing == "resize to 32×32 bilinear, mean 0.5, std 0.5"
    assert (provenance.dtype, provenance.device, provenance.attention, provenance.seed) == ("float32", "cpu", "sdpa", 7)
    assert set(provenance.versions) == {"vitscope", "torch", "transformers"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype):
    module = vit().to(dtype)
    trace = loaded(module).trace(PHOTOS[0], needs=Needs(gradients=True))
    assert trace.logits.dtype == dtype
    assert trace.provenance.dtype == str(dtype).removeprefix("torch.")
    assert trace.layout.grid == (4, 4)
    assert [r.name for r in trace.layout.readouts] == ["cls"]


def test_description_for_inspect():
    found = loaded().describe()
    assert [call["path"] for call in found["calls"]] == [c.path for c in loaded().trace(PHOTOS[0]).calls]
    assert {(call["kind"], call["heads"], call["queries"], call["keys"]) for call in found["calls"]} == {("sdpa", 2, 17, 17)}
    assert set(found["proof"]) == {"complete", "shape", "rows", "reconstruction", "effect"}
    assert all(check["passed"] for check in found["proof"].values())
    assert all(method["available"] for method in found["methods"])
    headless = load(
        transformers.Dinov2Model(
            transformers.Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
        ).eval()
    )
    closed = {m["name"]: m["why"] for m in headless.describe()["methods"] if not m["available"]}
    assert set(closed) == {"gradient-rollout", "relevance", "grad-cam", "legrad", "integrated-gradients", "occlusion"}
    assert all(why.startswith("only of a target of its own: feature:NUMBER") for why in closed.values())


def test_methods_in_the_description_are_the_methods_there_are():
    from vitscope.methods import METHODS
    from vitscope.models import loaded as module

    assert [(name, scored) for name, scored, _ in module.METHODS] == [(m.name, m.class_specific) for m in METHODS.values()]


@pytest.mark.parametrize("build", [lambda: stacked(JoinedFused), lambda: stacked(SeparateWritten), lambda: stacked(Multihead), encoder])
@pytest.mark.parametrize("wrap", ["tensor", "tuple", "dict", "object"])
def test_modules_of_ones_own(build, wrap):
    torch.manual_seed(0)
    inner = build().eval()
    torch.nn.init.normal_(inner.cls)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            logits = self.inner(x)
            made = {"tensor": logits, "tuple": (logits, None), "dict": {"logits": logits}}
            return made.get(wrap, transformers.modeling_outputs.ImageClassifierOutput(logits=logits))

    model = load(Wrapped().eval(), input_size=32, mean=(0.1, 0.2, 0.3), std=0.5, labels=[*"abcde"])
    trace = model.trace(PHOTOS[:2], needs=EVERYTHING, target=("a", "b"))
    assert trace.layout.grid == (4, 4)
    assert [r.name for r in trace.layout.readouts] == ["cls"]
    assert len(trace.blocks) == 3
    with torch.no_grad():
        torch.testing.assert_close(trace.logits, inner(trace.pixels), atol=1e-5, rtol=0)


def test_an_output_that_is_no_score_is_said():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stacked(JoinedFused)

        def forward(self, x):
            self.inner(x)
            return "cat"

    with pytest.raises(ModelError, match="an output of type str"):
        load(Odd().eval()).trace(torch.randn(1, 3, 32, 32))


def to_tensor(image):
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)


FUNCTIONS = {
    "squash": lambda im: to_tensor(im.resize((32, 32))),
    "centre": lambda im: to_tensor(im.resize((80, 60)).crop((24, 14, 56, 46))) * 3 - 1,
    "corner": lambda im: to_tensor(im.crop((0, 0, 32, 32))),
    "padded": lambda im: torch.nn.functional.pad(to_tensor(im.resize((32, 24))), (0, 0, 3, 5), value=0.3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_ones_own_is_measured(name):
    sample = loaded().trace(np.repeat(np.repeat(PHOTOS[0], 8, 0), 8, 1)).samples[0]
    assert sample.size == (320, 480)
    _, placement = Preparation(opaque(FUNCTIONS[name]), "")(sample)
    expected = {
        "squash": ((0.1, 32 / 480), (0, 0)),
        "centre": ((60 / 320, 80 / 480), (-14, -24)),
        "corner": ((1, 1), (0, 0)),
        "padded": ((24 / 320, 32 / 480), (3, 0)),
    }[name]
    np.testing.assert_allclose(placement.scale, expected[0], rtol=0.01)
    np.testing.assert_allclose(placement.offset, expected[1], atol=0.5)


def test_a_function_that_turns_the_picture_is_refused():
    model = load(stacked(JoinedFused).eval(), preprocess=lambda im: to_tensor(im.resize((32, 32)).rotate(180)))
    with pytest.raises(ModelError, match="from a straight line"):
        model.trace(PHOTOS[0])
    with pytest.raises(ModelError, match=r"expected a tensor \[3, h, w\]"):
        load(stacked(JoinedFused).eval(), preprocess=lambda im: torch.zeros(1, 8, 8)).trace(PHOTOS[0])


def test_photos_prepared_to_different_sizes_are_refused():
    model = load(stacked(JoinedFused).eval(), preprocess=to_tensor)
    with pytest.raises(ModelError, match="photos prepared to 40×60 and 50×60"):
        model.trace(PHOTOS[:2])


@pytest.mark.parametrize("prepared", [False, True], ids=["photo", "tensor"])
def test_pixels_that_no_patch_covers_were_not_seen(prepared):
    model = load(stacked(JoinedFused).eval(), input_size=36, mean=0.5, std=0.5)
    trace = model.trace(torch.randn(2, 3, 36, 36) if prepared else PHOTOS[:2])
    share = trace.layout.covered[2] * trace.layout.covered[3] / 36**2
    assert share == pytest.approx((32 / 36) ** 2)
    assert [place.seen_share for place in trace.placements] == pytest.approx([share] * 2)
    again = trace.again(Needs(), None, Inputs())
    assert again.placements == trace.placements
    drawn = attention(trace)[0].on_image()
    assert np.isfinite(drawn).mean() == pytest.approx(trace.placements[0].seen_mask().mean())


def composed(*steps):
    T = pytest.importorskip("torchvision.transforms")

    return T.Compose([T.Resize((32, 32)), *(step(T) for step in steps), T.ToTensor()])


MOVES = {
    "flip": lambda: composed(lambda T: T.RandomHorizontalFlip(1.0)),
    "rotation": lambda: composed(lambda T: T.RandomRotation((90, 90))),
    "lambda flip": lambda: composed(lambda T: T.Lambda(lambda im: im.transpose(Image.Transpose.FLIP_LEFT_RIGHT))),
    "quarter turn": lambda: lambda im: to_tensor(im.resize((32, 32)).transpose(Image.Transpose.ROTATE_90)),
    "transposed": lambda: lambda im: to_tensor(im.resize((32, 32))).transpose(1, 2),
    "half flipped": lambda: lambda im: (t := to_tensor(im.resize((32, 32))), torch.cat([t[:, :16], t[:, 16:].flip(2)], 1))[1],
    "random crop": lambda: composed(lambda T: T.RandomResizedCrop((32, 32))),
    "random roll": lambda: lambda im: to_tensor(im.resize((32, 32))).roll(int(np.random.randint(0, 2)), 2),  # noqa: NPY002 - the global one
}


@pytest.mark.parametrize("name", MOVES)
def test_preprocessing_that_moves_pixels_is_refused(name):
    model = load(stacked(JoinedFused).eval(), preprocess=MOVES[name]())
    with pytest.raises(ModelError, match=r"from a straight line|draws random numbers"):
        model.trace(PHOTOS[0])


def test_a_crop_hidden_in_a_list_of_transforms_is_measured():
    cut = composed(lambda T: T.Lambda(lambda im: im.crop((0, 0, 16, 16)).resize((32, 32))))
    placement = load(stacked(JoinedFused).eval(), preprocess=cut).trace(np.repeat(np.repeat(PHOTOS[0], 8, 0), 8, 1)).placements[0]
    np.testing.assert_allclose(placement.scale, (64 / 320, 64 / 480), rtol=0.02)
    np.testing.assert_allclose(placement.seen, (0, 0, 160, 240), atol=4)
