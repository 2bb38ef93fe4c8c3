"""Make docs/models.md and docs/models.json anew: all models of the installed libraries, captured and proved.

    python docs/make_models_table.py [LIBRARY | LIBRARY:MODEL ...]    measure what changed since, of all or of these
    python docs/make_models_table.py --all                           measure everything again
    python docs/make_models_table.py --check                         measure nothing; fails where the table is stale

A row is measured again where anything it is made of has changed: a library's version, vitscope's own capture, how the model is built.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.registries import table

Known = dict[tuple[str, str], dict[str, Any]]


def main(asked: list[str]) -> int:
    """Measure, and write both files after every model, so that a run that was cut off goes on where it was."""
    before = table.read()
    if "--check" in asked:
        found = table.stale(before)
        sys.stdout.write("".join(f"{text}\n" for text in found) or "the table is of these libraries\n")
        return int(bool(found))
    known: Known = {(row["library"], row["name"]): row for row in before["rows"]}
    order = [(library, name) for library in table.LIBRARIES for _, name, _, _ in table.entries(library)]
    for library in table.LIBRARIES:
        names = {one.partition(":")[2] for one in asked if one.partition(":")[0] == library}
        if names or not set(asked) - {"--all"}:
            for _ in _measured(library, known, names - {""}, anew="--all" in asked):
                table.write([known[key] for key in order if key in known])
    return 0


def _measured(library: str, known: Known, names: set[str], *, anew: bool) -> Iterator[None]:
    """Puts what is measured among what is known, row by row."""
    made = table.inputs(library)
    old = set() if anew else {name for (home, name), row in known.items() if home == library and row.get("inputs") == made}
    for row in table.rows(library, lambda name: name in names if names else name not in old):
        known[library, row["name"]] = row
        sys.stdout.write(f"{library} {row['name']}: {row['status']} {row['captured']}/{row['counted']} {row['layout']} {row['why']}\n")
        sys.stdout.flush()
        yield
    yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
