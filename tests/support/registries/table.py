"""The whole table: from all registries to ``docs/models.json`` and ``docs/models.md``."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.registries import huggingface, openclip, timm, torchvision
from support.registries.row import Small, measured

LIBRARIES = ("transformers", "timm", "torchvision", "open_clip")
DISTRIBUTIONS = {"open_clip": "open_clip_torch"}
ROOT = Path(__file__).parents[3]
HOME = ROOT / "docs"
#: What a row depends on beside the libraries: how models are built, captured, proved and laid out.
SOURCES = ("src/vitscope/capture", "src/vitscope/models", "src/vitscope/core", "src/vitscope/trace.py", "src/vitscope/grids.py")
SOURCES += ("src/vitscope/methods/registry.py", "tests/support/zoo.py", "tests/support/registries/row.py")
BUILDERS = {"transformers": ("huggingface", "configurations"), "open_clip": ("openclip",)}
#: Kinds that are not softmax(q kᵀ) v over tokens.
OTHER = frozenset({"channel", "sampled", "linear or predicted weights"})


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


@functools.cache
def inputs(library: str) -> str:
    """A fingerprint of everything a library's rows are made of, but for comments: a row with the same one need not be measured again."""
    files = [file for name in SOURCES for file in sorted((ROOT / name).rglob("*.py")) or [ROOT / name]]
    files += [Path(__file__).parent / f"{name}.py" for name in BUILDERS.get(library, (library,))]
    found = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for file in files:
        found.update(ast.dump(ast.parse(file.read_bytes())).encode())
    return found.hexdigest()[:12]


def rows(library: str, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[dict[str, Any]]:
    """Every row of one library, as it is measured."""
    made = inputs(library)
    for task, name, build, brief in entries(library):
        if wanted(name):
            row = measured(library, task, name, build, brief=brief).plain()
            yield json.loads(json.dumps(row | {"inputs": made}))


def stale(table: dict[str, Any]) -> list[str]:
    """What in a table is not about the libraries installed here: another version, a model without a row, a row without a model."""
    now = versions()
    found = [
        f"{name} is {now[name]}, the table was made with {old}"
        for name, old in table["versions"].items()
        if name in now and now[name] != old
    ]
    for library in LIBRARIES:
        registered = [name for _, name, _, _ in entries(library)]
        have = {row["name"] for row in table["rows"] if row["library"] == library}
        found += [f"{library}: {name} has no row" for name in registered if name not in have]
        found += [f"{library}: {name} is not registered any more" for name in sorted(have - set(registered))]
    return found


def read() -> dict[str, Any]:
    """The committed table."""
    return json.loads((HOME / "models.json").read_text(encoding="utf-8"))


def counted(found: list[dict[str, Any]]) -> dict[str, int]:
    """Numbers for one library: of models, and of the attentions in one pass of each."""
    have = [row for row in found if row["counted"]]
    return {
        "models": len(found),
        "with attention": len(have),
        "proved": sum(row["status"] == "proved" for row in have),
        "refused": sum(row["status"] == "refused" for row in have),
        "not built": sum(row["status"] == "not built" for row in found),
        "mapped": sum(bool(row["layout"]) for row in have),
        "attentions": sum(row["counted"] for row in have),
        "captured": sum(row["captured"] for row in have),
    }


def write(found: list[dict[str, Any]]) -> None:
    """Both files; a library's version is the one that all its rows were measured with."""
    now, before = versions(), read()["versions"]
    fresh = [library for library in LIBRARIES if {row.get("inputs") for row in found if row["library"] == library} == {inputs(library)}]
    known = now if len(fresh) == len(LIBRARIES) else {**before, **{library: now[library] for library in fresh}}
    table = {"versions": known, "rows": found}
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
        "the stages of a hierarchical model. Sizes are those of the small models here, not of published ones. One row stands for models",
        "that differ in size alone.",
        "",
        "| library | models | with attention | captured and proved | attentions captured | refused | not built | map over all layers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for library in LIBRARIES:
        n = counted([row for row in table["rows"] if row["library"] == library])
        share = f"{n['proved']} ({n['proved'] / max(1, n['with attention']):.0%})"
        calls = f"{n['captured']} of {n['attentions']}"
        ends = f"{n['refused']} | {n['not built']} | {n['mapped']}"
        lines.append(f"| {library} | {n['models']} | {n['with attention']} | {share} | {calls} | {ends} |")
    for library in LIBRARIES:
        lines += ["", f"## {library}", *_section([row for row in table["rows"] if row["library"] == library])]
    return "\n".join(lines) + "\n"


def _section(found: list[dict[str, Any]]) -> list[str]:
    """Softmax attention; other kinds; what is refused; what has none; what was not built."""
    plain = [row for row in found if row["status"] == "proved" and not OTHER & set(row["kinds"])]
    other = [row for row in found if row["status"] in ("proved", "no attention") and OTHER & set(row["kinds"])]
    refused = [row for row in found if row["status"] == "refused"]
    none = [row for row in found if row["status"] == "no attention" and not row["kinds"]]
    broken = [row for row in found if row["status"] == "not built"]
    lines = _lines(plain)
    if other:
        lines += ["", f"**{_cased(other)}** is not softmax(q kᵀ) v over tokens; attention in the same model is captured beside it:"]
        lines += _lines(other)
    if refused:
        lines += ["", "**Refused:**", "", *(f"- `{row['name']}` ({row['counted']} attentions): {row['why']}" for row in refused)]
    if none:
        lines += ["", "**No attention** (what applies: Grad-CAM, integrated gradients, occlusion; [why](errors/no-attention.md)):"]
        lines += ["", ", ".join(f"`{row['name']}`" for row in none) + "."]
    if broken:
        lines += ["", "**Not built here:**", "", *(f"- `{row['name']}`: {row['why']}" for row in broken)]
    return lines


def _cased(found: list[dict[str, Any]]) -> str:
    """The other kinds there are, as a sentence begins."""
    names = {"sampled": "sampling at learned positions (deformable)", "channel": "attention over channels"}
    there = sorted(OTHER & {kind for row in found for kind in row["kinds"]})
    text = ", ".join(names.get(kind, kind) for kind in there)
    return text[0].upper() + text[1:]


def _lines(found: list[dict[str, Any]]) -> list[str]:
    head = ["", "| model | attention | kinds | error | map | methods | why not more |", "|---|---|---|---|---|---|---|"]
    return [*head, *(_line(row) for row in found)]


def _line(row: dict[str, Any]) -> str:
    methods = "all" if len(row["methods"]) == 8 else ", ".join(row["methods"]) or ("calls only" if row["counted"] else "")
    why = row["why"].replace("|", "/")
    calls, kinds = f"{row['captured']} of {row['counted']}" if row["counted"] else "none", ", ".join(row["kinds"])
    error = f"{row['error']:.0e}" if row["counted"] else ""
    return f"| `{row['name']}` | {calls} | {kinds} | {error} | {row['layout']} | {methods} | {why} |"
