"""A cloud of points as one offline HTML file: the view, and in plain words the figures, findings and provenance that need no script."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitscope.core.files import write_atomically
from vitscope.views.carried_cloud import CarriedCloud
from vitscope.views.plain import percent, short
from vitscope.views.points import quality_notes, quality_row, verdict
from vitscope.views.state import State
from vitscope.views.words import value_words
from vitscope.web.document import document, texts
from vitscope.web.interactive import interactive_part

#: Findings listed in the page.
LISTED = 20


def render_points(carried: CarriedCloud, quality: Mapping[str, Any], made: Mapping[str, Any], state: State | None = None) -> str:
    """The page as one HTML text; the same points always give the same text.

    Args:
        carried: what the view shows.
        quality: figures and findings of the Parquet file.
        made: its provenance.
        state: what the view shows first.
    """
    view = interactive_part([], state, [carried])
    whys = [carried.facts[key]["why"] for key in ("pictures", "attention")]
    page = {
        "title": f"{carried.facts['title']} · vitscope",
        "policy": policy([view["js"]] if view else []),
        "css": texts("report.css", "sheet.css"),
        "js": "",
        "view": view,
        "facts": carried.facts,
        "left_out": carried.facts.get("left_out") or "",
        "said": [text for text in whys if text],
        "trust": _trust(carried.facts["maps"], quality.get("projections", [])),
        "layers": [{**one, "text": percent(one["knn_accuracy"])} for one in carried.facts["curve"]],
        "accuracy": None if carried.facts["accuracy"] is None else percent(carried.facts["accuracy"]),
        "suspects": [{**one, "share": percent(one["share"])} for one in quality.get("label_suspects", [])[:LISTED]],
        "suspects_found": quality.get("label_suspects_found", 0),
        "pairs": [{**one, "ratio": short(one["ratio"])} for one in quality.get("near_duplicates", [])[:LISTED]],
        "pairs_found": quality.get("near_duplicates_found", 0),
        "provenance": _provenance(made),
    }
    return document("points.html", page)


def write_points(
    carried: CarriedCloud,
    quality: Mapping[str, Any],
    made: Mapping[str, Any],
    path: str | os.PathLike[str],
    state: State | None = None,
) -> Path:
    """Write :func:`render_points`'s text to ``path``, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_atomically(path, render_points(carried, quality, made, state).encode("utf-8"))


def policy(scripts: Sequence[str]) -> str:
    """The page's Content-Security-Policy: no network, and no script but these, by their hashes."""
    hashes = (
        " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(_within(text).encode()).digest()).decode()}'" for text in scripts) or "'none'"
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _within(text: str) -> str:
    """A script's text as it stands between its tags in the template."""
    return f"\n{text}\n"


def _trust(maps: Sequence[Mapping[str, Any]], projections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of maps and their figures, and what is said of all of them."""
    measured = {(one["layer"], one["method"]): one for one in projections}
    found = [(one["title"], measured.get((one["layer"], one["method"]))) for one in maps]
    names = list(dict.fromkeys(name for _, one in found if one for name, value, _ in quality_row(one) if value))
    rows = []
    for title, one in found:
        cells = {name: (value, original) for name, value, original in quality_row(one)} if one else {}
        said = verdict(one) if one else "not measured"
        rows.append({"title": title, "verdict": said, "cells": [(name, *cells.get(name, ("", ""))) for name in names]})
    notes = list(dict.fromkeys(note for _, one in found if one for note in quality_notes(one)))
    return {"names": names, "rows": rows, "notes": notes, "original": any(cell[2] for row in rows for cell in row["cells"])}


def _provenance(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in made.items():
        if key in ("left_out", "label_names", "projections") or value in ("", None, [], {}):
            continue
        text = ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, dict) else value_words(value)
        rows.append((key.replace("_", " "), text))
    for one in made.get("projections", []):
        settings = ", ".join(f"{k} {v}" for k, v in sorted(one["parameters"].items()))
        rows.append((f"{one['method']}, layer {one['layer']}", f"seed {one['seed']}, {settings}"))
    return rows
