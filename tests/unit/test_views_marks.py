"""What is drawn on the photo: boxes brought back through turn, resize, crop and padding; pixels, regions, and which boxes are drawn."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import vitscope as vs
from support import photos, tasks
from vitscope.aiming import photo_boxes
from vitscope.api.views import views_of
from vitscope.core.placement import Placement
from vitscope.core.readings import Detected, outline_of
from vitscope.inputs.images import read_sample
from vitscope.scoring import Made
from vitscope.views.marks import ARM, GAP, box_facts, drawn, kept, mark_of
from vitscope.web.report import render

BRIGHT = (300, 420, 180, 320)
"""Rows and columns of a white rectangle on a black photo of 480 × 640."""


def photographed(tmp_path, orientation):
    """The rectangle, stored turned, and read as it is displayed."""
    shown = np.zeros((480, 640, 3), np.uint8)
    shown[BRIGHT[0] : BRIGHT[1], BRIGHT[2] : BRIGHT[3]] = 255
    return read_sample(photos.exif_turned(tmp_path, orientation, shown))


def seen_by_a_perfect_detector(pixels):
    """The bright rectangle of a model input as a detector gives it: centre and size, in shares of the input."""
    bright = pixels[..., 0] > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    (y0, y1), (x0, x1) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    h, w = bright.shape
    return torch.tensor([[[(x0 + x1) / 2 / w, (y0 + y1) / 2 / h, (x1 - x0) / w, (y1 - y0) / h]]], dtype=torch.float64)


def resized(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))


def squeezed(photo):
    return resized(photo, (192, 320)), Placement.of_photo(photo.shape[:2]).resize((192, 320))


def cropped(photo):
    small = resized(photo, (288, 384))
    return small[32:256, 120:344], Placement.of_photo(photo.shape[:2]).resize((288, 384)).crop(32, 120, (224, 224))


def padded(photo):
    small, whole = resized(photo, (192, 256)), np.zeros((256, 256, 3), np.uint8)
    whole[32:224] = small
    return whole, Placement.of_photo(photo.shape[:2]).resize((192, 256)).crop(-32, 0, (256, 256))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("fed", [squeezed, cropped, padded])
def test_a_box_comes_back_to_where_the_object_is_on_the_photo(tmp_path, fed, orientation):
    sample = photographed(tmp_path, orientation)
    assert sample.photo.shape[:2] == (480, 640)
    pixels, placement = fed(sample.photo)
    made = Made(places=torch.zeros(1, 2, 1), boxes=seen_by_a_perfect_detector(pixels))
    found = photo_boxes(made, placement, 0)[0]
    y0, y1, x0, x1 = BRIGHT
    pixel = max(1 / scale for scale in placement.scale)
    if fed is cropped:  # the crop took a strip of the rectangle, which the model cannot see
        assert placement.seen[1] == 200
        x0 = 200
    assert np.abs(found - (x0, y0, x1, y1)).max() <= pixel


def test_a_box_may_reach_beyond_the_photo_and_its_words_stay_inside():
    (one,) = drawn((100, 200), box_facts([Detected(0, "cat", 0.9, (-20.0, -5.0, 400.0, 90.0))]), [])
    assert one.lines[0] == (-20.0, -5.0, 400.0, -5.0)
    assert one.at == (0.0, 0.0)
    assert one.words.startswith("cat 90.0")


BOXES = [Detected(n, "cat", p, (10.0 * n, 0.0, 10.0 * n + 5, 8.0)) for n, p in ((4, 0.9), (2, 0.6), (7, 0.2), (1, 0.1))]


def test_the_likely_boxes_are_drawn_and_those_a_map_is_about():
    facts = box_facts(BOXES)
    assert [one["number"] for one in kept(facts, set())] == [4, 2]
    assert [one["number"] for one in kept(facts, {1})] == [4, 2, 1]
    assert [one["number"] for one in kept(facts[2:], set())] == [7]  # none is likely: the likeliest
    assert kept([], set()) == []
    thick = drawn((50, 80), kept(facts, {1}), [{"kind": "box", "number": 1}, None])
    assert [(one.chosen, one.lines[0][0]) for one in thick] == [(False, 20.0), (False, 40.0), (True, 10.0)]


def test_a_pixel_is_a_cross_that_leaves_it_free():
    mark = {"kind": "pixel", "box": [30, 12, 31, 13], "outline": []}
    (one,) = drawn((50, 80), [], [mark, mark])
    middles = sorted((x0 + x1 - 61, y0 + y1 - 25) for x0, y0, x1, y1 in one.lines)
    far = (ARM + GAP) * 80
    np.testing.assert_allclose(middles, [(-far, 0), (0, -far), (0, far), (far, 0)], atol=1e-9)
    assert all(np.hypot(x - 30.5, y - 12.5) >= GAP * 80 - 1e-9 for x0, y0, x1, y1 in one.lines for x, y in ((x0, y0), (x1, y1)))


def test_a_masks_border_is_every_edge_between_in_and_out():
    mask = np.random.default_rng(0).random((9, 13)) > 0.5
    lines = outline_of(mask)
    wide = np.pad(mask, 1)
    slow = {("row", y, x) for y in range(10) for x in range(13) if wide[y, x + 1] != wide[y + 1, x + 1]}
    slow |= {("column", x, y) for x in range(14) for y in range(9) if wide[y + 1, x] != wide[y + 1, x + 1]}
    found = set()
    for x0, y0, x1, y1 in lines:
        found |= {("row", y0, x) for x in range(x0, x1)} if y0 == y1 else {("column", x0, y) for y in range(y0, y1)}
    assert found == slow
    disc = np.hypot(*np.mgrid[-1000:1000, -1500:1500]) < 800
    near = np.array([np.hypot(x - 1500, y - 1000) for x0, y0, x1, y1 in outline_of(disc) for x, y in ((x0, y0), (x1, y1))])
    assert np.abs(near - 800).max() < 8  # of a large mask every fifth row and column


def traced(name):
    return vs.load(tasks.build(name), mean=0.5, std=0.5, input_size=tasks.SIDE).trace(photos.scene(50, 80))


def texts(page):
    return re.findall(r"<text[^>]*>([^<]*)</text>", page)


def test_a_detectors_report_draws_the_box_its_maps_are_about():
    trace = traced("detr")
    maps = [vs.attention(trace, query="box 3"), vs.grad_cam(trace, target="box:3")]
    assert [mark_of(one) for one in maps] == [{"kind": "box", "number": 3}] * 2
    (view,) = views_of(trace, maps)
    one = next(box for box in vs.boxes(trace) if box.number == 3)
    assert [box for box in view.meta["boxes"] if box["number"] == 3] == box_facts([one])
    page = render([view])
    x0, y0 = one.box[:2]
    assert page.count(f'd="M{x0:.2f} {y0:.2f}L') >= 6  # twice each on the photo and on both maps: the line and its dark edge
    assert page.count('class="marks"') == 3
    assert all(text.startswith(one.label) for text in texts(page))
    assert "from box 3" in page
    assert f"for {one.label} at box 3" in page
    assert "data-marks" in page


@pytest.mark.parametrize("target", ["pixel:20,30", "region:10,5,60,40"])
def test_a_dense_heads_report_draws_where_the_score_is_read(target):
    trace = traced("segformer")
    one = vs.grad_cam(trace, target=target)
    (view,) = views_of(trace, [vs.rollout(trace), one])
    assert view.of_kind("map")[0].facts["mark"] is None
    page = render([view])
    assert page.count('class="marks"') == 2  # the photo and the one map
    expected = f"M{30.5 - ARM * 80:.2f} 20.50L{30.5 - GAP * 80:.2f} 20.50" if "pixel" in target else "M10.00 5.00L60.00 5.00"
    assert page.count(expected) == 4
    assert f"for {one.target[0]}" in page


def test_a_masks_border_is_drawn_on_the_report():
    trace = traced("segformer")
    mask = np.zeros((50, 80), dtype=bool)
    mask[10:20, 5:30] = mask[15:40, 20:50] = True
    one = vs.grad_cam(trace, target=vs.Region(mask=mask, name="the lamp"))
    page = render(views_of(trace, [one]))
    assert page.count("M5.00 10.00L30.00 10.00") == 4
    assert page.count("M30.00 15.00L50.00 15.00") == 4
    assert "at the lamp" in page


def test_the_whole_photo_has_no_border():
    trace = traced("segformer")
    one = vs.grad_cam(trace)
    assert "the whole photo" in one.target[0]
    assert mark_of(one) is None
    assert 'class="marks"' not in render(views_of(trace, [one]))


def test_a_report_without_places_has_no_switch():
    trace = vs.load("builtin:photos").trace(photos.scene(96, 96))
    page = render(views_of(trace, [vs.rollout(trace)]))
    assert 'class="marks"' not in page
    assert '<input type="checkbox"' not in page
