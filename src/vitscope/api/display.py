"""How a map shows itself in a notebook; the drawing is imported when the first one is shown."""

from __future__ import annotations

from vitscope.core.maps import TokenMap, shown_by


def show_maps() -> None:
    """Maps are shown as cards from now on."""
    shown_by({"text/html": _html})


def _html(one: TokenMap) -> str:
    from vitscope.web.card import as_html

    return as_html(one)
