"""The numbers behind the pointer: what the interactive view is given equals what Python gives, for every model shape and every query."""

import io
import random
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import vitscope as vs
from support.handmade import ALL, CLS, POOL, REGISTERS, TWO_STARTS, HandViT, Spec, pixels_of, run, trace_of
from vitscope.api.cache import ByteCache
from vitscope.api.explorer import Explorer
from vitscope.core.layout import Kind
from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError, MethodError, PhotoError, VitscopeError, WorkError
from vitscope.methods.links import links
from vitscope.trace import Needs
from vitscope.views.view import unpack
from vitscope.web.compute import Compute

HALF = {"rtol": 2.0**-11, "atol": 2.0**-25}
"""What float16 rounds to."""


def one(explorer, op, **args):
    parts = list(explorer.answer(op, args))
    assert len(parts) == 1
    return unpack(parts[0])


def queries_of(trace):
    kinds = trace.layout.kinds.tolist()
    named = ["cls"] * (Kind.CLS in kinds) + ["distill"] * (Kind.DISTILL in kinds)
    named += [f"register {i}" for i in range(kinds.count(Kind.REGISTER))]
    gh, gw = trace.layout.grid
    return ["pooled", *named, *(f"{y},{x}" for y in range(gh) for x in range(gw))]


@pytest.mark.parametrize("name", ALL)
def test_two_hundred_random_values_equal_attention(name):
    trace = trace_of(ALL[name])
    explorer = Explorer([trace])
    pick, queries = random.Random(name), queries_of(trace)
    rows = {}
    for _ in range(200):
        source, query = pick.randrange(2), pick.choice(queries)
        layer, head = pick.randrange(len(trace.blocks)), pick.randrange(trace.blocks[0].heads)
        key = pick.randrange(trace.layout.n)
        if (source, query) not in rows:
            rows[source, query] = one(explorer, "rows", source=source, query=query).arrays["rows"]
        wanted = vs.attention(trace, layer=layer, head=head, query=query)[source].values[0, key]
        got = rows[source, query][sum(c.heads for c in trace.blocks[:layer]) + head, key]
        assert np.isclose(float(got), float(wanted), **HALF), (query, layer, head, key)


@pytest.mark.parametrize("name", ALL)
def test_every_named_token_of_the_catalogue_can_be_asked_from(name):
    explorer = Explorer([trace_of(ALL[name])])
    source = explorer.catalogue()["sources"][0]
    for named in source["tokens"]["named"]:
        block = one(explorer, "rows", query=named["id"])
        assert block.meta["query"] == named["id"]
        assert block.arrays["rows"].shape == (sum(layer["heads"] for layer in source["layers"]), source["tokens"]["n"])


def test_a_pool_with_other_heads_than_the_last_block_says_so():
    trace = trace_of(POOL, 1)
    pool = trace.calls[-1]
    half = replace(pool, **{name: getattr(pool, name)[:, :3] for name in ("q", "k", "v", "out")})
    block = one(Explorer([replace(trace, calls=(*trace.calls[:-1], half))]), "rows")
    assert "which has 3 heads; the layer has 4" in block.meta["notes"][0]
    assert np.isnan(block.arrays["rows"][-1]).all()
    assert np.isfinite(block.arrays["rows"][:-1]).all()


def test_grouped_masked_and_written_out_calls():
    trace = trace_of(CLS, 1)
    keep = torch.ones(1, 1, 1, trace.layout.n, dtype=torch.bool)
    keep[..., 5] = False
    calls = [replace(trace.calls[0], mask=keep), replace(trace.calls[1], weights=trace.calls[1].rows(), q=None, k=None), trace.calls[2]]
    calls[2] = replace(calls[2], k=calls[2].k[:, :1], v=calls[2].v[:, :1])
    changed = replace(trace, calls=tuple(calls))
    rows = one(Explorer([changed]), "rows", query="1,2").arrays["rows"]
    for layer in range(3):
        for head in range(2):
            assert np.allclose(rows[2 * layer + head], vs.attention(changed, layer=layer, head=head, query=(1, 2)).values[0], **HALF)
    assert (rows[:2, 5] == 0).all()


def test_a_padded_photo_and_an_odd_grid_in_the_catalogue():
    spec = Spec(grid=(4, 3))
    trace = trace_of(spec, 1)
    placement = Placement.of_photo((8, 12)).pad(8, 0, 0, 0)
    source = Explorer([replace(trace, placements=(placement,))]).catalogue()["sources"][0]
    assert source["padded"] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert source["frame"]["grid"] == [4, 3]
    assert source["tokens"]["patches"] == list(range(1, 13))
    assert source["size_note"] == "4 rows of 3 patches, 13 tokens (1 of them not patches)"


def test_the_catalogue_says_what_can_be_done_and_why_not():
    trace = trace_of(TWO_STARTS, 1)
    catalogue = Explorer([trace]).catalogue(inline=False)
    assert catalogue["format"] == 1
    assert catalogue["capabilities"] == {
        "live": True,
        "upload": False,
        "why": "",
        "precision": "float16: within 0.05 % of each value (below 0.00006: within 0.00000003)",
    }
    source = catalogue["sources"][0]
    assert source["picture"] == "api/picture?source=0"
    assert source["pooled"] == {"name": "cls"}
    assert "The head reads cls and patch mean; pooled is the first of them here." in source["notes"]
    assert [m["name"] for m in source["methods"] if m["progressive"]] == ["rollout"]
    assert all(m["options"] == [o for o in m["options"] if o not in ("batch", "progress")] for m in source["methods"])
    headless = Explorer([replace(trace, logits=None, labels=())]).catalogue()["sources"][0]
    assert {m["name"]: m["why"] for m in headless["methods"]}["relevance"] == "this model has no class scores"
    assert headless["top"] == []


def test_a_model_without_rows_still_has_other_maps():
    trace = trace_of(CLS, 1)
    broken = replace(trace, calls=tuple(replace(c, block=None) for c in trace.calls))
    source = Explorer([broken]).catalogue()["sources"][0]
    assert source["layers"] == []
    assert not next(m for m in source["methods"] if m["name"] == "attention")["available"]
    assert next(m for m in source["methods"] if m["name"] == "grad-cam")["available"]
    assert source["no_rows"]
    with pytest.raises(MethodError):
        one(Explorer([broken]), "rows")


def test_pictures_are_inlined_or_addressed():
    explorer = Explorer([trace_of(CLS, 2)])
    kind, data = explorer.picture(1)
    assert kind == "image/jpeg"
    assert Image.open(io.BytesIO(data)).size == (16, 12)
    assert explorer.catalogue()["sources"][1]["picture"].startswith("data:image/jpeg;base64,")


def test_sinks_are_the_tokens_everybody_looks_at():
    trace = trace_of(Spec(grid=(6, 6)), 1)
    weights = torch.full((1, 2, 37, 37), 0.5 / 36, dtype=torch.float64)
    weights[..., 9] = 0.5
    sunk = replace(trace, calls=tuple(replace(c, weights=weights, q=None, k=None) for c in trace.calls))
    sinks = Explorer([sunk]).catalogue()["sources"][0]["sinks"]
    assert [s["token"] for s in sinks] == [9]
    assert sinks[0]["received"] == pytest.approx(0.5 * 37)


# maps


@pytest.mark.parametrize(
    ("method", "args", "same"),
    [
        ("attention", {"layer": "1", "head": "max", "query": "2,1"}, lambda t: vs.attention(t, layer=1, head="max", query=(2, 1))),
        ("attention", {"layer": 0, "head": 1, "query": [0, 3], "fuse": "max"}, lambda t: vs.attention(t, layer=0, head=1, query=(0, 3))),
        ("rollout", {"fuse": "min", "residual": "0.3", "discard": 0.5}, lambda t: vs.rollout(t, fuse="min", residual=0.3, discard=0.5)),
        ("relevance", {"target": "class 3"}, lambda t: vs.relevance(t, target=3)),
        ("relevance", {"target": "3", "against": "class 1"}, lambda t: vs.relevance(t, target=(3, 1))),
        ("grad_cam", {"layer": None, "target": ""}, vs.grad_cam),
        ("legrad", {}, vs.legrad),
        ("occlusion", {"size": 2, "stride": "1"}, lambda t: vs.occlusion(t, size=2)),
    ],
)
def test_maps_equal_the_methods(method, args, same):
    trace = trace_of(CLS, 2)
    explorer = Explorer([trace])
    for source in (0, 1):
        block = one(explorer, "map", source=source, method=method, **args)
        wanted = same(trace)[source]
        assert np.allclose(block.arrays["values"], wanted.tokens, rtol=1e-5, atol=1e-7, equal_nan=True)
        assert block.meta["unit"] == wanted.unit
        assert block.meta["hidden"] == pytest.approx(wanted.hidden_mass())
        assert block.meta["progress"] == {"done": True, "cells": 1, "draws": 1, "l1": 0.0, "share": 1.0}
        if wanted.target:
            assert wanted.target[0] == " rather than ".join(filter(None, (block.meta["target"], block.meta["against"])))


@pytest.mark.parametrize(
    ("op", "args", "words"),
    [
        ("row", {}, "request: operation 'row'; expected rows, map, links, audit, upload"),
        ("rows", {"source": 2}, "request: source 2; expected 0 to 0"),
        ("rows", {"source": "x"}, "request: source 'x'; expected a whole number"),
        ("rows", {"source": -1}, "request: source -1; expected 0 to 0"),
        ("rows", {"query": "9,9"}, "query: patch (9, 9); expected row 0 to 2, column 0 to 3"),
        ("rows", {"layer": 1}, "rows: argument layer; expected among source, query"),
        ("map", {"method": "rolout"}, "method: unknown method 'rolout'"),
        ("map", {"method": "rollout", "residual": "NaN"}, "request: residual 'NaN'; expected a number"),
        ("map", {"method": "rollout", "fuse": {"a": 1}}, "request: fuse"),
        ("map", {"method": "relevance", "target": "dog"}, "target: unknown label 'dog'"),
        ("map", {"colour": "red"}, "map: argument colour"),
        ("links", {}, "links: k None and above None; expected one of the two"),
        ("links", {"k": 0}, "links: the heaviest 0"),
        ("links", {"above": 1}, "links: above 1.0"),
        ("links", {"k": 3, "head": "max"}, "head: head 'max'"),
        ("links", {"k": 3, "layer": 7}, "layer: layer 7"),
        ("upload", {"name": "a.png", "model": "x", "bytes": "text"}, "upload: bytes of type str"),
        ("upload", {"name": "a.png", "model": "x", "bytes": b""}, "upload: model 'x'; expected none: no model is loaded here"),
    ],
)
def test_refused_in_one_line(op, args, words):
    with pytest.raises(ArgumentError) as refused:
        list(Explorer([trace_of(CLS, 1)]).answer(op, args))
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


# links


def slow_links(matrix, count, least):
    edges = [(-float(w), q, k) for q, row in enumerate(matrix) for k, w in enumerate(row) if w > least]
    return sorted(edges)[:count], len(edges)


@pytest.mark.parametrize("head", ["mean", 0, "1"])
@pytest.mark.parametrize("how", [{"k": 7}, {"above": 0.1}, {"k": 100_000}])
def test_links_equal_the_sorted_matrix(monkeypatch, head, how):
    monkeypatch.setattr("vitscope.methods.links.BLOCK_VALUES", 50)
    trace = trace_of(CLS, 1)
    rows = trace.blocks[1].rows()[0]
    matrix = rows.mean(0) if head == "mean" else rows[int(head)]
    wanted, total = slow_links(matrix.tolist(), how.get("k", 5000), how.get("above", 0.0))
    block = one(Explorer([trace]), "links", layer=1, head=head, **how)
    assert block.arrays["queries"].tolist() == [q for _, q, _ in wanted]
    assert block.arrays["keys"].tolist() == [k for _, _, k in wanted]
    assert np.allclose(block.arrays["weights"], [-w for w, _, _ in wanted])
    assert block.meta["total"] == total
    assert block.meta["left_out"] == pytest.approx(1 + sum(w for w, _, _ in wanted) / trace.layout.n, abs=1e-7)


def test_links_stop_when_nobody_waits():
    assert links(trace_of(CLS, 1), 0, k=3, stop=lambda: True) is None
    assert list(Explorer([trace_of(CLS, 1)]).answer("links", {"k": 3}, lambda: True)) == []


# progressive, stopping, memory, threads


def test_big_grids_come_coarse_first_and_end_exact(monkeypatch):
    monkeypatch.setattr("vitscope.api.explorer.COARSE_FROM", 10)
    trace = trace_of(Spec(grid=(12, 12)), 1)
    explorer = Explorer([trace])
    parts = [unpack(data) for data in explorer.answer("map", {"method": "rollout", "residual": "0.4"})]
    progress = [part.meta["progress"] for part in parts]
    assert [p["done"] for p in progress] == [False] * 5 + [True]
    assert [p["cells"] for p in progress] == [8, 8, 4, 4, 2, 1]
    assert progress[0]["l1"] is None
    assert "error" not in parts[0].arrays
    assert (parts[1].arrays["error"] >= 0).all()
    assert np.array_equal(parts[-1].arrays["values"], vs.rollout(trace, residual=0.4).tokens)
    again = [unpack(data) for data in explorer.answer("map", {"method": "rollout", "residual": 0.4})]
    assert len(again) == 1, "what is exact already does not come coarse again"


def test_leaving_early_ends_the_work(monkeypatch):
    monkeypatch.setattr("vitscope.api.explorer.COARSE_FROM", 10)
    explorer = Explorer([trace_of(CLS, 1)])
    left = []
    parts = explorer.answer("map", {"method": "rollout"}, lambda: bool(left))
    next(parts)
    left.append(True)
    assert list(parts) == []
    assert list(explorer.answer("map", {"method": "occlusion"}, lambda: True)) == [], "between two runs of the model"


def test_the_cache_holds_no_more_than_it_says():
    cache = ByteCache(100)
    cache.put("a", 1, 60)
    cache.put("b", 2, 40)
    assert cache.get("a") == 1  # used last, so b goes first
    cache.put("c", 3, 30)
    assert (cache.get("b"), cache.get("c"), cache.nbytes) == (None, 3, 90)
    cache.put("d", 4, 101)
    assert cache.get("d") is None
    cache.put("a", 5, 10)
    assert (cache.get("a"), cache.nbytes) == (5, 40)


def test_many_targets_do_not_grow_beyond_the_cache():
    trace = trace_of(CLS, 1)
    explorer = Explorer([trace], cache_bytes=40_000)
    for target in range(5):
        one(explorer, "map", method="relevance", target=target)
        assert explorer.cache.nbytes <= 40_000
    assert trace._cache == {}, "the user's own trace stays as it was"


def test_gradients_are_shared_by_the_methods_of_one_target():
    trace, runs = trace_of(CLS, 1), []
    counted = replace(trace, rerun=lambda *a: runs.append(a) or trace.rerun(*a))
    explorer = Explorer([counted])
    one(explorer, "map", method="relevance", target=2)
    one(explorer, "map", method="gradient-rollout", target=2)
    one(explorer, "map", method="relevance", target=2)
    assert len(runs) == 1


def test_from_many_threads_at_once():
    trace = trace_of(REGISTERS, 1)
    explorer = Explorer([trace], cache_bytes=60_000)
    wanted = {q: one(Explorer([trace]), "rows", query=q).arrays["rows"] for q in queries_of(trace)}
    wrong = []

    def point(seed):
        pick = random.Random(seed)
        for _ in range(60):
            query = pick.choice(list(wanted))
            if not np.array_equal(one(explorer, "rows", query=query).arrays["rows"], wanted[query]):
                wrong.append(query)
            if pick.random() < 0.1:
                one(explorer, "map", method="relevance", target=pick.randrange(5))

    threads = [threading.Thread(target=point, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# one picture of a batch


@pytest.mark.parametrize("name", ALL)
def test_one_picture_of_a_trace_is_a_trace_of_one_picture(name):
    spec = ALL[name]
    model = HandViT(spec)
    pixels = pixels_of(spec, 3)
    whole = run(model, pixels)
    for i, alone in enumerate(whole):
        direct = run(model, pixels[i : i + 1])
        assert (len(alone), alone.samples, alone.provenance.samples) == (1, whole.samples[i : i + 1], whole.provenance.samples[i : i + 1])
        assert np.allclose(vs.rollout(alone).values, vs.rollout(direct).values, atol=1e-12)
        assert np.allclose(vs.relevance(alone, target=1).values, vs.relevance(direct, target=1).values, atol=1e-12)
        again = alone.again(Needs(hidden=True))
        assert again.samples == alone.samples
        assert again.provenance.samples == alone.provenance.samples
    with pytest.raises(IndexError):
        whole[3]


def test_gradients_of_a_batch_are_cut_too():
    model, pixels = HandViT(CLS), pixels_of(CLS, 2)
    plain = run(model, pixels)
    target = plain.resolve(None)
    whole = run(model, pixels, Needs(hidden=True, gradients=True, pixel_gradients=True), target)
    alone = whole[1]
    aim = alone.resolve(None)
    assert alone.target == aim
    assert alone.with_needs(Needs(gradients=True), aim) is alone
    assert torch.equal(alone.calls[0].grad_out, whole.calls[0].grad_out[1:])


# photos added


@pytest.fixture(scope="module")
def builtin():
    return vs.load("builtin:photos")


def photo(seed=0, size=(40, 30)):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_a_photo_taken_in_is_a_source_like_any_other(builtin):
    explorer: Compute = Explorer(models={"photos": builtin})
    capabilities = explorer.catalogue()["capabilities"]
    assert capabilities["upload"]
    assert set(capabilities["limits"]) == {"upload_bytes", "pixels"}
    block = one(explorer, "upload", name="../a b.png", model="photos", bytes=photo())
    assert block.meta["source"] == 0
    source = block.meta["catalogue"]["sources"][0]
    assert source["photo"] == "a b.png"
    assert source["frame"]["photo_size"] == [40, 30]
    rows = one(explorer, "rows", query="0,1").arrays["rows"]
    direct = builtin.trace(Image.open(io.BytesIO(photo())))
    layer, head = divmod(3, direct.blocks[0].heads)
    assert np.allclose(rows[3], vs.attention(direct, layer=layer, head=head, query=(0, 1)).values[0], **HALF)


def test_a_trace_that_had_to_make_room_is_made_again(builtin):
    explorer = Explorer(models={"photos": builtin})
    explorer.add(photo(1), "one.png", "photos")
    explorer.cache.limit = explorer.cache.nbytes + 1000
    before = one(explorer, "map", source=0, method="relevance").arrays["values"]
    explorer.add(photo(2), "two.png", "photos")
    assert explorer.cache.get(("trace", 0)) is None
    assert np.array_equal(one(explorer, "map", source=0, method="relevance").arrays["values"], before)


def test_a_trace_that_goes_while_a_map_is_made_stops_nothing(builtin):
    explorer = Explorer(models={"photos": builtin})
    explorer.add(photo(), "a.png", "photos")
    explorer.cache.drop(("trace", 0))
    explorer.cache.limit = 1000  # it is not held even while the model is
    asked = threading.Thread(target=lambda: one(explorer, "map", source=0, method="grad-cam"), daemon=True)
    asked.start()
    asked.join(60)
    assert not asked.is_alive()


def test_added_photos_make_room_longest_unseen_first_and_never_the_one_shown(builtin, monkeypatch):
    monkeypatch.setattr("vitscope.api.explorer.PHOTO_BYTES", 3 * len(photo()) + 200)
    explorer = Explorer([builtin.trace(Image.open(io.BytesIO(photo())))], {"photos": builtin})
    for seed in (1, 2, 3):
        explorer.add(photo(seed), f"{seed}.png", "photos")
    one(explorer, "rows", source=1)  # shown now; 2 was seen longest ago
    explorer.add(photo(4), "4.png", "photos")
    assert explorer._files.nbytes <= 3 * len(photo()) + 200
    assert one(explorer, "rows", source=2).arrays["rows"].size  # what was made of it is still at hand
    for number in (0, 1, 3, 4):
        explorer.cache.drop(("trace", number))
        assert one(explorer, "map", source=number, method="grad-cam").arrays["values"].shape == (65,)
    explorer.cache.drop(("trace", 2))
    with pytest.raises(ArgumentError, match=r"2\.png made room for photos added later; choose it again"):
        one(explorer, "map", source=2, method="grad-cam")
    assert len(explorer.catalogue()["sources"]) == 5


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", PhotoError, "bad.png: "),
        (b"nothing like a picture", PhotoError, "bad.png: "),
        (photo()[:300], PhotoError, "bad.png: "),
    ],
)
def test_what_is_no_photo_leaves_no_trace(builtin, data, error, words):
    explorer = Explorer(models={"photos": builtin})
    with pytest.raises(error) as refused:
        explorer.add(data, "C:\\x\\bad.png", "photos")
    assert str(refused.value).startswith(words)
    assert explorer.catalogue()["sources"] == []
    assert explorer._files.nbytes == 0


def test_too_many_pixels_and_too_many_bytes(builtin, monkeypatch):
    explorer = Explorer(models={"photos": builtin}, pixels=1000)
    with pytest.raises(PhotoError, match="big"):
        explorer.add(photo(), "big.png", "photos")
    monkeypatch.setattr("vitscope.api.explorer.PHOTO_BYTES", 5000)
    with pytest.raises(VitscopeError, match="bytes; expected at most 5,000"):
        Explorer(models={"photos": builtin}).add(photo(3, (200, 200)), "heavy.png", "photos")
    with pytest.raises(WorkError, match="bytes of attention for one photo; expected at most 1,000"):
        Explorer(models={"photos": builtin}, cache_bytes=1000).add(photo(), "a.png", "photos")
