"""Scores at pixels: read off the head's grid where the photo's pixel lies, and explained; against slow twins in float64."""

from functools import cache

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional as F

import vitscope as vs
from support import tasks
from vitscope.core.placement import Placement
from vitscope.core.readings import pixel_weights, region_weights
from vitscope.errors import ArgumentError, MethodError
from vitscope.scoring import columns, score

PHOTO = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (70, 60, 3), dtype=np.uint8)
ALL = pytest.mark.parametrize("name", tasks.PIXELS)


@cache
def loaded(name, resize="squash"):
    return vs.load(tasks.build(name), mean=0.5, std=0.5, input_size=tasks.SIDE, resize=resize)


def dense_of(model, pixels):
    """The head's own scores ``[b, c, h, w]``."""
    out = model.module(pixels)
    return out.logits if hasattr(out, "logits") else out.predicted_depth[:, None]


@ALL
def test_a_pixels_score_is_what_resizing_the_scores_to_the_photo_gives(name):
    model = loaded(name)
    trace = model.trace([PHOTO, OTHER])
    with torch.no_grad():
        logits = dense_of(model, trace.pixels)
    for y, x in ((0, 0), (17, 33), (49, 59)):
        aim = trace.resolve(vs.Pixel(y, x))
        for i, photo in enumerate((PHOTO, OTHER)):
            whole = F.interpolate(logits[i : i + 1], size=photo.shape[:2], mode="bilinear", align_corners=False)[0, :, y, x]
            assert (columns(trace.whole, aim)[i] - whole).abs().max() < 1e-9 * whole.abs().max()
            assert aim.index[i] == int(whole.argmax())
    assert aim.names[0].endswith("at pixel (49, 59)")


@ALL
def test_a_regions_score_is_the_mean_over_its_pixels(name):
    model = loaded(name)
    trace = model.trace(PHOTO)
    with torch.no_grad():
        whole = F.interpolate(dense_of(model, trace.pixels), size=PHOTO.shape[:2], mode="bilinear", align_corners=False)[0]
    mask = np.zeros(PHOTO.shape[:2], dtype=bool)
    mask[10:31, 20:60] = True
    mask[12, 25] = False
    for target, where in ((vs.Region(mask=mask), mask), (vs.Region((20, 10, 60, 31)), None), ("region:20,10,60,31", None)):
        chosen = where if where is not None else np.pad(np.ones((21, 40), dtype=bool), ((10, 19), (20, 20)))
        aim = trace.resolve(target)
        mean = whole[:, torch.as_tensor(chosen)].mean(dim=1)
        assert (columns(trace.whole, aim)[0] - mean).abs().max() < 1e-9 * mean.abs().max()
        assert aim.index == (int(mean.argmax()),)
    assert trace.resolve(None).names[0].endswith("at the whole photo")


@ALL
def test_occlusion_of_a_pixel_is_the_models_own_score_without_that_patch(name):
    model = loaded(name)
    trace = model.trace(PHOTO)
    found = vs.occlusion(trace, target="pixel:20,30")
    assert found.parameters["drop"] == "pixels"
    unit = found.parameters.get("cell", 1)
    patch = trace.layout.stride[0]

    def at(pixels):
        with torch.no_grad():
            whole = F.interpolate(dense_of(model, pixels), size=PHOTO.shape[:2], mode="bilinear", align_corners=False)
        return float(whole[0, trace.resolve("pixel:20,30").index[0], 20, 30])

    hidden = trace.pixels.clone()
    edge = 30 if name == "segformer" else unit * patch  # SegFormer's patches overlap: 7 px, 4 apart, from -3; the middle 4 count
    hidden[..., :edge, :edge] = 0
    assert found.grid[0, 0] == pytest.approx(at(trace.pixels) - at(hidden), abs=1e-5)


@ALL
def test_grad_cam_and_integrated_gradients_of_a_pixel_equal_autograd(name):
    model = loaded(name)
    trace = model.trace(PHOTO)
    aim = trace.resolve(vs.Pixel(20, 30))
    layer = 1
    kept = []
    path = model.facts().blocks.paths[layer]
    hook = model.module.get_submodule(path).register_forward_hook(lambda _, __, out: kept.append(out if torch.is_tensor(out) else out[0]))
    pixels = trace.pixels.clone().requires_grad_()
    whole = F.interpolate(dense_of(model, pixels), size=PHOTO.shape[:2], mode="bilinear", align_corners=False)
    hook.remove()
    total = whole[0, aim.index[0], 20, 30]
    g_z, g_x = torch.autograd.grad(total, [kept[0], pixels])
    z, g = kept[0][0], g_z[0]
    layout = trace.layout_of(layer)
    cam = (z @ g[layout.patches].mean(dim=0)).clamp(min=0)[layout.patches].detach().numpy()
    found = vs.grad_cam(trace, target=aim, layer=layer)
    assert np.abs(found.values[0][layout.patches] - cam).max() < 1e-9 * max(cam.max(), 1e-3)
    from vitscope.trace import Needs

    seen = trace.again(Needs(pixel_gradients=True), aim)
    assert (seen.pixel_grads - g_x).abs().max() < 1e-9 * g_x.abs().max()


@ALL
def test_trust_is_put_to_the_test_at_the_same_pixel(name):
    trace = loaded(name).trace(PHOTO)
    one = vs.check(trace, vs.grad_cam(trace, target=vs.Pixel(20, 30), layer=1))[0]
    assert one.meta["trust"]["hottest_drop"] is not None
    if name != "dpt_depth":
        assert one.meta["trust"]["target_swapped_to"].startswith("class ")


@ALL
def test_relevance_of_a_head_that_reads_several_blocks_is_refused(name):
    trace = loaded(name).trace(PHOTO)
    with pytest.raises(MethodError, match=r"reads several blocks, not the last one's tokens alone; .*use grad-cam"):
        vs.relevance(trace, target=vs.Pixel(20, 30))


class Linear(torch.nn.Module):
    """A head on the last block alone: relevance is defined."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = transformers.ViTModel(transformers.ViTConfig(**tasks.VIT), add_pooling_layer=False)
        self.head = torch.nn.Linear(32, tasks.CLASSES)

    def forward(self, pixels):
        z = self.head(self.body(pixels).last_hidden_state[:, 1:])
        return transformers.modeling_outputs.SemanticSegmenterOutput(logits=z.transpose(1, 2).unflatten(2, (4, 4)))


def test_relevance_of_a_pixel_begins_at_the_tokens_it_reads():
    from dataclasses import replace

    from support.zoo import redraw
    from vitscope.models.heads import places_of
    from vitscope.models.loaded import LoadedModel

    module = redraw(Linear()).double()
    own = vs.load(module, mean=0.5, std=0.5, input_size=64).described
    model = LoadedModel(replace(own, rest=lambda out: places_of(out, tasks.CLASSES), output=lambda out: (None, out.logits)))
    trace = model.trace(PHOTO)
    y, x = 6, 10  # the centre of the first patch on a 50×80 photo: input pixel 8.32, 8.4
    found = vs.relevance(trace, target=vs.Pixel(y, x, "class 2"))
    rows = trace.layout.patches
    aim = trace.resolve(vs.Pixel(y, x, "class 2"))
    weights = pixel_weights(trace.placements[0], (4, 4), y, x)
    twin = redraw(Linear()).double()
    twin.body.config._attn_implementation = "eager"
    kept = []
    real = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda *a, **k: kept.append(real(*a, dim=k.get("dim", -1))) or kept[-1]
    try:
        z = twin.body(trace.pixels.clone().requires_grad_(), output_hidden_states=True)
    finally:
        torch.nn.functional.softmax = real
    last = z.hidden_states[-1] if len(z.hidden_states) else None
    total = (twin.head(z.last_hidden_state[:, 1:])[0, :, 2] * torch.as_tensor(weights)).sum()
    grads = torch.autograd.grad(total, [*kept, last], allow_unused=True)
    n = 17
    r = torch.eye(n, dtype=torch.float64)
    for a, g in zip(kept, grads[:-1], strict=True):
        r = r + (a * g).clamp(min=0).mean(dim=1)[0] @ r
    g_last = trace.with_needs(vs_needs(), aim).hidden_grads[-1][0]
    begin = g_last.norm(dim=-1) / g_last.norm(dim=-1).sum()
    assert (begin > 0).nonzero().flatten().tolist() == [int(i) for i in rows[weights > 0]]
    assert np.abs(found.values[0] - (begin @ r).detach().numpy()).max() < 1e-9
    assert found.notes == ("Starts on the last block's tokens in proportion to this score's gradient on them.",)


def vs_needs():
    from vitscope.trace import Needs

    return Needs(gradients=True, hidden=True)


def test_what_was_cropped_away_is_refused():
    trace = loaded("segformer", "crop").trace(PHOTO)  # 50×80 → 64×102, columns 19 to 83 kept: photo columns 14.9 to 64.9
    with pytest.raises(
        ArgumentError, match=r"pixel \(20, 3\) was cropped away: the model never saw it; expected rows 0 to 49, columns 15 to 64"
    ):
        trace.resolve(vs.Pixel(20, 3))
    with pytest.raises(ArgumentError, match="the whole region was cropped away"):
        trace.resolve(vs.Region((0, 0, 9, 9)))
    assert trace.resolve(vs.Region((0, 0, 40, 9))).names[0].endswith("region (0, 0) to (40, 9), of which 62% reached the model")
    with pytest.raises(ArgumentError, match=r"pixel \(50, 3\); expected row 0 to 49, column 0 to 79"):
        vs.grad_cam(trace, target="pixel:50,3")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (vs.Region((5, 5, 5, 9)), "x0 < x1 and y0 < y1 inside 80×50 px"),
        (vs.Region(mask=np.ones((3, 3), dtype=bool)), r"(50, 80), the photo as displayed"),
        ("pixel:3", "expected pixel:ROW,COLUMN"),
        ("pixel:3,4:nothing", "unknown label 'nothing'"),
        ((vs.Pixel(3, 4, 1), 1), "against itself"),
        (vs.Box(0), "gives no boxes; expected a place"),
        (vs.Feature(0), "expected a place: pixel:ROW,COLUMN"),
    ],
)
def test_wrong_places_are_one_line(target, said):
    trace = loaded("segformer").trace(PHOTO)
    with pytest.raises((ArgumentError, MethodError)) as error:
        trace.resolve(target)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_one_class_against_another_at_a_pixel():
    trace = loaded("segformer").trace(PHOTO)
    aim = trace.resolve((vs.Pixel(20, 30, "class 1"), "class 2"))
    both = columns(trace.whole, aim)[0]
    assert float(score(trace.whole, aim)) == float(both[1] - both[2])
    assert aim.names == ("class 1 rather than class 2 at pixel (20, 30)",)


def test_weights_of_one_pixel_and_of_regions_sum_to_one():
    placement = Placement.of_photo((37, 53)).resize((40, 60)).crop(3, -5, (30, 70))
    for y, x in ((5, 0), (20, 52), (3, 17)):
        assert pixel_weights(placement, (7, 9), y, x).sum() == pytest.approx(1, abs=1e-12)
    mask = np.random.default_rng(0).random((37, 53)) > 0.5
    weights, share = region_weights(placement, (7, 9), mask)
    seen = mask & placement.seen_mask()
    slow = np.mean([pixel_weights(placement, (7, 9), y, x) for y, x in np.argwhere(seen)], axis=0)
    assert np.abs(weights - slow).max() < 1e-12
    assert share == seen.sum() / mask.sum()


def test_the_command_explains_a_pixel(tmp_path):
    home = tmp_path / "model"
    torch.manual_seed(0)
    tasks.segformer().save_pretrained(home)
    transformers.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(home)
    from PIL import Image

    from vitscope.cli import main

    Image.fromarray(PHOTO).save(tmp_path / "p.png")
    out = tmp_path / "out.html"
    main(["explain", str(tmp_path / "p.png"), "--model", str(home), "--target", "pixel:20,30:1", "--out", str(out), "--quiet"])
    assert "at pixel (20, 30)" in out.read_text(encoding="utf-8")
    main(["inspect", str(home), "--quiet", "--out", str(tmp_path / "card.json")])
    assert '"makes": "scores at pixels"' in (tmp_path / "card.json").read_text(encoding="utf-8")
