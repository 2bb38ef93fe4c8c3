"""Planted copies and planted wrong labels are found, with their evidence, and nothing else."""

import numpy as np

from support import slow_projection as slow
from vitscope.projection.distances import nearest
from vitscope.projection.suspects import label_suspects, near_duplicates


def test_planted_copies_and_wrong_labels_are_found_and_no_others():
    x, own = slow.blobs(200, 10, 4, spread=6.0)
    x[17] = x[90]
    x[33] = x[150] + 1e-3
    ids, digests = [f"p{i}" for i in range(200)], ["same" if i in (17, 90) else str(i) for i in range(200)]
    names = np.array(["a", "b", "c", "d"])[own].tolist()
    truth = names[60]
    names[60] = "d" if truth != "d" else "a"
    names[61] = ""
    index, distance = nearest(x, 10)
    pairs = near_duplicates(ids, digests, index, distance)
    assert [(pair.one, pair.other, pair.same_file) for pair in pairs] == [("p17", "p90", True), ("p33", "p150", False)]
    assert pairs[0].distance == 0.0
    assert 0 < pairs[1].ratio < 0.01
    names[17], names[33] = names[90], names[150]
    (one,) = label_suspects(ids, names, [truth] * 200, index)
    assert (one.id, one.label, one.instead, one.predicted) == ("p60", names[60], truth, truth)
    assert one.share >= 0.9
    assert one.own_share <= 0.1
    assert all(names[int(other[1:])] == truth for other in one.near)


def test_without_labels_nothing_is_suspect():
    x, _ = slow.blobs(50, 4, 2)
    index, _ = nearest(x, 5)
    assert label_suspects([str(i) for i in range(50)], [""] * 50, [""] * 50, index) == []
