"""Layers of a hierarchical model in the interactive view: true windows, coarser tokens as their patches, links with places."""

import numpy as np
import pytest
import torch

import vitscope as vs
from support import dense
from support.zoo import redraw
from vitscope.api.carry import carry
from vitscope.api.explorer import Explorer
from vitscope.methods.heads import rows_of_heads
from vitscope.methods.links import links

WINDOW = 3


@pytest.fixture(scope="module")
def trace():
    """timm's Swin on 5×7 patches, then 3×4: windows of 3, half of them shifted, padded."""
    timm = pytest.importorskip("timm")
    made = timm.models.swin_transformer.SwinTransformer
    torch.manual_seed(0)
    module = made(img_size=(20, 28), patch_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 2), window_size=WINDOW, num_classes=5)
    model = vs.load(redraw(module).double(), input_size=(20, 28), mean=(0.5,) * 3, std=(0.5,) * 3)
    return model.trace(torch.randn(1, 3, 20, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def layer_matrix(trace, layer, head):
    """``[n, n]`` of one head on the layer's own grid, NaN outside the windows; by loops over windows and slots."""
    grid = (5, 7) if layer < 2 else (3, 4)
    shift = tuple(0 if layer % 2 == 0 or side <= WINDOW else 1 for side in grid)
    matrix = np.full((grid[0] * grid[1],) * 2, np.nan)
    rows = trace.blocks[layer].rows()[:, head].numpy()
    for window in range(len(rows)):
        seats = [dense.seat(grid, (WINDOW, WINDOW), shift, window, slot, padded_late=True) for slot in range(WINDOW**2)]
        for i, a in enumerate(seats):
            for j, b in enumerate(seats):
                if a >= 0 and b >= 0:
                    matrix[a, b] = rows[window, i, j]
    return grid, matrix


@pytest.mark.parametrize("cell", [(0, 0), (2, 3), (4, 6)])
def test_rows_of_a_patch_are_its_window_in_every_layer(trace, cell):
    rows, begin, notes = rows_of_heads(trace, cell)
    assert begin.query == f"{cell[0]},{cell[1]}"
    assert any("window" in note for note in notes)
    for layer in range(4):
        for head in range(2):
            grid, matrix = layer_matrix(trace, layer, head)
            row = matrix[cell[0] * grid[0] // 5 * grid[1] + cell[1] * grid[1] // 7].reshape(grid)
            for y in range(5):
                for x in range(7):
                    np.testing.assert_allclose(rows[2 * layer + head, y * 7 + x], row[y * grid[0] // 5, x * grid[1] // 7], atol=1e-6)


def test_the_pooled_row_has_no_holes(trace):
    rows, begin, _ = rows_of_heads(trace)
    assert begin.query == "pooled"
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("layer", range(4))
def test_links_are_the_heaviest_inside_windows(trace, layer):
    found = links(trace, layer, 1, k=10)
    grid, matrix = layer_matrix(trace, layer, 1)
    heaviest = np.sort(matrix[np.isfinite(matrix)])[::-1][:10]
    np.testing.assert_allclose(found.weights, heaviest, atol=1e-6)
    for query, key, weight in zip(found.queries, found.keys, found.weights, strict=True):
        own = [token // 7 * grid[0] // 5 * grid[1] + token % 7 * grid[1] // 7 for token in (query, key)]
        assert matrix[own[0], own[1]] == pytest.approx(weight, abs=1e-6)
    assert found.left_out == pytest.approx(1 - heaviest.sum() / (grid[0] * grid[1]), abs=1e-6)


def test_the_view_says_each_layers_grid_and_draws_its_map_on_the_first(trace):
    explorer = Explorer([trace])
    source = explorer.catalogue()["sources"][0]
    assert [layer["grid"] for layer in source["layers"]] == [[5, 7], [5, 7], [3, 4], [3, 4]]
    assert [layer["seen"] for layer in source["layers"]] == [9, 9, 9, 9]
    from vitscope.views.view import unpack

    block = unpack(next(iter(explorer.answer("map", {"method": "attention", "layer": 3, "head": "1", "query": "4,6"}))))
    grid, matrix = layer_matrix(trace, 3, 1)
    row = matrix[2 * 4 + 3].reshape(grid)
    values = block.arrays["values"].reshape(5, 7)
    for y in range(5):
        for x in range(7):
            np.testing.assert_allclose(values[y, x], row[y * 3 // 5, x * 4 // 7], atol=1e-6)
    assert block.meta["query"] == "4,6"
    for op, args in (("rows", {"query": "2,2"}), ("links", {"layer": 2, "k": 5}), ("map", {"method": "rollout", "query": "2,2"})):
        assert list(explorer.answer(op, args))


def test_a_file_carries_the_pooled_rows_and_the_maps(trace):
    carried = carry([(trace, [vs.attention(trace, layer=-1), vs.rollout(trace)])])[0]
    assert carried.source["stored"]["rows"] is False
    assert carried.arrays["pooled"].shape == (8, 35)
    assert carried.arrays["maps/0"].shape == (35,)


def test_a_report_a_figure_and_trust_of_one_stages_maps(trace, tmp_path):
    """Maps of several grids in one report; a state's figure; hiding whole tokens of the map's own grid."""
    made = [vs.attention(trace, layer=3), vs.attention(trace, layer=1, query=(2, 3)), vs.rollout(trace), vs.grad_cam(trace)]
    maps = vs.check(trace, made)
    assert [one.grid.shape for one in maps] == [(3, 4), (5, 7), (5, 7), (3, 4)]
    for one in maps:
        assert np.isfinite(one.meta["trust"]["hottest_drop"])
        assert 0 < one.meta["trust"]["attention_from_uniform"] <= 1
    page = vs.report(trace, maps, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "own 3 rows of 4 tokens" in page
    pytest.importorskip("matplotlib")
    assert vs.figure(trace, maps, tmp_path / "maps.png").stat().st_size > 1000
    assert vs.figure(trace, path=tmp_path / "state.png", state={"query": "2,3"}).stat().st_size > 1000


def test_a_map_of_one_stage_is_drawn_on_the_patches_its_tokens_cover(trace):
    from vitscope.api.drawn import on_patches_of

    one = vs.attention(trace, layer=3, query=(2, 3))
    drawn = on_patches_of(trace, one).grid
    grid, matrix = layer_matrix(trace, 3, 0)
    outside = np.isnan(matrix[2 * 4 + 3].reshape(grid))
    for y in range(5):
        for x in range(7):
            at = y * 3 // 5, x * 4 // 7
            np.testing.assert_allclose(drawn[y, x], np.nan if outside[at] else one.grid[at], atol=1e-9)
