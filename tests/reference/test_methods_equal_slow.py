"""Every method against its slow re-implementation with full matrices, on a seeded hand-written ViT: batches, every kind of read-out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from support import slow
from support.handmade import ALL, CLS, POOL, TWO_STARTS, HandViT, Record, Spec, pixels_of, run
from vitscope import trace as trace_module
from vitscope.core.targets import Target
from vitscope.methods import METHODS, develop, explain
from vitscope.trace import Trace

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
BATCH = 3
STEPS = 12


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows each, so that every method is seen crossing them."""
    monkeypatch.setattr(trace_module, "BLOCK_VALUES", 4 * BATCH * 4 * 15)


def both(spec: Spec, dtype: torch.dtype) -> tuple[Trace, HandViT, Record, torch.Tensor]:
    """The trace in this precision, and the same weights and pixels in float64, whole."""
    model = HandViT(replace(spec, dtype=dtype))
    pixels = pixels_of(spec, BATCH).to(dtype)
    trace = run(model, pixels)
    wide = HandViT(spec)
    wide.load_state_dict(model.state_dict())
    return trace, wide, wide(pixels.double()), pixels.double()


def agree(values: np.ndarray, expected: torch.Tensor | np.ndarray, dtype: torch.dtype) -> None:
    reference = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected).ravel()
    assert values.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert np.abs(reference).max() > 0
    assert np.abs(values.ravel() - reference).max() <= TOLERANCE[dtype] * np.abs(reference).max()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("head", ["mean", "max", "min", 1])
def test_attention(name, head, dtype):
    trace, _, seen, _ = both(ALL[name], dtype)
    for layer in (0, -1):
        found = explain(trace, "attention", layer=layer, head=head).values
        for i in range(BATCH):
            a = seen.pool.a[i] if seen.pool and layer == -1 else seen.calls[layer].a[i]
            fused = {"mean": a.mean(0), "max": a.max(0).values, "min": a.min(0).values, 1: a[1]}[head]
            start = torch.ones(1).double() if seen.pool and layer == -1 else slow.start_row(ALL[name], seen, i)
            agree(found[i], (start @ fused)[-trace.layout.n :], dtype)


@pytest.mark.parametrize("query", ["cls", (2, 1), ("register", 1), "0,2"])
def test_attention_and_rollout_of_one_token(query, dtype):
    spec = ALL["registers"]
    trace, _, seen, _ = both(spec, dtype)
    token = {"cls": 0, (2, 1): 3 + 2 * 3 + 1, ("register", 1): 2, "0,2": 5}[query]
    for i in range(BATCH):
        agree(explain(trace, "attention", layer=1, query=query).values[i], seen.calls[1].a[i].mean(0)[token], dtype)
        rolled = slow.rollout([c.a[i] for c in seen.calls], "mean", 0.5, 0.0, [])
        agree(explain(trace, "rollout", query=query).values[i], rolled[token], dtype)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("fuse", "residual", "discard"), [("mean", 0.5, 0.0), ("max", 0.3, 0.4), ("min", 0.0, 0.7), ("mean", 0.8, 0.9)])
def test_rollout(name, fuse, residual, discard, dtype):
    spec = ALL[name]
    trace, _, seen, _ = both(spec, dtype)
    columns = [int(i) for i in trace.layout.patches]
    found = explain(trace, "rollout", fuse=fuse, residual=residual, discard=discard).values
    for i in range(BATCH):
        agree(found[i], slow_rollout_row(spec, seen, i, (fuse, residual, discard), columns), dtype)
        assert found[i].sum() <= 1 + 1e-5
        assert spec.pool == "class" or found[i].sum() == pytest.approx(1.0, abs=1e-5)


def slow_rollout_row(spec: Spec, seen: Record, i: int, settings: tuple[str, float, float], columns: list[int]) -> torch.Tensor:
    fuse, residual, discard = settings
    if spec.pool == "class":
        blocks = [slow.fused(c.a[i], fuse, discard, columns) for c in seen.calls]
        pools = [slow.fused(c.a[i], fuse, discard, [j + 1 for j in columns])[0] for c in seen.pools]
        return slow.with_class_token(blocks, pools, lambda m: (1 - residual) * m + residual * torch.eye(len(m), dtype=torch.float64))
    start = slow.fused(seen.pool.a[i], fuse, discard, columns)[0] if seen.pool else slow.start_row(spec, seen, i)
    return start @ slow.rollout([c.a[i] for c in seen.calls], fuse, residual, discard, columns)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("target", [None, 2, (3, 1)])
def test_gradient_methods(name, target, dtype):
    spec = ALL[name]
    trace, _, seen, _ = both(spec, dtype)
    aim = trace.resolve(target)
    relevance, rollout = (
        explain(trace, "relevance", target).values,
        explain(trace, "gradient-rollout", target, residual=0.4, discard=0.3).values,
    )
    legrad, cam = explain(trace, "legrad", target).values, explain(trace, "grad-cam", target)
    for i in range(BATCH):
        agree(relevance[i], slow.relevance(spec, seen, aim, i), dtype)
        agree(rollout[i], slow.gradient_rollout(spec, seen, aim, i, 0.4, 0.3), dtype)
        agree(legrad[i], slow.legrad(spec, seen, aim, i), dtype)
        patches = cam.values[i][trace.layout.patches]
        reference = slow.grad_cam(spec, seen, aim, i, cam.layer).detach().numpy()
        scale = float(slow.grad_cam_size(spec, seen, aim, i, cam.layer))
        assert np.abs(patches - reference).max() <= TOLERANCE[dtype] * scale


def test_second_start_of_a_head_that_reads_two(dtype):
    trace, _, seen, _ = both(TWO_STARTS, dtype)
    aim = trace.resolve(1)
    for i in range(BATCH):
        agree(explain(trace, "relevance", 1, start=1).values[i], slow.relevance(TWO_STARTS, seen, aim, i, start=1), dtype)
        rolled = slow.rollout([c.a[i] for c in seen.calls], "mean", 0.5, 0.0, [])
        agree(explain(trace, "rollout", start=1).values[i], slow.start_row(TWO_STARTS, seen, i, start=1) @ rolled, dtype)


@pytest.mark.parametrize("name", ["cls", "mean", "pool"])
@pytest.mark.parametrize("target", [2, (0, 3)])
def test_integrated_gradients(name, target, dtype):
    pytest.importorskip("captum", reason="captum is not installed")
    trace, model, _, pixels = both(ALL[name], dtype)
    found = explain(trace, "integrated-gradients", target, steps=STEPS, baseline=0.25, batch=5)
    reference = slow.integrated_gradients(model, pixels, trace.resolve(target), STEPS, 0.25)
    for i in range(BATCH):
        agree(found.values[i][trace.layout.patches], reference[i], dtype)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_occlusion(size, stride, dtype):
    spec = replace(CLS, grid=(4, 5), depth=2)
    trace, model, _, pixels = both(spec, dtype)
    found = explain(trace, "occlusion", (1, 2), size=size, stride=stride, batch=7).values
    reference = slow.occlusion(model, pixels, trace.resolve((1, 2)), size, stride)
    for i in range(BATCH):
        agree(found[i][trace.layout.patches], reference[i], dtype)


def test_every_method_treats_each_picture_of_a_batch_as_if_alone(dtype):
    model = HandViT(replace(POOL, dtype=dtype))
    pixels = pixels_of(POOL, BATCH).to(dtype)
    whole, tolerance = run(model, pixels), 1e-12 if dtype == torch.float64 else 1e-5
    for name in METHODS:
        target = 1 if METHODS[name].class_specific else None
        steps = {"steps": 4} if name == "integrated-gradients" else {}
        together = explain(whole, name, target, **steps)
        for i in range(BATCH):
            alone = explain(run(model, pixels[i : i + 1]), name, target, **steps)
            if name == "grad-cam" and alone.layer != together.layer:
                continue
            scale = np.nanmax(np.abs(alone.values)) + 1e-9
            assert np.nanmax(np.abs(together.values[i] - alone.values[0])) <= tolerance * scale


@pytest.mark.parametrize("name", ["rollout", "gradient-rollout", "relevance"])
def test_the_first_row_of_a_development_is_the_map(name):
    trace, *_ = both(CLS, torch.float64)
    grown = develop(trace, name, 1 if METHODS[name].class_specific else None)
    assert grown.shape == (BATCH, CLS.depth, trace.layout.n)
    assert np.array_equal(grown[:, 0], explain(trace, name, 1 if METHODS[name].class_specific else None).values)


def test_development_of_the_other_layered_methods():
    trace, *_ = both(CLS, torch.float64)
    for layer in range(CLS.depth):
        assert np.array_equal(
            develop(trace, "attention", head="max")[:, layer], explain(trace, "attention", layer=layer, head="max").values
        )
    assert np.allclose(develop(trace, "legrad", 1).mean(axis=1), explain(trace, "legrad", 1).values)
    cam = develop(trace, "grad-cam", 1)
    assert np.isnan(cam[:, -1]).all()
    assert np.array_equal(cam[:, 0], explain(trace, "grad-cam", 1, layer=0).values, equal_nan=True)


def test_a_pair_is_not_the_difference_of_two_maps_but_the_map_of_the_difference():
    trace, _, seen, _ = both(CLS, torch.float64)
    pair = explain(trace, "relevance", (0, 1)).values
    assert not np.allclose(pair, explain(trace, "relevance", 0).values - explain(trace, "relevance", 1).values)
    agree(pair[0], slow.relevance(CLS, seen, Target((0,) * BATCH, (1,) * BATCH), 0), torch.float64)
