"""State: there and back again through JSON and an address, and everything wrong with it named in one line."""

import json

import pytest

from vitscope.errors import ArgumentError
from vitscope.views.state import State, from_address, from_dict, from_json

OTHER = State(
    source=1,
    query="3,4",
    fixed=True,
    layer=2,
    head="7",
    method="relevance",
    target="tabby",
    against="beagle",
    fuse="max",
    residual=0.25,
    discard=0.9,
    norm="rank",
    range="map",
    palette="viridis",
    overlay=1,
    smooth=False,
    links={"by": "above", "above": 0.05},
    compare={"target": "Löwe"},
    theme="dark",
    points={
        "cloud": 1,
        "map": 2,
        "colour": "predicted",
        "camera": {"x": 0.25, "y": -0.5, "zoom": 3.5, "turn": [0.5, 0.5, 0.5, 0.5]},
        "lasso": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.8]],
        "focus": 17,
        "size": 2.5,
        "hidden": [0, 3],
    },
    boxes=0.25,
)


@pytest.mark.parametrize(
    "state", [State(), OTHER, State(links={"by": "top", "k": 200}), State(query="register 0"), State(query="box 3", boxes=None)]
)
def test_there_and_back_again(state):
    assert from_dict(state.as_dict()) == state
    assert from_json(state.as_json()) == state
    assert from_address(state.as_address()) == state
    assert from_address("http://127.0.0.1:1/?token=x#s=" + state.as_address()) == state


def test_only_what_differs_is_written():
    assert State().as_dict() == {"v": 1}
    assert State(layer=0).as_json() == '{"v":1,"layer":0}'
    assert set(OTHER.as_dict()) == {"v", *OTHER.__dataclass_fields__}
    assert set(State().as_address()) < set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_what_b_shows():
    assert State().other() is None
    assert State(layer=3, compare={"layer": 1}).other() == State(layer=1)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"querry": "cls"}, "state: unknown key 'querry'; expected among source, query"),
        ({"v": 2}, "state: version 2; expected 1"),
        ({"v": True}, "state: version True; expected 1"),
        ({"source": -1}, "state: source -1; expected a whole number from 0 on"),
        ({"source": True}, "state: source true; expected a whole number from 0 on"),
        ({"layer": -1}, "state: layer -1; expected a whole number from 0 on, or null for the last"),
        ({"layer": 1.5}, "state: layer 1.5; expected a whole number"),
        ({"head": 3}, 'state: head 3; expected "mean", "max", "min" or a number as text'),
        ({"head": "³"}, "state: head"),
        ({"query": "4"}, 'state: query "4"; expected "pooled", "cls", "distill", "register 0", "box 3" or "row,column"'),
        ({"query": "register x"}, "state: query"),
        ({"query": "box cat"}, "state: query"),
        ({"boxes": 2}, "state: boxes 2; expected a number from 0 to 1"),
        ({"query": None}, "state: query null"),
        ({"norm": "log"}, 'state: norm "log"; expected raw, softmax, minmax, rank'),
        ({"norm": ["raw"]}, 'state: norm ["raw"]; expected raw'),
        ({"range": "own"}, 'state: range "own"; expected shared, layer, map'),
        ({"palette": "jet"}, 'state: palette "jet"; expected magma, viridis, grey'),
        ({"overlay": 2}, "state: overlay 2; expected a number from 0 to 1"),
        ({"overlay": float("nan")}, "state: overlay NaN; expected a number from 0 to 1"),
        ({"discard": 1}, "state: discard 1; expected a number from 0 up to, not including, 1"),
        ({"smooth": 1}, "state: smooth 1; expected true or false"),
        ({"target": 5}, "state: target 5; expected a label or null"),
        ({"links": {"by": "top"}}, "state: links"),
        ({"links": {"by": "top", "k": 0}}, "state: links"),
        ({"links": {"by": "above", "above": 0.1, "k": 2}}, "state: links"),
        ({"compare": {"layer": 1, "head": "2"}}, "state: compare"),
        ({"compare": {"norm": "rank"}}, "state: compare"),
        ({"compare": {"head": 2}}, "state: compare"),
        ({"compare": {"target": None}}, "state: compare"),
        ([], "state: a state of type list; expected a JSON object"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(facts, words):
    with pytest.raises(ArgumentError) as refused:
        from_dict(facts)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


def test_texts_that_are_none():
    with pytest.raises(ArgumentError, match="state: not JSON"):
        from_json("{")
    with pytest.raises(ArgumentError, match="state: not base64url"):
        from_address("#s=%%%")
    with pytest.raises(ArgumentError, match="state: a state of type str"):
        from_json(json.dumps("cls"))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"points": [1]}, "state: points [1]; expected null or an object"),
        ({"points": {"clouds": 0}}, "expected only cloud, map, colour, camera, lasso, lasso_at, focus, size, hidden, not clouds"),
        ({"points": {"map": -1}}, "expected map: a whole number from 0 on"),
        ({"points": {"colour": " "}}, "expected colour: the name of a column"),
        ({"points": {"camera": {"zoom": 0}}}, "expected camera: zoom: a number from 0.001 to 1e+06"),
        ({"points": {"camera": {"x": float("nan")}}}, "expected camera: x: a number"),
        ({"points": {"camera": {"roll": 1}}}, "expected camera: only x, y, zoom, turn, not roll"),
        ({"points": {"camera": {"turn": [1, 1, 0, 0]}}}, "expected camera: turn: four numbers, a quaternion of length 1"),
        ({"points": {"lasso": [[0, 0], [1, 1]]}}, "expected lasso: null, or 3 to 20,000 corners [x, y]"),
        ({"points": {"lasso": [[0, 0], [1, 1], [2]]}}, "expected lasso: null, or 3"),
        ({"points": {"lasso_at": {"map": 0}}}, "expected lasso_at: null, or an object with map and turn"),
        ({"points": {"lasso_at": {"map": 0, "turn": [0, 0, 0]}}}, "expected lasso_at: turn: four numbers"),
        ({"points": {"focus": 1.5}}, "expected focus: a whole number from 0 on"),
        ({"points": {"size": 0}}, "expected size: a number from 0.1 to 50"),
        ({"points": {"hidden": [1, 1]}}, "expected hidden: codes of categories, each once"),
    ],
)
def test_what_is_wrong_with_the_points_is_named(facts, words):
    with pytest.raises(ArgumentError) as refused:
        from_dict(facts)
    assert str(refused.value).startswith("state: points ")
    assert words.removeprefix("state: ") in str(refused.value)


def test_a_part_of_the_points_is_enough():
    assert from_dict({"points": {"colour": "label"}}).points == {"colour": "label"}
    assert from_dict({"points": {"colour": "", "lasso_at": {"map": 1, "turn": [0, 0, 0, 1]}}}).points["colour"] == ""
    assert from_dict({"points": None}) == State()
