"""Quality figures equal scikit-learn's and the slow ones; block size changes nothing."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from support import slow_projection as slow
from vitscope.errors import ArgumentError
from vitscope.projection import distances
from vitscope.projection.quality import held_out, knn_accuracy, label_numbers, label_structure, neighbourhoods


@pytest.fixture(scope="module")
def some():
    x, own = slow.blobs(400, 20, 5)
    return x, x[:, :2].copy(), own


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_and_continuity_equal_scikit_learn(some, k):
    x, points, _ = some
    trust, continuity = neighbourhoods(x, points, k)
    assert trust == pytest.approx(trustworthiness(x, points, n_neighbors=k), abs=1e-12)
    assert continuity == pytest.approx(trustworthiness(points, x, n_neighbors=k), abs=1e-12)
    assert trust != pytest.approx(continuity, abs=1e-3)


def test_they_equal_the_slow_formula_and_do_not_depend_on_blocks(some, monkeypatch):
    x, points = some[0][:60], some[1][:60]
    expected = slow.trustworthiness(x, points, 7), slow.trustworthiness(points, x, 7)
    assert neighbourhoods(x, points, 7) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(distances, "BLOCK_VALUES", 7 * 60)
    assert neighbourhoods(x, points, 7) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_picture_has_one_and_a_shuffled_one_about_half(some):
    points = some[1]
    assert neighbourhoods(points, points * 3 + 1, 5) == (1.0, 1.0)
    shuffled = np.random.default_rng(0).permutation(points)
    assert 0.4 < neighbourhoods(points, shuffled, 5)[0] < 0.6


def test_too_many_neighbours_are_refused(some):
    with pytest.raises(ArgumentError, match="neighbours of 400 points"):
        neighbourhoods(some[0], some[1], 200)


def test_silhouette_equals_scikit_learn_and_agreement_the_slow_one(some):
    x, _, own = some
    agreement, silhouette = label_structure(x, own, 6)
    assert silhouette == pytest.approx(silhouette_score(x.astype(np.float64), own), abs=1e-6)
    near = NearestNeighbors(n_neighbors=6).fit(x).kneighbors(return_distance=False)
    assert agreement == pytest.approx((own[near] == own[:, None]).mean(), abs=1e-12)
    assert label_structure(x[:50], own[:50], 4)[0] == pytest.approx(slow.agreement(x[:50], own[:50], 4), abs=1e-12)


def test_vectors_without_a_label_are_left_out(some):
    x, _, own = some
    partly = np.where(np.arange(400) % 4 == 0, -1, own)
    kept = partly >= 0
    assert label_structure(x, partly, 6) == pytest.approx(label_structure(x[kept], own[kept], 6), abs=1e-12)


def test_the_only_one_of_a_label_counts_as_nothing(some):
    x, _, own = some
    single = own.copy()
    single[7] = 9
    assert label_structure(x, single, 6)[1] == pytest.approx(silhouette_score(x.astype(np.float64), single), abs=1e-6)


@pytest.mark.parametrize("labels", [np.zeros(400, dtype=int), np.full(400, -1)])
def test_one_label_or_none_has_no_structure(some, labels):
    assert np.isnan(label_structure(some[0], labels, 6)).all()
    assert np.isnan(knn_accuracy(some[0], labels, k=6))


def test_halves_share_nothing_and_hold_each_label():
    own = np.repeat([0, 1, 2, -1], [10, 7, 2, 5])
    among, asked = held_out(own, seed=3)
    assert not set(among) & set(asked)
    assert sorted([*among, *asked]) == list(range(19))
    assert np.bincount(own[among]).tolist() == [5, 4, 1]


def test_knn_accuracy_equals_the_slow_vote_and_scikit_learn_without_ties():
    x, own = slow.blobs(240, 6, 4, spread=1.0)
    among, asked = held_out(own)
    slow_votes = [slow.knn_label(x[among], own[among], x[i], 8) for i in asked]
    assert knn_accuracy(x, own, k=8) == pytest.approx(np.mean(slow_votes == own[asked]))
    theirs = KNeighborsClassifier(1).fit(x[among], own[among]).score(x[asked], own[asked])
    assert knn_accuracy(x, own, k=1) == pytest.approx(theirs)
    assert 0.3 < knn_accuracy(x, own, k=8) < 0.99


def test_label_numbers_are_by_name():
    numbers, names = label_numbers(["b", "", "a", "b"])
    assert numbers.tolist() == [1, -1, 0, 1]
    assert names == ["a", "b"]


def test_nearest_equals_the_slow_one_and_a_copy_is_at_zero(monkeypatch):
    x, _ = slow.blobs(80, 5, 3)
    x = x + 1e4  # far from the origin
    x[11] = x[40]
    monkeypatch.setattr(distances, "BLOCK_VALUES", 900)
    index, distance = distances.nearest(x, 4)
    assert (index[11, 0], index[40, 0]) == (40, 11)
    assert distance[11, 0] == 0.0
    whole = slow.distances(x, x)
    np.fill_diagonal(whole, np.inf)
    np.testing.assert_allclose(distance, np.sort(whole, axis=1)[:, :4], rtol=1e-9)
    index, distance = distances.nearest(x[:10], 3, x)
    assert (index[:, 0] == np.arange(10)).all()
    with pytest.raises(ArgumentError, match="80 neighbours"):
        distances.nearest(x, 80)
