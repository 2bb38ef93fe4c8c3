"""`vs.view`: traces become a widget that answers and that carries what a notebook can keep."""

import numpy as np
import pytest
from skimage import data

import vitscope as vs
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
