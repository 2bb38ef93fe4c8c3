"""Normalisations and colour ranges against slow, obvious ones."""

import math

import numpy as np
import pytest

from vitscope.errors import ArgumentError
from vitscope.views.normalise import NORM_WORDS, NORMS, RANGE_WORDS, RANGES, limits_for, normalise


def slow(values, norm):
    finite = [v for v in values if not math.isnan(v)]

    def one(v):
        if math.isnan(v):
            return v
        if norm == "softmax":
            return math.exp(v - max(finite)) / sum(math.exp(u - max(finite)) for u in finite)
        if norm == "minmax":
            return (v - min(finite)) / (max(finite) - min(finite)) if max(finite) > min(finite) else 0.0
        if norm == "rank":
            below, same = sum(u < v for u in finite), sum(u == v for u in finite)
            return (below + (same - 1) / 2) / max(len(finite) - 1, 1)
        return v

    return [one(v) for v in values]


@pytest.mark.parametrize("norm", NORMS)
def test_equal_the_slow_ones(norm):
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(3, 4, 20)).round(1)  # ties among them
    maps[0, 0, 5] = np.nan
    found = normalise(maps, norm)
    assert found.shape == maps.shape
    wanted = np.array([[slow(row.tolist(), norm) for row in layer] for layer in maps])
    assert np.allclose(found, wanted, atol=1e-12, equal_nan=True)


def test_constant_single_and_undefined_maps():
    assert normalise(np.full(4, 0.3), "minmax").tolist() == [0, 0, 0, 0]
    assert normalise(np.full(5, 0.3), "rank").tolist() == [0.5] * 5
    assert normalise(np.array([0.3]), "rank").tolist() == [0.0]
    assert np.isnan(normalise(np.full(4, np.nan), "softmax")).all()


def test_ranges_share_what_they_say():
    maps = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])
    layers = [0, 0, 1]
    assert [x.high for x in limits_for(maps, layers, "shared", signed=False)] == [4, 4, 4]
    assert [x.high for x in limits_for(maps, layers, "layer", signed=False)] == [2, 2, 4]
    assert [x.high for x in limits_for(maps, layers, "map", signed=False)] == [1, 2, 4]
    assert [x.low for x in limits_for(-maps, layers, "map", signed=True)] == [-1, -2, -4]


def test_patches_that_are_all_padding_set_no_scale():
    maps = np.array([[0.5, 9.0]])
    assert limits_for(maps, [0], "shared", signed=False, visible=np.array([True, False]))[0].high == 0.5


def test_every_choice_has_words_and_others_are_refused():
    assert set(NORM_WORDS) == set(NORMS)
    assert set(RANGE_WORDS) == set(RANGES)
    with pytest.raises(ArgumentError, match="norm 'log'; expected raw, softmax, minmax, rank"):
        normalise(np.zeros(3), "log")
    with pytest.raises(ArgumentError, match="range 'own'; expected shared, layer, map"):
        limits_for(np.zeros((1, 3)), [0], "own", signed=False)
