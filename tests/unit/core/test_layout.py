"""TokenLayout: every token accounted for, in the right place, or a refusal with the numbers."""

import numpy as np
import pytest

from vitscope.core.layout import Kind, TokenLayout
from vitscope.errors import ProofError

PREFIX = (Kind.CLS, Kind.REGISTER, Kind.REGISTER)


def plain(**changes):
    given = {"prefix": PREFIX, "grid": (2, 3), "patch": (16, 16), "input_size": (32, 48)} | changes
    return TokenLayout.plain(**given)


def test_plain_counts_and_orders_tokens():
    layout = plain()
    assert layout.n == 9
    assert layout.prefix.tolist() == [0, 1, 2]
    assert layout.patches.tolist() == [3, 4, 5, 6, 7, 8]
    assert layout.where(Kind.REGISTER).tolist() == [1, 2]
    assert layout.token_at(1, 2) == 8
    assert layout.patch_box(1, 2) == (16, 32, 32, 48)
    np.testing.assert_array_equal(layout.to_grid(np.arange(18.0).reshape(2, 9))[1], [[12, 13, 14], [15, 16, 17]])


def test_shuffled_tokens_come_back_in_raster_order():
    order = np.random.default_rng(0).permutation(9)
    straight = plain()
    layout = TokenLayout(straight.kinds[order], straight.cells[order], (2, 3), (16, 16), (16, 16), (32, 48))
    values = np.arange(9.0)
    np.testing.assert_array_equal(layout.to_grid(values[order]), straight.to_grid(values))
    assert layout.token_at(0, 1) == int(np.flatnonzero(order == 4)[0])


@pytest.mark.parametrize("cell", [(0, 1, 1), (0, 2, 0), (0, 0, -1)])
def test_a_cell_twice_or_outside_is_refused_with_the_numbers(cell):
    layout = plain()
    cells = layout.cells.copy()
    cells[3] = cell
    with pytest.raises(ProofError, match=r"6 patch tokens .* for a 2×3 grid; expected each of the 6 cells exactly once"):
        TokenLayout(layout.kinds, cells, (2, 3), (16, 16), (16, 16), (32, 48))


def test_a_missing_patch_is_refused():
    layout = plain()
    with pytest.raises(ProofError, match=r"5 patch tokens \(5 different cells\) for a 2×3 grid"):
        TokenLayout(layout.kinds[:-1], layout.cells[:-1], (2, 3), (16, 16), (16, 16), (32, 48))


def test_cells_of_another_length_are_refused():
    layout = plain()
    with pytest.raises(ProofError, match=r"cells \(8, 3\) for 9 tokens"):
        TokenLayout(layout.kinds, layout.cells[:-1], (2, 3), (16, 16), (16, 16), (32, 48))


@pytest.mark.parametrize("patch", [(40, 16), (8, 16), (16, 8), (16, 64)])
def test_a_patch_size_that_does_not_fit_the_input_is_refused(patch):
    with pytest.raises(ProofError, match="expected patches that reach from edge to edge"):
        plain(patch=patch)


def test_a_remainder_smaller_than_a_patch_and_overlap_are_taken():
    assert plain(input_size=(47, 63)).grid == (2, 3)
    assert plain(patch=(16, 16), stride=(8, 8), input_size=(24, 32)).stride == (8, 8)
    assert plain(origin=(-4.0, -4.0), input_size=(24, 40)).patch_box(0, 0) == (-4, -4, 12, 12)


@pytest.mark.parametrize("cell", [(-1, 0), (2, 0), (0, 3)])
def test_a_patch_outside_the_grid_is_an_index_error(cell):
    with pytest.raises(IndexError, match="2×3 grid"):
        plain().token_at(*cell)


def test_the_box_that_patches_cover_stays_inside_the_input():
    assert plain(input_size=(36, 50)).covered == (0, 0, 32, 48)
    assert plain(patch=(16, 16), stride=(16, 16), origin=(-2.0, 1.0), input_size=(30, 50)).covered == (0, 1, 30, 49)
