"""New photos in an old map, and nearest neighbours, on the command line: against the maps' own formulas and plain distances."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vitscope as vs
from support.clouds import CLASSES, EACH, embedded, folder_of_photos
from vitscope.api.live_cloud import live_cloud
from vitscope.cli import main
from vitscope.projection.beside import beside
from vitscope.projection.maps import read_map
from vitscope.projection.store import read_store
from vitscope.projection.table import read_cloud

COUNT = len(CLASSES) * EACH


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("into")
    folder_of_photos(root / "in")
    folder_of_photos(root / "new", each=2, seed=5)
    Image.open(root / "in/ship/3.png").save(root / "new/ship/3.png")
    (root / "new/text.jpg").write_text("no picture")
    methods = [word for name in ("pca", "umap", "tsne") for word in ("--method", name)]
    embedded(root / "in", root / "old.parquet", *methods, "--layer", "2", "--layer", "5")
    main(
        ["embed", str(root / "new"), "--into", str(root / "old.parquet"), "--out", str(root / "both.parquet"), "--threads", "1", "--quiet"]
    )
    return root


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def go(*words):
        code = 0
        try:
            main([*map(str, words)])
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return go


def test_old_rows_stay_and_new_ones_say_so(home):
    old, both = pq.read_table(home / "old.parquet").to_pylist(), pq.read_table(home / "both.parquet").to_pylist()
    assert [{k: v for k, v in row.items() if k != "placed"} for row in both[: len(old)]] == old
    assert {row["placed"] for row in both[: len(old)]} == {False}
    new = both[len(old) :]
    assert len(new) == 6 * 7
    assert all(row["placed"] for row in new)
    assert {row["id"] for row in new} == {f"{name}/{i}-2" for name in CLASSES for i in (0, 1)} | {"ship/3-2"}
    assert {row["label"] for row in new} == set(CLASSES)


def test_places_are_those_of_the_saved_maps(home):
    cloud = read_cloud(home / "both.parquet")
    vectors = read_store(home / "both.vectors")
    assert len(cloud) == COUNT + 7
    for one in cloud.maps:
        fitted = read_map(home / f"old.vectors/maps/{one.method}-layer{one.layer}-2d-seed0.npz")
        np.testing.assert_array_equal(one.points[:COUNT], fitted.points)
        np.testing.assert_allclose(one.points[COUNT:], fitted.model.place(vectors.matrix(one.layer)), atol=1e-5)
        if one.method == "pca":  # the same photo lies in the same place
            ids = cloud.column("id").to_pylist()
            np.testing.assert_allclose(one.points[ids.index("ship/3-2")], one.points[ids.index("ship/3")], atol=1e-3)


def test_figures_say_how_far_to_trust_the_places(home):
    meta = pq.read_schema(home / "both.parquet").metadata
    quality, made = json.loads(meta[b"quality"]), json.loads(meta[b"vitscope"])
    cloud, store, old = read_cloud(home / "both.parquet"), read_store(home / "both.vectors"), read_store(home / "old.vectors")
    labels = np.array(cloud.column("label").to_pylist())
    for number, one in enumerate(cloud.maps):
        said = quality["projections"][number]["placed"]
        for name, query, among in (
            ("label_agreement", one.points[COUNT:], one.points[:COUNT]),
            ("original_label_agreement", store.matrix(one.layer), old.matrix(one.layer)),
        ):
            far = np.linalg.norm(query[:, None].astype(np.float64) - among[None], axis=2)
            near = np.argsort(far, axis=1)[:, :10]
            assert said[name] == pytest.approx((labels[:COUNT][near] == labels[COUNT:, None]).mean()), name
        assert said["points"] == 7
    assert (made["placed_photos"], made["placed_left_out_found"], made["stores"]) == (7, 1, ["old.vectors", "both.vectors"])
    assert made["photos"] == COUNT
    assert "placed into it afterwards" in " ".join(live_cloud(home / "both.parquet", {}).facts["maps"][0]["quality"])


def test_picture_page_and_view_show_both(home):
    assert Image.open(home / "both.png").size[0] > 400
    assert "in and new" in (home / "both.html").read_text(encoding="utf-8")
    live = live_cloud(home / "both.parquet", {})
    assert live.facts["pictures"]["how"] == "live"
    assert {column["name"]: column for column in live.facts["columns"]}["placed"]["categories"] == ["false", "true"]
    assert live.sample(COUNT).path.startswith(str(home / "new"))
    assert live.sample(3).path.startswith(str(home / "in"))
    assert np.isfinite(live.columns["confidence"].values).all()


def test_two_runs_same_bytes(home, tmp_path):
    before = {name: (home / name).read_bytes() for name in ("both.parquet", "both.png", "both.html")}
    main(
        ["embed", str(home / "new"), "--into", str(home / "old.parquet"), "--out", str(home / "both.parquet"), "--threads", "1", "--quiet"]
    )
    assert {name: (home / name).read_bytes() for name in before} == before


def test_columns_somebody_added_stay_with_the_old_rows(home):
    table = pq.read_table(home / "old.parquet")
    added = home / "added.parquet"
    pq.write_table(table.append_column("site", pa.array(["north"] * len(table))), added)
    (home / "added.vectors").symlink_to(home / "old.vectors")
    main(["embed", str(home / "new"), "--into", str(added), "--out", str(home / "more.parquet"), "--threads", "1", "--quiet"])
    cloud = read_cloud(home / "more.parquet")
    assert cloud.column("site").to_pylist() == ["north"] * COUNT + [None] * 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "2"], "--layer with --into"),
        (["--method", "pca", "--dim", "3"], "--method and --dim with --into"),
        (["--out", "/tmp/elsewhere.parquet"], "another file in the folder of"),
        (["--out", "{home}/old.parquet"], "another file in the folder of"),
        (["--out", "{home}/old.html"], "a file name ending in .parquet"),
        (["--input-size", "64", "--out", "{home}/x.parquet"], "prepares photos by"),
        (["--state", '{"pointz": 1}'], "unknown key"),
        (["--state", '{"points": {"map": 9}}'], "--state: points: map 9; expected 0 to"),
        (["--state", '{"points": {"colour": "sight"}}'], "colour 'sight'; expected label, predicted"),
    ],
)
def test_refusals_of_placing(home, run, words, said):
    code, _, err = run(
        "embed", home / "new", "--into", home / "old.parquet", *[word.format(home=home) if "{home}" in word else word for word in words]
    )
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_what_photos_cannot_be_placed_into(home, run, tmp_path):
    code, _, err = run("embed", home / "new", "--into", home / "both.parquet", "--out", home / "x.parquet")
    assert (code, "placed into it already" in err, "old.parquet" in err) == (2, True, True)
    alone = tmp_path / "alone.parquet"
    alone.write_bytes((home / "old.parquet").read_bytes())
    code, _, err = run("embed", home / "new", "--into", alone)
    assert (code, "no store of vectors" in err) == (2, True)


# nearest


def test_nearest_of_a_photo_of_the_file_and_of_any_other(home, run):
    vectors = read_store(home / "old.vectors").matrix(5).astype(np.float64)
    rows = pq.read_table(home / "old.parquet").slice(0, COUNT).to_pylist()
    at = next(i for i, row in enumerate(rows) if row["id"] == "ship/3")
    far = np.linalg.norm(vectors - vectors[at], axis=1)
    order = [i for i in np.argsort(far, kind="stable") if i != at][:4]
    for name in ("ship/3", rows[at]["path"], "ship/3.png"):
        code, out, _ = run("nearest", home / "old.parquet", name, "--k", "4", "--json")
        found = json.loads(out)
        assert (code, found["layer"], found["vectors"]) == (0, 5, "pooled")
        assert [one["id"] for one in found["nearest"]] == [rows[i]["id"] for i in order]
        np.testing.assert_allclose([one["distance"] for one in found["nearest"]], far[order], rtol=1e-6)
    code, out, _ = run("nearest", home / "old.parquet", home / "new/ship/3.png", "--k", "4", "--json", "--threads", "1")
    found = json.loads(out)["nearest"]
    assert found[0]["id"] == "ship/3"
    assert found[0]["distance"] < 1e-2
    assert [one["id"] for one in found[1:]] == [rows[i]["id"] for i in order[:3]]
    code, out, _ = run("nearest", home / "old.parquet", "ship/3", "--k", "2", "--layer", "2")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "label ship" in out


def test_nearest_looks_through_old_and_placed(home, run):
    code, out, _ = run("nearest", home / "both.parquet", "ship/3", "--k", "1", "--json")
    (one,) = json.loads(out)["nearest"]
    assert (code, one["id"]) == (0, "ship/3-2")
    code, out, _ = run("nearest", home / "both.parquet", "ship/3-2", "--k", "1", "--json")
    assert json.loads(out)["nearest"][0]["id"] == "ship/3"
    rows = beside(read_cloud(home / "both.parquet"))
    assert sorted(rows.rows(5).tolist()) == list(range(COUNT + 7))


def test_the_same_photos_placed_again_have_vectors_of_their_own(home):
    again = home / "again.parquet"
    main(["embed", str(home / "in"), "--into", str(home / "old.parquet"), "--out", str(again), "--limit", "4", "--threads", "1", "--quiet"])
    assert beside(read_cloud(again)).rows(5).tolist() == list(range(COUNT + 4))


def test_nearest_of_a_patch(home, run, tmp_path):
    file = embedded(home / "in", tmp_path / "tokens.parquet", "--vectors", "tokens", "--layer", "4", "--limit", "6")
    torch.set_num_threads(1)
    layout = vs.load("builtin:photos").layout()
    vectors = read_store(file.with_suffix(".vectors")).matrix(4).astype(np.float64)
    rows = pq.read_table(file).to_pylist()
    at = next(i for i, row in enumerate(rows) if row["id"] == rows[0]["id"] and row["token"] == layout.patches[2 * 8 + 3])
    far = np.linalg.norm(vectors - vectors[at], axis=1)
    far[at] = np.inf
    best = int(far.argmin())
    code, out, _ = run("nearest", file, rows[0]["id"], "--patch", "2,3", "--k", "1", "--json", "--threads", "1")
    (one,) = json.loads(out)["nearest"]
    assert (code, one["id"]) == (0, rows[best]["id"])
    assert one["distance"] == pytest.approx(far[best], rel=1e-6)
    number = list(layout.patches).index(rows[best]["token"]) if rows[best]["token"] in layout.patches else None
    assert one["token"] == (f"token {rows[best]['token']}" if number is None else f"patch {number // 8},{number % 8}")
    for words, said in ((["--patch", "8,0"], "a row from 0 to 7"), (["--patch", "a"], "row,column"), ([], "expected --patch")):
        code, _, err = run("nearest", file, rows[0]["id"], *words)
        assert (code, said in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "neither in the file nor a photo here"),
        (["3.png"], "'3.png' names 3 photos (frog/3, ship/3, truck/3); expected one of them"),
        (["ship/3", "--layer", "9"], "layer 9; expected 2, 5"),
        (["ship/3", "--patch", "1,1"], "expected no --patch"),
    ],
)
def test_refusals_of_nearest(home, run, words, said):
    code, _, err = run("nearest", home / "old.parquet", *words)
    assert code == 2
    assert said in err


def test_rows_taken_out_of_the_file_are_no_neighbours(home, tmp_path):
    table = pq.read_table(home / "old.parquet")
    keep = [i for i, name in enumerate(table.column("id").to_pylist()) if not name.startswith("truck/1")]
    out = tmp_path / "fewer.parquet"
    pq.write_table(table.take(pa.array(keep)), out)
    (tmp_path / "fewer.vectors").symlink_to(home / "old.vectors")
    cloud = read_cloud(out)
    vectors = beside(cloud)
    index, _ = vectors.nearest(vectors.vector(0, 5), 100, 5, but=0)
    assert sorted(index.tolist()) == list(range(1, len(cloud)))
    names = cloud.column("id").to_pylist()
    assert "truck/1" not in names
    store, own = read_store(home / "old.vectors"), names.index("truck/5")
    np.testing.assert_array_equal(vectors.vector(own, 5)[0], store.matrix(5)[store.rows().id.index("truck/5")])


def test_nearest_in_python(home):
    (one,) = vs.nearest(home / "old.parquet", "ship/3", k=1, layer=-1)
    assert set(one) == {"id", "path", "label", "predicted", "distance"}
    torch.set_num_threads(1)
    model = vs.load("builtin:photos")
    assert vs.nearest(home / "old.parquet", home / "new/ship/3.png", k=1, model=model)[0]["id"] == "ship/3"
    with torch.no_grad():
        next(model.module.parameters()).add_(1.0)
    other = vs.load(model.module, input_size=model.input_size, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(vs.VitscopeError, match="has weights"):
        vs.nearest(home / "old.parquet", home / "new/ship/3.png", model=other)
