"""Faults planted in real photos are named first, and nothing is claimed of clean ones: ViT-Tiny, 13 faults, 12 photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import vitscope as vs
from support.faulty_inputs import FAULTS, MORE, opened

DATA = Path(os.environ.get("VITSCOPE_TEST_DATA", ""))
PHOTOS = DATA / "photos"
WEIGHTS = DATA / "models" / "vit_tiny_in1k"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not os.environ.get("VITSCOPE_TEST_DATA") or not WEIGHTS.is_dir(),
        reason="VITSCOPE_TEST_DATA names no folder with ViT-Tiny",
    ),
]

CLEAN = (
    "astronaut.png",
    "both.png",
    "cats_remote_control.jpeg",
    "chelsea.png",
    "coffee.png",
    "dogbird.png",
    "rocket.jpg",
    "imagenet/n01847000_10087.JPEG",
    "imagenet/n01855032_1046.JPEG",
    "imagenet/n02125311_10473.JPEG",
    "imagenet/n02412080_10216.JPEG",
    "imagenet/n03062245_1030.JPEG",
)
PLANTED_IN = ("cats_remote_control.jpeg", "imagenet/n02018795_102.JPEG")


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("timm", reason="timm is not installed")
    return vs.load("timm:vit_tiny_patch16_224", weights=str(WEIGHTS / "model.safetensors"), labels=str(WEIGHTS / "imagenet_classes.txt"))


def audited(model, made):
    photo = made.pop("photo")
    return vs.audit(model, str(photo) if isinstance(photo, Path) else photo, **made)


def said(audit):
    return [(one.severity, one.kind) for one in audit.findings]


@pytest.mark.parametrize("photo", PLANTED_IN)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_named_first(model, tmp_path, kind, photo):
    audit = audited(model, FAULTS[kind](PHOTOS / photo, tmp_path))
    assert said(audit)[:1] == [("fault", kind)], said(audit)
    first = audit.findings[0]
    assert any(character.isdigit() for character in first.evidence)
    assert first.fix


@pytest.mark.parametrize("case", MORE)
def test_the_same_fault_met_another_way_is_named_first(model, tmp_path, case):
    kind, how = MORE[case]
    audit = audited(model, how(PHOTOS / "coffee.png", tmp_path))
    assert said(audit)[:1] == [("fault", kind)], said(audit)


@pytest.mark.parametrize("photo", CLEAN)
def test_nothing_is_claimed_of_a_clean_photo(model, photo):
    assert said(vs.audit(model, str(PHOTOS / photo))) == []


@pytest.mark.parametrize("photo", CLEAN[:3])
def test_nothing_is_claimed_of_the_models_own_tensor(model, photo):
    tensor, _ = model.prepare([vs.Sample(id="x", pixels=np.asarray(opened(PHOTOS / photo))[None])])
    audit = vs.audit(model, str(PHOTOS / photo), tensor=tensor)
    assert said(audit) == []
    assert audit.explained.residual < 1e-3


def test_a_photo_read_as_bgr_is_suspected(model):
    backwards = np.asarray(opened(PHOTOS / "imagenet/n02125311_10473.JPEG"))[..., ::-1].copy()
    assert said(vs.audit(model, backwards)) == [("warning", "channels-swapped")]


def test_patches_are_proven_on_the_photo_itself(model):
    audit = vs.audit(model, str(PHOTOS / "chelsea.png"))
    assert audit.proof["put_back"] == 0.0
    assert audit.proof["embedding"] < 1e-5
    assert audit.seen_share == pytest.approx(0.5442, abs=2e-3)


def test_the_misread_dog_and_cat(model):
    found = vs.misread(model, str(PHOTOS / "both.png"), 243, 282)
    assert found.lead == pytest.approx(4.75, abs=0.05)
    y, x = np.mean(np.argwhere(found.hidden.covered[int(np.argmax(found.hidden.drops))]), axis=0)
    assert 0.06 * 14 < y < 0.66 * 14  # in the dog's box, not the cat's
    assert 0.35 * 14 < x < 0.73 * 14
    assert found.hidden.wrong.lead < 0 < found.hidden.right.lead
    assert found.layers[-1] == pytest.approx(found.lead, abs=1e-4)
    assert (found.occlusion[9:] < 0).mean() > 0.6  # the cat lies below
    again = vs.misread(model, str(PHOTOS / "both.png"), 243, 282)
    assert again.as_dict() == found.as_dict()
