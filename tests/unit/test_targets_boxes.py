"""Detectors: which box is explained, where its query looked, and its class score; against slow twins in float64."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import vitscope as vs
from support import tasks
from support.zoo import redraw
from vitscope.errors import ArgumentError, MethodError
from vitscope.scoring import columns

PHOTO = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
OTHER = np.random.default_rng(1).integers(0, 256, (70, 60, 3), dtype=np.uint8)
ALL = pytest.mark.parametrize("name", tasks.BOXES)
LOOKING = pytest.mark.parametrize("name", ["detr", "conditional_detr", "yolos"])


@cache
def loaded(name):
    return vs.load(tasks.build(name), mean=0.5, std=0.5, input_size=tasks.SIDE)


@cache
def traced(name):
    return loaded(name).trace([PHOTO, OTHER])


@ALL
def test_the_list_of_boxes_is_the_librarys_own(name):
    import transformers

    processor = {
        "detr": transformers.DetrImageProcessor,
        "conditional_detr": transformers.ConditionalDetrImageProcessor,
        "yolos": transformers.YolosImageProcessor,
    }.get(name)
    trace, module = traced(name), loaded(name).module
    with torch.no_grad():
        out = module(trace.pixels)
    for i, photo in enumerate((PHOTO, OTHER)):
        mine = vs.boxes(trace, i)
        assert len(mine) == 6
        assert [one.probability for one in mine] == sorted((one.probability for one in mine), reverse=True)
        chances = out.logits[i].softmax(-1)[:, :-1] if name in ("detr", "yolos") else out.logits[i].sigmoid()
        for one in mine:
            assert one.probability == pytest.approx(float(chances[one.number].max()), abs=1e-6)
            assert one.label == f"class {int(chances[one.number].argmax())}"
        if name in ("detr", "yolos"):
            theirs = processor().post_process_object_detection(out, threshold=0.0, target_sizes=[photo.shape[:2]] * 2)[i]
            for one in mine:
                assert np.abs(np.array(one.box) - theirs["boxes"][one.number].detach().numpy()).max() < 1e-4
    assert trace.top(2)[0] == (f"{vs.boxes(trace)[0].label} (box {vs.boxes(trace)[0].number})", vs.boxes(trace)[0].probability)


@ALL
def test_a_box_is_chosen_by_number_label_or_point(name):
    trace = traced(name)
    with torch.no_grad():
        logits = loaded(name).module(trace.pixels).logits
    best = vs.boxes(trace)[0]
    assert trace.resolve(None).names[0] == f"{best.label} at box {best.number}"
    aim = trace.resolve(vs.Box(3, "class 2"))
    assert torch.equal(columns(trace.whole, aim)[1], logits[1, 3])
    assert aim.index == (2, 2)
    chances = logits.softmax(-1)[..., :-1] if name in ("detr", "yolos") else logits.sigmoid()
    by_label = trace.resolve("box:class 1")
    assert [r.weights.array.argmax() for r in by_label.at] == chances[..., 1].argmax(dim=1).tolist()
    assert trace.resolve("class 1").at == by_label.at
    x0, y0, x1, y1 = best.box
    assert trace[0].resolve(vs.Box(((x0 + x1) / 2, (y0 + y1) / 2))).at == trace[0].resolve(vs.Box(best.number)).at
    with pytest.raises(ArgumentError, match="no box around"):
        trace.resolve(vs.Box((-1e6, 3.0)))
    with pytest.raises(ArgumentError, match="box 6; expected 0 to 5"):
        trace.resolve("box:6")


@LOOKING
def test_where_a_boxs_query_looked_is_the_models_own_cross_attention(name):
    trace = traced(name)
    rows, _ = tasks.eager_rows(name, trace.pixels)
    for layer in range(len(rows)):
        for box in (0, 4):
            found = vs.attention(trace, query=f"box {box}", layer=layer)
            assert np.abs(found.values - rows[layer][:, :, box].mean(dim=1).numpy()).max() < 1e-6
            assert (found.query, found.layer) == (f"box {box}", layer)
            one = vs.attention(trace[1], query=("box", box), layer=layer, head=2)
            assert np.abs(one.tokens - rows[layer][1, 2, box].numpy()).max() < 1e-6
    best = vs.attention(trace, query=vs.Box())
    numbers = [vs.boxes(trace, i)[0].number for i in (0, 1)]
    for i in (0, 1):
        assert np.abs(best.values[i] - rows[-1][i, :, numbers[i]].mean(dim=0).numpy()).max() < 1e-6
    from vitscope.methods import develop

    grown = develop(trace, "attention", query="box 2")
    assert np.abs(grown - np.stack([r[:, :, 2].mean(dim=1).numpy() for r in rows], axis=1)).max() < 1e-6


@LOOKING
def test_every_head_of_a_box_and_of_a_patch_is_the_models_own(name):
    from vitscope.methods.heads import received, rows_of_heads
    from vitscope.methods.links import links

    trace = traced(name)
    boxes, patches = tasks.eager_rows(name, trace.pixels)
    found, begin, _ = rows_of_heads(trace[1], "box 4")
    slow = np.concatenate([rows[1, :, 4].numpy() for rows in boxes])
    assert np.abs(found - slow).max() < 1e-6
    assert begin.query == "box 4"
    cell = (1, 2)
    token = trace.layout.token_at(*cell)
    found, begin, _ = rows_of_heads(trace[1], cell)
    slow = np.concatenate([rows[1, :, token].numpy() for rows in patches])
    assert np.abs(found - slow).max() < 1e-6
    for layer in range(len(patches)):
        one = vs.attention(trace, query=cell, layer=layer, head="mean")
        assert np.abs(one.values - patches[layer][:, :, token].mean(dim=1).numpy()).max() < 1e-6
        assert (one.query, one.layer) == ("1,2", layer)
    shares, _ = received(trace[1])
    n = trace.layout.n
    assert np.abs(shares - np.mean([p[1].mean(dim=(0, 1)).numpy() for p in patches], axis=0) * n).max() < 1e-5
    heaviest = links(trace[1], 0, "mean", k=3)
    assert np.abs(heaviest.weights - patches[0][1].mean(dim=0).flatten().topk(3).values.numpy()).max() < 1e-6


def test_as_many_boxes_as_cells_are_refused_with_both_numbers():
    """Their attention cannot be told apart by its size, and is not guessed."""
    torch.manual_seed(0)
    module = redraw(tasks.detr(num_queries=64), spread=1.0).double()
    trace = vs.load(module, mean=0.5, std=0.5, input_size=tasks.SIDE).trace(PHOTO)
    assert trace.layout.n == 64
    with pytest.raises(MethodError, match="64 boxes and 64 cells of the picture"):
        vs.attention(trace, query="box 2")
    with pytest.raises(MethodError, match="use grad-cam"):
        vs.attention(trace, query=(1, 2))
    assert np.isfinite(vs.grad_cam(trace, target="box:2").grid).all()


@ALL
def test_the_catalogue_lists_the_boxes_and_says_which_can_be_asked(name):
    from vitscope.api.explorer import Explorer
    from vitscope.views.view import unpack

    explorer = Explorer([traced(name)[0]])
    source = explorer.catalogue()["sources"][0]
    listed, boxes = source["boxes"], vs.boxes(traced(name)[0])
    assert [(one["number"], one["label"], tuple(one["box"])) for one in listed["found"]] == [(b.number, b.label, b.box) for b in boxes]
    looking = name in ("detr", "conditional_detr", "yolos")
    assert bool(listed["why"]) is not looking
    assert ("layers" in listed) is (looking and name != "yolos")
    attention = next(method for method in source["methods"] if method["name"] == "attention")
    assert attention["available"] is looking
    block = unpack(next(explorer.answer("map", {"method": "grad-cam", "target": "box:3"})))
    assert block.meta["mark"] == {"kind": "box", "number": 3}
    assert block.meta["target"] == vs.grad_cam(traced(name)[0], target="box:3").target[0]
    if looking:
        asked = unpack(next(explorer.answer("rows", {"query": "box 3"}))).arrays["rows"]
        assert len(asked) == sum(layer["heads"] for layer in listed.get("layers", source["layers"]))


@pytest.mark.parametrize("name", ["detr", "yolos"])
def test_a_file_carries_the_rows_of_the_boxes_it_names(name):
    from vitscope.api.carry import carry

    trace = traced(name)[1]
    rows, _ = tasks.eager_rows(name, traced(name).pixels)
    for limit, level in ((16_000_000, "rows"), ({"detr": 30_000, "yolos": 9_000}[name], "means"), (2_000, "neither")):
        (carried,) = carry([(trace, [vs.attention(trace, query="box 5")])], limit)
        stored = carried.source["stored"]
        assert (stored["rows"], stored["means"]) == (level == "rows", level != "neither")
        asked = [query for query in stored["named"] if query.startswith("box ")]
        assert not asked if (name, level) == ("yolos", "rows") else asked[0] == "box 5"
        for query in asked:
            slow = np.concatenate([layer[1, :, int(query[4:])].numpy() for layer in rows])
            assert np.abs(carried.arrays[f"named/{stored['named'].index(query)}"] - slow).max() < 1e-6


@pytest.mark.parametrize("name", ["deformable_detr", "rt_detr"])
def test_boxes_that_sample_the_picture_are_said_to(name):
    with pytest.raises(MethodError, match=r"boxes do not weigh the picture's tokens; .*; use grad-cam"):
        vs.attention(traced(name), query="box 2")


def test_cells_in_another_order_are_noticed():
    from vitscope.models.laying import tokens_are_cells

    model = loaded("detr")
    noise = torch.randn(1, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert tokens_are_cells(model.described, noise, "model.input_projection", (8, 12))

    class Turned(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x).transpose(2, 3).contiguous().view(1, -1, *self.inner(x).shape[2:])

    module = tasks.build("detr")
    inner = module.model.input_projection
    module.model.input_projection = Turned(inner)
    turned = vs.load(module, mean=0.5, std=0.5, input_size=64)
    assert not tokens_are_cells(turned.described, noise, "model.input_projection.inner", (8, 12))


@ALL
def test_methods_on_a_boxs_class_score_equal_the_model(name):
    trace, model = traced(name)[0], loaded(name)
    pixels = torch.cat([trace.pixels, trace.pixels]).requires_grad_()  # twice: of one photo torch 2.13 misreads a batch norm's gradient
    (both,) = torch.autograd.grad(model.module(pixels).logits[0, 3, 2], pixels)
    g = both[:1]
    from vitscope.trace import Needs

    aim = trace.resolve(vs.Box(3, "class 2"))
    seen = trace.again(Needs(pixel_gradients=True), aim)
    assert (seen.pixel_grads - g).abs().max() <= 1e-9 * g.abs().max()
    for make in (vs.grad_cam, vs.occlusion):
        one = make(trace, target=aim)
        assert one.target == ("class 2 at box 3",)
        assert np.isfinite(one.grid).all()
    trust = vs.check(trace, one)[0].meta["trust"]
    assert trust["hottest_drop"] is not None
    assert trust["target_swapped_to"] in trace.labels
    with torch.no_grad():
        hidden = trace.pixels.clone()
        side = trace.layout.stride[0]
        hidden[..., :side, :side] = 0
        drop = float(model.module(trace.pixels).logits[0, 3, 2] - model.module(hidden).logits[0, 3, 2])
    if one.parameters["drop"] == "pixels":
        assert one.grid[0, 0] == pytest.approx(drop, abs=1e-5)


def test_relevance_of_a_yolos_box_begins_at_its_own_token():
    trace = traced("yolos")
    found = vs.relevance(trace, target=vs.Box(3, "class 2"))
    module = tasks.build("yolos")
    module.config._attn_implementation = "eager"
    kept, real = [], torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=-1, **k: kept.append(real(x, dim=dim)) or kept[-1]
    try:
        logits = module(trace.pixels.clone().requires_grad_()).logits
    finally:
        torch.nn.functional.softmax = real
    grads = torch.autograd.grad(logits[:, 3, 2].sum(), kept)
    r = torch.eye(kept[0].shape[-1], dtype=torch.float64)
    for a, g in zip(kept, grads, strict=True):
        r = r + (a * g).clamp(min=0).mean(dim=1) @ r
    slow = r[:, -3].detach().numpy()  # six detection tokens at the end: the fourth of them
    assert np.abs(found.values - slow).max() < 1e-9 * np.abs(slow).max()


def test_a_detector_whose_weights_are_frozen_has_gradients_too():
    """The decoder's first attention is among learned queries: it depends on no pixel, which is no error."""
    module = tasks.build("detr")
    module.requires_grad_(False)
    trace, free = vs.load(module, mean=0.5, std=0.5, input_size=tasks.SIDE).trace(PHOTO), traced("detr")[0]
    one, other = vs.grad_cam(trace, target=vs.Box(2)), vs.grad_cam(free, target=vs.Box(2))
    assert np.abs(one.values - other.values).max() < 1e-9  # one photo, and the first of two
    from vitscope.trace import Needs

    aim = trace.resolve(vs.Box(2))
    by_path = {call.path: call for call in trace.with_needs(Needs(gradients=True), aim).calls}
    assert not by_path["model.decoder.layers.0.self_attn"].grad_out.any()
    assert by_path["model.decoder.layers.1.self_attn"].grad_out.any()


def test_rollout_from_a_boxs_own_token():
    trace = traced("yolos")
    with torch.no_grad():
        module = tasks.build("yolos")
        module.config._attn_implementation = "eager"
        attentions = module(trace.pixels, output_attentions=True).attentions
    r = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    for a in attentions:
        r = (0.5 * a.double().mean(dim=1) + 0.5 * torch.eye(a.shape[-1])) @ r
    found = vs.rollout(trace, query="box:3")
    assert np.abs(found.values - r[:, -3].numpy()).max() < 1e-6
    assert found.query == "box 3"


def test_a_report_of_a_detector_lists_its_boxes(tmp_path):
    import json

    from vitscope.api.explanation import Options, explain

    for name in ("detr", "yolos"):
        found = explain(PHOTO, loaded(name), options=Options(target="box:2", check=name == "detr"))
        assert "grad-cam" in {m.method for m in found.maps}
        vs.report(found.trace, list(found.maps), tmp_path / "out.html")
        assert "(box " in (tmp_path / "out.html").read_text(encoding="utf-8")
        vs.save(found.trace, found.maps[-1], tmp_path / "one.npz")
        boxes = json.loads(str(np.load(tmp_path / "one.npz")["meta"]))["boxes"]
        assert [set(one) for one in boxes] == [{"number", "label", "probability", "box"}] * 6
