"""The built front end: scripts and style sheets that ``hatch_build.py`` makes of ``frontend/``."""

from __future__ import annotations

from pathlib import Path

from vitscope.errors import WorkError

STATIC = Path(__file__).parent / "static"


def built() -> bool:
    """Whether the front end is there; it is built with the package, and everything else works without it."""
    return all((STATIC / name).is_file() for name in ("view.js", "view.css"))


def built_file(name: str) -> str:
    """One of the built files ("view.js", "view.css", "widget.js", "widget.css") as text.

    Raises:
        WorkError: it was not built.
    """
    try:
        return (STATIC / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WorkError(
            f"the interactive view was not built: no {name}",
            expected=f"it in {STATIC}",
            where="web",
            todo="run `make frontend` in the checkout, or install again without VITSCOPE_SKIP_FRONTEND",
        ) from None
