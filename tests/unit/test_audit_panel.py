"""The panel of what a model was fed: the same findings as the audit's own, asked for live or carried by a report."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import vitscope as vs
from support import photos
from vitscope.api.audit_panel import NO_MODEL, NOT_CARRIED, panel
from vitscope.api.explorer import Explorer
from vitscope.api.write import carried_of
from vitscope.cli import main
from vitscope.errors import ArgumentError
from vitscope.views.plain import plain
from vitscope.views.view import unpack
from vitscope.web.built import built


@pytest.fixture(scope="module")
def model():
    return vs.load("builtin:photos")


def jpeg(quality):
    out = io.BytesIO()
    Image.fromarray(photos.scene(240, 240)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def asked(explorer, source=0):
    (block,) = explorer.answer("audit", {"source": source})
    return unpack(block).meta["audit"]


def kinds(found):
    return [card["kind"] for section in found["sections"] for run in section["runs"] if run["kind"] == "finding" for card in run["cards"]]


def test_a_trace_is_audited_by_the_model_that_made_it(model, tmp_path):
    path = tmp_path / "poor.jpg"
    path.write_bytes(jpeg(4))
    found, truth = asked(Explorer([model.trace(path)])), vs.audit(model, path)
    assert kinds(found) == [one.kind for one in truth.findings]
    assert "jpeg" in " ".join(kinds(found))
    assert found["worst"] == truth.findings[0].severity
    shown = [card for section in found["sections"] for run in section["runs"] if run["kind"] == "picture" for card in run["cards"]]
    assert [one["title"] for one in shown[: len(truth.steps)]] == [f"{i}. {step.name}." for i, step in enumerate(truth.steps, start=1)]


def test_a_file_that_changed_since_is_not_what_was_read(model, tmp_path):
    path = tmp_path / "poor.jpg"
    path.write_bytes(jpeg(4))
    trace = model.trace(path)
    before = asked(Explorer([trace]))
    path.write_bytes(jpeg(95))
    after = asked(Explorer([trace]))
    assert after == plain(panel(vs.audit(model, trace.samples[0])))  # the pixels that were read, not the new file
    assert before != after  # what the old file said of itself is not known any more


def test_an_added_photo_is_audited_from_its_bytes(model):
    explorer = Explorer((), {"own": model})
    assert "jpeg" in " ".join(kinds(asked(explorer, explorer.add(jpeg(4), "poor.jpg", "own"))))


def test_without_the_model_it_says_so(model):
    trace = model.trace([photos.scene(64, 64), photos.scene(64, 64)])[0]
    explorer = Explorer([trace])
    assert explorer.catalogue()["sources"][0]["audit"] == {"how": "none", "why": NO_MODEL}
    with pytest.raises(ArgumentError, match="model is at hand"):
        list(explorer.answer("audit", {}))
    assert Explorer([trace], {model.ref: model}).catalogue()["sources"][0]["audit"]["how"] == "live"
    other = vs.load("builtin:photos")
    next(other.module.parameters()).data.add_(1.0)
    assert Explorer([trace], {model.ref: other}).catalogue()["sources"][0]["audit"]["how"] == "none"


def test_two_answers_are_the_same_bytes(model):
    explorer = Explorer([model.trace(photos.scene(96, 64))])
    first = list(explorer.answer("audit", {}))
    assert first == list(explorer.answer("audit", {})) == list(Explorer([model.trace(photos.scene(96, 64))]).answer("audit", {}))


@pytest.mark.skipif(not built(), reason="the front end was not built (make frontend)")
def test_a_report_carries_it_where_asked(model, tmp_path):
    trace = model.trace(photos.scene(96, 64))
    plain, full = tmp_path / "plain.html", tmp_path / "full.html"
    vs.report(trace, [vs.rollout(trace)], plain)
    vs.report(trace, [vs.rollout(trace)], full, audits=[vs.audit(model, trace.samples[0])])
    assert carried_in(plain) == {"how": "none", "why": NOT_CARRIED}
    assert carried_in(full)["panel"]["verdict"] == asked(Explorer([trace]))["verdict"]


def carried_in(path):
    text = re.search(r"<script type=\"application/json\" data-catalogue>(.*?)</script>", path.read_text(encoding="utf-8"), re.S).group(1)
    return json.loads(text)["sources"][0]["audit"]


@pytest.mark.skipif(not built(), reason="the front end was not built (make frontend)")
def test_an_audit_of_another_photo_is_refused(model):
    trace = model.trace(photos.scene(96, 64))
    with pytest.raises(ArgumentError, match="1 audits; expected one of each of these 1 photos"):
        carried_of([(trace, ())], audits=[vs.audit(model, np.zeros((64, 64, 3), np.uint8))])


def test_the_command_refuses_it_where_nothing_could_show_it(tmp_path, capsys):
    Image.fromarray(photos.scene(64, 64)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as refused:
        main(["explain", str(tmp_path / "a.png"), "--audit", "--out", str(tmp_path / "a.npz")])
    assert refused.value.code == 2
    assert "--audit for a.npz" in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()
