"""A table between two markers of a page: what a benchmark writes, and nothing around it."""

from __future__ import annotations

from pathlib import Path


def replace(page: Path, name: str, table: list[str], words: str) -> None:
    """Put a Markdown table between ``<!-- name: begin -->`` and ``<!-- name: end -->``; rows whose first cell was not measured now stay.

    Args:
        page: the Markdown file; where it has no such markers they are added at its end.
        name: of the table.
        table: header, rule and rows.
        words: one line below the table: how it was measured.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Benchmarks\n"
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    before, rest = text.split(begin)
    old, after = rest.split(end)
    rows = "\n".join(merged(old, table))
    page.write_text(f"{before}{begin}\n{rows}\n\n{words}\n{end}{after}", encoding="utf-8")


def merged(old: str, table: list[str]) -> list[str]:
    """The new table, with the old rows of the same header that it does not measure again in their old places."""
    lines = [line for line in old.splitlines() if line.startswith("|")]
    if lines[:1] != table[:1]:
        return table
    fresh = {_first(row): row for row in table[2:]}
    kept = [fresh.pop(_first(row), row) for row in lines[2:]]
    return [*table[:2], *kept, *fresh.values()]


def _first(row: str) -> str:
    return row.split("|")[1].strip()
