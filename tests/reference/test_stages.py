"""Swin's window-by-window product against one dense matrix over stage-0 patches, built here by loops from the configuration alone."""

import numpy as np
import pytest
import torch

import vitscope as vs
from support.dense import halved, scattered, seat
from support.zoo import redraw
from vitscope.methods import explain
from vitscope.trace import Needs

WINDOW, PATCH = 3, 4


def swin(height, width, depths=(2, 2)):
    """transformers' Swin, small, with windows of 3: half of its blocks shift by one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=[height, width],
        patch_size=PATCH,
        embed_dim=8,
        depths=list(depths),
        num_heads=[2] * len(depths),
        window_size=WINDOW,
        num_labels=5,
    )
    return redraw(transformers.SwinForImageClassification(config)).double()


def dense(call, grid, shift, weights):
    """One block's global matrix ``[n, n]`` for the first picture of two."""
    rows = weights(call)[: len(call.out) // 2]
    return scattered(rows, grid[0] * grid[1], lambda window, slot: seat(grid, (WINDOW, WINDOW), (shift, shift), window, slot))


def shift_of(grid, block):
    """Odd blocks shift, unless one window holds the whole grid."""
    return 0 if block % 2 == 0 or min(grid) <= WINDOW else WINDOW // 2


def whole(trace, depths, step, weights):
    """The dense product over all stages: ``[n_last, n_0]``."""
    grid = trace.layout.grid
    grids, merges = [grid], []
    for _ in depths[1:]:
        grid, matrix = halved(grid)
        merges.append(matrix)
        grids.append(grid)
    total, number = None, 0
    for stage, depth in enumerate(depths):
        if stage:
            total = merges[stage - 1] @ total
        for block in range(depth):
            matrix = step(dense(trace.blocks[number], grids[stage], shift_of(grids[stage], block), weights))
            total = matrix if total is None else matrix @ total
            number += 1
    return total


@pytest.mark.parametrize(
    ("height", "width", "depths"),
    [(24, 24, (2, 2)), (20, 28, (2, 2)), (12, 20, (2,)), (44, 52, (2, 2, 2)), (60, 20, (2, 1))],
    ids=["even", "odd", "3 by 5", "three stages", "tall"],
)
def test_windows_and_merging_equal_one_dense_matrix(height, width, depths):
    model = vs.load(swin(height, width, depths))
    pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = model.trace(pixels)
    assert not trace.unmapped
    found = vs.rollout(trace)[0]
    n = trace.stages.stages[-1].n
    start = torch.full((1, n), 1 / n, dtype=torch.float64)
    eye = lambda a: torch.eye(len(a), dtype=torch.float64)  # noqa: E731
    slow = whole(trace, depths, lambda a: 0.5 * a + 0.5 * eye(a), lambda call: call.rows().mean(dim=1))
    expected = (start @ slow)[0].numpy()
    assert np.abs(found.values[0] - expected).max() <= 1e-6
    assert found.meta["padding"] == pytest.approx(1 - expected.sum(), abs=1e-9)

    shown = vs.relevance(trace, target=1)[0]
    seen = model.trace(pixels, needs=Needs(gradients=True), target=1)
    weighted = lambda call: (call.rows() * call.grad_rows()).clamp(min=0).mean(dim=1)  # noqa: E731
    slow = whole(seen, depths, lambda a: a + eye(a), weighted)
    expected = (start @ slow)[0].numpy()
    assert np.abs(shown.values[0] - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


def test_a_map_of_padding_says_so():
    trace = vs.load(swin(20, 28)).trace(torch.randn(1, 3, 20, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for one in (vs.rollout(trace), vs.attention(trace, layer=0), vs.relevance(trace), vs.gradient_rollout(trace)):
        assert one.meta["padding"] > 0.001
        assert any("padding" in note for note in one.notes)


def test_one_picture_is_the_same_alone_and_in_a_batch():
    model = vs.load(swin(20, 28))
    pixels = torch.randn(2, 3, 20, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = model.trace(pixels)
    for name in ("attention", "rollout", "relevance", "gradient-rollout", "grad-cam"):
        both = explain(together, name)
        for i in range(2):
            alone = explain(model.trace(pixels[i : i + 1]), name)
            np.testing.assert_allclose(both.values[i], alone.values[0], atol=1e-9)


def test_a_layer_is_drawn_on_its_own_grid():
    trace = vs.load(swin(20, 28)).trace(torch.randn(1, 3, 20, 28, dtype=torch.float64))
    assert vs.attention(trace, layer=0).grid.shape == (5, 7)
    assert vs.attention(trace, layer=-1).grid.shape == (3, 4)
    assert vs.attention(trace, layer=-1).layout.stride == (8, 8)


def segformer():
    """Keys reduced 2×2 in the first stage; patches of 7 px, 4 apart; merged by 3×3 convolutions, 2 apart."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[2, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        num_labels=5,
    )
    return redraw(transformers.SegformerForImageClassification(config)).double()


def boxes(grid, coarse, low, high, step):
    """``[coarse, fine]``: equal parts to the cells from ``step·i + low`` to ``step·i + high`` that there are."""
    matrix = torch.zeros(coarse[0] * coarse[1], grid[0] * grid[1], dtype=torch.float64)
    for i in range(coarse[0]):
        for j in range(coarse[1]):
            for y in range(max(0, step * i + low), min(grid[0], step * i + high + 1)):
                for x in range(max(0, step * j + low), min(grid[1], step * j + high + 1)):
                    matrix[i * coarse[1] + j, y * grid[1] + x] = 1
    return matrix / matrix.sum(dim=1, keepdim=True)


def test_reduced_keys_and_overlapping_merges_equal_one_dense_matrix():
    model = vs.load(segformer(), input_size=(32, 48))
    pixels = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = model.trace(pixels)
    assert [layout.grid for layout in trace.layouts] == [(8, 12), (4, 6)]
    assert [(call.queries, call.keys) for call in trace.blocks] == [(96, 24), (96, 24), (24, 24)]
    reduced, merged = boxes((8, 12), (4, 6), 0, 1, 2), boxes((8, 12), (4, 6), -1, 1, 2)
    mean = [call.rows().mean(dim=1)[0] for call in trace.blocks]
    one, two = (0.5 * a @ reduced + 0.5 * torch.eye(96) for a in mean[:2])
    last = 0.5 * mean[2] + 0.5 * torch.eye(24)
    expected = (torch.full((1, 24), 1 / 24, dtype=torch.float64) @ last @ merged @ two @ one)[0].numpy()
    found = vs.rollout(trace)[0]
    assert np.abs(found.values[0] - expected).max() <= 1e-6
    assert found.values.sum() == pytest.approx(1)
    assert found.meta["padding"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", ["pvt", "pvt_v2", "cvt", "swinv2"])
def test_other_families_hold_their_mass(kind):
    """Shapes, and that nothing is lost where there is no padding (a cls token that joins late keeps its share)."""
    transformers = pytest.importorskip("transformers")
    small = {
        "pvt": ("PvtForImageClassification", {"image_size": 32, "depths": [1] * 4}),
        "pvt_v2": ("PvtV2ForImageClassification", {"image_size": 64, "depths": [1] * 4}),
        "cvt": ("CvtForImageClassification", {"depth": [1, 2, 3]}),
        "swinv2": (
            "Swinv2ForImageClassification",
            {"image_size": 32, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4},
        ),
    }[kind]
    side = small[1].get("image_size", 64)
    config = transformers.AutoConfig.for_model(kind, num_labels=5, **small[1])
    torch.manual_seed(0)
    model = vs.load(redraw(getattr(transformers, small[0])(config), spread=0.7), input_size=(side, side))
    trace = model.trace(torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert not trace.unmapped, trace.unmapped
    shown = vs.rollout(trace)[0]
    assert shown.grid.shape == (side // 4, side // 4)
    assert float(shown.values.sum()) + shown.meta["padding"] == pytest.approx(1, abs=1e-5)
    assert np.isfinite(vs.relevance(trace)[0].values).all()
