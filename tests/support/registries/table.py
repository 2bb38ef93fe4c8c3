"""The whole table: from all registries to ``docs/models.json`` and ``docs/models.md``."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.registries import huggingface, openclip, timm, torchvision
from support.registries.row import Row, Small, measured

LIBRARIES = ("transformers", "timm", "torchvision", "open_clip")
DISTRIBUTIONS = {"open_clip": "open_clip_torch"}
HOME = Path(__file__).parents[3] / "docs"


def versions() -> dict[str, str]:
    """What the table was made with."""
    return {name: importlib.metadata.version(DISTRIBUTIONS.get(name, name)).split("+")[0] for name in ("torch", *LIBRARIES)}


def entries(library: str) -> Iterator[tuple[str, str, Callable[[], Small], bool]]:
    """(task or module, name, how to build it, whether a model without attention is only named)."""
    if library == "transformers":
        for task, kind, name in huggingface.entries():
            yield task, name, lambda kind=kind, name=name: huggingface.build(kind, name), False
    elif library == "timm":
        before = ""
        for module, name in timm.entries():
            yield module, name, lambda name=name: timm.build(name), module == before
            before = module
    else:
        home: Any = torchvision if library == "torchvision" else openclip
        for name in home.entries():
            yield "", name, lambda name=name: home.build(name), True


def rows(library: str, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Row]:
    """Every row of one library, as it is measured."""
    for task, name, build, brief in entries(library):
        if wanted(name):
            yield measured(library, task, name, build, brief=brief)


def read() -> dict[str, Any]:
    """The committed table."""
    return json.loads((HOME / "models.json").read_text(encoding="utf-8"))


def counted(found: list[dict[str, Any]]) -> dict[str, int]:
    """Numbers for one library: models, with attention, proved, refused, not built, with a map of the whole."""
    have = [row for row in found if row["counted"]]
    return {
        "models": len(found),
        "with attention": len(have),
        "proved": sum(row["status"] == "proved" for row in have),
        "refused": sum(row["status"] == "refused" for row in have),
        "not built": sum(row["status"] == "not built" for row in found),
        "mapped": sum(bool(row["layout"]) for row in have),
    }


def write(found: list[dict[str, Any]]) -> None:
    """Both files."""
    table = {"versions": versions(), "rows": found}
    (HOME / "models.json").write_text(json.dumps(table, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    (HOME / "models.md").write_text(as_page(table), encoding="utf-8")


def as_page(table: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        "# Does it work with my model?",
        "",
        "Made by `python docs/make_models_table.py` from the installed libraries' own registries: every model is built small and seeded,",
        "its attention captured, and every capture proved. Do not edit.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in table["versions"].items()) + ".",
        "",
        "*Attention*: how many attentions one pass contains, by an independent probe that counts `scaled_dot_product_attention`,",
        "`nn.MultiheadAttention`, flex and flash attention, and every softmax of a matrix product that feeds another. *Error*: the largest",
        "difference between attention times values and the call's own output, relative. *Map*: the grid attention is put on; arrows are",
        "the stages of a hierarchical model. Sizes are those of the small models here, not of published ones.",
        *_provisional(table),
        "",
        "| library | models | with attention | captured and proved | refused | not built here | with a map over all layers |",
        "|---|---|---|---|---|---|---|",
    ]
    for library in LIBRARIES:
        n = counted([row for row in table["rows"] if row["library"] == library])
        share = f"{n['proved']} ({n['proved'] / max(1, n['with attention']):.0%})"
        lines.append(f"| {library} | {n['models']} | {n['with attention']} | {share} | {n['refused']} | {n['not built']} | {n['mapped']} |")
    for library in LIBRARIES:
        lines += ["", f"## {library}", *_section([row for row in table["rows"] if row["library"] == library])]
    return "\n".join(lines) + "\n"


def _provisional(table: dict[str, Any]) -> list[str]:
    """Said while rows are missing."""
    lacking = [f"{library} ({', '.join(names)})" for library in LIBRARIES if (names := missing(library, table))]
    if not lacking:
        return []
    return [
        "",
        "**Not finished.** Rows were measured while the program changed, so a reason may be out of date. Missing: "
        + "; ".join(lacking)
        + ".",
    ]


def missing(library: str, table: dict[str, Any]) -> list[str]:
    """Registered models without a row."""
    have = {row["name"] for row in table["rows"] if row["library"] == library}
    return [name for _, name, _, _ in entries(library) if name not in have]


def _section(found: list[dict[str, Any]]) -> list[str]:
    lines = ["", "| model | attention | kinds | error | map | methods | why not more |", "|---|---|---|---|---|---|---|"]
    lines += [_line(row) for row in found if row["status"] == "proved"]
    refused = [row for row in found if row["status"] == "refused"]
    if refused:
        lines += ["", "**Refused:**", "", *(f"- `{row['name']}` ({row['counted']} attentions): {row['why']}" for row in refused)]
    none = [row for row in found if row["status"] == "no attention"]
    if none:
        offered = sorted({method for row in none for method in row["methods"]})
        lines += [
            "",
            f"**No attention** (what applies: {', '.join(offered) or 'nothing'}):",
            "",
            ", ".join(_named(row) for row in none) + ".",
        ]
    broken = [row for row in found if row["status"] == "not built"]
    if broken:
        lines += ["", "**Not built here:**", "", *(f"- `{row['name']}`: {row['why']}" for row in broken)]
    return lines


def _named(row: dict[str, Any]) -> str:
    return f"`{row['name']}`" + (f" ({', '.join(row['kinds'])})" if row["kinds"] else "")


def _line(row: dict[str, Any]) -> str:
    methods = "all" if len(row["methods"]) == 8 else ", ".join(row["methods"]) or "calls only"
    why = row["why"].replace("|", "/")
    calls, kinds = f"{row['captured']} of {row['counted']}", ", ".join(row["kinds"])
    return f"| `{row['name']}` | {calls} | {kinds} | {row['error']:.0e} | {row['layout']} | {methods} | {why} |"
