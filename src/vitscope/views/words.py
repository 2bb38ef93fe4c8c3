"""The words every renderer says about a map: its name, how it was read, and what it does not show."""

from __future__ import annotations

from vitscope.views.plain import percent, short
from vitscope.views.view import Panel

KIND_WORDS = {
    "cls": "CLS",
    "register": "registers",
    "distill": "distillation token",
    "text": "text tokens",
    "query": "query tokens",
    "pad": "pad tokens",
    "padding": "padded patches",
}
_SAID_ELSEWHERE = ("start", "call")
"""The number of the read-out (its name stands beside it) and the attention call's path (among the provenance)."""
_METHODS = {"grad-cam": "Grad-CAM", "legrad": "LeGrad"}


def method_title(panel: Panel) -> str:
    """What to call a map's method in a heading."""
    method = str(panel.facts["method"])
    plain_name = _METHODS.get(method, method.replace("-", " ").replace("_", " ").capitalize())
    return str(panel.facts["words"].get("title") or plain_name)


def map_words(panel: Panel) -> str:
    """What a map is of, as its heading goes on after the method: "for tabby at box 3", "from box 3"; "" for a map of the whole photo."""
    if panel.facts["target"]:
        return f"for {panel.facts['target']}"
    return f"from {panel.facts['query']}" if str(panel.facts["query"]).startswith("box") else ""


def fact_rows(panel: Panel) -> list[tuple[str, str]]:
    """How the map was read: method, layer, head, query, target, then the method's own settings."""
    facts = panel.facts
    rows = [("method", str(facts["method"])), ("layer", "all" if facts["layer"] is None else f"{facts['layer']}")]
    rows += [(key, str(facts[key])) for key in ("head", "query", "target") if facts[key]]
    settings = {key: value for key, value in facts["parameters"].items() if key not in dict(rows) and key not in _SAID_ELSEWHERE}
    return rows + [(key.replace("_", " "), value_words(value)) for key, value in settings.items()]


def fact_line(panel: Panel) -> str:
    """The same in one line, without method and target (they stand in the heading)."""
    return " · ".join(f"{key} {value}" for key, value in fact_rows(panel) if key not in ("method", "target"))


def hidden_line(panel: Panel) -> str:
    """What the picture does not show, in one line."""
    hidden = panel.facts["hidden"]
    parts = ", ".join(f"{KIND_WORDS.get(kind, kind)} {percent(share)}" for kind, share in hidden.items())
    return f"not in the picture: {parts}" if parts else "all of the map is in the picture"


def value_words(value: object) -> str:
    """A plain value for people."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value)
    if isinstance(value, list):
        return ", ".join(value_words(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {value_words(entry)}" for key, entry in value.items())
    return str(value)
