"""`vitscope inspect` for people: the same facts as its JSON, laid out to be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from textwrap import wrap
from typing import Any

from vitscope.core.memory import in_words

#: The largest grid drawn mark by mark, down and across; of a larger one a mark stands for several cells.
DRAWN = (16, 24)

#: Columns of a line; longer ones go on below.
LINE = 110


def as_text(found: Mapping[str, Any]) -> str:
    """A description of a model (see ``LoadedModel.describe``) as plain text."""
    proof = _proof("Proof that the capture is right", found["proof"])
    parts = [_model(found), _layout(found), _calls(found["calls"]), _memory(found), _methods(found), proof]
    return "\n\n".join("\n".join(part) for part in [*parts, _proof("Rules every model keeps", found.get("rules", {}))] if part) + "\n"


def _model(found: Mapping[str, Any]) -> list[str]:
    """Which model, what is fed to it, and what comes out."""
    height, width = found["layout"]["input_size"]
    made, classes = found.get("makes", "class scores"), found.get("classes", 0)
    return [
        f"{found.get('model', 'a model')}",
        *_line("input", f"{width} × {height} px (across × down)"),
        *_line("preprocessing", found.get("preprocessing") or "not known"),
        *_line("it makes", f"{made}, {classes} classes" if classes else str(made)),
    ]


def _layout(found: Mapping[str, Any]) -> list[str]:
    """What each token is, in words and drawn."""
    layout, stages = found["layout"], found.get("stages") or [found["layout"]["grid"]]
    gh, gw = layout["grid"]
    size = f"{gw} × {gh} of {layout['patch'][1]} × {layout['patch'][0]} px"
    if layout["source"] == "pixels":
        page = "layout" if found.get("calls") else "no-attention"
        lines = [*_line("no map", f"{found.get('why', '')} (docs/errors/{page}.md)"), *_line("cells", f"{size}, for hiding pixels")]
    else:
        lines = [
            *_line("patches", size),
            *(_line("stages", " → ".join(f"{w} × {h}" for h, w in stages)) if len(stages) > 1 else []),
            *_line("before them", _counted(layout["prefix"]) or "none"),
            *_line("the head reads", ", ".join(layout["readout"]) or "unknown"),
            *_line("known by", layout["source"]),
        ]
    return ["Tokens", *lines, "", *_drawing(gh, gw, layout["prefix"])]


def _drawing(gh: int, gw: int, others: Sequence[str]) -> list[str]:
    """The grid, one mark a patch (one for several where it is large), tokens that are none before it."""
    step = max(-(-gh // DRAWN[0]), -(-gw // DRAWN[1]))
    rows, columns = -(-gh // step), -(-gw // step)
    shown = ["●"] * len(others) if len(others) <= DRAWN[1] else [*["●"] * (DRAWN[1] - 1), "…"]
    first = [f"    {' '.join(shown)}   {_counted(others)}"] if others else []
    note = f"   one mark for {step} × {step}" if step > 1 else ""
    return [*first, *(f"    {' '.join('▫' * columns)}{note if row == 0 else ''}" for row in range(rows))]


def _counted(kinds: Sequence[str]) -> str:
    """Kinds of tokens in their order, alike ones together."""
    runs = [(kind, len(list(run))) for kind, run in groupby(kinds)]
    return ", ".join(kind if count == 1 else f"{count} × {kind}" for kind, count in runs)


def _calls(calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tree of calls, alike ones in one line."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for call in calls:
        groups.setdefault(_alike(call), []).append(call)
    tree = _tree([(_common(call["path"] for call in group), _shape(group)) for group in groups.values()])
    wide = max((len(name) for name, _ in tree), default=0)
    lines = [f"  {name:<{wide}}  {shape}".rstrip() for name, shape in tree]
    return [f"Attention calls ({len(calls)})", *lines] if lines else []


def _tree(leaves: Sequence[tuple[list[str], str]]) -> list[tuple[str, str]]:
    """(indented name, words) a line; names that begin alike stand under what they share."""
    lines = []
    for _, group in groupby(leaves, key=lambda leaf: leaf[0][0]):
        below = list(group)
        shared = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*(path for path, _ in below), strict=False))]
        name = ".".join(shared)
        if all(path == shared for path, _ in below):
            lines += [(name, words) for _, words in below]
        else:
            inner = _tree([(path[len(shared) :] or [""], words) for path, words in below])
            lines += [(name, ""), *((f"  {name}", words) for name, words in inner)]
    return lines


def _shape(group: Sequence[Mapping[str, Any]]) -> str:
    """What the calls of a group have in common, and how many they are."""
    first, many = group[0], len(group)
    windows = f" in {first['windows']} windows" if first.get("windows", 1) > 1 else ""
    same = f"{first['kind']}, {first['heads']} heads, {first['queries']} × {first['keys']}{windows}"
    return f"{same}  ({many} calls)" if many > 1 else same


def _alike(call: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("kind", "heads", "queries", "keys", "windows")
    return (re.sub(r"\d+", "#", call["path"]), *(call.get(name) for name in names))


def _common(paths: Iterable[str]) -> list[str]:
    """The parts of several paths of one form; where they differ in a number, which ones there are."""
    return [_numbers(names) for names in zip(*(path.split(".") for path in paths), strict=True)]


def _numbers(names: Sequence[str]) -> str:
    """One name for all; or a run of numbers as "0…5", others as "0,2,4" ("0,2,…,10" where there are many)."""
    different = list(dict.fromkeys(names))
    numbers = [int("".join(re.findall(r"\d+", name)) or 0) for name in different]
    if len(different) == 1:
        return different[0]
    if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{different[0]}…{different[-1]}"
    return ",".join(different if len(different) <= 4 else [*different[:2], "…", different[-1]])


def _memory(found: Mapping[str, Any]) -> list[str]:
    """What is kept for one photo, by the shapes alone."""
    kept, calls = found.get("passes"), found.get("memory", 0)
    lines = _line("attention", in_words(calls)) if found["calls"] else []
    if kept:
        lines += _line("a pass", f"{in_words(kept['plain'])}, {in_words(kept['gradients'])} with gradients")
        lines += _line("at its fullest", f"{in_words(kept['fullest'])} in use")
        lines += _line("--offload disk", f"leaves {in_words(kept['offloaded'])} of that")
    return ["Memory for each photo", *lines] if lines else []


def _methods(found: Mapping[str, Any]) -> list[str]:
    """Methods that apply, then those that do not, each reason once."""
    methods: Sequence[Mapping[str, Any]] = found["methods"]
    lines = _line("yes", ", ".join(method["name"] for method in methods if not method["why"]) or "nothing")
    for why in dict.fromkeys(method["why"] for method in methods if method["why"]):
        names = ", ".join(method["name"] for method in methods if method["why"] == why)
        lines += _line("no", f"{names}: {'no map, see above' if why == found.get('why') else why}")
    return ["What can be shown", *lines]


def _proof(title: str, proof: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line a check: its verdict, what was measured, and what was allowed."""
    lines = []
    for name, facts in proof.items():
        allowed = f" (allowed {facts['tolerance']:g})" if facts.get("tolerance") else ""
        lines += _line(name, f"{'holds' if facts['passed'] else 'FAILS'}  {facts['text']}{allowed}", indent=7)
    return [title, *lines] if lines else []


def _line(name: str, words: str, indent: int = 0) -> list[str]:
    """A name and what is said of it, going on below where it is long."""
    first, *more = wrap(words, LINE - 19, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {name:<15}  {first}", *(" " * 19 + line for line in more)]
