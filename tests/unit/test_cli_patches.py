"""``vitscope patches`` and ``explain --misread`` as a user meets them: what they write and what they refuse in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import photos
from vitscope.cli import main


@pytest.fixture
def photo(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "cat.png"
    grain = np.random.default_rng(0).normal(0, 20, (60, 80, 3))
    Image.fromarray(np.clip(photos.scene(60, 80) + grain, 0, 255).astype(np.uint8)).save(path)
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


def refused(result, *fragments, code=2):
    got, _, err = result
    assert got == code, err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for fragment in fragments:
        assert fragment in err, err


def test_json_is_what_other_programs_rely_on(vs, photo, tmp_path):
    code, out, err = vs("patches", photo, "--json", "--box", "0,0,0.2,0.5")
    assert code == 0, err
    found = json.loads(out)
    assert found["grid"] == [8, 8]
    assert found["seen_share"] == pytest.approx(32 / 42)
    assert found["coverage"]["uncovered_share"] == 0
    assert found["proof"]["put_back"] == 0
    assert found["findings"][0]["kind"] == "object-cut"
    assert {"kind", "severity", "evidence", "fix"} <= set(found["findings"][0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]  # nothing written beside


def test_a_tensor_is_audited(vs, photo, tmp_path):
    raw = np.asarray(Image.open(photo).resize((43, 32), Image.Resampling.BICUBIC), dtype=np.float32)[:, 5:37].transpose(2, 0, 1)
    np.save(tmp_path / "mine.npy", raw)
    out = tmp_path / "page.html"
    code, said, err = vs("patches", photo, "--tensor", tmp_path / "mine.npy", "--out", out)
    assert code == 0, err
    assert "fault: The tensor is not normalised" in said
    assert "not-normalised" in out.read_text()


def test_a_mask_is_a_picture(vs, photo, tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:30, 0:5] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    code, out, err = vs("patches", photo, "--mask", tmp_path / "mask.png", "--json")
    assert code == 0, err
    assert json.loads(out)["object"]["lost_share"] == 1.0


def test_a_folder_takes_everything(vs, photo, tmp_path):
    code, said, err = vs("patches", photo, "--out", tmp_path / "all")
    assert code == 0, err
    assert {Path(line).name for line in said.splitlines()[-4:]} == {"report.html", "findings.json", "report.png", "arrays.npz"}


def test_a_misread_photo(vs, photo, tmp_path):
    out = tmp_path / "misread.json"
    code, said, err = vs("explain", photo, "--misread", "dog", "--truth", "cat", "--out", out)
    assert code == 0, err
    assert "The model answers" in said
    found = json.loads(out.read_text())
    assert (found["wrong"], found["truth"]) == ("dog", "cat")
    assert len(found["layers"]) == 6
    assert found["layers"][-1] == pytest.approx(found["lead"], abs=1e-3)
    assert np.shape(found["occlusion"]) == (8, 8)
    assert {"grid moved", "crop moved", "padded", "squashed", "mirrored"} == {one["kind"] for one in found["outcomes"]}


def test_misread_page(vs, photo, tmp_path):
    code, _, err = vs("explain", photo, "--misread", "dog", "--truth", "cat")
    assert code == 0, err
    page = (tmp_path / "cat.misread.html").read_text()
    assert "What changes the answer, and what does not" in page


def test_refusals(vs, photo, tmp_path):
    refused(vs("patches", photo, "--box", "1,2,3"), "--box", "x0,y0,x1,y1")
    refused(vs("patches", photo, "--box", "0,0,900,10"), "box", "80×60")
    refused(vs("patches", photo, "--tensor", tmp_path / "no.npy"), "--tensor")
    (tmp_path / "bad.npy").write_text("hello")
    refused(vs("patches", photo, "--tensor", tmp_path / "bad.npy"), "--tensor", ".npy")
    np.save(tmp_path / "last.npy", np.zeros((32, 32, 3), np.float32))
    refused(vs("patches", photo, "--tensor", tmp_path / "last.npy"), "transpose")
    refused(vs("patches", photo, "--out", "a.pdf"), ".html, .png or .json")
    refused(vs("patches", photo, "--out", tmp_path / "none" / "a.html"), "existing folder")
    refused(vs("patches", tmp_path / "none.png"), "no such file")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "black.png")
    refused(vs("patches", photo, "--mask", tmp_path / "black.png"), "mask")


def test_misread_refusals(vs, photo):
    refused(vs("explain", photo, "--misread", "dog"), "--truth")
    refused(vs("explain", photo, "--truth", "dog"), "--misread")
    refused(vs("explain", photo, "--misread", "dog", "--truth", "dog"), "against itself")
    refused(vs("explain", photo, "--misread", "dogg", "--truth", "cat"), "nearest", "'dog'")
    refused(vs("explain", photo, photo, "--misread", "dog", "--truth", "cat"), "2 photos")
    refused(vs("explain", photo, "--misread", "dog", "--truth", "cat", "--method", "rollout"), "--method beside --misread")
    refused(vs("explain", photo, "--misread", "dog", "--truth", "cat", "--out", "a.npz"), ".html, .png or .json")
