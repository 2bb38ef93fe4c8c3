"""The square-root code: what is read back lies within the stated bound, and the largest values come back exactly."""

import numpy as np
import pytest

from vitscope.errors import ArgumentError
from vitscope.views.coding import TOP, decode, encode, error_bound


def slow(rows):
    """Codes value by value, in float64."""
    out = np.zeros(rows.shape, np.uint8)
    for i, row in enumerate(rows):
        largest = float(np.float32(row.max()))
        for j, value in enumerate(row):
            out[i, j] = round(255 * min(float(value) / largest, 1.0) ** 0.5) if largest > 0 else 0
    return out


def softmax_rows(seed, count=40, n=197, spread=3.0):
    scores = np.random.default_rng(seed).normal(0, spread, (count, n))
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_read_back_lies_within_the_bound(seed, spread):
    rows = softmax_rows(seed, spread=spread)
    coded = encode(rows)
    back = decode(coded.codes, coded.largest)
    off = np.abs(back.astype(np.float64) - rows)
    assert (off <= error_bound(coded.codes, coded.largest) + 1e-6 * rows.max(axis=1, keepdims=True)).all()
    assert (off <= 0.004 * rows.max(axis=1, keepdims=True)).all()


def test_the_bound_is_not_idle():
    rows = softmax_rows(5)
    coded = encode(rows)
    off = np.abs(decode(coded.codes, coded.largest).astype(np.float64) - rows)
    assert (off / error_bound(coded.codes, coded.largest)).max() > 0.9


def test_codes_equal_the_slow_ones():
    rows = softmax_rows(7, count=6)
    assert np.abs(encode(rows).codes.astype(int) - slow(rows)).max() == 0


def test_the_largest_value_is_read_back_as_it_was():
    rows = softmax_rows(3)
    coded = encode(rows)
    back = decode(coded.codes, coded.largest)
    assert np.array_equal(back.max(axis=1), rows.max(axis=1))
    assert np.array_equal(np.take_along_axis(rows, coded.top_at.astype(int), axis=1), coded.top)
    assert np.array_equal(np.sort(rows, axis=1)[:, ::-1][:, :TOP], coded.top)


def test_rows_of_any_shape_zeros_and_ties():
    rows = np.zeros((2, 3, 5), np.float32)
    rows[1, 2] = 0.2
    coded = encode(rows, top=4)
    assert coded.codes.shape == (2, 3, 5)
    assert coded.top.shape == (2, 3, 4)
    assert np.array_equal(decode(coded.codes, coded.largest), rows)
    assert coded.top_at[1, 2].tolist() == [0, 1, 2, 3]
    assert encode(np.ones((1, 1), np.float32), top=4).top.shape == (1, 1)


def test_values_too_small_for_float32_are_zero():
    rows = np.array([[1e-44, 0.0]], np.float64)
    coded = encode(rows)
    assert decode(coded.codes, coded.largest).max() <= 1e-44


@pytest.mark.parametrize("bad", [-1e-6, np.nan, np.inf])
def test_what_cannot_be_coded_is_refused(bad):
    with pytest.raises(ArgumentError, match="square-root code: a negative or undefined value"):
        encode(np.array([[0.5, bad]], np.float32))
