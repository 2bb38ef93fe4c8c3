"""A third-party family: found by its entry point, by name and by object; and libraries nobody asked for stay unimported."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import vitscope as vs
from vitscope.cli import main
from vitscope.errors import ModelError
from vitscope.models import others
from vitscope.models.family import Loaded


class Theirs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.cut(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class FAMILY:
    @staticmethod
    def recognises(module):
        return isinstance(module, Theirs)

    @staticmethod
    def load(name, options):
        if name != "one":
            raise ModelError(f"unknown model {name!r}", where="theirs")
        return FAMILY.describe(Theirs().eval(), f"theirs:{name}", options)

    @staticmethod
    def describe(module, ref, options):
        return Loaded(module, ref, lambda m, x: m(x), lambda out: (out, out), None, (32, 32), libraries=("torch",))


@pytest.fixture
def installed(monkeypatch):
    def points(value, scheme="theirs"):
        others._points.cache_clear()
        monkeypatch.setattr(others, "entry_points", lambda group: [EntryPoint(scheme, value, group)])

    yield points
    others._points.cache_clear()


def test_by_name_and_by_object(installed):
    sys.modules["theirs_family"] = FAMILY
    try:
        installed("theirs_family")
        model = vs.load("theirs:one")
        assert (model.ref, model.layout().grid) == ("theirs:one", (4, 4))
        assert vs.load(Theirs().eval()).describe()["layout"]["grid"] == [4, 4]
        with pytest.raises(ModelError, match="theirs: unknown model 'two'"):
            vs.load("theirs:two")
        with pytest.raises(ModelError, match="torchvision:, open_clip:, theirs:"):
            vs.load("nobodys:one")
    finally:
        del sys.modules["theirs_family"]


def test_a_broken_one_is_named(installed):
    installed("no_such_package_at_all")
    with pytest.raises(ModelError, match=r"vitscope\.families: theirs: no_such_package_at_all cannot be imported"):
        vs.load("theirs:one")
    installed("json")
    with pytest.raises(ModelError, match="json has no recognises, describe"):
        vs.load("theirs:one")


def test_the_template_of_the_page_works_as_it_stands(installed, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs/how-to/add-a-family.md"
    template = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    library, family = ModuleType("mylib"), ModuleType("mylib_vitscope")
    library.create = lambda name: Theirs()
    exec(template, family.__dict__)
    monkeypatch.setitem(sys.modules, "mylib", library)
    monkeypatch.setitem(sys.modules, "mylib_vitscope", family)
    installed("mylib_vitscope", "mylib")
    main(["inspect", "mylib:NAME", "--input-size", "64", "--prove"])
    said = capsys.readouterr().out
    assert said.startswith("mylib:NAME\n")
    assert "8 × 8 of 8 × 8 px" in said
    assert said.count("holds") == 9
    assert "FAILS" not in said


ONLY = """
import sys, torch, vitscope as vs
{make}
vs.load(model).describe({size})
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {{"timm", "transformers", "open_clip", "torchvision"}}))
"""
TIMM = "import timm; model = timm.create_model('vit_tiny_patch16_224', depth=2, img_size=32).eval()"
HF = """from transformers import ViTConfig, ViTForImageClassification
config = ViTConfig(image_size=32, patch_size=8, num_hidden_layers=2, hidden_size=16, num_attention_heads=2)
model = ViTForImageClassification(config).eval()"""


@pytest.mark.parametrize(
    ("make", "unwanted"), [(TIMM, "transformers"), (HF, "timm"), (HF, "open_clip")], ids=["timm", "hf", "hf, open_clip"]
)
def test_inspecting_one_librarys_model_does_not_import_another(make, unwanted):
    pytest.importorskip("timm")
    code = ONLY.format(make=make, size=(32, 32))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{unwanted!r}" not in done.stdout


def test_importing_the_package_is_quick():
    code = "import time; t = time.perf_counter(); import vitscope; print(time.perf_counter() - t)"
    quickest = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(3))
    assert quickest <= 0.3
