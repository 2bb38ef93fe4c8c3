"""Audits and misread photos to files: a page, a picture, JSON, or a folder with all of them."""

from __future__ import annotations

import io
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError
from vitscope.views.plain import plain

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.auditing.misread import Misread
    from vitscope.views.view import View

ENDINGS = (".html", ".png", ".json", "")


def write_sheet(result: Audit | Misread, path: str | Path) -> list[Path]:
    """Write an audit or a misread photo to ``FILE.html``, ``FILE.png`` or ``FILE.json``, or all of them (and the arrays) into a folder.

    Raises:
        ArgumentError: another ending.
        OutputError: the file cannot be written.
    """
    from vitscope.api.output import fresh_folder

    out = Path(path)
    kind = "" if out.is_dir() else out.suffix.lower()
    if kind not in ENDINGS:
        raise ArgumentError(f"{out}", expected="a name ending in .html, .png or .json, or a folder", where="write")
    if kind:
        return [_one(result, out, kind)]
    with fresh_folder(out) as inside:
        made = [_one(result, inside / "report.html", ".html"), _one(result, inside / "findings.json", ".json")]
        if find_spec("matplotlib") is not None:
            made.append(_one(result, inside / "report.png", ".png"))
        made.append(write_atomically(inside / "arrays.npz", _npz(result.arrays())))
    return [out / one.name for one in made]


def as_json(result: Audit | Misread) -> str:
    """Its plain values as JSON text."""
    return json.dumps(plain(result.as_dict()), indent=2, ensure_ascii=False) + "\n"


def _one(result: Audit | Misread, path: Path, kind: str) -> Path:
    if kind == ".json":
        return write_atomically(path, as_json(result).encode())
    if kind == ".png":
        from vitscope.figures.sheet import write_sheet_png

        return write_sheet_png(view_of(result), path)
    from vitscope.web.sheet import write_sheet as write_page

    return write_page(view_of(result), path)


def view_of(result: Audit | Misread) -> View:
    """The sheet that shows it."""
    from vitscope.auditing.audit import Audit

    if isinstance(result, Audit):
        from vitscope.api.audit_sheet import audit_view

        return audit_view(result)
    from vitscope.api.misread_sheet import misread_view

    return misread_view(result)


def _npz(arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # names are the keywords
    return out.getvalue()
