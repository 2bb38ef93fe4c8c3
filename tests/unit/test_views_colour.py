"""Colours: the hottest value gets the hottest colour, zero stays in the middle of signed maps, scales are raw and shared."""

import numpy as np
import pytest

from vitscope.errors import ArgumentError
from vitscope.views.colour import DIVERGING, LEVELS, SEQUENTIAL, TABLES, Limits, levels, limits_of, table


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours, written out from the standard."""
    c = rgb.astype(np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


@pytest.mark.parametrize("name", ["magma", "viridis"])
def test_sequential_tables_grow_steadily_brighter(name):
    steps = np.diff(lightness(table(name)))
    assert table(name).shape == (LEVELS, 3)
    assert steps.min() > -0.25
    assert lightness(table(name))[-1] > lightness(table(name))[0] + 65


@pytest.mark.parametrize("name", ["magma", "viridis"])
def test_sequential_tables_are_the_published_ones(name):
    colormaps = pytest.importorskip("matplotlib").colormaps
    published = colormaps[name](np.linspace(0, 1, LEVELS))[:, :3] * 255
    assert np.abs(published - table(name)).max() <= 3


def test_signed_colours_are_dark_at_zero_and_equally_bright_on_both_sides():
    light = lightness(table(DIVERGING))
    middle = LEVELS // 2
    assert light.argmin() == middle
    assert light[middle] < 8
    assert np.abs(light - light[::-1]).max() < 6
    assert np.diff(light[middle:]).min() > -0.3


def test_signed_sides_stay_apart_without_red_or_green_cones():
    """Blue against orange: the blue–yellow difference alone separates −v from +v, and keeps its sign."""
    rgb = table(DIVERGING).astype(float)
    yellow = rgb[:, :2].mean(axis=1) - rgb[:, 2]
    strong = LEVELS // 4
    assert yellow[:strong].max() < -40
    assert yellow[-strong:].min() > 40


def test_the_hottest_value_gets_the_hottest_colour():
    ramp = np.linspace(0, 7.5, 400)
    steps = levels(ramp, Limits(0, 7.5))
    assert steps[0] == 0
    assert steps[-1] == LEVELS - 1
    assert (np.diff(steps) >= 0).all()


def test_zero_of_a_signed_map_is_the_middle_step():
    assert levels(np.array([-2.0, 0.0, 2.0]), Limits(-2, 2)).tolist() == [0, LEVELS // 2, LEVELS - 1]


def test_unsigned_scales_start_at_zero_not_at_the_smallest_value():
    assert limits_of([np.array([3.0, 5.0])], signed=False) == Limits(0.0, 5.0)


def test_signed_scales_are_symmetrical():
    assert limits_of([np.array([-1.0, 5.0])], signed=True) == Limits(-5.0, 5.0)


def test_a_negative_value_makes_any_scale_symmetrical():
    assert limits_of([np.array([-4.0, 1.0])], signed=False) == Limits(-4.0, 4.0)


def test_scales_ignore_what_is_not_finite():
    assert limits_of([np.array([np.nan, np.inf, 2.0])], signed=False) == Limits(0.0, 2.0)


@pytest.mark.parametrize("values", [[], [np.zeros(4)], [np.full(3, np.nan)]])
def test_a_scale_without_values_is_still_a_scale(values):
    assert limits_of(values, signed=False) == Limits(0.0, 1.0)


def test_unknown_colours_are_refused():
    with pytest.raises(ArgumentError, match="unknown colours 'jet'; expected magma, viridis, grey, tideline"):
        table("jet")
    assert SEQUENTIAL in TABLES
