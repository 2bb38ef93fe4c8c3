"""photos.html: what it carries is what the file and the photos say; nothing is fetched; what does not fit is said; the same bytes twice."""

import base64
import hashlib
import json
import re
import zlib
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vitscope as vs
from support.clouds import CLASSES, EACH, embedded, folder_of_photos, jpegs
from vitscope.api import points_page
from vitscope.projection.table import read_cloud
from vitscope.views.carried_cloud import drawn, evenly, sampled, to_look_at_first
from vitscope.views.cloud import NONE, STEPS, Column, columns_of
from vitscope.views.points import verdict
from vitscope.views.view import unpack
from vitscope.web.built import built

COUNT = len(CLASSES) * EACH

pytestmark = pytest.mark.skipif(not built(), reason="the front end was not built (make frontend)")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return vs.load("builtin:photos")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    folder = folder_of_photos(root / "in")
    Image.open(folder / "frog/0.png").save(folder / "frog/copy.png")  # a near-duplicate
    Image.open(folder / "ship/1.png").save(folder / "frog/ship.png")  # and another, with a wrong label
    return embedded(folder, root / "points.parquet", "--layer", "3", "--layer", "5", "--state", '{"points": {"colour": "label"}}')


def opened(file):
    """The page's text, catalogue, state and block."""
    html = file.with_suffix(".html").read_text(encoding="utf-8")
    script = {name: re.search(rf"<script[^>]*data-{name}>(.*?)</script>", html, re.DOTALL)[1] for name in ("catalogue", "state", "explore")}
    block = unpack(zlib.decompress(base64.b64decode(script["explore"]), wbits=-15))
    return html, json.loads(script["catalogue"]), json.loads(script["state"]), block


def texts(block, name):
    data, at = block.arrays[f"text/{name}"].tobytes(), block.arrays[f"text/{name}/offsets"]
    return [data[a:b].decode() for a, b in pairwise(at)]


def test_the_page_carries_the_points_and_their_columns(file):
    _, catalogue, state, block = opened(file)
    (cloud,) = catalogue["clouds"]
    rows = pq.read_table(file).slice(0, COUNT + 2).to_pylist()
    whole = read_cloud(file)
    assert (cloud["count"], cloud["block"], cloud["open"], "left_out" in cloud) == (COUNT + 2, 0, False, False)
    assert catalogue["sources"] == []
    assert state == {"v": 1, "points": {"colour": "label"}}
    assert texts(block, "id") == [row["id"] for row in rows]
    assert texts(block, "path") == [row["path"] for row in rows]
    for number, bounds in enumerate(block.meta["bounds"]):
        low, high = np.array(bounds["low"]), np.array(bounds["high"])
        there = low + block.arrays[f"map/{number}"].astype(np.float64) / STEPS * (high - low)
        np.testing.assert_allclose(there, whole.maps[number].points, atol=0.51 * (high - low)[0] / STEPS)
    label = next(column for column in cloud["columns"] if column["name"] == "label")
    assert [label["categories"][code] for code in block.arrays["column/label"]] == [row["label"] for row in rows]
    assert [column["name"] for column in cloud["columns"]][:4] == ["label", "predicted", "error", "confidence"]
    assert "duplicate" in [column["name"] for column in cloud["columns"]]


def test_pictures_and_attention_are_those_of_their_rows(file, model):
    _, catalogue, _, block = opened(file)
    (cloud,) = catalogue["clouds"]
    paths = texts(block, "path")
    assert cloud["pictures"]["rows"] == list(range(COUNT + 2))
    for row, picture in zip(cloud["pictures"]["rows"], jpegs(block), strict=True):
        assert picture.size == (48, 40)
        assert np.abs(np.asarray(picture, float).mean((0, 1)) - np.asarray(Image.open(paths[row]), float).mean((0, 1))).max() < 4
    facts, rows = block.meta["attention"], cloud["attention"]["rows"]
    assert len(facts["frames"]) == len(rows) == len(block.arrays["attention"])
    for i in (0, len(rows) - 1):
        wanted = vs.attention(model.trace(paths[rows[i]])).grid.ravel()
        np.testing.assert_allclose(block.arrays["attention"][i].astype(np.float64), wanted, rtol=5e-4, atol=3e-8)
        assert facts["frames"][i]["photo_size"] == [40, 48]


def test_nothing_is_fetched_and_only_the_page_s_own_scripts_run(file):
    html, _, _, _ = opened(file)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts}
    assert len(scripts) == 1
    assert hashes == set(re.findall(r"'sha256-[^']*'", policy))
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?!data:|#)", html)


def test_findings_stand_in_the_page_without_a_script(file):
    html, _, _, _ = opened(file)
    quality = json.loads(pq.read_schema(file).metadata[b"quality"])
    assert f"Near-duplicates: {len(quality['near_duplicates'])} of {quality['near_duplicates_found']}" in html
    assert "frog/copy" in html


def test_the_maps_stand_in_a_table_with_their_figures_and_a_verdict(file):
    html, _, _, _ = opened(file)
    projections = json.loads(pq.read_schema(file).metadata[b"quality"])["projections"]
    table = re.search(r'<table class="stacks">(.*?)</table>', html, re.DOTALL)[1]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    assert [title for title, _ in rows] == [f"PCA, layer {one['layer']}" for one in projections]
    for (_, cells), one in zip(rows, projections, strict=True):
        shown = dict(re.findall(r'data-name="([^"]*)"><b>([^<]*)</b>', cells))
        assert shown["trustworthiness"] == f"{one['trustworthiness']:.3f}"
        assert shown["neighbours of one label"] == f"{one['label_agreement']:.1%}"
        assert f"model {one['original_label_agreement']:.1%}" in cells
        assert f'<td class="verdict">{verdict(one)}</td>' in cells
    assert html.count("<h1>") == html.count("data-vitscope-view data-host") == 1
    assert 'name="theme"' not in html  # the view has the switch


@pytest.mark.parametrize(
    ("trust", "drawn", "original", "said"),
    [
        (0.96, 0.8, 0.8, "neighbours can be read off it; labels as in the model"),
        (0.9, 0.9, 0.8, "neighbours only roughly; labels look further apart than they are"),
        (0.7, 0.5, 0.8, "read no neighbours; labels that the model tells apart lie mixed"),
        (0.99, None, None, "neighbours can be read off it"),
    ],
)
def test_a_verdict_is_what_the_figures_allow(trust, drawn, original, said):
    assert verdict({"trustworthiness": trust, "label_agreement": drawn, "original_label_agreement": original}) == said


def test_two_runs_same_bytes(file, tmp_path):
    first = file.with_suffix(".html").read_bytes()
    again = embedded(
        file.parent / "in", tmp_path / "points.parquet", "--layer", "3", "--layer", "5", "--state", '{"points": {"colour": "label"}}'
    )
    assert again.with_suffix(".html").read_bytes() == first


def test_more_points_than_fit_are_drawn_evenly_and_that_is_said(file):
    cloud = read_cloud(file)
    columns = columns_of(cloud)
    few, theirs, said = sampled(cloud, columns, 10, seed=3)
    assert said == "10 of 29 points (at most 10 are carried, evenly drawn with seed 3)"
    which = drawn(29, 10, 3)
    assert few.column("id").to_pylist() == [cloud.column("id").to_pylist()[i] for i in which]
    np.testing.assert_array_equal(few.maps[1].points, cloud.maps[1].points[which])
    np.testing.assert_array_equal(theirs["label"].values, columns["label"].values[which])
    for total, most in ((1_000_000, 50_000), (29, 10), (11, 10)):
        which = drawn(total, most, 0)
        assert len(set(which.tolist())) == most
        assert (np.diff(which) > 0).all()
        edges = np.arange(most + 1) * total // most
        assert ((edges[:-1] <= which) & (which < edges[1:])).all()  # one from each stretch
    assert drawn(100, 10, 0).tolist() != drawn(100, 10, 1).tolist()


def test_any_beginning_of_the_order_is_evenly_spread():
    rows = np.arange(1000) * 3
    order = evenly(rows)
    assert sorted(order.tolist()) == rows.tolist()
    for count in (4, 16, 100):
        gaps = np.diff(np.sort(order[:count]))
        assert gaps.max() <= 3 * 3 * 1000 / count
    assert evenly(np.arange(1)).tolist() == [0]
    assert evenly(np.arange(0)).tolist() == []


def test_what_should_be_looked_at_comes_first():
    error = np.array([0, 1, 1, 0, NONE, 1], np.uint16)
    suspect = np.array([NONE, NONE, 0, NONE, NONE, NONE], np.uint16)
    columns = {"error": Column("error", error, ("right", "wrong")), "suspect": Column("suspect", suspect, ("label suspect",))}
    urgent, wrong, others = to_look_at_first(columns)
    assert urgent.tolist() == [2]
    assert sorted(wrong.tolist()) == [1, 5]
    assert sorted(others.tolist()) == [0, 3, 4]


def test_pictures_stop_at_their_room_and_attention_at_its_number(file, model, monkeypatch):
    cloud = read_cloud(file)
    page = points_page.Page(cloud, np.full(len(cloud), 0.5, np.float32), model)
    monkeypatch.setattr(points_page, "PICTURE_BYTES", 12_000)
    monkeypatch.setattr(points_page, "ATTENDED", 4)
    found = points_page.carried(page, lambda _: None)
    rows = found.facts["pictures"]["rows"]
    assert 2 < len(rows) < COUNT
    assert found.arrays["thumbs"].nbytes <= 12_000
    assert "first" in found.facts["pictures"]["why"]
    ids = cloud.column("id").to_pylist()
    assert {"frog/0", "frog/copy", "ship/1", "frog/ship"} <= {ids[row] for row in rows}
    assert len(found.facts["attention"]["rows"]) == 4
    assert set(found.facts["attention"]["rows"]) <= set(rows)


def test_without_photos_the_page_still_says_why(file, model, tmp_path):
    cloud = read_cloud(file)
    gone = type(cloud)(cloud.name, cloud.maps, cloud.columns, cloud.quality, {**cloud.made, "folder": str(tmp_path / "gone")})
    found = points_page.carried(points_page.Page(gone, np.zeros(len(cloud), np.float32), model), lambda _: None)
    assert found.facts["pictures"]["how"] == found.facts["attention"]["how"] == "none"
    assert "no such folder" in found.facts["pictures"]["why"]
