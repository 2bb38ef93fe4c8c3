"""``vitscope embed`` as a user meets it: rows, metadata, bad files, refusals, and going on after a stop with the same bytes."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vitscope as vs
from support import photos
from vitscope.api.embed import Job, embed, quality_of, summary, write
from vitscope.api.embedding import embed_photos, layer_numbers, plan
from vitscope.api.projecting import place
from vitscope.api.vectors import vectors_of
from vitscope.cli import main
from vitscope.core.layout import Kind
from vitscope.errors import ArgumentError, MethodError
from vitscope.inputs.folders import open_folder
from vitscope.projection.beside import beside
from vitscope.projection.store import read_store
from vitscope.projection.table import read_cloud
from vitscope.web.built import built

CLASSES = {"frog": (40, 160, 60), "ship": (60, 90, 200), "truck": (190, 120, 60)}
EACH = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of coloured noise, a truncated picture, and a text."""
    root = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (root / name).mkdir()
        for i in range(EACH):
            noisy = np.clip(rng.normal(colour, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / name / f"{i}.png")
    photos.truncated_png(root / "frog")
    (root / "notes.txt").write_text("hello")
    return root


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return vs.load("builtin:photos")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def go(*words):
        code = 0
        try:
            main(["embed", *map(str, words)])
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return go


@pytest.fixture(scope="module")
def default(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "some.parquet"
    main(["embed", str(folder), "--out", str(out), "--threads", "1", "--quiet"])
    return out


def test_a_row_a_photo_with_the_columns_that_scripts_rely_on(default, folder):
    table = pq.read_table(default)
    assert table.column_names == ["id", "path", "label", "predicted", "layer", "x", "y"]
    assert table.num_rows == 3 * EACH
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert {row["label"] for row in rows} == set(CLASSES)
    assert {row["layer"] for row in rows} == {5}
    assert {row["predicted"] for row in rows} <= set(vs.load("builtin:photos").labels)
    assert all(Image.open(row["path"]).size == (48, 40) for row in rows)
    assert Image.open(default.with_suffix(".png")).size[0] > 400


def test_folders_called_by_numbers_are_said_to_be_taken_for_class_numbers(run, tmp_path):
    for number, colour in enumerate(CLASSES.values()):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((40, 48, 3), colour, np.uint8) + np.uint8(i)).save(tmp_path / "in" / str(number) / f"{i}.png")
    code, out, _ = run("in", "--out", "numbers.parquet")
    said = "3 labels are taken for the model's class numbers (0: airplane); right and wrong rest on it"
    assert code == 0
    assert f"note: {said}" in out
    assert said in json.loads(pq.read_schema("numbers.parquet").metadata[b"vitscope"])["notes"]
    assert said in (tmp_path / "numbers.html").read_text(encoding="utf-8")


def test_quality_and_provenance_are_in_the_file(default):
    meta = pq.read_schema(default).metadata
    quality, made = json.loads(meta[b"quality"]), json.loads(meta[b"vitscope"])
    (one,) = quality["projections"]
    assert (one["layer"], one["method"], one["points"], one["of"]) == (5, "pca", 27, 27)
    assert 0.5 < one["trustworthiness"] <= 1
    assert 0.5 < one["continuity"] <= 1
    assert 0 < sum(one["explained_variance"]) <= 1
    assert {"label_agreement", "silhouette", "original_label_agreement", "original_silhouette"} <= set(one)
    assert [point["layer"] for point in quality["layers"]] == [0, 1, 2, 3, 4, 5]
    assert quality["model_accuracy_photos"] == 27
    assert made["model"] == "builtin:photos"
    assert made["left_out_found"] == 2
    assert [path.rsplit("/", 1)[-1] for path, _ in made["left_out"]] == ["notes.txt", "truncated.png"]
    assert "truncated" in made["left_out"][1][1]


def test_vectors_are_what_the_head_reads(default, model, folder):
    store = read_store(default.with_suffix(".vectors"))
    rows = store.rows()
    trace = model.trace(rows.path[:3])
    for layer in (0, 5):
        np.testing.assert_allclose(store.matrix(layer)[:3], _cls(trace, layer), atol=2e-4)
    assert rows.predicted[0] == trace.top(1, 0)[0][0]
    assert rows.confidence[0] == pytest.approx(trace.top(1, 0)[0][1], abs=1e-4)


def _cls(trace, layer):
    from vitscope.trace import Needs

    at = int(trace.layout.where(Kind.CLS)[0])
    return trace.with_needs(Needs(hidden=True)).hidden[layer][:, at].numpy()


def test_kinds_of_vectors(model, folder):
    trace = model.trace([str(folder / "frog/0.png"), str(folder / "ship/0.png")])
    tokens = vectors_of(trace, "tokens", [3])[3]
    assert tokens.shape == (2, 65, 192)
    np.testing.assert_allclose(vectors_of(trace, "cls", [3])[3], tokens[:, 0], atol=1e-6)
    np.testing.assert_allclose(vectors_of(trace, "patch-mean", [3])[3], tokens[:, 1:].mean(axis=1), atol=1e-4)
    assert sorted(vectors_of(trace)) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ArgumentError, match="'mean'; expected pooled, cls"):
        vectors_of(trace, "mean")
    with pytest.raises(ArgumentError, match="layer 6; expected 0 to 5"):
        vectors_of(trace, "cls", [6])


def test_a_model_without_a_cls_token_is_refused_by_name():
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, class_token=False, global_pool="avg", num_classes=3).eval()
    trace = vs.load(module).trace(torch.randn(2, 3, 32, 32))
    with pytest.raises(MethodError, match="no CLS token"):
        vectors_of(trace, "cls")
    np.testing.assert_allclose(vectors_of(trace, "pooled", [1])[1], vectors_of(trace, "patch-mean", [1])[1], atol=1e-6)


def test_a_stopped_run_goes_on_to_the_same_bytes(default, folder, tmp_path, run):
    out = tmp_path / "some.parquet"
    assert run(folder, "--out", out, "--threads", 1)[0] == 0
    assert out.read_bytes() == default.read_bytes()
    assert out.with_suffix(".png").read_bytes() == default.with_suffix(".png").read_bytes()
    shard = tmp_path / "some.vectors/shard-000000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    out.unlink()
    assert run(folder, "--out", out, "--threads", 1)[0] == 0
    assert shard.read_bytes() == whole
    assert out.read_bytes() == default.read_bytes()


def test_several_layers_methods_and_dimensions(folder, run, tmp_path):
    words = [
        "--layer",
        2,
        "--layer",
        -1,
        "--method",
        "pca",
        "--method",
        "umap",
        "--dim",
        3,
        "--out",
        "m.parquet",
        "--vectors-dtype",
        "float16",
    ]
    code, said, err = run(folder, *words)
    assert code == 0, err
    table = pq.read_table(tmp_path / "m.parquet")
    assert table.column_names == ["id", "path", "label", "predicted", "layer", "x", "y", "z", "method"]
    assert table.num_rows == 4 * 27
    assert read_store(tmp_path / "m.vectors").manifest.layers == (2, 5)
    assert "left out: 2" in said
    assert "layer 2, umap: trustworthiness" in said


def test_tokens_give_a_row_a_token(folder, run, tmp_path):
    assert run(folder, "--vectors", "tokens", "--layer", 1, "--limit", 4, "--out", "t.parquet")[0] == 0
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.num_rows == 4 * 65
    assert table.column("token").to_pylist() == list(range(65)) * 4


def test_photos_without_labels_and_a_table_that_brings_them(folder, run, tmp_path):
    for i in range(6):
        Image.fromarray(photos.scene(32, 32, i)).save(_made(tmp_path / "flat") / f"{i}.png")
    code, said, _ = run(tmp_path / "flat", "--out", "flat.parquet")
    assert code == 0
    assert "6 photos (folder, photos without labels), no labels" in said
    assert set(pq.read_table(tmp_path / "flat.parquet").column("label").to_pylist()) == {None}
    quality = json.loads(pq.read_schema(tmp_path / "flat.parquet").metadata[b"quality"])
    assert quality["projections"][0]["silhouette"] is None
    assert quality["layers"] == []
    (tmp_path / "l.csv").write_text("file,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(6)))
    assert run(tmp_path / "flat", "--labels-file", tmp_path / "l.csv", "--out", "with.parquet")[0] == 0
    assert pq.read_table(tmp_path / "with.parquet").column("label").to_pylist() == list("ababab")


def _made(path):
    path.mkdir(exist_ok=True)
    return path


def test_refusals_are_one_line_and_leave_nothing(folder, run, tmp_path):
    refused = {
        ("--out", "x.csv"): "expected a file name ending in .parquet",
        ("--out", folder / "x.parquet"): "inside the folder of photos",
        ("--method", "lda"): "expected pca, tsne, umap",
        ("--dim", 4): "expected 2 or 3",
        ("--layer", 17): "expected 0 to 5",
        ("--layer", "last"): "expected a number, or all",
        ("--vectors", "mean"): "expected pooled, cls, patch-mean, tokens",
        ("--vectors-dtype", "int8"): "expected float32, float16",
        ("--method", "pca", "--method", "pca"): "twice",
    }
    for words, said in refused.items():
        code, _, err = run(folder, "--out", "y.parquet", *words)
        assert (code, err.count("\n")) == (2, 1), (words, err)
        assert said in err
        assert not (tmp_path / "y.parquet").exists()
    code, _, err = run(tmp_path / "gone")
    assert code == 2
    assert "no such folder" in err


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ({"colour": "nothing"}, "colour 'nothing'; expected label, predicted, error, confidence, suspect, duplicate"),
        ({"map": 2}, "map 2; expected 0 to 1"),
        ({"lasso": [[0, 0], [1, 0], [1, 1]], "lasso_at": {"map": 7, "turn": [0, 0, 0, 1]}}, "map 7; expected 0 to 1"),
        ({"cloud": 1}, "cloud 1 of 1"),
        ({"focus": 28}, "focus 28; expected 0 to 27"),
    ],
)
def test_a_state_that_cannot_be_is_refused_before_any_work(folder, run, tmp_path, points, said):
    words = ("--layer", 0, "--layer", 5, "--out", "y.parquet", "--state", json.dumps({"points": points}))
    code, _, err = run(folder, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--state: points: {said}" in err
    assert not list(tmp_path.iterdir())


def test_a_store_that_holds_nothing_yet_is_no_hindrance(folder, run, tmp_path, monkeypatch):
    def fails(*_):
        raise MethodError("not known", todo="give --vectors patch-mean")

    with monkeypatch.context() as patch:
        patch.setattr("vitscope.api.embedding.vectors_of", fails)
        assert run(folder, "--limit", 6, "--out", "a.parquet")[0] == 1
    code, _, err = run(folder, "--limit", 6, "--vectors", "patch-mean", "--out", "a.parquet")
    assert code == 0, err


def test_a_convolutional_network_is_told_the_option_that_works():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 8, 8), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1)]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(16, 4)).eval()
    trace = vs.load(net, input_size=64, mean=(0.5,) * 3, std=(0.5,) * 3).trace(torch.randn(2, 3, 64, 64))
    for kind, said in (("pooled", "not known which tokens this model's head reads"), ("cls", "no CLS token")):
        with pytest.raises(MethodError, match=f"{said}; give --vectors patch-mean$"):
            vectors_of(trace, kind)
    whole = net[:3](trace.pixels).mean(dim=(2, 3)).detach().numpy()
    np.testing.assert_allclose(list(vectors_of(trace, "patch-mean").values())[-1], whole, atol=1e-5)


def test_another_model_does_not_go_on_with_a_store(folder, run, tmp_path):
    assert run(folder, "--limit", 6, "--layer", 0, "--out", "a.parquet")[0] == 0
    code, _, err = run(folder, "--limit", 6, "--layer", 1, "--out", "a.parquet")
    assert code == 2
    assert "these vectors were made with layers [0]; expected [1]" in err


def test_new_photos_are_placed_into_a_map_that_is_there(default, folder, model, tmp_path):
    store = read_store(default.with_suffix(".vectors"))
    table = pq.read_table(default)
    path = store.folder / "maps/pca-layer5-2d-seed0.npz"
    (tmp_path / "in").mkdir()
    Image.open(folder / "ship/3.png").save(tmp_path / "in/new.png")
    found = open_folder(tmp_path / "in")
    others = embed_photos(model, found, tmp_path / "new", plan(model, found, (5,)))
    placed = place(store, others, path, layer=5)
    at = table.column("id").to_pylist().index("ship/3")
    np.testing.assert_allclose(placed.points[0], [table.column(c)[at].as_py() for c in "xy"], atol=1e-2)
    other = embed_photos(model, found, tmp_path / "cls", plan(model, found, (5,), vectors="cls"))
    with pytest.raises(ArgumentError, match="the new vectors' vectors is 'cls'; expected 'pooled'"):
        place(store, other, path, layer=5)


def test_layers_are_counted_from_both_ends(model):
    assert layer_numbers(model, [-1, 0, 5]) == (0, 5)
    assert layer_numbers(model, None) == (0, 1, 2, 3, 4, 5)


def test_figures_have_no_number_that_json_cannot_hold(default):
    text = pq.read_schema(default).metadata[b"quality"].decode()
    assert "NaN" not in text
    assert quality_of.__doc__
    assert io.StringIO(text).read() == text


def staged(head="mean"):
    """A small Swin (16×16 tokens, then 8×8), or a CvT whose cls token joins in the last stage."""
    transformers = pytest.importorskip("transformers")
    from support.zoo import redraw

    torch.manual_seed(0)
    if head == "cls":
        module = transformers.CvtForImageClassification(transformers.CvtConfig(depth=[1, 2, 3], num_labels=5))
    else:
        sizes = {"image_size": 64, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4, "num_labels": 5}
        module = transformers.SwinForImageClassification(transformers.SwinConfig(**sizes))
    return vs.load(redraw(module, spread=0.7), input_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_vectors_of_stages_are_of_each_layers_own_tokens():
    trace = staged().trace(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    tokens = vectors_of(trace, "tokens")
    assert [tokens[layer].shape for layer in range(3)] == [(2, 256, 8), (2, 64, 16), (2, 64, 16)]
    for kind in ("pooled", "patch-mean"):  # the head reads the mean of the last grid, each of whose tokens is made of 2×2
        for layer, found in vectors_of(trace, kind).items():
            np.testing.assert_allclose(found, tokens[layer].mean(axis=1), atol=1e-5)
    pictures = [vs.token_pca(trace, layer=layer) for layer in (0, 2)]
    assert [one.layouts[0].grid for one in pictures] == [(16, 16), (8, 8)]


def test_a_cls_token_that_joins_late_has_no_vector_before():
    trace = staged("cls").trace(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for kind in ("pooled", "cls"):
        assert vectors_of(trace, kind, [5])[5].shape == (1, 384)
        with pytest.raises(MethodError, match="layer 0"):
            vectors_of(trace, kind, [0])


def test_photos_through_stages_are_embedded_layer_by_layer(folder, tmp_path):
    model, where = staged(), open_folder(folder)
    for kind, counts in (("pooled", [1, 1, 1]), ("tokens", [256, 64, 64])):
        manifest = plan(model, where, (0, 1, 2), vectors=kind)
        (tmp_path / kind).mkdir()
        store = embed_photos(model, where, tmp_path / kind, manifest)
        assert [store.tokens(layer) for layer in range(3)] == counts


@pytest.mark.skipif(not built(), reason="the front end was not built (make frontend)")
def test_a_page_of_photos_through_stages_only_where_maps_have_the_same_points(folder, tmp_path):
    model, where = staged(), open_folder(folder)
    for kind, layers, page in (("tokens", ("0", "2"), False), ("tokens", ("1", "2"), True), ("pooled", ("0", "2"), True)):
        out = tmp_path / f"{kind}-{layers[0]}.parquet"
        job = Job(folder, "staged", {}, layers=layers, vectors=kind, threads=1, quiet=True)
        done = embed(model, where, out.with_suffix(".vectors"), job)
        written = write(done, out, model, job, lambda _: None)
        assert (out.with_suffix(".html") in written) == page
        assert any("no page" in line for line in summary(done)) == (not page)
        if not page:
            continue
        cloud = read_cloud(out)
        vectors = beside(cloud)
        assert vectors.rows(2).tolist() == list(range(len(cloud)))
        matrix = done.store.matrix(2).astype(np.float64)
        far = np.linalg.norm(matrix - matrix[7], axis=1)
        far[7] = np.inf
        index, distance = vectors.nearest(vectors.vector(7, 2), 3, 2, but=7)
        np.testing.assert_allclose(distance, np.sort(far)[:3], rtol=1e-5, atol=1e-9)
        assert set(index.tolist()) <= set(np.flatnonzero(far <= np.sort(far)[2] + 1e-9).tolist())
