"""Tables of labels as people have them: CSV, TSV, JSON lines or Parquet, with a column of file names and one of labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vitscope.errors import ArgumentError, MissingExtra

#: Names people give to the column of files and to that of labels, best first; case does not matter.
FILE_COLUMNS = ("file_name", "filename", "file", "path", "filepath", "image", "image_path", "image_id", "img", "photo", "id", "name")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "y", "diagnosis")
ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Labels by file name, as written in the table.

    Attributes:
        labels: file name to label; "" where the cell is empty.
        labelled: whether there is a column of labels at all.
    """

    labels: dict[str, str]
    labelled: bool


def read_table(data: bytes, where: str) -> Table:
    """The labels in a table's bytes.

    Args:
        data: the file's bytes.
        where: its name; the ending says how to read it.

    Raises:
        ArgumentError: no such format, no column of file names, not readable, or one file with two labels.
        MissingExtra: a Parquet file, and pyarrow is not installed.
    """
    ending = PurePosixPath(where).suffix.lower()
    readers = {".csv": _delimited, ".tsv": _delimited, ".jsonl": _json_lines, ".parquet": _parquet}
    if ending not in readers:
        raise ArgumentError(f"a table ending in {ending or 'nothing'}", expected=", ".join(ENDINGS), where=where)
    try:
        rows = list(readers[ending](data))
    except (UnicodeDecodeError, csv.Error, ValueError, OSError) as error:
        raise ArgumentError(f"not readable ({error})", expected=f"a {ending} table in UTF-8", where=where) from None
    return _table(rows, where)


def _table(rows: list[Mapping[str, Any]], where: str) -> Table:
    if not rows:
        raise ArgumentError("a table without rows", expected="a row a picture", where=where)
    names = list(rows[0])
    file = _column(names, FILE_COLUMNS)
    label = _column(names, LABEL_COLUMNS)
    if file is None and len(names) == 2:
        file, label = names
    if file is None:
        raise ArgumentError(
            f"columns {', '.join(map(str, names))}", expected=f"one of {', '.join(FILE_COLUMNS[:4])} for the file names", where=where
        )
    labels: dict[str, str] = {}
    for row in rows:
        name, value = _text(row.get(file)), _text(row.get(label)) if label is not None else ""
        if name and labels.setdefault(name, value) != value:
            raise ArgumentError(f"{name!r} is labelled {labels[name]!r} and {value!r}", expected="one label a picture", where=where)
    return Table(labels, label is not None)


def _column(names: Iterable[str], known: Iterable[str]) -> str | None:
    by_name = {str(name).strip().lower(): name for name in names}
    return next((by_name[name] for name in known if name in by_name), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _delimited(data: bytes) -> Iterable[Mapping[str, Any]]:
    text = data.decode("utf-8-sig")
    first = text.partition("\n")[0]
    mark = max(",;\t|", key=first.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if any(cell.strip() for cell in row)]
    if not rows:
        return []
    known = {*FILE_COLUMNS, *LABEL_COLUMNS}
    if len(rows[0]) == 2 and not known & {cell.strip().lower() for cell in rows[0]} and PurePosixPath(rows[0][0].strip()).suffix:
        rows.insert(0, ["file_name", "label"])  # no heading: the first row already names a file
    return [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]


def _json_lines(data: bytes) -> Iterable[Mapping[str, Any]]:
    rows = [json.loads(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line that is no JSON object")
    return rows


def _parquet(data: bytes) -> Iterable[Mapping[str, Any]]:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("pyarrow", "projection", purpose="Parquet tables") from error
    table = pq.read_table(io.BytesIO(data))
    wanted = [name for name in table.column_names if name.strip().lower() in (*FILE_COLUMNS, *LABEL_COLUMNS)]
    rows: list[Mapping[str, Any]] = table.select(wanted or table.column_names).to_pylist()
    return rows
