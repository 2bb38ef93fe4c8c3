"""TokenMap: batches, what the picture hides, and values that do not fit their tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope.core.drawing import draw_on_photo
from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.errors import ArgumentError, ProofError

LAYOUT = TokenLayout.plain((Kind.CLS, Kind.REGISTER, Kind.REGISTER), (4, 4), (8, 8), (32, 32))
WHOLE = Placement.of_photo((64, 64)).resize((32, 32))


def token_map(values, placements=(WHOLE,), **known):
    provenance = Provenance("none", "", "", "float32", "cpu", "", 0, samples=tuple("abc"[: len(placements)]))
    return TokenMap(np.asarray(values, dtype=np.float32), known.pop("layout", LAYOUT), placements, "test", "unit", provenance, **known)


def test_tokens_grid_and_picture_of_one():
    m = token_map([np.arange(19.0)])
    np.testing.assert_array_equal(m.tokens, np.arange(19))
    np.testing.assert_array_equal(m.grid, np.arange(3, 19).reshape(4, 4))
    np.testing.assert_array_equal(m.on_image(smooth=False), np.kron(m.grid, np.ones((16, 16))))
    np.testing.assert_array_equal(m.on_image(), draw_on_photo(m.grid, LAYOUT, WHOLE))


def test_batch_is_taken_apart_with_what_belongs_to_each_picture():
    other = Placement.of_photo((32, 32))
    m = token_map([np.zeros(19), np.ones(19)], (WHOLE, other), target=("cat", "dog"))
    assert [len(one) for one in m] == [1, 1]
    assert (m[1].target, m[-1].placement, m[1].provenance.samples) == (("dog",), other, ("b",))
    assert m[1].on_image().shape == (32, 32)
    with pytest.raises(IndexError, match="picture 2 of a batch of 2"):
        m[2]
    with pytest.raises(ArgumentError, match=r"a batch of 2 maps; expected one picture; pick one: m\[0\].grid"):
        m.on_image()


@pytest.mark.parametrize("shape", [(1, 18), (2, 19), (19,), (1, 1, 19)])
def test_values_that_do_not_fit_the_tokens_are_refused(shape):
    with pytest.raises(ProofError, match="for 1 pictures of 19 tokens"):
        token_map(np.zeros(shape))


def test_hidden_mass_counts_prefixes_by_kind():
    m = token_map([[3.0, 1.0, -1.0, *[5.0 / 16] * 16]])
    assert m.hidden_mass() == pytest.approx({"cls": 0.3, "register": 0.2})


def test_hidden_mass_counts_padding_by_area():
    # 32 wide, 20 high: rows 0..5 and 26..31 are bars; a quarter (2 of 8 px) of the outer patch rows shows the photo
    place = Placement.of_photo((20, 32)).pad(6, 0, 6, 0)
    m = token_map([[4.0, 0.0, 0.0, *[1.0] * 16]], (place,))
    assert m.hidden_mass() == pytest.approx({"cls": 4 / 20, "register": 0.0, "padding": 8 * 0.75 / 20})


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(0, 12)] * 4), st.integers(0, 2**32))
def test_hidden_mass_on_padding_equals_a_count_of_pixels(sides, seed):
    top, left, bottom, right = sides
    place = Placement.of_photo((32 - top - bottom or 1, 32 - left - right or 1)).pad(top, left, bottom, right)
    if place.input_size != (32, 32):
        place = place.crop(0, 0, (32, 32))
    shown = np.zeros((32, 32))
    y0, x0, y1, x1 = (int(v) for v in place.content)
    shown[y0:y1, x0:x1] = 1
    values = np.random.default_rng(seed).normal(size=19)
    padded = 1 - shown.reshape(4, 8, 4, 8).mean(axis=(1, 3))
    expected = (np.abs(values[3:]).reshape(4, 4) * padded).sum() / np.abs(values).sum()
    assert token_map([values], (place,)).hidden_mass().get("padding", 0.0) == pytest.approx(expected, abs=1e-6)


def test_hidden_mass_of_an_empty_or_partly_undefined_map():
    assert token_map([np.zeros(19)]).hidden_mass() == {"cls": 0.0, "register": 0.0}
    values = np.ones(19)
    values[5], values[6] = np.nan, np.inf
    assert token_map([values]).hidden_mass() == pytest.approx({"cls": 1 / 17, "register": 2 / 17})
