"""Patch values on the photo: against torch's own interpolation, against np.kron, and what must hold for any grid and placement."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope.core.drawing import draw_on_photo
from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement


def plain(grid, patch, *, stride=None, origin=(0.0, 0.0)):
    stride = stride or patch
    size = tuple((g - 1) * s + p for g, s, p in zip(grid, stride, patch, strict=True))
    return TokenLayout.plain((), grid, patch, size, stride=stride, origin=origin)


def identity(layout):
    return Placement.of_photo(layout.input_size)


@st.composite
def drawings(draw):
    """A random grid on a random photo reached through resize, crop and pad."""
    grid = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    patch = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    layout = plain(grid, patch)
    values = np.random.default_rng(draw(st.integers(0, 2**32))).normal(scale=10.0 ** draw(st.integers(-6, 6)), size=grid)
    place = Placement.of_photo((draw(st.integers(1, 60)), draw(st.integers(1, 60))))
    place = place.resize((draw(st.integers(1, 80)), draw(st.integers(1, 80))))
    place = place.crop(draw(st.integers(-20, 20)), draw(st.integers(-20, 20)), layout.input_size)
    return values.astype(np.float32), layout, place


@pytest.mark.parametrize(("grid", "patch"), [((14, 14), (16, 16)), ((3, 7), (8, 4)), ((1, 5), (6, 6)), ((1, 1), (9, 5)), ((4, 4), (1, 1))])
def test_smooth_is_torch_bilinear_where_nothing_is_cropped(grid, patch):
    layout = plain(grid, patch)
    values = np.random.default_rng(0).normal(size=grid).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values).double()[None, None], size=layout.input_size, mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(draw_on_photo(values, layout, identity(layout)), expected, rtol=0, atol=1e-6)


def test_smooth_on_a_photo_of_another_size_is_torch_bilinear_to_that_size():
    layout = plain((14, 14), (16, 16))
    values = np.random.default_rng(1).normal(size=(14, 14)).astype(np.float32)
    place = Placement.of_photo((480, 640)).resize((224, 224))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values).double()[None, None], size=(480, 640), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(draw_on_photo(values, layout, place), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("grid", "patch"), [((14, 14), (16, 16)), ((3, 7), (8, 4)), ((1, 1), (9, 5))])
def test_true_patches_are_the_kronecker_product(grid, patch):
    layout = plain(grid, patch)
    values = np.random.default_rng(0).normal(size=grid).astype(np.float32)
    np.testing.assert_array_equal(
        draw_on_photo(values, layout, identity(layout), smooth=False), np.kron(values, np.ones(patch, np.float32))
    )


@settings(max_examples=150, deadline=None)
@given(drawings(), st.booleans())
def test_values_stay_within_the_grid_and_nan_only_where_nothing_was_seen(drawing, smooth):
    values, layout, place = drawing
    out = draw_on_photo(values, layout, place, smooth=smooth)
    assert out.shape == place.photo_size
    assert out.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(out), place.seen_mask())
    shown = out[np.isfinite(out)]
    assert ((shown >= values.min()) & (shown <= values.max())).all()


@settings(max_examples=60, deadline=None)
@given(drawings(), st.floats(-1e6, 1e6, width=32), st.booleans())
def test_constant_in_constant_out(drawing, constant, smooth):
    values, layout, place = drawing
    out = draw_on_photo(np.full_like(values, constant), layout, place, smooth=smooth)
    assert (out[np.isfinite(out)] == np.float32(constant)).all()


def obvious(values, layout, place):
    """Every pixel by itself: the four patch centres around it, in float64."""
    out = np.full(place.photo_size, np.nan)
    gh, gw = layout.grid
    for r, c in np.argwhere(place.seen_mask()):
        u = place.to_input((r + 0.5, c + 0.5))
        g = [(u[a] - layout.origin[a] - layout.patch[a] / 2) / layout.stride[a] for a in (0, 1)]
        g = [min(max(v, 0.0), n - 1.0) for v, n in zip(g, (gh, gw), strict=True)]
        y, x = int(g[0]), int(g[1])
        fy, fx = g[0] - y, g[1] - x
        y1, x1 = min(y + 1, gh - 1), min(x + 1, gw - 1)
        top = values[y, x] * (1 - fx) + values[y, x1] * fx
        bottom = values[y1, x] * (1 - fx) + values[y1, x1] * fx
        out[r, c] = top * (1 - fy) + bottom * fy
    return out


@settings(max_examples=25, deadline=None)
@given(drawings())
def test_smooth_equals_an_obvious_pixel_by_pixel_drawing(drawing):
    values, layout, place = drawing
    expected = obvious(values.astype(np.float64), layout, place)
    np.testing.assert_allclose(draw_on_photo(values, layout, place), expected, rtol=0, atol=1e-6 * np.abs(values).max())


@pytest.mark.parametrize("smooth", [True, False])
def test_a_patch_without_value_stays_local(smooth):
    layout = plain((5, 5), (8, 8))
    values = np.random.default_rng(3).normal(size=(5, 5)).astype(np.float32)
    whole = draw_on_photo(values, layout, identity(layout), smooth=smooth)
    values[1, 3] = np.nan
    out = draw_on_photo(values, layout, identity(layout), smooth=smooth)
    hole = np.zeros((40, 40), dtype=bool)
    hole[8:16, 24:32] = True
    np.testing.assert_array_equal(np.isnan(out), hole)
    far = np.ones_like(hole)
    far[4:20, 20:36] = False  # beyond half a patch nothing changes
    np.testing.assert_array_equal(out[far], whole[far])


def test_infinite_patch_is_shown_infinite_and_stays_local():
    layout = plain((3, 3), (4, 4))
    values = np.ones((3, 3), np.float32)
    values[0, 0] = np.inf
    out = draw_on_photo(values, layout, identity(layout))
    assert np.isinf(out[:4, :4]).all()
    assert (out[4:, 4:] == 1.0).all()
    assert np.isfinite(out).sum() == 144 - 16


def test_a_grid_without_any_value_is_all_nan():
    layout = plain((2, 2), (4, 4))
    assert np.isnan(draw_on_photo(np.full((2, 2), np.nan), layout, identity(layout))).all()


def test_overlapping_patches_peak_at_their_own_centres():
    layout = plain((5, 5), (16, 16), stride=(8, 8))
    values = np.zeros((5, 5), np.float32)
    values[2, 3] = 1.0
    smooth = draw_on_photo(values, layout, identity(layout))
    rows, columns = np.indices(smooth.shape) + 0.5
    assert (smooth * rows).sum() / smooth.sum() == pytest.approx(2 * 8 + 8)
    assert (smooth * columns).sum() / smooth.sum() == pytest.approx(3 * 8 + 8)
    true = draw_on_photo(values, layout, identity(layout), smooth=False)
    expected = np.zeros((48, 48), np.float32)
    expected[20:28, 28:36] = 1.0  # nearest centre: 8 px around (24, 32)
    np.testing.assert_array_equal(true, expected)


def test_gaps_between_patches_are_not_painted():
    layout = TokenLayout.plain((), (3, 3), (4, 4), (24, 24), stride=(8, 8))
    out = draw_on_photo(np.ones((3, 3)), layout, Placement.of_photo((24, 24)))
    under = (np.arange(24) % 8) < 4
    np.testing.assert_array_equal(np.isfinite(out), np.outer(under, under))


def test_origin_moves_the_patches():
    layout = TokenLayout.plain((), (3, 3), (8, 8), (20, 20), origin=(-2.0, -2.0))
    values = np.arange(9.0).reshape(3, 3)
    out = draw_on_photo(values, layout, Placement.of_photo((20, 20)), smooth=False)
    np.testing.assert_array_equal(out, np.kron(values, np.ones((8, 8)))[2:22, 2:22])


def test_pixels_behind_the_last_patch_are_not_painted():
    layout = TokenLayout.plain((), (2, 2), (16, 16), (40, 40))  # 40 = 2 · 16 + 8: the embedding drops the last 8
    out = draw_on_photo(np.ones((2, 2)), layout, Placement.of_photo((40, 40)))
    assert np.isfinite(out[:32, :32]).all()
    assert np.isnan(out[32:]).all()
    assert np.isnan(out[:, 32:]).all()


def test_24_megapixels_are_drawn_quickly():
    layout = plain((64, 64), (16, 16))
    place = Placement.of_photo((4000, 6000)).resize((1024, 1536)).crop(0, 256, (1024, 1024))
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    start = time.perf_counter()
    out = draw_on_photo(values, layout, place)
    seconds = time.perf_counter() - start
    assert out.shape == (4000, 6000)
    assert seconds < 5.0, f"{seconds:.1f} s"  # 0.2 s on an idle core; the room is for a busy one


def test_the_neighbours_of_a_patch_without_value_do_without_it():
    layout = plain((1, 4), (8, 8))
    out = draw_on_photo(np.array([[2.0, np.nan, 5.0, -10.0]]), layout, identity(layout))
    assert (out[:, :8] == 2.0).all()  # not drawn towards the missing value, nor towards zero
    assert np.isnan(out[:, 8:16]).all()
    assert (out[:, 16:20] == 5.0).all()
