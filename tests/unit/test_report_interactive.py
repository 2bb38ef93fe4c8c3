"""What a report carries so that one can point at any patch without Python: the numbers, their precision, and the budget."""

import base64
import json
import random
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

import vitscope as vs
from support.handmade import CLS, POOL, REGISTERS, Spec, trace_of
from vitscope.api.carry import carry
from vitscope.errors import ArgumentError, OutputError
from vitscope.views.coding import decode, error_bound
from vitscope.views.explore import MAPS, MEANS, POOLED, ROWS, level_for
from vitscope.views.view import unpack
from vitscope.web import interactive
from vitscope.web.document import POLICY


@pytest.fixture
def built(tmp_path, monkeypatch):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "view.js").write_text("(() => {})()")
    (tmp_path / "static" / "view.css").write_text(".vv{color:red}")
    monkeypatch.setattr("vitscope.web.built.STATIC", tmp_path / "static")
    return tmp_path / "static"


def scripts(html, name):
    return re.findall(rf"<script[^>]*\bdata-{name}>(.*?)</script>", html, re.DOTALL)


def opened(html):
    catalogue = json.loads(scripts(html, "catalogue")[0])
    blocks = [unpack(zlib.decompress(base64.b64decode(text), -15)) for text in scripts(html, "explore")]
    return catalogue, blocks


def written(tmp_path, trace, maps=None, **more):
    maps = [vs.attention(trace), vs.relevance(trace)] if maps is None else maps
    return vs.report(trace, maps, tmp_path / "r.html", **more).read_text()


def test_the_report_carries_every_row_within_the_stated_precision(built, tmp_path):
    trace = trace_of(REGISTERS, 2)
    catalogue, blocks = opened(written(tmp_path, trace))
    assert [s["stored"]["block"] for s in catalogue["sources"]] == [0, 1]
    assert "within 0.4 % of the row's largest value" in catalogue["capabilities"]["precision"]
    pick, heads, n = random.Random(0), trace.blocks[0].heads, trace.layout.n
    for _ in range(200):
        source, layer, head, token, key = pick.randrange(2), pick.randrange(3), pick.randrange(heads), pick.randrange(n), pick.randrange(n)
        at, arrays = layer * heads + head, blocks[source].arrays
        exact = float(trace.blocks[layer].rows([token])[source, head, 0, key])
        codes, largest = arrays["rows"][at, token], arrays["rows_max"][at, token]
        assert abs(decode(codes, largest)[key] - exact) <= error_bound(codes, largest)[key] + 1e-6
        top_at = arrays["rows_top_at"][at, token].tolist()
        if key in top_at:
            assert arrays["rows_top"][at, token, top_at.index(key)] == np.float32(exact)
        mean = float(trace.blocks[layer].rows([token])[source, :, 0, key].mean())
        codes, largest = arrays["means"][layer, token], arrays["means_max"][layer, token]
        assert abs(decode(codes, largest)[key] - mean) <= error_bound(codes, largest)[key] + 1e-6


def test_pooled_rows_and_maps_are_exact(built, tmp_path):
    trace = trace_of(POOL, 1)
    maps = [vs.rollout(trace), vs.relevance(trace, target=2)]
    catalogue, (block,) = opened(written(tmp_path, trace, maps))
    for layer in range(3):
        for head in range(4):
            wanted = vs.attention(trace, layer=layer, head=head).tokens
            assert np.array_equal(block.arrays["pooled"][4 * layer + head], wanted)
    stored = catalogue["sources"][0]["stored"]
    assert [m["method"] for m in stored["maps"]] == ["rollout", "relevance"]
    assert [m["target"] for m in stored["maps"]] == ["", "class 2"]
    for facts, one in zip(stored["maps"], maps, strict=True):
        assert np.array_equal(block.arrays[facts["array"]], one.tokens)


def test_it_begins_where_it_is_told_to_and_stays_under_the_policy(built, tmp_path):
    html = written(tmp_path, trace_of(CLS, 1), state={"query": "1,2", "layer": 0})
    assert json.loads(scripts(html, "state")[0]) == {"v": 1, "query": "1,2", "layer": 0}
    assert POLICY in html.replace("&#39;", "'")
    assert '<div data-vitscope-view data-host="file"></div>' in html
    assert html.index(".vv{color:red}") < html.index("<body>")
    assert html.index("(() => {})()") > html.index("data-explore>")
    catalogue, _ = opened(html)
    assert not catalogue["capabilities"]["live"]
    assert catalogue["sources"][0]["picture"] == "#photo-1-base"
    assert 'id="photo-1-base"' in html
    with pytest.raises(ArgumentError, match="state: unknown key 'colour'"):
        written(tmp_path, trace_of(CLS, 1), state={"colour": "red"})


def test_names_from_outside_cannot_end_the_script(built, tmp_path):
    trace = trace_of(CLS, 1)
    object.__setattr__(trace, "labels", ("</script><script>alert(1)</script>", *trace.labels[1:]))
    html = written(tmp_path, trace, [vs.attention(trace)])
    assert "<script>alert(1)" not in html
    assert opened(html)[0]["sources"][0]["labels"][0] == "</script><script>alert(1)</script>"


def test_two_reports_have_the_same_bytes(built, tmp_path):
    assert written(tmp_path, trace_of(CLS, 1)) == written(tmp_path, trace_of(CLS, 1))


def test_what_was_not_built_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr("vitscope.web.built.STATIC", tmp_path / "nothing")
    trace = trace_of(CLS, 2)
    plain = written(tmp_path, trace, interactive=False)
    html = written(tmp_path, trace)
    assert html.count(interactive.NOT_BUILT) == 1
    assert interactive.NOT_BUILT not in plain
    assert html.replace(f'<p class="note">{interactive.NOT_BUILT}</p>\n', "") == plain


def test_a_front_end_that_would_break_the_page_is_refused(built, tmp_path):
    (built / "view.js").write_text("x = '</SCRIPT>'")
    with pytest.raises(OutputError, match=r"view\.js: </script> inside it"):
        written(tmp_path, trace_of(CLS, 1))


# the budget


@pytest.mark.parametrize(
    ("sizes", "level"),
    [
        ([(12, 144, 197)], ROWS),  # ViT-B/16 at 224 px
        ([(12, 144, 197)] * 2, ROWS),
        ([(12, 144, 197)] * 3, MEANS),
        ([(12, 144, 577)], MEANS),  # at 384 px
        ([(24, 384, 1370)], POOLED),  # DINOv2-L/14 at 518 px
        ([(0, 0, 50)], ROWS),
    ],
)
def test_as_much_as_fits_sixteen_megabytes(sizes, level):
    assert level_for(sizes) == level


def test_each_level_carries_what_it_says():
    trace = trace_of(REGISTERS, 1)
    n, heads, layers = trace.layout.n, 6, 3
    everything = carry([(trace, [vs.attention(trace)])])[0]
    assert set(everything.arrays) == {"maps/0", "pooled", "means", "means_max", "rows", "rows_max", "rows_top", "rows_top_at"}
    means = carry([(trace, [])], limit=layers * n * (n + 4))[0]
    assert set(means.arrays) == {"pooled", "named/0", "named/1", "named/2", "means", "means_max"}
    assert means.source["stored"]["named"] == ["cls", "register 0", "register 1"]
    assert "patches' rows of single heads" in means.source["stored"]["precision"]
    assert np.array_equal(means.arrays["named/2"][heads - 1], vs.attention(trace, layer=2, head=1, query="register 1").tokens)
    least = carry([(trace, [])], limit=10)[0]
    assert set(least.arrays) == {"pooled", "named/0", "named/1", "named/2"}
    assert (least.source["stored"]["rows"], least.source["stored"]["means"]) == (False, False)


def test_a_model_without_rows_carries_its_maps():
    trace = trace_of(Spec(), 1)
    broken = replace(trace, calls=tuple(replace(c, block=None) for c in trace.calls))
    carried = carry([(broken, [vs.grad_cam(trace)])])[0]
    assert set(carried.arrays) == {"maps/0"}
    assert carried.source["stored"]["precision"].startswith("the maps: exact")
    assert MAPS not in (ROWS, MEANS, POOLED)
