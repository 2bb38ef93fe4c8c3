"""Views pack to aligned little-endian bytes and come back whole; damaged bytes are refused."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from support.synthetic import chelsea, photo_view, plain_sample
from vitscope.errors import InputError
from vitscope.views.view import ALIGNMENT, Panel, View, block, pack, unpack

TYPES = ("u1", "<u2", "<i4", "<f4", "<f8")


def same(a: View, b: View) -> bool:
    equal = all(np.array_equal(a.arrays[k], b.arrays[k], equal_nan=a.arrays[k].dtype.kind == "f") for k in a.arrays)
    return a.title == b.title and a.panels == b.panels and a.meta == b.meta and list(a.arrays) == list(b.arrays) and equal


def test_a_whole_photo_view_comes_back():
    view = photo_view(plain_sample())
    assert same(unpack(pack(view)), view)


def test_packing_twice_gives_the_same_bytes():
    assert pack(photo_view(plain_sample())) == pack(photo_view(plain_sample()))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(TYPES).flatmap(lambda t: arrays(t, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))), max_size=4)
)
def test_any_arrays_come_back(found):
    view = View("t", (Panel("p", "map", limits=(0.0, 2.5), facts={"ü": [1, None, "x"]}),), {f"a{i}": a for i, a in enumerate(found)})
    again = unpack(pack(view))
    assert same(again, view)
    assert [a.dtype for a in again.arrays.values()] == [a.dtype for a in found]


def test_buffers_lie_on_aligned_offsets_of_the_file():
    data = pack(photo_view(chelsea(), maps=2))
    length = struct.unpack_from("<I", data, 12)[0]
    assert (16 + length) % ALIGNMENT == 0
    entries = json.loads(data[16 : 16 + length])["arrays"]
    assert all(entry["offset"] % ALIGNMENT == 0 for entry in entries)


def test_big_endian_arrays_are_turned_round():
    view = View("t", (), {"a": np.arange(5, dtype=">f4")})
    again = unpack(pack(view))
    assert again.arrays["a"].tolist() == [0, 1, 2, 3, 4]
    assert again.arrays["a"].dtype == np.dtype("<f4")


def test_a_slim_view_keeps_only_what_its_panels_name():
    view = photo_view(plain_sample(), maps=2).only({"map"})
    assert {p.kind for p in view.panels} == {"map"}
    assert all(name.startswith("map-") for name in view.arrays)


def test_types_without_a_place_in_the_format_are_refused():
    with pytest.raises(InputError, match="array 'a' of type int64; expected u1, u2, i4, f2, f4, f8"):
        pack(View("t", (), {"a": np.zeros(2, np.int64)}))


def test_a_block_carries_float16_and_nothing_to_draw():
    values = np.array([[0.5, 1 / 3, 6e-8, np.nan]], np.float16)
    again = unpack(pack(block({"rows": values}, {"query": "3,4"})))
    assert again.arrays["rows"].dtype == np.float16
    assert np.array_equal(again.arrays["rows"], values, equal_nan=True)
    assert (again.panels, again.meta) == ((), {"query": "3,4"})


def test_a_type_nobody_knows_is_refused_and_not_guessed():
    data = pack(block({"a": np.zeros(2, np.float32)}, {}))
    with pytest.raises(InputError, match="array 'a' of type 'f9'; expected u1"):
        unpack(data.replace(b'"f4"', b'"f9"'))


@pytest.mark.parametrize("fact", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_facts_that_are_not_json_are_refused(fact):
    with pytest.raises(InputError, match="not plain JSON"):
        pack(View("t", (Panel("p", "map", facts={"f": fact}),), {}))


def test_foreign_short_and_newer_bytes_are_refused():
    data = pack(photo_view(plain_sample(), maps=1))
    with pytest.raises(InputError, match="expected a packed view"):
        unpack(b"PK\x03\x04" + data)
    with pytest.raises(InputError, match="expected a packed view"):
        unpack(b"")
    with pytest.raises(InputError, match="version 9; expected version 1"):
        unpack(data[:8] + struct.pack("<I", 9) + data[12:])
    with pytest.raises(InputError, match="cut short"):
        unpack(data[:40])
    with pytest.raises(InputError, match="cut short"):
        unpack(data[:-70])
