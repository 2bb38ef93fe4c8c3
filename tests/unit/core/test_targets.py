"""What people write for a target, and what they are told when it cannot be."""

import os
from pathlib import Path

import numpy as np
import pytest

from vitscope.core.targets import Target, find_label, resolve
from vitscope.errors import ArgumentError

LABELS = ("crane", "tabby, tabby cat", "beagle", "crane", "maillot", "maillot, tank suit", "7", "Egyptian cat", "street_sign")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("tabby", 1),
        ("Tabby Cat", 1),
        ("tabby, tabby cat", 1),
        (" beagle ", 2),
        ("2", 2),
        (2, 2),
        ("maillot, tank suit", 5),
        ("tank suit", 5),
        ("7", 6),  # the class called 7
        (7, 7),  # the seventh
        ("street sign", 8),
        ("egyptian_cat", 7),
    ],
)
def test_label_by_name_synonym_or_number(wanted, index):
    assert find_label(wanted, LABELS) == index


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("crane", r"^target: 'crane' names 2 classes: 0 \('crane'\), 3 \('crane'\); expected one; give its number$"),
        ("maillot", r"'maillot' names 2 classes: 4 .*, 5 "),
        ("taby", r"^target: unknown label 'taby'; nearest: 'tabby, tabby cat'"),
        ("beagel", r"nearest: 'beagle'"),
        ("cat", r"unknown label 'cat'; nearest: .*'Egyptian cat'"),
        ("zzzz", r"unknown label 'zzzz'; nearest: '"),
        ("", r"unknown label ''"),
        (9, r"^target: class 9; expected 0 to 8$"),
        ("9", r"^target: class 9; expected 0 to 8$"),
        (-1, r"^target: class -1; expected 0 to 8$"),
    ],
)
def test_label_refused_with_a_way_on(wanted, said):
    with pytest.raises(ArgumentError, match=said) as caught:
        find_label(wanted, LABELS)
    assert caught.value.exit_code == 2


def test_nothing_given_is_each_pictures_top_prediction():
    assert resolve(None, LABELS, [2, 7]) == Target((2, 7), (), ("beagle", "Egyptian cat"))


def test_one_label_is_for_every_picture():
    assert resolve("tabby", LABELS, [2, 7]) == Target((1, 1), (), ("tabby, tabby cat", "tabby, tabby cat"))
    assert resolve(np.int64(2), LABELS, [0]).index == (2,)


def test_one_rather_than_another():
    got = resolve(("tabby", 2), LABELS, [0])
    assert got == Target((1,), (2,), ("tabby, tabby cat rather than beagle",))
    assert resolve((None, "beagle"), LABELS, [1, 7]).index == (1, 7)
    assert resolve(["tabby", "beagle"], LABELS, [0]).against == (2,)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (("tabby", "tabby cat"), r"'tabby, tabby cat' against itself \(picture 0\); expected two different classes"),
        ((None, "beagle"), r"'beagle' against itself \(picture 1\)"),
        (("tabby", "beagle", "crane"), r"a target of 3 parts; expected \(this, rather than that\)"),
        ((("tabby", "beagle"), 3), r"a pair within a pair"),
        ((Target((1, 1), (2, 2)), 3), r"a pair within a pair"),
        (True, r"a target of type bool; expected a label, an index, or a pair of them"),
        (1.5, r"a target of type float"),
        (Target((1,)), r"a target for 1 pictures; expected 2"),
        (Target((1, 1), (2,)), r"a target for 2 pictures"),
        (Target((1, 9)), r"class 9; expected 0 to 8"),
        (Target((1, 1), (2, -3)), r"class -3; expected 0 to 8"),
    ],
)
def test_targets_refused(target, said):
    with pytest.raises(ArgumentError, match=said):
        resolve(target, LABELS, [1, 2])


def test_a_target_comes_back_as_it_is():
    given = Target((1, 2), (2, 1), ("a", "b"))
    assert resolve(given, LABELS, [0, 0]) is given


@pytest.mark.data
def test_imagenet_names():
    folder = os.environ.get("VITSCOPE_TEST_DATA", "")
    names = Path(folder) / "models" / "vit_tiny_in1k" / "imagenet_classes.txt"
    if not folder or not names.is_file():
        pytest.skip("VITSCOPE_TEST_DATA names no folder with the ImageNet class names")
    labels = names.read_text().splitlines()
    assert find_label("tabby", labels) == 281
    assert find_label("tiger cat", labels) == 282
    for ambiguous in ("crane", "maillot", "cardigan"):
        with pytest.raises(ArgumentError, match="names 2 classes"):
            find_label(ambiguous, labels)
    with pytest.raises(ArgumentError, match="Egyptian cat"):
        find_label("egyptian caat", labels)
