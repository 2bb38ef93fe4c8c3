"""What may be asked of the methods, what is refused and in which words, and what a map says about itself."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from support.handmade import CLS, MEAN, POOL, REGISTERS, TWO_STARTS, HandViT, pixels_of, run, trace_of
from vitscope.errors import ArgumentError, MethodError, MissingExtra
from vitscope.methods import METHODS, develop, explain, needs_of
from vitscope.methods.integrated_gradients import sum_over_patches
from vitscope.methods.registry import remake
from vitscope.trace import Needs

PUBLIC = ["attention", "rollout", "gradient-rollout", "relevance", "grad-cam", "legrad", "integrated-gradients", "occlusion"]


@pytest.fixture(scope="module")
def trace():
    return trace_of(REGISTERS)


@pytest.mark.parametrize(
    ("spec", "name", "options", "words"),
    [
        (CLS, "attention", {"layer": 3}, "layer: layer 3; expected 0 to 2, or −3 to −1"),
        (CLS, "attention", {"layer": -4}, "layer: layer -4; expected 0 to 2, or −3 to −1"),
        (CLS, "attention", {"head": 2}, "head: head 2; expected 0 to 1, mean, max or min"),
        (CLS, "attention", {"head": -1}, "head: head -1; expected 0 to 1, mean, max or min"),
        (CLS, "attention", {"head": "median"}, "head: head 'median'; expected 0 to 1, mean, max or min"),
        (CLS, "attention", {"query": (3, 0)}, "query: patch (3, 0); expected row 0 to 2, column 0 to 3"),
        (CLS, "attention", {"query": (0, -1)}, "query: patch (0, -1); expected row 0 to 2, column 0 to 3"),
        (CLS, "rollout", {"query": "here"}, 'query: query \'here\'; expected "pooled", "cls", (row, column) or ("register", number)'),
        (CLS, "rollout", {"query": ("register", 0)}, "query: register 0; expected a model with registers"),
        (REGISTERS, "rollout", {"query": ("register", 2)}, "query: register 2; expected 0 to 1"),
        (MEAN, "attention", {"query": "cls"}, "query: this model has no CLS token; expected pooled or (row, column)"),
        (CLS, "attention", {"start": 1}, "start: start 1; expected 0 (cls)"),
        (TWO_STARTS, "relevance", {"start": 2}, "start: start 2; expected 0 (cls), 1 (patch mean)"),
        (CLS, "rollout", {"fuse": "sum"}, "fuse: fuse 'sum'; expected mean, max or min"),
        (CLS, "rollout", {"residual": 1.5}, "residual: residual 1.5; expected 0 to 1"),
        (CLS, "rollout", {"discard": 1.0}, "discard: discard 1.0; expected 0 up to, not including, 1"),
        (CLS, "gradient-rollout", {"discard": -0.1}, "discard: discard -0.1; expected 0 up to, not including, 1"),
        (CLS, "grad-cam", {"layer": 5}, "layer: layer 5; expected 0 to 2, or −3 to −1"),
        (CLS, "occlusion", {"size": 4}, "size: size 4; expected 1 to 3 patches on a 3×4 grid"),
        (CLS, "occlusion", {"size": 2, "stride": 3}, "stride: stride 3; expected 1 to 2 (the size)"),
        (CLS, "occlusion", {"batch": 0}, "batch: batch 0; expected at least 1"),
        (CLS, "integrated-gradients", {"steps": 0}, "steps: steps 0; expected at least 1"),
        (CLS, "rollout", {"steps": 3}, "rollout: option steps; expected fuse, residual, discard, query, start; leave it out"),
        (CLS, "role-out", {}, "method: unknown method 'role-out'; expected attention, rollout"),
    ],
)
def test_refused_with_the_valid_range(spec, name, options, words):
    with pytest.raises(ArgumentError) as refused:
        explain(trace_of(spec), name, **options)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


def test_grad_cam_after_the_last_mixing_is_refused_with_the_measured_number(trace):
    with pytest.raises(
        MethodError,
        match=r"grad-cam at block 2, after the last mixing of tokens: the largest gradient on a patch is 0\.0e\+00 .* use layer 1",
    ):
        explain(trace, "grad-cam", layer=-1)
    assert explain(trace, "grad-cam").layer == 1
    assert explain(trace_of(MEAN), "grad-cam").layer == 2  # a model that reads its patches has it everywhere


def test_a_model_without_class_scores_has_attention_and_rollout_only(trace):
    bare = replace(trace, logits=None, _cache={})
    for name in PUBLIC:
        if METHODS[name].class_specific:
            with pytest.raises(MethodError, match="no class scores"):
                explain(bare, name)
        else:
            explain(bare, name)


def test_windows_are_refused_where_a_row_would_be_wrong(trace):
    call = trace.calls[1]
    windowed = replace(call, q=call.q[:, :, :5], k=call.k[:, :, :5], v=call.v[:, :, :5], out=call.out[:, :, :5])
    odd = replace(trace, calls=(trace.calls[0], windowed, trace.calls[2]))
    with pytest.raises(MethodError, match=r"^block\.1: 5 queries over 5 keys for a batch of 2; expected 15 over 15 for 2 pictures"):
        explain(odd, "rollout")


def test_a_pool_of_several_queries_is_refused(trace):
    odd = trace_of(POOL)
    pool = odd.calls[-1]
    many = replace(pool, q=pool.q.expand(-1, -1, 3, -1), out=pool.out.expand(-1, -1, 3, -1))
    with pytest.raises(MethodError, match=r"^pool\.0: the pool has 3 queries over 12 tokens"):
        explain(replace(odd, calls=(*odd.calls[:-1], many)), "rollout")


def test_values_that_are_not_finite_are_an_error_not_a_picture(trace):
    broken = replace(trace.calls[0], q=trace.calls[0].q * float("nan"))
    with pytest.raises(MethodError, match="24 of 24 patch values are not finite numbers"):
        explain(replace(trace, calls=(broken, *trace.calls[1:])), "rollout")


def test_without_captum_the_extra_is_named(trace, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtra, match=r"captum is not installed; .* pip install 'vitscope\[captum\]'"):
        explain(trace, "integrated-gradients")


def test_the_public_names_and_what_they_say():
    assert list(METHODS) == PUBLIC
    for name, method in METHODS.items():
        assert method.name == name
        assert set(method.words) >= {"title", "shows", "does_not_show", "source"}
        assert ("target" in method.options) == method.class_specific
        assert bool(method.develops) == (method.by_layer is not None)
    assert needs_of(["attention", "relevance", "grad-cam"]) == Needs(hidden=True, gradients=True)
    assert needs_of(["legrad"]) == Needs(layer_scores=True)
    assert explain(trace_of(CLS, 1), "integrated_gradients", 1, steps=2).method == "integrated-gradients"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_map_says_what_it_is_and_can_be_made_again(name, trace):
    settings = {"steps": 3} if name == "integrated-gradients" else {"query": (1, 1)} if name == "rollout" else {}
    made = explain(trace, name, (2, 0) if METHODS[name].class_specific else None, **settings)
    assert (made.method, made.signed, len(made)) == (name, METHODS[name].signed, 2)
    assert made.unit
    assert made.target == (("class 2 rather than class 0",) * 2 if METHODS[name].class_specific else ())
    assert made.provenance is trace.provenance
    assert made[1].grid.shape == REGISTERS.grid
    again = remake(trace, made, (2, 0) if METHODS[name].class_specific else None)
    assert np.array_equal(again.values, made.values, equal_nan=True)


def test_methods_without_layers_have_no_development(trace):
    with pytest.raises(MethodError, match="occlusion: it works on the whole model at once; expected a method with layers: att"):
        develop(trace, "occlusion", 1)


def test_two_starts_are_told_apart():
    trace = trace_of(TWO_STARTS)
    first, second = explain(trace, "rollout"), explain(trace, "rollout", start=1)
    assert not np.allclose(first.values, second.values)
    assert first.notes == ("This head reads cls beside patch mean (start 1): two starts, shown apart.",)
    assert (first.parameters["reads"], second.parameters["reads"]) == ("cls", "patch mean")


def test_one_pass_back_serves_every_gradient_method():
    runs = []
    plain = trace_of(CLS)

    def counted(needs, target, inputs):
        runs.append(needs)
        return plain.rerun(needs, target, inputs)

    names = ["relevance", "gradient-rollout", "grad-cam"]
    trace = replace(plain, rerun=counted, _cache={})
    trace.with_needs(needs_of(names), plain.resolve(1))
    for name in names:
        explain(trace, name, 1)
        develop(trace, name, 1)
    assert len(runs) == 1
    explain(trace, "relevance", 2)
    assert len(runs) == 2


def test_progress_is_told_to_the_end(trace):
    told = []
    explain(trace, "occlusion", 1, batch=5, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (24, 24)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_tied_values_are_not_discarded_by_their_place():
    model = HandViT(CLS)
    with torch.no_grad():
        for layer in model.qkv:
            layer.weight.zero_()
            layer.bias.zero_()
    even = explain(run(model, pixels_of(CLS)), "rollout", discard=0.5).values
    patches = even[:, 1:]
    assert np.allclose(patches, patches[:, :1])


def test_patches_that_overlap_share_their_pixels():
    layout = replace(trace_of(CLS).layout, patch=(6, 6), origin=(-1.0, -1.0))
    values = np.random.default_rng(0).random((2, 12, 16))
    sums = sum_over_patches(values, layout)
    assert sums.shape == (2, 12)
    assert np.allclose(sums.sum(1), values.sum((1, 2)))
    assert np.allclose(sum_over_patches(values, trace_of(CLS).layout)[0, 0], values[0, :4, :4].sum())


def test_integrated_gradients_that_do_not_add_up_say_so():
    pytest.importorskip("captum", reason="captum is not installed")
    rough = explain(trace_of(replace(CLS, sharpness=6.0)), "integrated-gradients", 1, steps=1)
    doubts = [one.notes for one in rough]
    assert any(notes and notes[0].startswith("Uninformative: the parts miss the score's change of") for notes in doubts)
    fine = explain(trace_of(replace(CLS, sharpness=0.5)), "integrated-gradients", 1)
    assert fine.picture_notes == ((), ())
    total = np.nansum(fine.values, axis=1)
    assert np.allclose(total, fine.meta["change"], atol=0.01)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "integrated-gradients"])
def test_half_precision_models_give_float32_maps_near_the_exact_ones(name, half):
    model = HandViT(replace(CLS, dtype=half, sharpness=0.7))
    exact = HandViT(replace(CLS, sharpness=0.7))
    exact.load_state_dict({key: value.double() for key, value in model.state_dict().items()})
    exact.to(torch.float64)
    pixels = pixels_of(CLS).to(half)
    target = 1 if METHODS[name].class_specific else None
    coarse, expected = explain(run(model, pixels), name, target), explain(run(exact, pixels.double()), name, target).values
    assert coarse.values.dtype == np.float32
    rounding = 2.0 * torch.finfo(half).eps if name == "occlusion" else 0.0
    assert np.nanmax(np.abs(coarse.values - expected)) < 0.1 * np.nanmax(np.abs(expected)) + rounding
    assert bool(coarse.notes) == (name == "occlusion")
