"""A state redrawn without a browser: the right numbers reach the painter, the words say what was done, the bytes repeat."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import vitscope as vs
from support.handmade import CLS, MEAN, REGISTERS, Spec, trace_of
from vitscope.api.explorer import Explorer
from vitscope.api.scene import scene_of
from vitscope.errors import ArgumentError
from vitscope.figures.scene import CELL, mosaic
from vitscope.views.colour import LEVELS, table
from vitscope.views.normalise import normalise
from vitscope.views.state import State


def scene(state, *traces):
    return scene_of(Explorer(traces or [trace_of(REGISTERS, 2)]), state)


def test_the_large_map_is_the_methods_own():
    trace = trace_of(REGISTERS, 2)
    found = scene(State(source=1, query="2,1", layer=1, head="max"), trace).large[0]
    wanted = vs.attention(trace, layer=1, head="max", query=(2, 1))[1].grid
    assert np.allclose(found.grid, wanted, atol=1e-6)
    assert found.title == "Attention, layer 1, head max, from patch (2,1)"
    assert found.marked == (2, 1)
    assert found.unit == "attention weight (max over heads)"
    assert any(word.startswith("Not in the picture: CLS") for word in found.words)


def test_small_maps_are_every_head_of_every_layer():
    trace = trace_of(REGISTERS, 1)
    small = scene(State(query="register 1", range="shared"), trace).small
    assert small.layers == (0, 0, 1, 1, 2, 2)
    for i, layer in enumerate(small.layers):
        wanted = vs.attention(trace, layer=layer, head=i % 2, query="register 1").grid
        assert np.allclose(small.grids[i], wanted, rtol=2**-11, atol=2**-25)
    assert len({limit.high for limit in small.limits}) == 1
    assert "seen from register 1" in small.words[0]
    assert "Raw values; one colour scale for all maps. Colours from 0 to " in small.words[1]


@pytest.mark.parametrize("norm", ["softmax", "minmax", "rank"])
def test_normalisations_are_applied_and_named(norm):
    trace = trace_of(REGISTERS, 1)
    found = scene(State(norm=norm, layer=0), trace)
    row = vs.attention(trace, layer=0)[0].grid.ravel().astype(np.float64)
    assert np.allclose(found.large[0].grid.ravel(), normalise(row, norm), atol=1e-6)
    assert found.large[0].unit.endswith(", of attention weight (row sums to 1)")


def test_a_scale_for_each_layer_takes_the_map_on_the_photo_with_it():
    found = scene(State(range="layer", layer=1))
    assert found.large[0].limits == found.small.limits[2] == found.small.limits[3]
    assert len(set(found.small.limits)) == 3
    own = scene(State(range="map"))
    assert len(set(own.small.limits)) == 6
    assert own.large[0].limits.high == pytest.approx(own.large[0].grid.max())


def test_two_are_compared_on_one_scale_with_their_difference():
    trace = trace_of(REGISTERS, 2)
    a, b, difference = scene(State(method="relevance", target="class 1", compare={"source": 1}), trace).large
    wanted = vs.relevance(trace, target=1)
    assert np.allclose(difference.grid, wanted[0].grid - wanted[1].grid, atol=1e-5)
    assert a.limits == b.limits
    assert a.limits.high == pytest.approx(max(a.grid.max(), b.grid.max()))
    assert difference.limits.low == -difference.limits.high
    assert (a.title, b.title) == ("A: Relevance, from pooled (cls), for class 1", "B: Relevance, from pooled (cls), for class 1")
    layers = scene(State(layer=2, compare={"layer": 0}), trace).large
    assert [one.title.split(",")[1] for one in layers[:2]] == [" layer 2", " layer 0"]


def test_grids_that_differ_have_no_difference_and_a_sentence():
    found = scene(State(compare={"source": 1}), trace_of(CLS, 1), trace_of(Spec(grid=(4, 3)), 1))
    assert len(found.large) == 2
    assert found.notes == ("No difference map: the grids differ (3 × 4 and 4 × 3 patches).",)


def test_links_are_drawn_between_patches_and_the_rest_is_counted():
    trace = trace_of(REGISTERS, 1)
    found = scene(State(layer=0, links={"by": "top", "k": 40}), trace)
    rows = trace.blocks[0].rows()[0].mean(0).numpy()
    order = np.argsort(-rows, axis=None)[:40]
    queries, keys = np.divmod(order, rows.shape[1])
    between = [(q - 3, k - 3) for q, k in zip(queries.tolist(), keys.tolist(), strict=True) if q >= 3 and k >= 3]
    drawn = [tuple(np.ravel_multi_index(cell, (4, 3)) for cell in (s, e)) for s, e in zip(found.lines.start, found.lines.end, strict=True)]
    assert drawn == between
    assert f"{40 - len(between)} of them from or to tokens that are not patches" in found.notes[0]


def test_colours_are_the_views():
    found = scene(State(palette="viridis", range="map", query="0,0"))
    picture = mosaic(found.small, found)
    grid = found.small.grids[0]
    y, x = np.unravel_index(grid.argmax(), grid.shape)
    assert picture[y * CELL, x * CELL, :3].tolist() == table("viridis")[LEVELS - 1].tolist()
    signed = scene(State(method="occlusion"))
    assert signed.colours(signed.large[0].limits) == "tideline"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"source": 3}, "state: source 3; expected 0 to 1"),
        ({"method": "rolout"}, "state: method 'rolout'; expected attention, rollout"),
        ({"layer": 9}, "layer: layer 9"),
        ({"query": "9,9"}, "query: patch (9, 9)"),
    ],
)
def test_what_is_not_there_is_refused(state, words):
    with pytest.raises(ArgumentError) as refused:
        scene(State(**state))
    assert str(refused.value).startswith(words)


# files

STATES = [
    {},
    {"query": "1,1", "links": {"by": "top", "k": 30}, "smooth": False, "palette": "grey"},
    {"method": "relevance", "compare": {"source": 1}, "norm": "rank"},
]


@pytest.mark.parametrize("ending", ["png", "svg"])
@pytest.mark.parametrize("state", STATES)
def test_the_same_state_gives_the_same_bytes(tmp_path, state, ending):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    first = vs.figure(trace_of(REGISTERS, 2), state=state, path=tmp_path / f"a.{ending}").read_bytes()
    again = vs.figure(trace_of(REGISTERS, 2), state=json.dumps(state), path=tmp_path / f"b.{ending}").read_bytes()
    assert first == again
    if ending == "png":
        assert min(Image.open(io.BytesIO(first)).size) > 500
    else:
        assert b"<dc:date>" not in first


def test_a_model_without_a_class_token_and_one_layer_shape(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert vs.figure(trace_of(MEAN, 1), state={}, path=tmp_path / "a.png").exists()


def test_maps_or_a_state_and_a_known_ending(tmp_path):
    trace = trace_of(CLS, 1)
    with pytest.raises(ArgumentError, match="figure: both or none of maps and state"):
        vs.figure(trace, path=tmp_path / "a.png")
    with pytest.raises(ArgumentError, match="figure: both or none of maps and state"):
        vs.figure(trace, [vs.attention(trace)], tmp_path / "a.png", state={})
    with pytest.raises(ArgumentError, match=r"figure: 'a.pdf'; expected a name ending in .png or .svg"):
        vs.figure(trace, state={}, path=tmp_path / "a.pdf")


# the command


def run_command(*words):
    from vitscope.cli import main

    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(path)
    return path


def test_the_command_redraws_a_state(tmp_path, photo):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from vitscope.cli import main

    (tmp_path / "s.json").write_text('{"query": "1,2", "layer": 0}')
    for name in ("a.svg", "b.svg"):
        main(["explain", str(photo), "--state", str(tmp_path / "s.json"), "--out", str(tmp_path / name), "--quiet"])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    main(["explain", str(photo), str(photo), "--state", '{"compare": {"source": 1}}', "--out", str(tmp_path / "c.png"), "--quiet"])
    assert (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--state", "{}", "--out", "a.npz"], "--state for --out a.npz; expected a name ending in .png, .svg or .html"),
        (["--state", "{}", "--out", "a.png", "--layer", "1"], "--state with --layer; expected the state alone"),
        (["--state", "{}", "--out", "a.png", "--method", "rollout"], "--state with --method"),
        (["--state", "nothing.json", "--out", "a.png"], "--state 'nothing.json'; expected JSON text"),
        (["--state", '{"layr": 1}', "--out", "a.png"], "--state: unknown key 'layr'"),
        (["--out", "a.svg"], "--out a.svg; expected .svg with --state"),
    ],
)
def test_the_command_refuses_in_one_line(capsys, monkeypatch, tmp_path, photo, words, said):
    monkeypatch.chdir(tmp_path)
    assert run_command("explain", photo, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vitscope: {said}")
    assert error.count("\n") == 1
