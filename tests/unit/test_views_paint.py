"""Painting: pictures of a ramp, a signed map, gaps and clipped values, against kept pictures and slow re-implementations."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.synthetic import cropped, layout, padded, plain_sample
from vitscope.views.colour import LEVELS, Limits
from vitscope.views.frame import Frame, fitted
from vitscope.views.paint import CLIPPED_STRIPE, GREY, GREY_STRIPE, UNSEEN, paint, paint_grid, paint_on_photo, palette, to_rgba

GOLDEN = Path(__file__).parents[1] / "golden"


def against_golden(name: str, rgba: np.ndarray) -> None:
    """Equal to the kept picture within one level; a missing picture fails (write it with ``tests/golden/write.py``)."""
    kept = np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGBA"), dtype=int)
    assert kept.shape == rgba.shape
    assert np.abs(kept - rgba.astype(int)).max() <= 1


def pictures() -> dict[str, np.ndarray]:
    """The pictures that are kept."""
    x = np.indices((24, 64))[1]
    ramp = x / 63.0
    signed = (x - 31.5) / 31.5
    holes = np.where((x > 20) & (x < 40), np.nan, ramp)
    over = ramp * 1.5
    grid = np.arange(64, dtype=float).reshape(8, 8)
    grid[2, 3] = np.nan
    sample = plain_sample(60, 100)
    frame = Frame.of(cropped(sample, 64), layout(8, 8, 0))
    pad = Frame.of(padded(sample, 64), layout(8, 8, 0))
    one, two = Limits(0, 1), Limits(-1, 1)
    return {
        "ramp": to_rgba(paint(ramp, one), "magma"),
        "signed": to_rgba(paint(signed, two), "tideline"),
        "undefined": to_rgba(paint(holes, one, undefined=np.isnan(holes)), "magma"),
        "clipped": to_rgba(paint(over, one), "magma"),
        "photo-smooth": to_rgba(paint_on_photo(grid, frame, Limits(0, 63), smooth=True), "magma"),
        "photo-patches": to_rgba(paint_on_photo(grid, frame, Limits(0, 63), smooth=False), "magma"),
        "grid-padded": to_rgba(paint_grid(grid, Limits(0, 63), padded=pad.padded(), cell=6), "viridis"),
    }


@pytest.mark.parametrize(
    "name", ["ramp", "signed", "undefined", "clipped", "photo-smooth", "photo-patches", "grid-padded"]
)  # fmt: skip
def test_pictures_are_as_kept(name):
    against_golden(name, pictures()[name])


def test_the_hottest_end_of_a_ramp_has_the_brightest_pixel():
    rgba = to_rgba(paint(np.linspace(0, 3, 50)[None], Limits(0, 3)), "magma").astype(int)
    assert rgba[0, :, :3].sum(axis=1).argmax() == 49
    assert rgba[0, :, :3].sum(axis=1).argmin() == 0


def test_every_kind_of_cell_has_its_own_look():
    colours = palette("magma")
    assert colours[UNSEEN, 3] == 0
    assert len({tuple(colours[i]) for i in (GREY, GREY_STRIPE, CLIPPED_STRIPE, UNSEEN)}) == 4
    assert (colours[:LEVELS, 3] == 255).all()


def test_values_beyond_the_scale_are_hatched_and_those_at_its_end_are_not():
    index = paint(np.full((12, 12), 1.0), Limits(0, 1))
    assert (index == LEVELS - 1).all()
    index = paint(np.full((12, 12), 1.2), Limits(0, 1))
    assert set(np.unique(index)) == {LEVELS - 1, CLIPPED_STRIPE}
    index = paint(np.full((12, 12), -0.2), Limits(0, 1))
    assert set(np.unique(index)) == {0, CLIPPED_STRIPE}
    assert set(np.unique(paint(np.full((12, 12), np.inf), Limits(0, 1)))) == {LEVELS - 1, CLIPPED_STRIPE}


def test_nothing_is_painted_where_the_model_saw_nothing():
    sample = plain_sample(90, 160)
    frame = Frame.of(cropped(sample), layout(14, 16, 0))
    index = paint_on_photo(np.ones((14, 14)), frame, Limits(0, 1), smooth=True)
    assert ((index == UNSEEN) == ~frame.placement.seen_mask()).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_an_undefined_patch_is_hatched_in_its_own_place_only(smooth):
    sample = plain_sample(112, 112)
    frame = Frame.of(cropped(sample).resize((112, 112)), layout(7, 16, 0))
    grid = np.ones((7, 7))
    grid[3, 2] = np.nan
    index = paint_on_photo(grid, frame, Limits(0, 2), smooth=smooth)
    marked = (index == GREY) | (index == GREY_STRIPE)
    y0, x0 = (frame.placement.to_photo((48, 32))[k] for k in (0, 1))
    y1, x1 = (frame.placement.to_photo((64, 48))[k] for k in (0, 1))
    ys, xs = np.indices((112, 112)) + 0.5
    assert (marked == ((ys > y0) & (ys < y1) & (xs > x0) & (xs < x1))).all()
    rest = index[~marked & (index != UNSEEN)]
    assert (rest == (LEVELS - 1) // 2).all()


def test_patch_painting_equals_a_slow_loop():
    sample = plain_sample(75, 50)
    frame = Frame.of(padded(sample, 64), layout(8, 8, 0)).resized((150, 100))
    grid = np.random.default_rng(0).random((8, 8))
    index = paint_on_photo(grid, frame, Limits(0, 1), smooth=False)
    p = frame.placement
    for y in range(0, 150, 7):
        for x in range(0, 100, 7):
            u, v = p.to_input((y + 0.5, x + 0.5))
            assert index[y, x] == round(grid[int(u // 8), int(v // 8)] * (LEVELS - 1))


def test_a_frame_survives_its_facts():
    frame = Frame.of(padded(plain_sample(40, 90)), layout(14, 16, 4))
    again = Frame.from_facts(frame.as_facts())
    assert again.as_facts() == frame.as_facts()
    assert (again.padded() == frame.padded()).all()


def test_only_whole_padding_counts_as_padded():
    frame = Frame.of(padded(plain_sample(56, 112), 112), layout(7, 16, 0))
    assert frame.padded()[:, 0].tolist() == [True, False, False, False, False, False, True]


def test_covered_leaves_out_the_strip_no_patch_reaches():
    from vitscope.core.layout import TokenLayout
    from vitscope.core.placement import Placement

    where = TokenLayout.plain((), (3, 3), (16, 16), (50, 50))
    assert Frame.of(Placement.of_photo((100, 100)).resize((50, 50)), where).covered == (0, 0, 96, 96)


@pytest.mark.parametrize(
    ("size", "longest", "enlarge", "expected"),
    [
        ((300, 400), 800, False, (300, 400)),
        ((300, 400), 800, True, (600, 800)),
        ((3000, 4), 600, False, (600, 1)),
        ((1, 1), 9, True, (9, 9)),
    ],
)
def test_fitted(size, longest, enlarge, expected):
    assert fitted(size, longest, enlarge=enlarge) == expected
