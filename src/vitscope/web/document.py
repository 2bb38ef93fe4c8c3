"""What reports, sheets and pages of points have in common: one HTML file that fetches nothing, its style and script inside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def document(template: str, page: Mapping[str, Any]) -> str:
    """A template that extends ``document.html`` as one HTML text.

    Args:
        template: its file name.
        page: what it prints; of every document ``title``, ``policy``, ``css``, ``js`` ("" for none) and ``view`` (None for none).
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(page)


def texts(*names: str) -> str:
    """Files of the templates' folder, one after the other."""
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
