"""Checkpoints: read without running code, unwrapped, and loaded strictly or refused with the numbers."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vitscope.errors import ModelError
from vitscope.models import checkpoint


def state():
    return {"head.weight": torch.arange(12.0).view(4, 3), "head.bias": torch.zeros(4)}


class Unknown:
    """Something a checkpoint must not bring along."""


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}, lambda s: {"model_state_dict": s}]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_containers_and_wrapper_prefixes_come_off(tmp_path, wrap, prefix):
    file = tmp_path / "c.pth"
    torch.save(wrap({prefix + name: value for name, value in state().items()}), file)
    found = checkpoint.read(file)
    assert set(found) == set(state())
    assert torch.equal(found["head.weight"], state()["head.weight"])


def test_safetensors_and_class_count(tmp_path):
    file = tmp_path / "c.safetensors"
    save_file({"module." + name: value for name, value in state().items()}, file)
    found = checkpoint.read(file)
    assert set(found) == set(state())
    assert checkpoint.class_count(found, ("fc", "head")) == 4
    assert checkpoint.class_count(found, ("fc",)) is None


def damage(path, content):
    path.write_bytes(content)
    return path


def test_what_is_refused(tmp_path):
    torch.save({"weights": Unknown(), "head.weight": torch.zeros(3)}, tmp_path / "code.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    (tmp_path / "raw.bin").write_bytes(pickle.dumps({"a": Unknown()}))
    for name in ("code.pth", "module.pt", "raw.bin"):
        with pytest.raises(ModelError, match="would run code when opened"):
            checkpoint.read(tmp_path / name)
    torch.save(state(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    save_file(state(), tmp_path / "whole.safetensors")
    tensors = (tmp_path / "whole.safetensors").read_bytes()
    damaged = {
        "half.pth": (whole[: len(whole) // 2], "damaged"),
        "text.pth": (b"hello, I am not a checkpoint", "damaged"),
        "empty.pth": (b"", "an empty file"),
        "half.safetensors": (tensors[:-8], "not a whole safetensors file"),
        "short.safetensors": (tensors[:5], "not a whole safetensors file"),
        "weights.npz": (whole, "ending in '.npz'"),
    }
    for name, (content, said) in damaged.items():
        with pytest.raises(ModelError, match=said) as caught:
            checkpoint.read(damage(tmp_path / name, content))
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
    with pytest.raises(ModelError, match="no such file"):
        checkpoint.read(tmp_path / "none.pth")
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "nothing.pth")
    with pytest.raises(ModelError, match="no weights in it"):
        checkpoint.read(tmp_path / "nothing.pth")


def test_nothing_in_a_refused_checkpoint_runs(tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"state_dict": Touch()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="would run code"):
        checkpoint.read(tmp_path / "evil.pth")
    assert not (tmp_path / "touched").exists()


def test_strict_loading_counts_what_does_not_fit():
    module = nn.ModuleDict({"head": nn.Linear(3, 4), "norm": nn.LayerNorm(3)})
    before = {name: value.clone() for name, value in module.state_dict().items()}
    wrong = {"head.weight": torch.zeros(5, 3), "head.bias": torch.zeros(4), "extra": torch.zeros(1)}
    with pytest.raises(ModelError) as caught:
        checkpoint.load_strictly(module, wrong, "f.pth")
    text = str(caught.value)
    assert "2 missing, 1 unexpected and 1 mis-shaped weights" in text
    assert "norm.weight" in text
    assert "extra" in text
    assert "head.weight (5, 3) for (4, 3)" in text
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_labels_file(tmp_path):
    (tmp_path / "l.txt").write_text("cat\n dog \nbird\n\n", encoding="utf-8")
    assert checkpoint.read_labels(tmp_path / "l.txt") == ("cat", "dog", "bird")
    with pytest.raises(ModelError, match="3 class names; expected 4"):
        checkpoint.check_labels(("a", "b", "c"), 4, "l.txt")
    for content in (b"", b"\xff\xfe\x00bad"):
        with pytest.raises(ModelError):
            checkpoint.read_labels(damage(tmp_path / "bad.txt", content))
