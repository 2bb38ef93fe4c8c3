"""The notebook widget: its traits, its checks, what it keeps for later; a real notebook is in tests/browser."""

import subprocess
import sys

import numpy as np
import pytest

from support.fake_compute import FakeCompute
from vitscope.errors import ArgumentError, WorkError
from vitscope.views.explore import Carried
from vitscope.views.view import unpack
from vitscope.web import built as built_module

pytest.importorskip("anywidget", reason="anywidget is not installed")
from vitscope.web.widget import Widget


@pytest.fixture
def static(tmp_path, monkeypatch):
    """A front end of four one-line files."""
    for name in ("widget.js", "widget.css", "view.js", "view.css"):
        (tmp_path / name).write_text(f"/* {name} */")
    monkeypatch.setattr(built_module, "STATIC", tmp_path)
    return tmp_path


def test_the_traits_are_the_ones_the_page_reads(static):
    widget = Widget(FakeCompute(), state={"query": "3,4"})
    synced = set(widget.trait_names(sync=True))
    assert {"_esm", "_css", "state", "catalogue", "blocks"} <= synced
    assert widget._esm == "/* widget.js */"
    assert widget._css == "/* widget.css */"
    assert widget.state == {"query": "3,4"}
    assert widget.catalogue == FakeCompute().catalogue()
    assert widget.blocks == []
    widget.close()


def test_what_a_notebook_keeps_is_said_in_the_catalogue(static):
    kept = Carried({"photo": "cat.jpg", "stored": {"rows": False}}, {"pooled": np.ones((2, 3), np.float32)})
    widget = Widget(FakeCompute(), carried=[kept])
    assert widget.catalogue["sources"][0]["stored"] == {"block": 0, "rows": False}
    np.testing.assert_array_equal(unpack(widget.blocks[0]).arrays["pooled"], np.ones((2, 3)))
    widget.close()


@pytest.mark.parametrize("state", [{"layr": 3}, {"head": "best"}, {"v": 2}])
def test_a_state_that_cannot_be_is_refused(static, state):
    with pytest.raises(ArgumentError, match="state: "):
        Widget(FakeCompute(), state=state)
    widget = Widget(FakeCompute())
    with pytest.raises(ArgumentError, match="state: "):
        widget.state = state
    assert widget.state == {}
    widget.close()


def test_an_upload_joins_the_saved_catalogue(static):
    widget = Widget(FakeCompute())
    widget._handle_custom_msg({"id": "a", "op": "upload", "args": {"name": "dog.jpg", "model": "m"}}, [b"photo"])
    assert [source["photo"] for source in widget.catalogue["sources"]] == ["cat.jpg", "dog.jpg: 5 bytes"]
    widget.close()


@pytest.mark.parametrize("name", ["widget.js", "widget.css"])
def test_without_the_built_files_one_line_says_what_to_do(static, name):
    (static / name).unlink()
    with pytest.raises(WorkError, match=rf"the interactive view was not built: no {name}; expected it in .*; run `make frontend`"):
        Widget(FakeCompute())


def test_without_anywidget_the_extra_is_named():
    code = (
        "import sys; sys.modules['anywidget'] = None\n"
        "from vitscope.errors import MissingExtra\n"
        "try:\n    import vitscope.web.widget\n"
        "except MissingExtra as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "anywidget is not installed; expected anywidget, for the view in a notebook; run: pip install 'vitscope[notebook]'"
    )
