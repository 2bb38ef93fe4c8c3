"""`vs.view`: traces become a widget that answers and that carries what a notebook can keep."""

import numpy as np
import pytest
from skimage import data

import vitscope as vs
from support.clouds import embedded, folder_of_photos
from vitscope.api.notebook import SAVED_BYTES
from vitscope.views.coding import decode
from vitscope.views.view import unpack
from vitscope.web import built

pytest.importorskip("anywidget", reason="anywidget is not installed")


@pytest.fixture(autouse=True)
def static(tmp_path, monkeypatch):
    """A front end of two one-line files."""
    for name in ("widget.js", "widget.css"):
        (tmp_path / name).write_text(f"/* {name} */")
    monkeypatch.setattr(built, "STATIC", tmp_path)


@pytest.fixture(scope="module")
def model():
    return vs.load("builtin:photos")


@pytest.fixture(scope="module")
def trace(model):
    return model.trace(data.chelsea())


def answer(widget, op, **args):
    """What the widget sends for a request, no event loop running."""
    sent = []
    widget._messages._send = lambda message, buffers: sent.append((message, buffers))
    widget._messages.take({"id": "a", "op": op, "args": args})
    [(message, buffers)] = sent
    assert "error" not in message, message
    return unpack(buffers[0])


def test_rows_of_a_patch_are_pythons(trace):
    widget = vs.view(trace)
    rows = answer(widget, "rows", query="3,4").arrays["rows"]
    exact = np.stack([vs.attention(trace, layer=layer, head=head, query=(3, 4)).tokens for layer in range(6) for head in range(3)])
    assert rows.shape == exact.shape
    np.testing.assert_allclose(rows.astype(np.float64), exact, rtol=2**-11, atol=2**-25)
    widget.close()


def test_the_notebook_keeps_rows_within_its_limit(trace):
    widget = vs.view(trace)
    [block] = widget.blocks
    assert len(block) <= SAVED_BYTES
    stored, arrays = widget.catalogue["sources"][0]["stored"], unpack(block).arrays
    assert (stored["block"], stored["rows"], stored["means"]) == (0, True, True)
    exact = vs.attention(trace, layer=5, head=1, query=(3, 4)).tokens
    coded = decode(arrays["rows"][5 * 3 + 1, 1 + 3 * 8 + 4], arrays["rows_max"][5 * 3 + 1, 1 + 3 * 8 + 4])
    np.testing.assert_allclose(coded, exact, atol=0.004 * exact.max())
    widget.close()


def test_several_traces_are_several_sources(model, trace):
    both = vs.view(trace, model.trace([data.chelsea(), data.astronaut()]), state={"source": 2})
    assert [source["stored"]["block"] for source in both.catalogue["sources"]] == [0, 1, 2]
    assert len(both.blocks) == 3
    assert sum(map(len, both.blocks)) <= SAVED_BYTES
    assert both.state == {"source": 2}
    assert not both.catalogue["capabilities"]["upload"]
    both.close()


def test_a_loaded_model_takes_photos(model, trace):
    widget = vs.view(trace, models=[model])
    assert widget.catalogue["models"] == [{"id": "builtin:photos", "name": "builtin:photos"}]
    assert widget.catalogue["capabilities"]["upload"]
    widget.close()


def test_no_trace_and_a_state_that_cannot_be_are_refused(trace):
    with pytest.raises(vs.VitscopeError, match="view: no trace; expected at least one"):
        vs.view()
    with pytest.raises(vs.VitscopeError, match="state: head"):
        vs.view(trace, state={"head": "best"})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    root = tmp_path_factory.mktemp("cloud")
    return embedded(folder_of_photos(root / "in"), root / "points.parquet")


def test_a_file_of_points_answers_in_the_notebook(file, model, trace):
    widget = vs.view(trace, file, models=[model], state={"points": {"colour": "label"}})
    (cloud,) = widget.catalogue["clouds"]
    assert cloud["count"] == 27
    assert cloud["block"] == 1
    saved, asked = unpack(widget.blocks[1]), answer(widget, "points", cloud=0, map=0)
    np.testing.assert_array_equal(saved.arrays["map/0"], asked.arrays["map/0"])
    assert saved.meta["bounds"] == [asked.meta["bounds"]]
    assert answer(widget, "table", rows="3").meta["rows"][0]["id"] == "frog/3"
    opened = answer(widget, "open", row=3)
    assert opened.meta["source"] == 1
    assert [source["photo"] for source in widget.catalogue["sources"]] == ["array", "3.png"]
    widget.close()


def test_attention_comes_photo_by_photo_and_the_last_says_so(file, model):
    widget = vs.view(str(file), models=[model])
    sent = []
    widget._messages._send = lambda message, buffers: sent.append((message, unpack(buffers[0])))
    widget._messages.take({"id": "a", "op": "attentions", "args": {"rows": [3, 4]}})
    assert [(message["part"], message["last"]) for message, _ in sent] == [(0, False), (1, True)]
    assert [block.meta["rows"] for _, block in sent] == [[3], [4]]
    widget.close()


def test_points_without_their_model_say_what_is_missing(file, tmp_path):
    widget = vs.view(file)
    (cloud,) = widget.catalogue["clouds"]
    assert (cloud["open"], cloud["attention"]["how"], cloud["pictures"]["how"]) == (False, "none", "live")
    assert cloud["attention"]["why"] == "its model, builtin:photos, is not loaded here"
    with pytest.raises(vs.VitscopeError, match="no such file"):
        vs.view(tmp_path / "none.parquet")
    with pytest.raises(vs.VitscopeError, match="no trace"):
        vs.view()
    widget.close()


def test_too_many_points_are_not_saved(file, monkeypatch):
    from vitscope.api import notebook

    monkeypatch.setattr(notebook, "SAVED_POINTS", 10)
    widget = vs.view(file)
    assert widget.blocks == []
    assert "block" not in widget.catalogue["clouds"][0]
    widget.close()
