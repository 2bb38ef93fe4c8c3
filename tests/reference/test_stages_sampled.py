"""Rollout by drawn rows in models with stages: one draw, the mean of many, and the exact end against dense matrices built here."""

import numpy as np
import pytest
import torch

import vitscope as vs
from support import dense
from support.zoo import redraw
from vitscope.methods.sampled import cells_of, choose, refine

GRIDS, CELLS = ((16, 16), (8, 8)), 4


def segformer():
    """Two stages, of 16×16 and 8×8 tokens: keys reduced 4×4 and 2×2, merged by 3×3 convolutions 2 apart."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[2, 2],
        sr_ratios=[4, 2],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[2, 2],
        mlp_ratios=[2, 2],
        num_labels=5,
    )
    return redraw(transformers.SegformerForImageClassification(config), spread=0.9).double()


def nest():
    """Two windows' stages and a last one that is whole: 16×16 in 4×4 windows of 4, 8×8 in 2×2 of them, 4×4 in one."""
    timm = pytest.importorskip("timm")
    made = timm.models.nest.Nest(img_size=64, embed_dims=(16, 16, 16), num_heads=(2, 2, 2), depths=(1, 1, 2), num_classes=5)
    return redraw(made, spread=0.9).double()


def trace_of(module):
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = vs.load(module, input_size=(64, 64)).trace(pixels)
    assert not trace.unmapped, trace.unmapped
    return trace


def heads_of(trace):
    """For each block ``[h, n, n]``: each head's matrix over the tokens of its stage, and the merge between the stages."""
    reduced = [dense.boxes(GRIDS[i], tuple(side // step for side in GRIDS[i]), 0, step - 1, step) for i, step in ((0, 4), (1, 2))]
    return [call.rows()[0] @ reduced[i // 2] for i, call in enumerate(trace.blocks)], dense.boxes(*GRIDS, -1, 1, 2)


def exact(trace, residual):
    matrices, merge = heads_of(trace)
    vector = torch.full((64,), 1 / 64, dtype=torch.float64)
    for number in (3, 2, 1, 0):
        vector = (1 - residual) * vector @ matrices[number].mean(dim=0) + residual * vector
        vector = vector @ merge if number == 2 else vector
    return vector.numpy()


def slow_draw(trace, residual, seed):
    """One draw with whole matrices, head by head and row by row, from the same random numbers."""
    matrices, merge = heads_of(trace)
    generator = torch.Generator().manual_seed(seed)
    vector = torch.full((64,), 1 / 64, dtype=torch.float64)
    for number in (3, 2, 1, 0):
        at, weights = choose(vector, cells_of(trace.layouts[number // 2], CELLS), 2, generator)
        pushed = torch.zeros_like(vector)
        for head in range(2):
            for token, weight in zip(at[head].tolist(), weights[head].tolist(), strict=True):
                pushed += weight * matrices[number][head, token] / 2
        vector = (1 - residual) * pushed + residual * vector
        vector = vector @ merge if number == 2 else vector
    return vector.numpy()


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_a_draw_equals_the_slow_one(residual):
    trace = trace_of(segformer())
    one, state = next(refine(trace, residual=residual, plan=(CELLS, 2), seed=5))
    assert np.abs(one.values[0] - slow_draw(trace, residual, 5)).max() <= 1e-6
    assert 0 < state.share < 0.5
    assert (state.cells, state.done, state.error) == (CELLS, False, None)


@pytest.mark.parametrize("fuse", ["mean", "max"])
def test_the_mean_of_many_draws_is_the_exact_map(fuse):
    trace = trace_of(segformer())
    draws = np.stack([next(refine(trace, fuse=fuse, plan=(CELLS,), seed=seed))[0].values[0] for seed in range(150)]).astype(np.float64)
    expected = vs.rollout(trace, fuse=fuse).values[0]
    if fuse == "mean":
        assert np.abs(expected - exact(trace, 0.5)).max() <= 1e-6
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - expected) <= 5 * error + 1e-7).all()
    assert error.max() > 0


def test_the_last_one_is_rollout_itself_and_says_what_it_says():
    trace = trace_of(segformer())
    *drawn, (last, state) = refine(trace, plan=(4, 2, 2))
    whole = vs.rollout(trace)
    np.testing.assert_array_equal(last.values, whole.values)
    assert state.done
    assert len(drawn) == 3
    assert last.notes == whole.notes
    assert last.meta["padding"] == whole[0].meta["padding"]
    for one, seen in drawn[1:]:
        assert seen.l1 > 0.5 * float(np.abs(one.values - whole.values).sum())


def test_windows_are_never_drawn():
    trace = trace_of(nest())
    windows = [call.seats.windows for call in trace.blocks]
    assert windows == [16, 4, 1, 1]
    (drawn, _), (last, state) = refine(trace, plan=(4,), query=(0, 0))
    assert state.done
    whole = vs.rollout(trace, query=(0, 0))
    np.testing.assert_array_equal(last.values, whole.values)
    # a token alone is its own row, and the next block's 16 rows are 4 drawn and the rest of none: only that block is drawn
    assert np.abs(drawn.values - whole.values).sum() < 0.9
    assert drawn.values.sum() == pytest.approx(1)


def test_a_model_of_windows_alone_is_exact_at_once():
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(image_size=[64, 64], patch_size=4, embed_dim=8, depths=[2], num_heads=[2], window_size=4, num_labels=5)
    trace = trace_of(redraw(transformers.SwinForImageClassification(config)).double())
    ((only, state),) = list(refine(trace))
    assert state.done
    np.testing.assert_array_equal(only.values, vs.rollout(trace).values)
