"""The house itself: importing stays light, the public names are there, and every lint, type and import check can fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vitscope

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

#: (contract name in pyproject.toml, file, line that breaks it)
BROKEN_CONTRACTS = (
    ("data flows one way", "core/sample.py", "import vitscope.views.view"),
    ("data flows one way", "web/widget.py", "import vitscope.api"),
    ("numbers never see a live model", "methods/rollout.py", "import vitscope.models.load"),
    ("model libraries only under models", "capture/intercept.py", "import timm"),
    ("no torch in the nouns, the inputs and the drawing", "views/view.py", "import torch"),
    ("no torch in the nouns, the inputs and the drawing", "web/messages.py", "import torch"),
    ("model families know nothing of each other", "models/timm.py", "import vitscope.models.huggingface"),
    ("hosts know nothing of each other", "web/report.py", "import vitscope.figures"),
    ("hosts know nothing of each other", "web/widget.py", "import vitscope.web.report"),
    ("hosts know nothing of each other", "web/server/routes.py", "import vitscope.web.widget"),
)

HEAVY = [
    "torch", "numpy", "PIL", "transformers", "timm", "torchvision", "open_clip", "matplotlib", "captum", "rich", "typer", "jinja2",
    "anywidget", "traitlets", "starlette", "uvicorn",
]  # fmt: skip


def run(*command, cwd=ROOT, **env):
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def python(code):
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    loaded = python(f"import vitscope, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_drawing_and_reading_import_no_torch():
    modules = [
        "vitscope.core.maps",
        "vitscope.inputs.images",
        "vitscope.views.photo",
        "vitscope.web.report",
        "vitscope.web.server",
        "vitscope.web.widget",
        "vitscope.figures",
        "vitscope.metrics",
        "vitscope.inputs.folders",
        "vitscope.projection.maps",
        "vitscope.projection.store",
        "vitscope.projection.suspects",
    ]
    loaded = python(f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; print('torch' in sys.modules)")
    assert loaded == "False"


def test_public_names_are_all_there():
    for name in vitscope.__all__:
        assert getattr(vitscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vitscope.nonsense


def test_every_import_contract_is_broken_once():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == {contract for contract, _, _ in BROKEN_CONTRACTS}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package and its settings, to be broken."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return folder


@pytest.mark.parametrize(("contract", "name", "line"), BROKEN_CONTRACTS)
def test_each_import_contract_can_fail(copy, contract, name, line):
    file = copy / "src/vitscope" / name
    before = file.read_text()
    file.write_text(before + f"\n{line}\n")
    try:
        done = run(BIN / "lint-imports", "--no-cache", cwd=copy, PYTHONPATH=str(copy / "src"))
    finally:
        file.write_text(before)
    assert done.returncode != 0
    broken = [text.strip() for text in done.stdout.splitlines() if text.strip().endswith("BROKEN")]
    assert f"{contract} BROKEN" in broken, done.stdout[-2000:]


def test_a_new_top_level_module_must_join_the_layers(copy):
    file = copy / "src/vitscope/stray.py"
    file.write_text('"""A module no layer knows."""\n')
    try:
        done = run(BIN / "lint-imports", "--no-cache", cwd=copy, PYTHONPATH=str(copy / "src"))
    finally:
        file.unlink()
    assert done.returncode != 0
    assert "stray" in done.stdout


def test_the_type_checker_can_fail(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        '"""Wrong."""\n\n\ndef f(x: int) -> str:\n    """No."""\n    return x\n\n\ndef g(x):\n    """Untyped."""\n    return x\n'
    )
    done = run(BIN / "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", wrong)
    assert done.returncode == 1
    assert "Incompatible return value" in done.stdout
    assert "no-untyped-def" in done.stdout


WRONG_CODE = {
    "F401": "import os\n",
    "E501": "x = '" + "a" * 150 + "'\n",
    "BLE001": "try:\n    x = 1\nexcept Exception:\n    x = 2\n",
    "T201": "print(1)\n",
}


@pytest.mark.parametrize("rule", WRONG_CODE)
def test_the_linter_can_fail(tmp_path, rule):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(f'"""Wrong."""\n\n{WRONG_CODE[rule]}')
    done = run(BIN / "ruff", "check", "--no-cache", "--config", ROOT / "pyproject.toml", wrong)
    assert done.returncode == 1
    assert rule in done.stdout


def test_the_formatter_can_fail(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("x = {  'a':1 }\n")
    assert run(BIN / "ruff", "format", "--check", "--no-cache", "--config", ROOT / "pyproject.toml", wrong).returncode == 1
