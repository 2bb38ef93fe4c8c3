"""Real weights on real photos: the answer, what relevance points at, and whether hiding it costs more than hiding anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import vitscope as vs
from vitscope.methods import explain
from vitscope.metrics.localisation import box_mask, enrichment, mass_share, pointing
from vitscope.trust import check

DATA = Path(os.environ.get("VITSCOPE_TEST_DATA", ""))
PHOTOS = DATA / "photos"
WEIGHTS = DATA / "models" / "vit_tiny_in1k"
PEAKS = {("both.png", 243), ("both.png", 282), ("dogbird.png", 161), ("dogbird.png", 88)}

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not os.environ.get("VITSCOPE_TEST_DATA") or not WEIGHTS.is_dir(),
        reason="VITSCOPE_TEST_DATA names no folder with ViT-Tiny",
    ),
]


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("timm", reason="timm is not installed")
    return vs.load("timm:vit_tiny_patch16_224", weights=str(WEIGHTS / "model.safetensors"), labels=str(WEIGHTS / "imagenet_classes.txt"))


def imagenet() -> list[Path]:
    return sorted((PHOTOS / "imagenet").glob("*.JPEG")) if PHOTOS.is_dir() else []


#: Class numbers of the eight photos' synsets.
SYNSETS = {
    "n01847000": "drake",
    "n01855032": "red-breasted merganser",
    "n02018795": "bustard",
    "n02113978": "Mexican hairless",
    "n02125311": "cougar",
    "n02412080": "ram",
    "n02493509": "titi",
    "n03062245": "cocktail shaker",
}


def test_the_eight_photos_are_recognised(model):
    trace = model.trace([str(path) for path in imagenet()])
    for i, path in enumerate(imagenet()):
        assert trace.top(1, i)[0][0].split(",")[0] == SYNSETS[path.name.split("_")[0]]


@pytest.mark.parametrize("photo", ["both.png", "dogbird.png"])
def test_relevance_lies_on_the_class_it_explains(model, photo):
    trace = model.trace(str(PHOTOS / photo))
    for entry in json.loads((PHOTOS / "boxes.json").read_text())[photo]:
        for index in entry["ids"]:
            drawn = vs.relevance(trace, target=index).on_image()
            box = box_mask(drawn.shape, tuple(entry["box"]))
            whole = (entry["box"][2] - entry["box"][0]) * (entry["box"][3] - entry["box"][1])
            assert enrichment(drawn, box) >= 1.2
            assert mass_share(drawn, box) >= 1.2 * whole
            if (photo, index) in PEAKS:
                assert pointing(drawn, box) == 1.0


def test_relevance_is_worth_more_than_chance_on_the_eight_photos(model):
    better = []
    for path in imagenet():
        trace = model.trace(str(path))
        trust = check(trace, explain(trace, "relevance"), draws=6, redraws=1).meta["trust"]
        better.append(trust["hottest_drop"] > trust["random_drop"])
        assert abs(trust["redrawn_weights_similarity"]) < 0.5
    assert np.sum(better) >= 7
