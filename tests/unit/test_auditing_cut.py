"""Patches as an embedding cuts them: against a slow loop and torch's own unfold, on grids with overlaps, gaps, padding and left-overs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from vitscope.auditing.cut import Axis, Cut, put_back_error
from vitscope.errors import ArgumentError


@some.composite
def axes(draw):
    size, kernel = draw(some.integers(1, 40)), draw(some.integers(1, 9))
    stride, padding = draw(some.integers(1, 9)), draw(some.integers(0, 4))
    return Axis.of(size, kernel, stride, padding) if size + 2 * padding >= kernel else Axis.of(size, 1, stride, padding)


def slow_patches(pixels, cut):
    """Pixel by pixel, as the definition says."""
    out = np.zeros((*cut.grid, len(pixels), *(axis.kernel for axis in cut.axes)))
    for cell in np.ndindex(*cut.grid):
        for offset in np.ndindex(*(axis.kernel for axis in cut.axes)):
            at = tuple(i * a.stride + k - a.padding for i, k, a in zip(cell, offset, cut.axes, strict=True))
            if all(0 <= p < a.size for p, a in zip(at, cut.axes, strict=True)):
                out[(*cell, slice(None), *offset)] = pixels[(slice(None), *at)]
    return out


@settings(max_examples=60, deadline=None)
@given(axes(), axes())
def test_patches_are_the_true_pixels_and_put_the_input_back(down, across):
    cut = Cut((down, across))
    pixels = np.random.default_rng(0).random((2, *cut.size))
    assert np.array_equal(cut.patches(pixels), slow_patches(pixels, cut))
    back, covered = cut.put_back(cut.patches(pixels))
    assert np.array_equal(back[:, covered], pixels[:, covered])
    assert not back[:, ~covered].any()
    assert put_back_error(cut, pixels) == 0.0


@settings(max_examples=60, deadline=None)
@given(axes(), axes())
def test_coverage_counts_every_pixel_of_every_patch(down, across):
    cut = Cut((down, across))
    times = np.zeros(cut.size, dtype=int)
    empty = 0
    for y in range(down.count):
        for x in range(across.count):
            y0, x0, y1, x1 = cut.box(y, x)
            part = times[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
            part += 1
            empty += part.size == 0
    assert np.array_equal(cut.times, times)
    facts = cut.facts()
    assert facts["uncovered_share"] == (times == 0).mean()
    assert facts["overlapping_share"] == (times > 1).mean()
    assert facts["padding_only_patches"] == empty
    assert cut.covers() == (times > 0).all()
    rows, columns = (times.max(axis=1 - axis) == 0 for axis in (0, 1))
    for number, bare in enumerate((rows, columns)):
        parts = (facts[k][number] for k in ("left_over_before", "gaps", "left_over_after"))
        assert sum(parts) == bare.sum() or not times.any()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 4, 0), (7, 4, 2), (7, 4, 3), (3, 2, 1), (5, 7, 1)])
def test_patches_are_those_of_torch(kernel, stride, padding):
    pixels = torch.randn(3, 30, 45, generator=torch.Generator().manual_seed(0))
    cut = Cut((Axis.of(30, kernel, stride, padding), Axis.of(45, kernel, stride, padding)))
    unfolded = torch.nn.functional.unfold(pixels[None], kernel, stride=stride, padding=padding)[0]
    expected = unfolded.T.reshape(*cut.grid, 3, kernel, kernel).numpy()
    assert np.array_equal(cut.patches(pixels.numpy()), expected)


def test_a_clip_is_cut_into_tubelets():
    clip = np.random.default_rng(1).random((3, 5, 12, 10)).astype(np.float32)
    cut = Cut((Axis.of(5, 2, 2), Axis.of(12, 4, 4), Axis.of(10, 4, 3, 1)))
    assert cut.grid == (2, 3, 3)
    assert np.array_equal(cut.patches(clip), slow_patches(clip, cut).astype(np.float32))
    assert put_back_error(cut, clip) == 0.0
    assert cut.facts()["left_over_after"] == [1, 0, 1]  # one frame too many for tubelets of two, one column past the last patch


def test_gaps_overlaps_left_overs_and_padding_are_told_apart():
    gaps = Cut((Axis.of(20, 3, 5), Axis.of(20, 3, 5))).facts()
    assert gaps["gaps"] == [6, 6]
    assert gaps["left_over_after"] == [2, 2]
    overlap = Cut((Axis.of(16, 8, 4), Axis.of(16, 8, 4))).facts()
    assert overlap["overlapping_share"] > 0.7
    assert overlap["most_patches_over_a_pixel"] == 4
    padded = Cut((Axis(20, 16, 16, 0, 3), Axis(16, 16, 16, 0, 1))).facts()
    assert padded["padding_only_patches"] == 1
    assert padded["padding_share_of_patches"] == pytest.approx(1 - 20 / 48)


def test_refusals_say_what_is_wrong():
    with pytest.raises(ArgumentError, match="positive numbers"):
        Axis(10, 0, 1, 0, 1)
    with pytest.raises(ArgumentError, match=r"expected \[c, 8, 8\]"):
        Cut((Axis.of(8, 4, 4), Axis.of(8, 4, 4))).patches(np.zeros((3, 8, 9)))
