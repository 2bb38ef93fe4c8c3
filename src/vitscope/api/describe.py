"""`vitscope inspect` for people: the same facts as its JSON, laid out to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(found: Mapping[str, Any]) -> str:
    """A description of a model (see ``LoadedModel.describe``) as plain text."""
    return (
        "\n".join([*_layout(found["layout"]), "", *_calls(found["calls"]), "", *_methods(found["methods"]), "", *_proof(found["proof"])])
        + "\n"
    )


def _layout(layout: Mapping[str, Any]) -> list[str]:
    gh, gw = layout["grid"]
    prefix = ", ".join(layout["prefix"]) or "none"
    height, width = layout["input_size"]
    return [
        "Tokens",
        f"  input            {width} × {height} px",
        f"  patches          {gw} × {gh} of {layout['patch'][1]} × {layout['patch'][0]} px (across × down)",
        f"  before them      {prefix}",
        f"  the head reads   {', '.join(layout['readout']) or 'unknown'}",
        f"  known by         {layout['source']}",
    ]


def _calls(calls: list[Mapping[str, Any]]) -> list[str]:
    width = max((len(call["path"]) for call in calls), default=0)
    lines = [
        f"  {call['path']:<{width}}  {call['kind']:<11}  {call['heads']:>3} heads  {call['queries']} × {call['keys']}" for call in calls
    ]
    return [f"Attention calls ({len(calls)})", *lines]


def _methods(methods: list[Any]) -> list[str]:
    lines = []
    for method in methods:
        if isinstance(method, Mapping):
            reason = "" if method.get("available", True) else f"  not here: {method.get('why', '')}"
            lines.append(f"  {method.get('name', '')}{reason}")
        else:
            lines.append(f"  {method}")
    return ["Methods", *lines]


def _proof(proof: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, entry in proof.items():
        facts = entry if isinstance(entry, Mapping) else {"text": entry}
        verdict = "holds" if facts.get("passed", True) else "FAILS"
        lines.append(f"  {name:<15}  {verdict}  {facts.get('text', '')}")
    return ["Proof that the capture is right", *lines]
