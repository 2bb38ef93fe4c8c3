"""Targets as text: what is not a whole place or number is refused in one line, never rounded."""

import pytest

from vitscope.core.readings import Box, Feature, Pixel
from vitscope.core.spoken import noun_of
from vitscope.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("feature:12", Feature(12)),
        ("pixel:120,340:road", Pixel(120, 340, "road")),
        ("box:2", Box(2)),
        ("box:cat", Box("cat")),
        ("box:10.5,20", Box((10.5, 20.0))),
        ("cat", None),
    ],
)
def test_what_they_name(text, noun):
    assert noun_of(text) == noun


@pytest.mark.parametrize(
    "text", ["feature:nan", "feature:1.5", "pixel:inf,0", "pixel:1.5,0", "pixel:-1,0", "box:2.7", "box:-1", "region:nan,0,1,1"]
)
def test_what_is_no_number_of_its_kind_is_refused(text):
    with pytest.raises(ArgumentError, match=rf"target '{text}'; expected {text.partition(':')[0]}:"):
        noun_of(text)
