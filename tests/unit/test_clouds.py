"""A file of points read again, and everything the view may ask of it, against the file itself, the photos and the model."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vitscope as vs
from support.clouds import CLASSES, EACH, embedded, folder_of_photos, jpegs
from vitscope.api.cloud import CloudExplorer
from vitscope.api.explorer import Explorer
from vitscope.api.live_cloud import live_cloud
from vitscope.errors import ArgumentError, PhotoError
from vitscope.projection.table import read_cloud
from vitscope.views.cloud import NONE, STEPS
from vitscope.views.view import unpack

COUNT = len(CLASSES) * EACH


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return vs.load("builtin:photos")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = tmp_path_factory.mktemp("cloud")
    return embedded(folder_of_photos(root / "in"), root / "points.parquet", "--layer", "all")


@pytest.fixture(scope="module")
def compute(file, model):
    models = {"builtin:photos": model}
    return CloudExplorer(Explorer([], models), [live_cloud(file, models)])


def ask(compute, op, **args):
    return [unpack(part) for part in compute.answer(op, args)]


def changed(file, tmp_path, change):
    """The file with another table in it, its metadata kept, beside its vectors no more."""
    table = pq.read_table(file)
    out = tmp_path / "changed.parquet"
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), out)
    return out


# the file


def test_maps_and_columns_are_those_of_the_file(file):
    cloud, rows = read_cloud(file), pq.read_table(file).to_pylist()
    assert [one.layer for one in cloud.maps] == [0, 1, 2, 3, 4, 5]
    assert len(cloud) == COUNT
    for number, one in enumerate(cloud.maps):
        mine = [row for row in rows if row["layer"] == one.layer]
        assert one.points.tolist() == [[row["x"], row["y"]] for row in mine]
        wanted = {name: value for name, value in mine[7].items() if name != "layer"}
        assert cloud.rows([7], number) == [wanted]
        assert 0 < one.quality["trustworthiness"] <= 1


def test_rows_in_any_order_are_sorted_into_their_maps(file, tmp_path):
    order = np.random.default_rng(0).permutation(6 * COUNT)
    table = pq.read_table(file)
    by_id = table.take(pa.array(np.argsort(table.column("id").to_numpy(), kind="stable")))
    again = read_cloud(changed(file, tmp_path, lambda _: by_id))
    first = read_cloud(file)
    place = {name: first.maps[0].points[i].tolist() for i, name in enumerate(first.column("id").to_pylist())}
    layer = [one.layer for one in again.maps].index(0)
    assert [place[name] for name in again.column("id").to_pylist()] == again.maps[layer].points.tolist()
    with pytest.raises(ArgumentError, match="differs from map to map"):
        read_cloud(changed(file, tmp_path, lambda table: table.take(pa.array(order))))


def test_columns_somebody_added_are_kept_also_where_maps_differ(file, tmp_path):
    def more(table):
        n = len(table)
        table = table.append_column("site", pa.array([["north", "south", None][i % 3] for i in range(COUNT)] * 6))
        table = table.append_column("age", pa.array([float(i) if i % 4 else None for i in range(COUNT)] * 6))
        table = table.append_column("good", pa.array([bool(i % 2) for i in range(COUNT)] * 6))
        table = table.append_column("day", pa.array(list(range(COUNT)) * 6, pa.date32()))
        return table.append_column("by map", pa.array(np.arange(n)))

    live = live_cloud(changed(file, tmp_path, more), {})
    facts = {column["name"]: column for column in live.facts["columns"]}
    assert facts["site"] == {"name": "site", "kind": "category", "categories": ["north", "south"]}
    assert facts["age"] == {"name": "age", "kind": "number", "low": 1.0, "high": 26.0}
    assert facts["good"]["categories"] == ["false", "true"]
    assert "day" not in facts
    assert "by map" not in facts
    codes = live.column("site")[0]["column/site"]
    assert codes[:4].tolist() == [0, 1, NONE, 0]
    assert np.isnan(live.column("age")[0]["column/age"][0])
    (row,) = live.table([5], 2)[1]["rows"]
    assert (row["by map"], row["day"], row["site"]) == (2 * COUNT + 5, "1970-01-06", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns(["x"]), "no column x"),
        (lambda t: t.slice(0, COUNT + 3), "maps of 3 and 27 points"),
        (lambda t: t.set_column(5, "x", pa.array([float("nan")] * len(t))), "27 of 27 points of layer 0 are no numbers"),
        (lambda t: t.set_column(5, "x", pa.array(["a"] * len(t))), "column x of string; expected numbers"),
        (lambda t: t.set_column(4, "layer", pa.array([None] * len(t), pa.int32())), "rows without layer"),
        (lambda t: t.slice(0, 0), "no rows"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(file, tmp_path, change, said):
    with pytest.raises(ArgumentError, match=said) as raised:
        read_cloud(changed(file, tmp_path, change))
    assert "\n" not in str(raised.value)


def test_foreign_and_broken_files_are_refused(file, tmp_path):
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(ArgumentError, match="does not say which model"):
        read_cloud(foreign)
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_cloud(tmp_path / "text.parquet")
    (tmp_path / "cut.parquet").write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_cloud(tmp_path / "cut.parquet")
    with pytest.raises(ArgumentError, match="no such file"):
        read_cloud(tmp_path / "none.parquet")
    meta = dict(pq.read_schema(file).metadata)
    quality = json.loads(meta[b"quality"])
    quality["projections"][0].pop("trustworthiness")
    odd = tmp_path / "odd.parquet"
    pq.write_table(pq.read_table(file).replace_schema_metadata({**meta, b"quality": json.dumps(quality)}), odd)
    with pytest.raises(ArgumentError, match="figures that cannot be read"):
        live_cloud(odd, {})


# what is asked


def test_the_catalogue_says_what_there_is(compute, file):
    (cloud,) = compute.catalogue()["clouds"]
    quality = json.loads(pq.read_schema(file).metadata[b"quality"])
    assert (cloud["title"], cloud["count"], cloud["open"]) == ("points.parquet", COUNT, True)
    assert [(one["layer"], one["method"], one["dims"]) for one in cloud["maps"]] == [(i, "pca", 2) for i in range(6)]
    assert "trustworthiness" in " ".join(cloud["maps"][0]["quality"])
    assert cloud["curve"] == [{"layer": one["layer"], "knn_accuracy": one["knn_accuracy"]} for one in quality["layers"]]
    assert cloud["accuracy"] == quality["model_accuracy"]
    assert cloud["opens"] == 5  # the last layer
    assert cloud["layers_note"] == "27 photos (folder, a folder for each class), 3 labels, model builtin:photos"
    assert cloud["pictures"]["how"] == cloud["attention"]["how"] == cloud["nearest"]["how"] == "live"
    assert [column["name"] for column in cloud["columns"]][:4] == ["label", "predicted", "error", "confidence"]
    json.dumps(cloud, allow_nan=False)


def test_points_are_the_file_s_within_a_step(compute, file):
    cloud = read_cloud(file)
    for number in (0, 5):
        (block,) = ask(compute, "points", cloud=0, map=number)
        low, high = (np.array(block.meta["bounds"][end]) for end in ("low", "high"))
        np.testing.assert_allclose(high - low, (high - low)[0])  # one scale
        there = low + block.arrays[f"map/{number}"].astype(np.float64) / STEPS * (high - low)
        np.testing.assert_allclose(there, cloud.maps[number].points, atol=0.51 * (high - low)[0] / STEPS)
        assert block.arrays[f"map/{number}"].max() == STEPS


def test_columns_are_what_the_rows_say(compute, file, model):
    rows = pq.read_table(file).slice(0, COUNT).to_pylist()
    facts = {column["name"]: column for column in compute.catalogue()["clouds"][0]["columns"]}
    for name in ("label", "predicted"):
        (block,) = ask(compute, "column", name=name)
        assert [facts[name]["categories"][code] for code in block.arrays[f"column/{name}"]] == [row[name] for row in rows]
        count = [sum(row[name] == one for row in rows) for one in facts[name]["categories"]]
        assert count == sorted(count, reverse=True)
    (block,) = ask(compute, "column", name="error")
    assert [facts["error"]["categories"][code] for code in block.arrays["column/error"]] == [
        "right" if row["label"] == row["predicted"] else "wrong" for row in rows
    ]
    (block,) = ask(compute, "column", name="confidence")
    assert block.arrays["column/confidence"][3] == pytest.approx(model.trace(rows[3]["path"]).top(1)[0][1], abs=1e-4)


def test_the_table_has_every_column(compute, file):
    (block,) = ask(compute, "table", rows="4,0", map=1)
    rows = [row for row in pq.read_table(file).to_pylist() if row["layer"] == 1]
    assert [row["id"] for row in block.meta["rows"]] == [rows[4]["id"], rows[0]["id"]]
    assert {name: block.meta["rows"][0][name] for name in ("path", "label", "predicted", "x", "y")} == {
        name: rows[4][name] for name in ("path", "label", "predicted", "x", "y")
    }
    assert block.meta["rows"][0]["error"] in ("right", "wrong")
    assert list(block.meta["rows"][0]) == [
        "id",
        "path",
        "label",
        "predicted",
        "error",
        "confidence",
        "x",
        "y",
    ]  # as a file's table has them


def test_thumbs_are_the_photos(compute, file):
    (block,) = ask(compute, "thumbs", rows="3,20", size=32)
    paths = read_cloud(file).column("path").to_pylist()
    for picture, row in zip(jpegs(block), (3, 20), strict=True):
        assert max(picture.size) == 32
        wanted = Image.open(paths[row]).resize(picture.size)
        assert np.abs(np.asarray(picture, float).mean((0, 1)) - np.asarray(wanted, float).mean((0, 1))).max() < 6
    assert block.meta == {"rows": [3, 20], "failed": {}}


def test_attentions_are_those_of_the_model_a_photo_at_a_time(compute, file, model):
    blocks = ask(compute, "attentions", rows=[2, 11])
    paths = read_cloud(file).column("path").to_pylist()
    assert [block.meta["rows"] for block in blocks] == [[2], [11]]
    assert [block.meta["progress"]["done"] for block in blocks] == [False, True]
    for block, row in zip(blocks, (2, 11), strict=True):
        wanted = vs.attention(model.trace(paths[row]))
        facts = block.meta["attention"]
        assert facts["grid"] == list(wanted.layout.grid)
        assert (facts["method"], facts["query"], facts["layer"]) == ("attention", wanted.query, wanted.layer)
        assert facts["frames"][0]["photo_size"] == [40, 48]
        np.testing.assert_array_equal(block.arrays["attention"][0], wanted.grid.ravel())
    (again,) = ask(compute, "attentions", rows=[11])
    assert again.meta["progress"]["done"]


def test_nearest_is_measured_in_the_original_space(compute, file):
    from vitscope.projection.store import read_store

    vectors = read_store(file.with_suffix(".vectors")).matrix(2).astype(np.float64)
    distance = np.linalg.norm(vectors - vectors[5], axis=1)
    distance[5] = np.inf
    (block,) = ask(compute, "nearest", row=5, k=4, layer=2)
    assert [one["row"] for one in block.meta["rows"]] == np.argsort(distance, kind="stable")[:4].tolist()
    np.testing.assert_allclose([one["distance"] for one in block.meta["rows"]], np.sort(distance)[:4], rtol=1e-6)


def test_a_photo_is_opened_once(file, model):
    models = {"builtin:photos": model}
    compute = CloudExplorer(Explorer([], models), [live_cloud(file, models)])
    (block,) = ask(compute, "open", row=4)
    assert block.meta["source"] == 0
    assert block.meta["catalogue"]["sources"][0]["photo"] == "4.png"
    assert compute.open(0, 4) == 0
    assert compute.open(0, 5) == 1
    (rows,) = ask(compute, "rows", source=0, query="pooled")
    assert rows.arrays["rows"].shape[1] == 65


@pytest.mark.parametrize(
    ("op", "args", "said"),
    [
        ("points", {"map": 6}, "map 6; expected 0 to 5"),
        ("points", {"cloud": 1}, "cloud 1; expected 0 to 0"),
        ("column", {"name": "id"}, "column 'id'; expected label"),
        ("column", {}, "no name"),
        ("table", {"rows": "27"}, "row 27; expected 0 to 26"),
        ("table", {"rows": "1,1"}, "each once"),
        ("table", {"rows": "-1"}, "from 0 on"),
        ("table", {"rows": ",".join(map(str, range(1001)))}, "1,001 rows; expected at most 1,000"),
        ("thumbs", {"rows": ",".join(map(str, range(101)))}, "at most 100"),
        ("thumbs", {"rows": "1", "size": 1000}, "32 to 256"),
        ("attentions", {"rows": ",".join(map(str, range(25)))}, "at most 24"),
        ("nearest", {"row": 1, "k": 0}, "1 to 200"),
        ("nearest", {"row": 1, "layer": 9}, "layer 9; expected 0, 1, 2"),
        ("open", {}, "no row"),
        ("open", {"row": 99}, "row 99"),
        ("table", {"rows": "1", "source": 0}, "argument source"),
    ],
)
def test_wrong_questions_are_refused(compute, op, args, said):
    with pytest.raises(ArgumentError, match=said):
        ask(compute, op, **args)


# photos


def test_photos_that_moved_are_found_where_they_are_said_to_be(file, tmp_path, model):
    away = tmp_path / "elsewhere"
    away.mkdir()
    gone = changed(file, tmp_path, lambda t: t)
    facts = dict(pq.read_schema(gone).metadata)
    made = json.loads(facts[b"vitscope"])
    old = made["folder"]
    made["folder"] = str(tmp_path / "gone")
    table = pq.read_table(gone)
    paths = [path.replace(old, made["folder"]) for path in table.column("path").to_pylist()]
    table = table.set_column(1, "path", pa.array(paths)).replace_schema_metadata({**facts, b"vitscope": json.dumps(made)})
    pq.write_table(table, gone)
    live = live_cloud(gone, {"m": model})
    assert live.facts["pictures"]["how"] == live.facts["attention"]["how"] == "none"
    assert "no such folder" in live.facts["pictures"]["why"]
    assert "--photos" in live.facts["pictures"]["why"]
    assert not live.facts["open"]
    from pathlib import Path

    found = live_cloud(gone, {"m": model}, photos=Path(old))
    assert found.facts["pictures"]["how"] == "live"
    assert jpegs(_thumbs(found, [1]))[0].size == (48, 40)
    wrong = live_cloud(gone, {"m": model}, photos=away)
    assert wrong.facts["pictures"]["how"] == "none"


def _thumbs(live, rows):
    from vitscope.views.view import block

    return block(*live.thumbs(rows, 96, lambda _, make: make()))


def test_only_photos_below_the_folder_are_read(file, tmp_path):
    outside = tmp_path / "secret.png"
    Image.new("RGB", (10, 10), "red").save(outside)
    root = folder_of_photos(tmp_path / "in", each=3)
    (root / "frog" / "link.png").symlink_to(outside)
    wrong = [str(outside), f"{root}/../secret.png", f"{root}/frog/link.png", "../secret.png", f"{root}/frog/none.png", f"{root}"]

    def planted(table):
        first = table.slice(0, len(wrong) + 1)
        return first.set_column(1, "path", pa.array([f"{root}/frog/0.png", *wrong]))

    out = changed(file, tmp_path, planted)
    meta = dict(pq.read_schema(out).metadata)
    made = json.loads(meta[b"vitscope"]) | {"folder": str(root)}
    pq.write_table(pq.read_table(out).replace_schema_metadata({**meta, b"vitscope": json.dumps(made)}), out)
    live = live_cloud(out, {})
    assert live.facts["pictures"]["how"] == "live"
    block = _thumbs(live, list(range(len(wrong) + 1)))
    pictures = jpegs(block)
    assert pictures[0].size == (48, 40)
    assert pictures[1:] == [None] * len(wrong)
    assert all("\n" not in line for line in block.meta["failed"].values())
    assert "leads out" in block.meta["failed"]["3"]
    assert all("not below the folder" in block.meta["failed"][row] for row in ("1", "2", "4"))
    for row in range(1, len(wrong) + 1):
        with pytest.raises(PhotoError):
            live.sample(row)


def test_a_photo_that_changed_is_not_taken_for_the_old_one(tmp_path, model):
    root = folder_of_photos(tmp_path / "in", each=4)
    live = live_cloud(embedded(root, tmp_path / "p.parquet"), {"m": model})
    assert live.sample(2).size == (40, 48)
    Image.new("RGB", (30, 30)).save(root / "frog" / "2.png")
    with pytest.raises(PhotoError, match="the file has changed"):
        live.sample(2)


def test_another_model_is_refused_with_both_fingerprints(file, model):
    other = vs.load("builtin:photos", input_size=(64, 64))
    with pytest.raises(ArgumentError, match="prepares photos by"):
        live_cloud(file, {"other": other})
    with torch.no_grad():
        changed = vs.load("builtin:photos")
        next(changed.module.parameters()).add_(1.0)
    with pytest.raises(ArgumentError) as raised:
        live_cloud(file, {"other": changed})
    assert model.weights_fingerprint() in str(raised.value)
    assert changed.weights_fingerprint() in str(raised.value)
    both = live_cloud(file, {"other": changed, "right": model})
    assert both.model[0] == "right"
