"""Token colours on shared axes, patch filters and position embeddings: what is found is the model's own, what is not is said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import vitscope as vs
from support import photos
from vitscope.errors import ArgumentError, MethodError
from vitscope.models.parts import patch_filters, position_embeddings
from vitscope.projection.tokens import colour_axes


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return vs.load("builtin:photos")


def two_parts(seed, part):
    """A grid [6, 6, 12] of vectors of two kinds, the same kinds in every photo; ``part`` says where the second is."""
    rng = np.random.default_rng(seed)
    grid = rng.standard_normal((6, 6, 12)) * 0.3
    grid[..., 0] += np.where(part, 5.0, -2.5)
    return grid.astype(np.float32)


def test_like_parts_of_two_photos_share_their_colour():
    one, other = np.zeros((2, 6, 6), dtype=bool)
    one[1:3, 1:5] = True
    other[2:5, 3:5] = True
    _, scores, low, high = colour_axes([two_parts(0, one), two_parts(1, other)])
    red = [(grid[..., 0] - low[0]) / (high[0] - low[0]) for grid in scores]
    assert abs(red[0][one].mean() - red[1][other].mean()) < 0.1
    assert abs(red[0][one].mean() - red[0][~one].mean()) > 0.6


def test_foreground_is_the_side_away_from_the_border():
    part = np.zeros((6, 6), dtype=bool)
    part[2:4, 2:5] = True
    _, (scores,), _, _ = colour_axes([two_parts(0, part)], foreground=True)
    np.testing.assert_array_equal(np.isfinite(scores[..., 0]), part)


def test_outlying_patches_do_not_take_the_axes():
    part = np.zeros((6, 6), dtype=bool)
    part[2:4, 2:5] = True
    grid = two_parts(0, part)
    grid[0, 0] = 500.0
    _, (scores,), low, high = colour_axes([grid])
    assert np.isnan(scores[0, 0]).all()
    assert np.isfinite(scores).sum() == 35 * 3
    assert np.ptp(scores[part][:, 0]) < 0.4 * (high - low)[0]


def test_pictures_lie_on_the_photo_and_are_drawn(model, tmp_path):
    for i, size in enumerate([(60, 90), (40, 40)]):
        Image.fromarray(photos.scene(*size, i)).save(tmp_path / f"{i}.png")
    traces = [model.trace(str(tmp_path / f"{i}.png")) for i in range(2)]
    pictures = vs.token_pca(traces, 3)
    assert len(pictures) == 2
    assert pictures.layer == 3
    assert pictures.rgb(0).shape == (8, 8, 3)
    drawn = pictures.on_image(0, smooth=False)
    assert drawn.shape == (60, 90, 3)
    assert np.isnan(drawn[:, :14]).all()
    inside = drawn[:, 16:74]
    assert np.isfinite(inside).mean() > 0.8
    assert np.nanmin(inside) >= 0
    assert np.nanmax(inside) <= 1
    together = vs.token_pca(model.trace([str(tmp_path / "0.png"), str(tmp_path / "1.png")]), -3)
    np.testing.assert_allclose(together.scores[1], pictures.scores[1], atol=1e-2)
    assert vs.token_figure(pictures, tmp_path / "a.png").read_bytes() == vs.token_figure(pictures, tmp_path / "b.png").read_bytes()
    with pytest.raises(ArgumentError, match="layer 6"):
        vs.token_pca(traces, 6)


def test_filters_and_positions_are_the_models_own(model, tmp_path):
    filters = vs.patch_filters(model, tmp_path / "f.png")
    own = dict(model.module.named_parameters())
    np.testing.assert_array_equal(filters, next(p for n, p in own.items() if n.endswith("projection.weight")).numpy())
    likeness = vs.position_similarity(model, tmp_path / "p.png")
    assert likeness.shape == (8, 8, 8, 8)
    np.testing.assert_allclose(np.einsum("abab->ab", likeness), 1.0, atol=1e-5)
    positions = next(p for n, p in own.items() if n.endswith("position_embeddings"))[0, 1:]
    expected = torch.nn.functional.cosine_similarity(positions[10], positions[17], dim=0)
    assert likeness[1, 2, 2, 1] == pytest.approx(float(expected), abs=1e-5)
    assert all(Image.open(tmp_path / name).size[0] > 300 for name in ("f.png", "p.png"))


def test_what_cannot_be_found_is_said(model):
    stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 2, 2), torch.nn.Conv2d(8, 8, 2, 2))
    other = SimpleNamespace(module=stem, layout=model.layout, ref="mine")
    with pytest.raises(MethodError, match="patch filters of mine: no convolution over RGB with a kernel of 4×4"):
        patch_filters(other)
    with pytest.raises(MethodError, match="rotary, relative or none at all"):
        position_embeddings(other)
    stem.register_parameter("pos_embed", torch.nn.Parameter(torch.zeros(1, 50, 8)))
    with pytest.raises(MethodError, match=r"found pos_embed \[1, 50, 8\]; expected a vector for each of 8×8 patches"):
        position_embeddings(other)
