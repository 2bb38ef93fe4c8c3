"""A bright square planted on a photo comes back at its own place: from the file on disk, through the model input, to the map on the photo.

The token value is the patch's mean, so any error is an error of geometry. It may be half a patch at most, in photo pixels; the
largest error measured here is a tenth of a patch.
"""

import numpy as np
import pytest

from support.planted import BACKGROUND, PIPELINES, Pipeline, centroid, planted_file, spots
from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.provenance import Provenance
from vitscope.inputs import read_sample

PATCH = 16


def patch_means(pixels, place):
    """A map whose token value is the patch's mean, with a cls and four registers that mean nothing."""
    grid = tuple(s // PATCH for s in place.input_size)
    layout = TokenLayout.plain((Kind.CLS, *[Kind.REGISTER] * 4), grid, (PATCH, PATCH), place.input_size)
    means = pixels.reshape(grid[0], PATCH, grid[1], PATCH, 3).mean(axis=(1, 3, 4)) - BACKGROUND
    values = np.concatenate([np.full(5, 1e6), means.ravel()]).astype(np.float32)[None]
    provenance = Provenance("patch means", "", "", "float32", "cpu", "", 0)
    return TokenMap(values, layout, (place,), "patch mean", "grey level above background", provenance)


def in_patches(found, planted, place):
    """How far off, in patches, per axis."""
    return max(abs(f - p) * s / PATCH for f, p, s in zip(found, planted, place.scale, strict=True))


def side_of(place):
    """One patch's footprint on the photo."""
    return tuple(PATCH / s for s in place.scale)


def errors(folder, size, pipeline, orientation, *, smooth):
    _, place = pipeline(np.zeros((*size, 3), np.uint8))
    out = []
    for centre in spots(place, (PATCH, PATCH)):
        sample = read_sample(planted_file(folder, size, centre, side_of(place), orientation))
        assert sample.size == size
        assert sample.exif == orientation
        pixels, place = pipeline(sample.photo, sample.exif)
        drawn = patch_means(pixels, place).on_image(smooth=smooth)
        np.testing.assert_array_equal(np.isfinite(drawn), place.seen_mask())
        truth = centroid(sample.photo[..., 0].astype(float) - BACKGROUND > 100)
        out.append(in_patches(centroid(np.where(drawn > 5, drawn, 0)), truth, place))
    return out


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("case", PIPELINES)
def test_planted_square_comes_back(tmp_path, case, smooth):
    size, pipeline = PIPELINES[case]
    found = errors(tmp_path, size, pipeline, 1, smooth=smooth)
    assert max(found) <= 0.5, found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planted_square_comes_back_on_turned_photos(tmp_path, orientation):
    found = errors(tmp_path, (480, 640), Pipeline("crop", resize=256), orientation, smooth=True)
    assert max(found) <= 0.5, found


def test_stretching_the_map_over_the_whole_photo_would_fail(tmp_path):
    """The mistake this guards against is far larger than what is allowed."""
    size, pipeline = PIPELINES["640×480, resize and centre crop"]
    _, place = pipeline(np.zeros((*size, 3), np.uint8))
    centre = spots(place, (PATCH, PATCH))[1]
    sample = read_sample(planted_file(tmp_path, size, centre, side_of(place), 1))
    pixels, place = pipeline(sample.photo)
    stretched = type(place).of_photo(size).resize(place.input_size)
    drawn = patch_means(pixels, stretched).on_image()
    assert in_patches(centroid(np.where(drawn > 5, drawn, 0)), centre, place) > 2
