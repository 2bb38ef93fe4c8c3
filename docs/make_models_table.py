"""Make docs/models.md and docs/models.json anew: all models of the installed libraries, captured and proved. Takes a while."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HOME = Path(__file__).parent
sys.path.insert(0, str(HOME.parent / "tests"))

from support.registries import table  # noqa: E402


def main(libraries: list[str]) -> None:
    """Measure the named libraries (all where none is named), keep what is known of the others, and write both files."""
    chosen = libraries or list(table.LIBRARIES)
    before = table.read()["rows"] if (HOME / "models.json").exists() else []
    found = {name: [row for row in before if row["library"] == name] for name in table.LIBRARIES}
    for library in chosen:
        found[library] = []
        for row in table.rows(library):
            found[library].append(json.loads(json.dumps(row.plain())))
            sys.stdout.write(f"{row.library} {row.name}: {row.status} {row.captured}/{row.counted} {row.layout} {row.why}\n")
            sys.stdout.flush()
    table.write([row for library in table.LIBRARIES for row in found[library]])


if __name__ == "__main__":
    main(sys.argv[1:])
