"""The command line as a user meets it: what it writes, what it refuses in one line and with which exit code, what it leaves behind."""

import errno
import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitscope
from support import photos
from vitscope.cli import main

METHOD_NAMES = ["attention", "rollout", "gradient-rollout", "relevance", "grad-cam", "legrad", "integrated-gradients", "occlusion"]


@pytest.fixture
def photo(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "cat.png"
    Image.fromarray(photos.scene(60, 80)).save(path)
    return path


@pytest.fixture
def vs(capsys, monkeypatch, tmp_path):
    """Run a command; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def refused(result, code, *fragments):
    """A refusal: the exit code, one line on stderr, no traceback, and the words that help."""
    got, _, err = result
    assert got == code, err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for fragment in fragments:
        assert fragment in err, err


def written(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


def test_version(vs):
    assert vs("--version")[:2] == (0, f"{vitscope.__version__}\n")


def test_npz_holds_what_other_programs_rely_on(vs, photo, tmp_path):
    out = tmp_path / "cat.npz"
    code, _, err = vs("explain", photo, "--method", "relevance", "--target", "cat", "--against", "dog", "--out", out)
    assert code == 0, err
    found = np.load(out)
    assert found["grid"].dtype == found["tokens"].dtype == found["image_map"].dtype == np.float32
    assert found["grid"].shape == (8, 8)
    assert found["tokens"].shape == (65,)
    assert found["image_map"].shape == (60, 80)
    assert np.isnan(found["image_map"][:, 0]).all()  # cropped away
    assert np.isfinite(found["image_map"][:, 40]).all()
    meta = json.loads(str(found["meta"]))
    assert {"model", "labels", "probabilities", "method", "layer", "head", "query", "target", "unit", "version"} <= set(meta)
    assert meta["model"] == "builtin:photos"
    assert len(meta["labels"]) == len(meta["probabilities"]) == 5
    assert meta["target"] == "cat rather than dog"


def test_the_same_command_writes_the_same_bytes(vs, photo, tmp_path):
    for name in ("a", "b"):
        code, _, err = vs("explain", photo, "--method", "relevance", "--check", "--out", tmp_path / f"{name}.npz")
        assert code == 0, err
        assert vs("explain", photo, "--method", "relevance", "--method", "rollout", "--out", tmp_path / f"{name}.html")[0] == 0
        assert vs("explain", photo, "--method", "rollout", "--out", tmp_path / f"{name}.png")[0] == 0
    for ending in ("npz", "html", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_a_folder_gets_one_file_each_and_a_report(vs, photo, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    shutil.copy(photo, other / "cat.png")  # the same name twice must not overwrite
    code, out, err = vs("explain", photo, other / "cat.png", "--method", "rollout", "--method", "relevance", "--out", tmp_path / "maps")
    assert code == 0, err
    names = written(tmp_path / "maps")
    assert len([name for name in names if name.endswith(".npz")]) == 4
    assert "report.html" in names
    assert all(str(tmp_path / "maps" / name) in out for name in names)


@pytest.mark.parametrize("ending", ["", ".html"])
def test_only_one_batch_of_attention_is_held_at_a_time(vs, photo, tmp_path, monkeypatch, ending):
    from vitscope.api import job

    made, alive = [], []

    def watched(*args, **kwargs):
        gc.collect()
        alive.append(sum(trace() is not None for trace in made))
        explained = explain(*args, **kwargs)
        made.append(weakref.ref(explained.trace))
        return explained

    explain = job.explain
    monkeypatch.setattr(job, "explain", watched)
    monkeypatch.setattr(job, "BATCH", 1)
    others = [shutil.copy(photo, photo.with_name(f"{name}.png")) for name in "abcd"]
    code, _, _ = vs("explain", *others, "--method", "relevance", "--out", tmp_path / f"out{ending}")
    assert (code, len(alive)) == (0, 4)
    assert max(alive) <= 1
    gc.collect()
    assert sum(trace() is not None for trace in made) == 0


def test_a_broken_photo_among_many_is_refused_before_any_work(vs, photo, tmp_path, monkeypatch):
    from vitscope.api import job

    monkeypatch.setattr(job, "BATCH", 1)
    monkeypatch.setattr(job, "explain", lambda *_, **__: pytest.fail("work began"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    refused(vs("explain", photo, photo, bad, "--out", tmp_path / "out.html"), 2, "bad.png")


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_by_its_public_name(vs, photo, tmp_path, method):
    code, _, err = vs("explain", photo, "--method", method, "--out", tmp_path / "m.npz", "--quiet")
    assert code == 0, err
    assert json.loads(str(np.load(tmp_path / "m.npz")["meta"]))["method"] == method


def test_without_out_the_report_is_beside_the_command(vs, photo, tmp_path):
    code, _, err = vs("explain", photo, "--method", "rollout")
    assert code == 0, err
    assert (tmp_path / "cat.vitscope.html").exists()


def test_quiet_says_nothing(vs, photo, tmp_path):
    assert vs("explain", photo, "--method", "rollout", "--out", tmp_path / "q.npz", "--quiet") == (0, "", "")


@pytest.mark.parametrize("make", photos.REFUSED.values(), ids=photos.REFUSED)
def test_photos_refused_in_one_line(vs, tmp_path, make):
    path = make(tmp_path)
    refused(vs("explain", path, "--out", tmp_path / "out.html"), 2, path.name)
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("make", photos.TAKEN.values(), ids=photos.TAKEN)
def test_awkward_photos_taken_and_said_so(vs, tmp_path, make):
    path = make(tmp_path)
    code, out, err = vs("explain", path, "--method", "rollout", "--out", tmp_path / "out.npz")
    assert code == 0, err
    assert "note:" in out
    assert json.loads(str(np.load(tmp_path / "out.npz")["meta"]))["notes"]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--model", "nonsense:thing"], ["nonsense"]),
        (["--model", "builtin:nothing"], ["nothing", "photos"]),
        (["--model", "timm:vit_tiny_patch16_225"], ["vit_tiny_patch16_224"]),
        (["--model", "{folder}"], ["config.json"]),
        (["--target", "caat"], ["caat", "'cat'"]),
        (["--target", "10"], ["0 to 9"]),
        (["--target", "cat", "--against", "cat"], ["itself"]),
        (["--method", "attention", "--layer", "99"], ["layer 99", "0 to"]),
        (["--method", "attention", "--head", "99"], ["head", "0 to"]),
        (["--method", "attention", "--query", "9,9"], ["9, 9", "0 to 7"]),
        (["--method", "attention", "--query", "nonsense"], ["nonsense"]),
        (["--method", "nonsense"], ["nonsense", "rollout"]),
        (["--method", "rollout", "--discard", "1.5"], ["1.5"]),
        (["--method", "attention", "--target", "nonsense"], ["nonsense"]),  # a method without classes does not hide a wrong label
        (["--method", "rollout", "--against", "nonsense"], ["nonsense"]),
        (["--method", "relevance", "--head", "99"], ["head", "'99'", "relevance takes no head", "attention"]),
        (["--method", "relevance", "--query", "77,99"], ["relevance takes no query", "attention"]),
        (["--method", "relevance", "--layer", "55"], ["relevance takes no layer", "grad-cam"]),
        (["--method", "attention", "--fuse", "nonsense"], ["attention takes no fuse", "rollout"]),
        (["--input-size", "large"], ["large"]),
        (["--labels", "{folder}/none.txt"], ["none.txt", "no such file"]),
        (["--target", "region:none.png:cat"], ["no such file 'none.png'", "a mask of the photo's size"]),
        (["--target", "axis:0@points.parquet"], ["axis:0@points.vectors"]),
        (["--target", "axis:0@nothing.vectors"], ["nothing.vectors", "no store of vectors (No such file or directory)"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_refused_in_one_line(vs, photo, tmp_path, words, fragments):
    folder = tmp_path / "no-config-here"
    folder.mkdir()
    words = [word.format(folder=folder) for word in words]
    refused(vs("explain", photo, *words, "--out", tmp_path / "out.npz"), 2, *fragments)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--offload", "tape"], "--offload 'tape'; expected cpu or disk"),
        (["--memory", "lots"], "--memory 'lots'; expected a number of bytes"),
        (["--memory=lots"], "--memory 'lots'"),
        (["--method", "magic"], "--method: unknown method 'magic'"),
        (["--method", "rollout", "--fuse", "sum"], "--fuse 'sum'"),
        (["--layer", "99"], "--layer 99; expected 0 to 5"),
        (["--dtype", "float3"], "--dtype 'float3'"),
        (["--target", "dog", "--against", "hot dog"], "--against: unknown label 'hot dog'"),
        (["--target", "hot dog", "--against", "dog"], "--target: unknown label 'hot dog'"),
    ],
    ids=" ".join,
)
def test_an_error_names_the_option_that_was_typed(vs, photo, words, line):
    code, _, err = vs("explain", photo, *words)
    assert code == 2
    assert err.startswith(f"vitscope: {line}"), err


def test_a_folder_that_may_not_be_written_to(vs, photo):
    refused(vs("explain", photo, "--out", "/proc/out.html"), 2, "not writable")  # nobody may, root included
    refused(vs("explain", photo, "--out", photo / "out.html"), 2, "--out")  # a file in a folder's place


def test_a_missing_table_of_labels(vs, photo, tmp_path):
    refused(vs("embed", photo.parent, "--labels-file", tmp_path / "none.csv"), 2, "none.csv", "no such file", "a table of labels")


def test_help_names_every_form_of_a_target_and_a_query(vs):
    said = " ".join(vs("explain", "--help")[1].split())
    for form in ("text:WORDS", "feature:12", "region:MASK.png[:LABEL]", "box:NUMBER[:LABEL]", "box:X,Y", "detector box:NUMBER, box:LABEL"):
        assert form in said, form


@pytest.mark.parametrize(
    ("target", "said"), [("feature:0", "no one vector of features"), ("pixel:3,4", "scores no pixels"), ("box:cat", "no boxes")]
)
def test_a_classifier_is_told_what_it_can_explain(vs, photo, tmp_path, target, said):
    for method in ("relevance", "rollout"):
        words = ("explain", photo, "--method", method, "--target", target, "--out", tmp_path / "o.npz")
        refused(vs(*words), 1, said, "expected a label, or a class by its number")


def test_a_missing_folder(vs, photo, tmp_path):
    refused(vs("explain", photo, "--out", tmp_path / "no" / "such" / "out.html"), 2, "mkdir -p")


@pytest.mark.parametrize("ending", ["html", "png", "npz", ""])
def test_a_full_disk_leaves_nothing(vs, photo, tmp_path, monkeypatch, ending):
    real = os.fsync
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) > (1 if ending == "" else 0):  # in a folder the second file fails, so the first must go too
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / (f"out.{ending}" if ending else "out")
    code, _, err = vs("explain", photo, "--method", "rollout", "--out", out)
    assert code == 1
    assert "No space left" in err
    assert err.count("\n") == 1
    assert written(tmp_path) == ["cat.png"]
    assert not out.exists()


def test_a_failed_run_leaves_a_folder_as_it_was(vs, photo, tmp_path, monkeypatch):
    out = tmp_path / "maps"
    assert vs("explain", photo, "--method", "rollout", "--out", out)[0] == 0
    (out / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in out.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("vitscope.web.report.write_report", full)  # the last file of all
        assert vs("explain", photo, "--method", "rollout", "--target", "dog", "--out", out)[0] == 1
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    real = Path.replace

    def denied(path, place):
        if Path(place) == out / "report.html" and path.parent.name == "new":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, place)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", denied)  # the last move of all: what is in place already must go back
        assert vs("explain", photo, "--method", "rollout", "--residual", "0.9", "--out", out)[0] == 1
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    (out / "report.html").unlink()
    (out / "report.html").mkdir()
    del before[out / "report.html"]
    refused(vs("explain", photo, "--method", "rollout", "--residual", "0.9", "--out", out), 1, "report.html", "folder")
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_several_for_one_npz(vs, photo, tmp_path):
    refused(vs("explain", photo, photo, "--out", tmp_path / "o.npz"), 2, "folder")
    refused(vs("explain", photo, "--method", "rollout", "--method", "relevance", "--out", tmp_path / "o.npz"), 2, "folder")
    refused(vs("explain", photo, "--out", tmp_path / "o.docx"), 2, ".html, .png or .npz")


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["explain"], ["IMAGE"]),
        (["inspect"], ["REF"]),
        (["nonsense"], ["nonsense"]),
        (["explain", "x.png", "--nonsense"], ["--nonsense"]),
        (["explain", "x.png", "--layer", "first"], ["--layer", "integer"]),
        (["explain", "x.png", "--threads", "0"], ["--threads"]),
        (["explain", "x.png", "--layer"], ["--layer"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_in_one_line(vs, words, fragments):
    refused(vs(*words), 2, "vitscope: ", *fragments)


@pytest.mark.parametrize("words", [[], ["--help"], ["explain", "--help"]], ids=" ".join)
def test_help(vs, words):
    code, out, err = vs(*words)
    assert (code, err) == (0, "")
    assert "Usage: vitscope" in out


def test_ctrl_c_says_so_in_one_line(vs, photo, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vitscope.api.job.run", stop)
    refused(vs("explain", photo), 130, "stopped")


def test_inspect_json_names_calls_layout_methods_and_proof(vs):
    code, out, err = vs("inspect", "builtin:photos", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert {"calls", "layout", "methods", "proof"} <= set(found)
    assert {"path", "kind", "heads", "queries", "keys"} <= set(found["calls"][0])
    assert set(found["proof"]) >= {"shape", "rows", "reconstruction", "effect"}
    assert found["layout"]["grid"] == [8, 8]
    code, text, _ = vs("inspect", "builtin:photos")
    assert code == 0
    assert "Proof" in text


def test_inspect_is_a_card_with_a_tree_a_grid_and_what_a_photo_costs(vs):
    code, text, err = vs("inspect", "builtin:photos", "--prove")
    assert code == 0, err
    lines = text.splitlines()
    assert lines[0] == "builtin:photos"
    assert sum(line.strip().replace(" ", "") == "▫" * 8 for line in lines) == 8
    assert "  vit.layers.0…5.attention  sdpa, 3 heads, 65 × 65  (6 calls)" in lines
    assert "  attention        1.2 MB" in lines[lines.index("Memory for each photo") :]
    rules = lines[lines.index("Rules every model keeps") + 1 :]
    named = [line.split()[:2] for line in rules if line[2:3].strip()]
    assert named == [[name, "holds"] for name in ("answer", "batch", "left", "weights")]


def test_inspect_prove_fails_where_photos_of_a_batch_see_each_other(vs, monkeypatch):
    from vitscope.capture.prove import Check
    from vitscope.models.loaded import LoadedModel

    broken = {"batch": Check(passed=False, measured=0.5, tolerance=1e-4, text="alone and in a batch it differs by 0.5")}
    monkeypatch.setattr(LoadedModel, "rules", lambda self: broken)
    refused(vs("inspect", "builtin:photos", "--prove"), 1, "builtin:photos: alone and in a batch it differs by 0.5")


def test_inspect_writes_its_facts_to_any_file(vs, tmp_path):
    code, _, err = vs("inspect", "builtin:photos", "--out", tmp_path / "facts.json", "--quiet")
    assert code == 0, err
    assert json.loads((tmp_path / "facts.json").read_text())["layout"]["grid"] == [8, 8]
    refused(vs("inspect", "builtin:photos", "--out", tmp_path), 2, "folder")
    refused(vs("inspect", "builtin:photos", "--out", tmp_path / "none" / "facts.json"), 2, "mkdir -p")


def test_the_demonstration(vs, tmp_path):
    code, out, err = vs("demo", "--seed", "3", "--device", "cpu", "--dtype", "float32", "--threads", "2")
    assert code == 0, err
    assert (tmp_path / "vitscope-demo.html").resolve().as_uri() in out
    assert "cat" in out


@pytest.mark.parametrize("words", [["--target=--5"], ["--seed", "-1"], ["--device", "meta"], ["--device", "nonsense"], ["--dtype", "int8"]])
def test_values_that_cannot_be(vs, photo, tmp_path, words):
    refused(vs("explain", photo, *words, "--out", tmp_path / "o.npz"), 2)


def test_a_traceback_only_when_asked(vs, tmp_path):
    with pytest.raises(vitscope.VitscopeError):
        vs("explain", tmp_path / "missing.png", "--debug")


def test_as_a_program(photo, tmp_path):
    """Once for real: the installed command, in its own process."""
    command = [Path(sys.executable).parent / "vitscope", "explain", photo, "--method", "rollout", "--out", tmp_path / "p.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    missing = subprocess.run([*command[:2], tmp_path / "none.png"], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert missing.stderr.startswith("vitscope: ")
