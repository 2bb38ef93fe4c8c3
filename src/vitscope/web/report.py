"""The report: one HTML file that needs no network, no server and no script to be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError
from vitscope.views.explore import Carried
from vitscope.views.plain import percent
from vitscope.views.scale import share_scales
from vitscope.views.state import State
from vitscope.views.view import View
from vitscope.web.document import POLICY, document, texts
from vitscope.web.interactive import NOT_BUILT, interactive_part
from vitscope.web.page import photo_section


def render(views: Sequence[View], carried: Sequence[Carried] = (), state: State | None = None) -> str:
    """The report on these photos as one HTML text; the same views always give the same text.

    All maps of one method, over all photos, are drawn on one raw scale.

    Args:
        views: one for each photo.
        carried: what the interactive view may show, one for each photo; nothing for a report without it.
        state: what the interactive view shows first.

    Raises:
        ArgumentError: no photo at all.
    """
    if not views:
        raise ArgumentError("a report of no photos", expected="at least one", where="report")
    photos = [photo_section(view, number) for number, view in enumerate(share_scales(views), start=1)]
    page: dict[str, Any] = {
        "title": _title(views),
        "policy": POLICY,
        "photos": photos,
        "css": texts("report.css"),
        "js": texts("report.js"),
    }
    page["view"] = interactive_part(carried, state)
    page["without_view"] = NOT_BUILT if carried and page["view"] is None else ""
    return document("report.html", page)


def write_report(views: Sequence[View], path: str | os.PathLike[str], carried: Sequence[Carried] = (), state: State | None = None) -> Path:
    """Write :func:`render`'s text to ``path``, whole or not at all.

    Raises:
        ArgumentError: no photo at all.
        OutputError: the file cannot be written.
    """
    return write_atomically(path, render(views, carried, state).encode("utf-8"))


def _title(views: Sequence[View]) -> str:
    if len(views) > 1:
        return f"{len(views)} photos · vitscope"
    top: list[tuple[str, float]] = views[0].of_kind("answer")[0].facts["top"]
    answer = f": {top[0][0]}, {percent(top[0][1])}" if top else ""
    return f"{views[0].title}{answer} · vitscope"
