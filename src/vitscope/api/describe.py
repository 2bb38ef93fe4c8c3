"""`vitscope inspect` for people: the same facts as its JSON, laid out to be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from vitscope.core.memory import in_words

#: The widest grid drawn cell by cell.
DRAWN = 32


def as_text(found: Mapping[str, Any]) -> str:
    """A description of a model (see ``LoadedModel.describe``) as plain text."""
    parts = [
        _layout(found),
        _calls(found),
        _passes(found),
        _methods(found["methods"]),
        _proof("Proof that the capture is right", found["proof"]),
    ]
    if found.get("rules"):
        parts.append(_proof("Rules every model keeps", found["rules"]))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _layout(found: Mapping[str, Any]) -> list[str]:
    layout, stages = found["layout"], found.get("stages") or [found["layout"]["grid"]]
    gh, gw = layout["grid"]
    height, width = layout["input_size"]
    lines = [
        "Tokens",
        f"  input            {width} × {height} px",
        f"  preprocessing    {found.get('preprocessing') or 'not known'}",
        f"  it makes         {_makes(found)}",
    ]
    size = f"{layout['patch'][1]} × {layout['patch'][0]} px (across × down)"
    if layout["source"] == "pixels":
        page = "layout" if found.get("calls") else "no-attention"
        lines += [
            f"  no map           {found.get('why', '')} (docs/errors/{page}.md)",
            f"  cells            {gw} × {gh} of {size}, for hiding pixels",
        ]
    else:
        lines += [
            f"  patches          {gw} × {gh} of {size}",
            *([f"  stages           {' → '.join(f'{w} × {h}' for h, w in stages)}"] if len(stages) > 1 else []),
            f"  before them      {', '.join(layout['prefix']) or 'none'}",
            f"  the head reads   {', '.join(layout['readout']) or 'unknown'}",
            f"  known by         {layout['source']}",
        ]
    return [*lines, "", *_drawing(gh, gw, len(layout["prefix"]))]


def _makes(found: Mapping[str, Any]) -> str:
    """What comes out, and of how many classes."""
    made, classes = found.get("makes", "class scores"), found.get("classes", 0)
    return f"{made}, {classes} classes" if classes else str(made)


def _drawing(gh: int, gw: int, others: int) -> list[str]:
    """The grid, one mark a patch (one for several where it is wide), tokens that are none before it."""
    step = -(-max(gh, gw) // DRAWN)
    rows, columns = -(-gh // step), -(-gw // step)
    mark = "▫ " * columns
    note = f"  (one mark for {step} × {step})" if step > 1 else ""
    first = f"    {'● ' * min(others, 8)}{'…' if others > 8 else ''}".rstrip()
    return [*([first] if others else []), *(f"    {mark.rstrip()}{note if row == 0 else ''}" for row in range(rows))]


def _calls(found: Mapping[str, Any]) -> list[str]:
    """The tree of calls: alike ones in a row stand in one line."""
    calls = found["calls"]
    if not calls:
        return []
    lines = [f"Attention calls ({len(calls)}), {in_words(found.get('memory', 0))} kept for each photo"]
    above: list[str] = []
    groups = [list(group) for _, group in groupby(calls, key=_alike)]
    for group in groups:
        *path, name = _common(call["path"] for call in group)
        shared = next((i for i, (a, b) in enumerate(zip(above, path, strict=False)) if a != b), min(len(above), len(path)))
        lines += [f"  {'  ' * depth}{path[depth]}" for depth in range(shared, len(path))]
        above = path
        first = group[0]
        windows = f" in {first['windows']} windows" if first.get("windows", 1) > 1 else ""
        shape = f"{first['heads']} heads, {first['queries']} × {first['keys']}{windows}"
        lines.append(f"  {'  ' * len(path)}{name}  {first['kind']}, {shape}" + (f"  ({len(group)} calls)" if len(group) > 1 else ""))
    return lines


def _passes(found: Mapping[str, Any]) -> list[str]:
    """What a pass over one photo keeps, by the shapes alone."""
    kept = found.get("passes")
    if not kept:
        return []
    moved = f"{in_words(kept['offloaded'])} of that with --offload disk"
    most = f"{in_words(kept['fullest'])} in use at its fullest"
    return [f"A pass keeps {in_words(kept['plain'])} for one photo, {in_words(kept['gradients'])} with gradients ({moved}; {most})"]


def _alike(call: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("kind", "heads", "queries", "keys", "windows")
    return (re.sub(r"\d+", "#", call["path"]), *(call.get(name) for name in names))


def _common(paths: Iterable[str]) -> list[str]:
    """The parts of several paths of one form; where they differ in a number, its range."""
    columns = zip(*(path.split(".") for path in paths), strict=True)
    return [names[0] if len(set(names)) == 1 else f"{names[0]}…{names[-1]}" for names in columns] or [""]


def _methods(methods: list[Any]) -> list[str]:
    lines = []
    for method in methods:
        if isinstance(method, Mapping):
            reason = "" if method.get("available", True) else f"  not here: {method.get('why', '')}"
            lines.append(f"  {method.get('name', '')}{reason}")
        else:
            lines.append(f"  {method}")
    return ["Methods", *lines]


def _proof(title: str, proof: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, entry in proof.items():
        facts = entry if isinstance(entry, Mapping) else {"text": entry}
        verdict = "holds" if facts.get("passed", True) else "FAILS"
        lines.append(f"  {name:<15}  {verdict}  {facts.get('text', '')}")
    return [title, *lines] if lines else []
