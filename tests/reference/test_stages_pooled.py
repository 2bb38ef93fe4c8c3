"""Hiera, MViT, LeViT, Nest, MaxViT, GCViT, DaViT and MobileViT against one dense matrix, built by loops from their configuration alone."""

import numpy as np
import pytest
import torch

import vitscope as vs
from support import dense
from support.zoo import redraw
from vitscope.trace import Needs


def eye(grid):
    return torch.eye(grid[0] * grid[1], dtype=torch.float64)


def square(side):
    return (side, side)


def placed(rows, out, into, query, key):
    """``[n_out, n_in]`` from window rows ``[w, nq, nk]``: ``query(w, i)`` and ``key(w, j)`` give cells, or None for padding."""
    matrix = torch.zeros(out[0] * out[1], into[0] * into[1], dtype=torch.float64)
    for w in range(len(rows)):
        for i in range(rows.shape[1]):
            for j in range(rows.shape[2]):
                to, of = query(w, i), key(w, j)
                if to is not None and of is not None:
                    matrix[to[0] * out[1] + to[1], of[0] * into[1] + of[1]] += rows[w, i, j]
    return matrix


# each model gives: the module, its picture's side, and its blocks and merges in running order. A block is
# (rows → [n_out, n_in], residual path [n_out, n_in] or None); a merge is a matrix [n_coarse, n_fine].


def windows(grid, side):
    """Cells by (window, slot), both row by row."""
    across = -(-grid[1] // side)

    def at(w, i):
        y, x = w // across * side + i // side, w % across * side + i % side
        return (y, x) if y < grid[0] and x < grid[1] else None

    return at


def apart(grid, steps):
    """Cells by (offset, slot): each window takes every ``steps``-th cell, down and across."""
    return lambda w, i: (i // (grid[1] // steps) * steps + w // steps, i % (grid[1] // steps) * steps + w % steps)


def in_windows(grid, at, keys=None):
    matrix = (lambda rows: placed(rows, grid, grid, at, at)) if keys is None else (lambda rows: placed(rows, grid, grid, at, at) @ keys)
    return ("block", matrix, eye(grid))


def unrolled(cells, times):
    """Hiera's order of tokens: the cells of each offset together, offsets of coarse cells outermost."""
    if times == 0:
        return [tuple(cell) for row in cells for cell in row]
    return [cell for y in (0, 1) for x in (0, 1) for cell in unrolled([row[x::2] for row in cells[y::2]], times - 1)]


def cells_of(grid):
    return [[(y, x) for x in range(grid[1])] for y in range(grid[0])]


def hiera_steps():
    steps, grid = [], square(16)
    for stage, depth in enumerate((1, 2, 1, 1)):
        for block in range(depth):
            pooled = stage > 0 and block == 0
            into = grid
            grid = square(into[0] // 2) if pooled else into
            after = unrolled(cells_of(grid), 3 - stage)
            before = unrolled(cells_of(into), 4 - stage) if pooled else unrolled(cells_of(into), 3 - stage)
            steps.append(("block", hiera_block(into, grid, before, after), dense.boxes(into, grid, 0, 1, 2) if pooled else eye(grid)))
    return steps


def hiera_block(into, out, before, after):
    return lambda rows: placed(rows, out, into, lambda w, i: after[i * len(rows) + w], lambda w, j: before[j * len(rows) + w])


def timm_hiera():
    timm = pytest.importorskip("timm")
    return timm.models.hiera.Hiera(img_size=square(64), embed_dim=16, num_heads=1, stages=(1, 2, 1, 1), num_classes=5), 64, hiera_steps()


def hf_hiera():
    transformers = pytest.importorskip("transformers")
    config = transformers.HieraConfig(image_size=[64, 64], embed_dim=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8], num_labels=5)
    return transformers.HieraForImageClassification(config), 64, hiera_steps()


def mvit():
    timm = pytest.importorskip("timm")
    made = timm.models.mvitv2
    config = made.MultiScaleVitCfg(depths=(1, 2, 1), embed_dim=(16, 32, 64), num_heads=(1, 2, 4))
    config = type(config)(**{**vars(config), "stride_q": ((1, 1), (2, 2), (2, 2)), "stride_kv": ((4, 4), (2, 2), (1, 1))})
    steps, grid = [], square(16)
    for stage, depth in enumerate((1, 2, 1)):
        for block in range(depth):
            pooled, step = stage > 0 and block == 0, (4, 2, 1)[stage]
            into = grid
            grid = square(into[0] // 2) if pooled else into
            keys = dense.boxes(into, square(-(-into[0] // step)), -1, 1, step)
            steps.append(("block", lambda rows, keys=keys: rows[0] @ keys, dense.boxes(into, grid, -1, 1, 2) if pooled else eye(grid)))
    return made.MultiScaleVit(config, img_size=square(64), num_classes=5), 64, steps


def levit():
    timm = pytest.importorskip("timm")
    module = timm.models.levit.Levit(img_size=128, embed_dim=(16, 32, 48), key_dim=8, depth=(1, 2, 1), num_heads=(2, 2, 2), num_classes=5)
    plain, every = (
        ("block", lambda rows: rows[0]),
        ("block", lambda rows: rows[0], None),
    )
    return module, 128, [(*plain, eye(square(8))), every, *[(*plain, eye(square(4)))] * 2, every, (*plain, eye(square(2)))]


def nest():
    timm = pytest.importorskip("timm")
    module = timm.models.nest.Nest(img_size=64, embed_dims=(16, 16, 16), num_heads=(2, 2, 2), depths=(1, 1, 2), num_classes=5)
    merges = [("merge", dense.boxes(square(2 * side), square(side), -2, 2, 2)) for side in (8, 4)]  # 3×3, then the largest of 3×3
    levels = [in_windows(square(side), windows(square(side), 4)) for side in (16, 8, 4)]
    return module, 64, [levels[0], merges[0], levels[1], merges[1], levels[2], levels[2]]


def torchvision_maxvit():
    maxvit = pytest.importorskip("torchvision.models.maxvit")
    module = maxvit.MaxVit(square(64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=5)
    steps = []
    for side in (16, 8):
        grid = square(side)
        steps += [in_windows(grid, windows(grid, 4)), in_windows(grid, apart(grid, side // 4))]
    return module, 64, [*steps[:2], ("merge", dense.boxes(square(16), square(8), -1, 1, 2)), *steps[2:]]


def timm_maxvit():
    timm = pytest.importorskip("timm")
    made = timm.models.maxxvit
    kinds = made.MaxxVitTransformerCfg(dim_head=8, window_size=(4, 4), grid_size=(4, 4))
    config = made.MaxxVitCfg(embed_dim=(16, 32), depths=(1, 1), block_type=("M", "M"), stem_width=16, transformer_cfg=kinds)
    module = made.MaxxVit(config, img_size=64, num_classes=5)
    return module, 64, torchvision_maxvit()[2]


def gcvit():
    timm = pytest.importorskip("timm")
    made = timm.models.gcvit.GlobalContextVit
    module = made(img_size=square(64), window_size=(4, 4), depths=(2, 2), num_heads=(2, 2), embed_dim=16, num_classes=5)
    levels = [in_windows(square(side), windows(square(side), 4)) for side in (16, 8)]
    return module, 64, [*levels[:1] * 2, ("merge", dense.boxes(square(16), square(8), -2, 2, 2)), *levels[1:] * 2]


def davit():
    timm = pytest.importorskip("timm")
    module = timm.models.davit.DaVit(embed_dims=(16, 32), num_heads=(2, 4), depths=(1, 1), window_size=7, num_classes=5)
    near = [dense.boxes(square(side), square(side), -1, 1, 1) for side in (20, 10)]  # values are made of 3×3 tokens
    levels = [in_windows(square(side), windows(square(side), 7), keys) for side, keys in zip((20, 10), near, strict=True)]
    return module, 80, [levels[0], ("merge", dense.boxes(square(20), square(10), -2, 3, 2)), levels[1]]


def hf_mobilevit():
    transformers = pytest.importorskip("transformers")
    necks = [8, 8, 8, 16, 16, 16, 32]
    config = transformers.MobileViTConfig(image_size=128, hidden_sizes=[16, 24, 32], neck_hidden_sizes=necks, num_labels=5)
    steps = []
    for side, depth in ((16, 2), (8, 4), (4, 3)):
        grid = square(side)
        steps += [*[in_windows(grid, apart(grid, 2))] * depth, ("merge", dense.boxes(grid, square(side // 2), -4, 4, 2))]
    return transformers.MobileViTForImageClassification(config), 128, steps[:-1]


MODELS = [timm_hiera, hf_hiera, mvit, levit, nest, torchvision_maxvit, timm_maxvit, gcvit, davit, hf_mobilevit]


def through(vector, steps, calls, weights, block):
    """A row vector through all steps, last first."""
    calls = list(calls)
    for kind, *step in reversed(steps):
        vector = vector @ step[0] if kind == "merge" else vector @ block(step[0](weights(calls.pop())), step[1])
    assert not calls
    return vector


@pytest.mark.parametrize("make", MODELS)
def test_the_map_equals_one_dense_matrix(make):
    torch.manual_seed(0)
    module, side, steps = make()
    model = vs.load(redraw(module, spread=0.9).double(), input_size=(side, side))
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = model.trace(pixels)
    assert not trace.unmapped, trace.unmapped
    last = trace.layouts[-1]
    start = torch.full((1, last.grid[0] * last.grid[1]), 0.0, dtype=torch.float64)
    query = "pooled" if trace.layout.readouts else (1, 1)
    if query == "pooled":
        start += 1 / start.shape[1]
    else:
        start[0, last.grid[1] + 1] = 1.0
    found = vs.rollout(trace, query=query)[0]
    half = lambda a, past: a if past is None else 0.5 * a + 0.5 * past  # noqa: E731
    expected = through(start, steps, trace.blocks, dense.mean_heads, half)[0].numpy()
    shown = found.layout.to_grid(found.values)[0].ravel()
    assert np.abs(shown - expected).max() <= 1e-6
    assert found.meta["padding"] == pytest.approx(1 - expected.sum(), abs=1e-9)
    if query != "pooled":
        return

    seen = model.trace(pixels, needs=Needs(gradients=True), target=1)
    whole = lambda a, past: a if past is None else a + past  # noqa: E731
    expected = through(start, steps, seen.blocks, dense.weighted, whole)[0].numpy()
    shown = vs.relevance(trace, target=1)[0]
    assert np.abs(shown.layout.to_grid(shown.values)[0].ravel() - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("make", [torchvision_maxvit, gcvit, davit, hf_mobilevit])
def test_a_stem_is_measured_in_single_precision_too(make):
    torch.manual_seed(0)
    module, side, _ = make()
    module = redraw(module, spread=0.9)
    wide = vs.load(redraw(make()[0], spread=0.9).double(), input_size=(side, side)).layout((side, side))
    narrow = vs.load(module, input_size=(side, side)).layout((side, side))
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert (narrow.grid, narrow.stride, narrow.origin) == (wide.grid, wide.stride, wide.origin)
    np.testing.assert_array_equal(narrow.cells, wide.cells)


def test_a_pooling_block_is_asked_on_one_grid_and_drawn_on_the_other():
    module, side, _ = timm_hiera()
    trace = vs.load(redraw(module, spread=0.9), input_size=(side, side)).trace(torch.randn(2, 3, side, side))
    assert (trace.layout_of(1).grid, trace.layout_read(1).grid) == ((8, 8), (16, 16))
    shown = vs.attention(trace, layer=1, query=(7, 7))[0]
    assert shown.grid.shape[-2:] == (16, 16)
    assert shown.values[0].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("make", [timm_hiera, nest, torchvision_maxvit, gcvit])
def test_one_picture_is_the_same_alone_and_in_a_batch(make):
    module, side, _ = make()
    model = vs.load(redraw(module, spread=0.9).double(), input_size=(side, side))
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = model.trace(pixels)
    for i in range(2):
        alone = vs.rollout(model.trace(pixels[i : i + 1]))
        np.testing.assert_allclose(vs.rollout(both).values[i], alone.values[0], atol=1e-9)
        np.testing.assert_allclose(vs.rollout(both[i]).values[0], alone.values[0], atol=1e-9)
