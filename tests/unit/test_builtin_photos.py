"""The built-in photo model: its folder, its stated accuracy, and the script that trains it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "vitscope" / "models" / "builtin" / "photos"
SCRIPT = ROOT / "training" / "photos" / "train.py"
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STEPS = 12


@pytest.fixture(scope="module")
def model(module_offline):
    from transformers import ViTForImageClassification

    return ViTForImageClassification.from_pretrained(FOLDER, local_files_only=True).eval()


@pytest.fixture(scope="module")
def processor(module_offline):
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(FOLDER, local_files_only=True, backend="pil")


@pytest.fixture(scope="module")
def module_offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def test_folder_is_small_enough_to_ship():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12_000_000


def test_config_names_the_ten_classes(model):
    assert [model.config.id2label[i] for i in range(10)] == NAMES
    assert model.config.architectures == ["ViTForImageClassification"]


def test_weights_are_float32_and_give_ten_logits(model):
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    with torch.no_grad():
        logits = model(pixel_values=torch.zeros(2, 3, 32, 32)).logits
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()


def test_processor_gives_a_small_photo_exactly_as_in_training(processor):
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tensor = processor(Image.fromarray(photo), return_tensors="pt")["pixel_values"][0]
    expected = (photo.transpose(2, 0, 1) / 255.0 - 0.5) / 0.5
    np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)


def test_processor_resizes_the_shorter_edge_and_crops_the_centre(processor):
    photo = np.zeros((300, 451, 3), dtype=np.uint8)
    photo[:, 75:-75] = 255  # only the outer sixths are black: outside the centre square
    tensor = processor(Image.fromarray(photo), return_tensors="pt")["pixel_values"]
    assert tensor.shape == (1, 3, 32, 32)
    assert float(tensor[..., 2:-2].min()) == pytest.approx(1.0, abs=1e-6)


def test_card_states_a_finished_run():
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "unfinished" not in card
    assert stated_accuracy() >= 65.0
    assert all(f"| {name} |" in card for name in NAMES)


@pytest.mark.data
def test_stated_accuracy_is_what_the_weights_give(model):
    where = os.environ.get("VITSCOPE_TEST_DATA")
    if not where:
        pytest.skip("VITSCOPE_TEST_DATA does not name a folder of test data")
    path = Path(where) / "cifar10" / "test.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with np.load(path) as archive:
        blob, offsets, labels = archive["jpeg"].tobytes(), archive["offsets"], archive["labels"][:1000]
    photos = [np.asarray(Image.open(io.BytesIO(blob[offsets[i] : offsets[i + 1]])).convert("RGB")) for i in range(1000)]
    pixels = (torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255.0 - 0.5) / 0.5
    with torch.no_grad():
        found = torch.cat([model(pixel_values=part).logits.argmax(1) for part in torch.split(pixels, 250)])
    share = 100.0 * float((found.numpy() == labels).mean())
    assert share == pytest.approx(stated_accuracy(), abs=3.0)


def test_killed_training_resumes_to_the_same_weights(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_photos(data / "train.npz", 256)
    write_photos(data / "test.npz", 20)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    first = subprocess.Popen(command(data, whole), stdout=subprocess.DEVNULL)
    second = subprocess.Popen(command(data, cut, "--save-every", "0"), stdout=subprocess.DEVNULL)
    wait_for(cut / "checkpoint.pt", second)
    second.send_signal(signal.SIGKILL)
    second.wait()
    stopped_at = torch.load(cut / "checkpoint.pt", weights_only=True)["step"]
    assert 1 <= stopped_at < STEPS
    resumed = subprocess.run(command(data, cut), check=True, capture_output=True, text=True)
    assert f"going on from step {stopped_at}," in resumed.stdout
    assert first.wait() == 0
    assert (whole / "model" / "model.safetensors").read_bytes() == (cut / "model" / "model.safetensors").read_bytes()
    assert_same_weights(whole / "checkpoint.pt", cut / "checkpoint.pt")
    assert json.loads((cut / "model" / "config.json").read_text())["id2label"]["3"] == "cat"


def stated_accuracy():
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    found = re.search(r"Test accuracy: \*\*([0-9.]+) %\*\*", card)
    assert found, "the card states no test accuracy"
    return float(found[1])


def command(data, out, *more):
    fixed = ["--steps", str(STEPS), "--batch", "32", "--seed", "3", "--threads", "1"]
    return [sys.executable, str(SCRIPT), "--data", str(data), "--out", str(out), *fixed, *more]


def write_photos(path, count):
    rng = np.random.default_rng(count)
    pieces = []
    for _ in range(count):
        photo = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(photo, "JPEG")
        pieces.append(photo.getvalue())
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(pieces), dtype=np.uint8),
        offsets=np.cumsum([0, *(len(piece) for piece in pieces)]),
        labels=(np.arange(count) % 10).astype(np.uint8),
        names=np.array(NAMES),
    )


def wait_for(path, process):
    ends = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the training ended before its first checkpoint"
        assert time.monotonic() < ends, "no checkpoint within two minutes"
        time.sleep(0.005)


def assert_same_weights(one, other):
    states = [torch.load(path, weights_only=True) for path in (one, other)]
    for kind in ("model", "average"):
        assert all(torch.equal(states[0][kind][name], states[1][kind][name]) for name in states[0][kind])
