"""A bright square planted on a photo comes back at its own place: from the file on disk, through the model input, to the map on the photo.

The token value is the patch's mean, so any error is an error of geometry. It may be half a patch at most, in photo pixels; the
largest error measured here is 0.10 of a patch for the means themselves and 0.19 through the model.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from support.patch_means import PatchMeans
from support.planted import BACKGROUND, PIPELINES, Pipeline, centroid, planted_file, spots
from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.provenance import Provenance
from vitscope.inputs import read_sample
from vitscope.methods import attention, gradient_rollout, legrad, occlusion, relevance, rollout
from vitscope.models import load

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
    assert np.max(found) <= 0.5, found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_planted_square_comes_back_on_turned_photos(tmp_path, orientation):
    found = errors(tmp_path, (480, 640), Pipeline("crop", resize=256), orientation, smooth=True)
    assert np.max(found) <= 0.5, found


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


# the same through a real module: preprocessing, capture, measured layout and methods of the program


def letterbox(image):
    """A user's own preprocessing, of which the program is told nothing: longest side to 224, black bars."""
    factor = 224 / max(image.size)
    small = image.resize([max(round(s * factor), 1) for s in image.size], Image.Resampling.BILINEAR)
    out = Image.new("RGB", (224, 224))
    out.paste(small, ((224 - small.width) // 2, (224 - small.height) // 2))
    return torch.from_numpy(np.array(out, dtype=np.float32) / 255.0).permute(2, 0, 1)


PREPARED = {"input_size": 224, "mean": 0.0, "std": 1.0}
WAYS = {
    "640×480, resize and centre crop": ((480, 640), (16, 16), PREPARED | {"resize": "crop"}),
    "portrait": ((640, 480), (16, 16), PREPARED | {"resize": "crop"}),
    "panorama 5:1, cropped": ((200, 1000), (16, 16), PREPARED | {"resize": "crop"}),
    "panorama 1:5, squeezed": ((1000, 200), (16, 16), PREPARED),
    "640×480, padded": ((480, 640), (16, 16), {"preprocess": letterbox, "input_size": 224}),
    "panorama 5:1, padded": ((200, 1000), (16, 16), {"preprocess": letterbox, "input_size": 224}),
    "wide input, oblong patches": ((480, 640), (8, 16), PREPARED | {"input_size": (64, 256), "resize": "crop"}),
}


def off_by(m, sample):
    """How far, in patches, the bright part of a map lies from the square in the photo; the even rest of the map is taken off."""
    drawn = m.on_image()
    above = drawn - np.nanmedian(drawn)
    bright = np.where(above > 0.1 * np.nanmax(above), above, 0)
    found = centroid(bright)
    truth = centroid(sample.photo[..., 0].astype(float) - BACKGROUND > 100)
    sizes = zip(found, truth, m.placement.scale, m.layout.patch, strict=True)
    return max(abs(f - t) * s / p for f, t, s, p in sizes)


def traced(folder, model, size, patch, orientation=1, count=6):
    _, places = model.prepare([read_sample(np.zeros((*size, 3), np.uint8))])
    side = tuple(p / s for p, s in zip(patch, places[0].scale, strict=True))
    for centre in spots(places[0], patch, count):
        path = planted_file(folder, size, centre, side, orientation)
        yield model.trace(str(path)), read_sample(path)


@pytest.mark.parametrize("way", WAYS)
def test_planted_square_comes_back_through_a_model(tmp_path, way):
    size, patch, given = WAYS[way]
    model = load(PatchMeans(patch).eval(), **given)
    found = [off_by(attention(trace), sample) for trace, sample in traced(tmp_path, model, size, patch)]
    assert np.max(found) <= 0.5, found


def test_planted_square_comes_back_through_a_model_from_turned_photos(tmp_path):
    model = load(PatchMeans().eval(), **PREPARED, resize="crop")
    for orientation in range(1, 9):
        for trace, sample in traced(tmp_path, model, (480, 640), (16, 16), orientation, count=5):
            m = attention(trace)
            assert m.placement.exif == orientation
            assert off_by(m, sample) <= 0.5, (orientation, off_by(m, sample))


@pytest.mark.parametrize("method", [attention, rollout, gradient_rollout, relevance, legrad, occlusion])
def test_every_map_of_the_model_comes_back(tmp_path, method):
    model = load(PatchMeans().eval(), **PREPARED, resize="crop")
    given = {} if method in (attention, rollout) else {"target": 1}  # the class whose score grows with brightness
    found = [off_by(method(trace, **given), sample) for trace, sample in traced(tmp_path, model, (480, 640), (16, 16))]
    assert np.max(found) <= 0.5, found
