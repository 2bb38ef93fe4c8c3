"""Placement against an affine matrix product, and its seen area against an index picture pushed through numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
CORNERS = st.tuples(st.integers(-15, 30), st.integers(-15, 30))
PADS = st.tuples(*[st.integers(0, 9)] * 4)
STEPS = st.one_of(
    st.tuples(st.just("resize"), SIZES),
    st.tuples(st.just("crop"), CORNERS, SIZES),
    st.tuples(st.just("pad"), PADS),
)


def applied(place, step):
    if step[0] == "resize":
        return place.resize(step[1])
    if step[0] == "crop":
        return place.crop(*step[1], step[2])
    return place.pad(*step[1])


@settings(max_examples=200, deadline=None)
@given(SIZES, st.lists(STEPS, max_size=6), st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_to_photo_undoes_to_input(size, steps, point):
    place = Placement.of_photo(size)
    for step in steps:
        place = applied(place, step)
    magnitude = 1 + max(abs(o / s) for o, s in zip(place.offset, place.scale, strict=True))
    np.testing.assert_allclose(place.to_photo(place.to_input(point)), point, rtol=1e-12, atol=1e-13 * magnitude * 50)
    magnitude = 1 + max(map(abs, place.offset)) + 50 * max(place.scale)
    np.testing.assert_allclose(place.to_input(place.to_photo(point)), point, rtol=1e-12, atol=1e-13 * magnitude * 50)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.lists(STEPS, max_size=6), st.tuples(st.floats(0, 40), st.floats(0, 40)))
def test_steps_compose_as_matrices_do(size, steps, point):
    place = Placement.of_photo(size)
    matrix = np.eye(3)
    for step in steps:
        before = place.input_size
        if step[0] == "resize":
            one = np.diag([step[1][0] / before[0], step[1][1] / before[1], 1.0])
        else:
            top, left = (-step[1][0], -step[1][1]) if step[0] == "crop" else step[1][:2]
            one = np.array([[1.0, 0, top], [0, 1.0, left], [0, 0, 1.0]])
        matrix = one @ matrix
        place = applied(place, step)
    expected = (matrix @ [*point, 1.0])[:2]
    np.testing.assert_allclose(place.to_input(point), expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(matrix).max()))


def cropped(picture, top, left, size, fill=-1):
    """numpy crop that pads where it reaches beyond the picture, pixel by pixel."""
    out = np.full(size, fill)
    for y in range(size[0]):
        for x in range(size[1]):
            if 0 <= top + y < picture.shape[0] and 0 <= left + x < picture.shape[1]:
                out[y, x] = picture[top + y, left + x]
    return out


@settings(max_examples=150, deadline=None)
@given(SIZES, st.lists(STEPS.filter(lambda s: s[0] != "resize"), max_size=5))
def test_seen_mask_equals_an_index_picture_pushed_through_crops_and_pads(size, steps):
    place = Placement.of_photo(size)
    index = np.arange(size[0] * size[1]).reshape(size)
    for step in steps:
        place = applied(place, step)
        index = cropped(index, *step[1], step[2]) if step[0] == "crop" else np.pad(index, (step[1][::2], step[1][1::2]), constant_values=-1)
    seen = np.isin(np.arange(size[0] * size[1]).reshape(size), index)
    np.testing.assert_array_equal(place.seen_mask(), seen)
    assert place.seen_share == pytest.approx(seen.mean())
    # and every seen pixel lies where the map says
    for y, x in np.argwhere(index >= 0):
        r, c = divmod(int(index[y, x]), size[1])
        assert place.to_input((r + 0.5, c + 0.5)) == pytest.approx((y + 0.5, x + 0.5))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])), CORNERS, SIZES)
def test_seen_mask_after_enlarging_by_whole_numbers(size, times, corner, crop):
    index = np.kron(np.arange(size[0] * size[1]).reshape(size), np.ones(times, dtype=int))
    place = Placement.of_photo(size).resize(index.shape).crop(*corner, crop)
    centres = np.full(index.shape, -1)  # odd factors: the middle pixel of each block is the centre of its photo pixel
    centres[times[0] // 2 :: times[0], times[1] // 2 :: times[1]] = np.arange(size[0] * size[1]).reshape(size)
    seen = np.isin(np.arange(size[0] * size[1]).reshape(size), cropped(centres, *corner, crop))
    np.testing.assert_array_equal(place.seen_mask(), seen)


@settings(max_examples=150, deadline=None)
@given(SIZES, st.lists(STEPS, max_size=5))
def test_seen_box_stays_inside_the_photo_and_the_right_way_round(size, steps):
    place = Placement.of_photo(size)
    for step in steps:
        place = applied(place, step)
    y0, x0, y1, x1 = place.seen
    assert 0 <= y0 <= y1 <= size[0]
    assert 0 <= x0 <= x1 <= size[1]
    assert 0.0 <= place.seen_share <= 1.0
    assert len(place.steps) == len(steps) + 1


def test_resize_256_and_crop_224_keep_57_percent_of_a_640_by_480_photo():
    place = Placement.of_photo((480, 640)).resize((256, 341)).crop(16, 58, (224, 224))
    assert place.seen_share == pytest.approx(0.57, abs=0.005)
    assert place.to_photo((112, 112)) == pytest.approx((240, 170 * 640 / 341))


def test_a_crop_that_misses_the_picture_saw_nothing():
    place = Placement.of_photo((10, 10)).pad(0, 0, 20, 0).crop(15, 0, (10, 10))
    assert place.seen_share == 0.0
    assert not place.seen_mask().any()
    assert place.padded_share((0.0, 0.0, 10.0, 10.0)) == 1.0


def test_what_a_crop_took_does_not_come_back_with_padding():
    place = Placement.of_photo((10, 10)).crop(0, 0, (10, 6)).pad(0, 0, 0, 4)
    assert place.input_size == (10, 10)
    assert place.seen == (0.0, 0.0, 10.0, 6.0)
    assert place.padded_share((0.0, 4.0, 10.0, 8.0)) == pytest.approx(0.5)
    assert place.content == (0.0, 0.0, 10.0, 6.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Placement.of_photo((0, 4)),
        lambda: Placement.of_photo((4, 4)).resize((0, 4)),
        lambda: Placement.of_photo((4, 4)).crop(0, 0, (4, 0)),
        lambda: Placement.of_photo((4, 4)).pad(0, -1, 0, 0),
    ],
)
def test_steps_without_pixels_are_refused(make):
    with pytest.raises(ArgumentError, match="expected"):
        make()


def test_pixels_under_no_patch_were_not_seen():
    place = Placement.of_photo((72, 36)).resize((36, 36))
    narrowed = place.only((0.0, 2.0, 32.0, 34.0))
    assert narrowed.seen == (0.0, 2.0, 64.0, 34.0)
    assert narrowed.seen_share == pytest.approx((32 * 32) / 36**2)
    assert (narrowed.steps[-1].name, narrowed.steps[-1].detail) == (
        "not covered by any patch",
        "4 rows and 4 columns of the input lie under no patch",
    )
    assert narrowed.to_input((3.0, 5.0)) == place.to_input((3.0, 5.0))


@pytest.mark.parametrize("padding", [0, 4])
def test_patches_that_cover_all_that_shows_photo_narrow_nothing(padding):
    place = Placement.of_photo((31, 47)).resize((32 - padding, 32)).pad(0, 0, padding, 0)
    assert place.only((0.0, 0.0, 32.0 - padding, 32.0)) is place


def test_a_box_beside_the_photo_leaves_nothing_seen():
    place = Placement.of_photo((10, 10)).pad(0, 0, 20, 0)
    assert place.only((15.0, 0.0, 30.0, 10.0)).seen_share == 0.0
