"""Metrics on arrays worked out by hand: likeness, constancy, localisation, hiding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope.errors import ArgumentError
from vitscope.metrics.constancy import is_constant, relative_spread
from vitscope.metrics.faithfulness import compare, counts, hide_hottest, hide_random
from vitscope.metrics.likeness import cosine, rank_correlation, ranks
from vitscope.metrics.localisation import area_share, box_mask, enrichment, mass_share, pointing, rank_accuracy
from vitscope.metrics.row import Row

NAN = float("nan")


def test_ranks_share_ties():
    assert ranks(np.array([3.0, 1.0, 3.0, 0.0, 3.0])).tolist() == [4, 2, 4, 1, 4]


def test_rank_correlation():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    # 1 − 6 Σd² / (n (n² − 1)) for the ranks 1 2 3 4 and 2 1 4 3
    assert rank_correlation(a, np.array([2.0, 1.0, 4.0, 3.0])) == pytest.approx(1 - 6 * 4 / 60)
    # ties: ranks 1.5 1.5 3.5 3.5
    assert rank_correlation(a, np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(4 / math.sqrt(5 * 4))
    assert math.isnan(rank_correlation(a, np.ones(4)))
    assert rank_correlation(np.array([NAN, 1, 2, 3]), a) == pytest.approx(1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=20), st.randoms(use_true_random=False))
def test_rank_correlation_is_symmetric_and_bounded(values, random):
    a = np.array(values, dtype=np.float64)
    b = a.copy()
    random.shuffle(b)
    rho = rank_correlation(a, b)
    assert math.isnan(rho) or (abs(rho) <= 1 + 1e-12 and rho == pytest.approx(rank_correlation(b, a)))


def test_cosine():
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert math.isnan(cosine(np.zeros(2), np.ones(2)))


def test_constant_maps():
    assert is_constant(np.full((3, 4), 0.07))
    assert is_constant(np.zeros(5))
    assert is_constant(np.full(5, NAN))
    assert is_constant(1 + 1e-5 * np.arange(5))
    assert not is_constant(1 + 1e-2 * np.arange(5))
    assert relative_spread(np.array([-1.0, 1.0])) == pytest.approx(1)


def region() -> np.ndarray:
    mask = np.zeros((2, 4), dtype=bool)
    mask[:, :2] = True
    return mask


def test_mass_area_and_enrichment():
    values = np.array([[3.0, 1.0, 1.0, NAN], [1.0, 1.0, 1.0, NAN]])
    assert area_share(values, region()) == pytest.approx(4 / 6)
    assert mass_share(values, region()) == pytest.approx(6 / 8)
    assert enrichment(values, region()) == pytest.approx(6 / 8 * 6 / 4)
    assert enrichment(np.ones((2, 4)), region()) == pytest.approx(1)
    assert mass_share(np.array([[1.0, -9.0, 1.0, 0.0]] * 2), region()) == pytest.approx(0.5)


def test_an_empty_region_is_undefined_not_a_miss():
    values, empty = np.ones((2, 4)), np.zeros((2, 4), dtype=bool)
    assert all(math.isnan(f(values, empty)) for f in (mass_share, enrichment, pointing, rank_accuracy))
    assert math.isnan(mass_share(np.zeros((2, 4)), region()))
    unseen = values.copy()
    unseen[:, :2] = NAN
    assert math.isnan(pointing(unseen, region()))


def test_pointing_and_rank_accuracy_with_ties():
    values = np.arange(8.0).reshape(2, 4)
    assert pointing(values, region()) == 0
    assert pointing(-values, region()) == 1
    assert pointing(np.ones((2, 4)), region()) == pytest.approx(0.5)
    assert rank_accuracy(np.ones((2, 4)), region()) == pytest.approx(4 / 8)
    assert rank_accuracy(region().astype(float), region()) == 1
    assert rank_accuracy(values, region()) == pytest.approx(2 / 4)


def test_a_box_covers_the_pixels_whose_centre_it_holds():
    mask = box_mask((4, 10), (0.25, 0.0, 0.5, 0.5))
    assert mask.sum() == 2 * 3
    assert mask[:2, 2:5].all()
    with pytest.raises(ArgumentError, match="a region of"):
        mass_share(np.ones((3, 3)), mask)


def test_the_hottest_are_hidden_and_ties_have_no_place():
    values = np.array([0.0, 5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    hidden = hide_hottest(values, (0.1, 0.3))
    assert np.flatnonzero(hidden[0]).tolist() == [1]
    assert np.flatnonzero(hidden[1]).tolist() == [1, 3, 5]
    picked = {tuple(np.flatnonzero(hide_hottest(np.ones(50), (0.1,), seed=s)[0])) for s in range(5)}
    assert len(picked) == 5


def test_random_sets_are_nested_seeded_and_as_large():
    hidden = hide_random(20, 4, (0.1, 0.3), seed=1)
    assert hidden.sum(-1).tolist() == [[2, 6]] * 4
    assert (hidden[:, 0] <= hidden[:, 1]).all()
    assert np.array_equal(hidden, hide_random(20, 4, (0.1, 0.3), seed=1))
    assert not np.array_equal(hidden, hide_random(20, 4, (0.1, 0.3), seed=2))
    assert counts(3, (0.01, 0.99)) == [1, 2]


def test_drops_compared():
    drops = compare(np.array([2.0, 4.0]), np.array([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [9.0, 9.0]]))
    assert (drops.hottest, drops.random, drops.draws) == (3.0, 3.75, 4)
    assert drops.beaten == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert not drops.beats_random


def test_a_row_knows_whether_it_has_a_number():
    assert Row("cat", "pointing", 1.0, higher_is_better=True, n_valid=1).defined
    assert not Row("cat", "pointing", NAN, higher_is_better=True, n_valid=0, reason="empty region").defined
