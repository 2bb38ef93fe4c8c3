"""The trust figures of a map in words, in the order a reader needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitscope.views.plain import percent, short
from vitscope.views.words import value_words


def trust_words(trust: object) -> dict[str, Any] | None:
    """The sentence, the pair of drops (hottest against random patches) and the other figures; None where nothing was measured.

    Figures this page has no words for are shown under their own names.
    """
    if isinstance(trust, list) and len(trust) == 1:
        trust = trust[0]
    if not isinstance(trust, dict) or not trust:
        return None
    sentence = trust.get("sentence", "")
    return {
        "sentence": " ".join(sentence) if isinstance(sentence, list) else sentence,
        "uninformative": bool(trust.get("uninformative")),
        "drops": _drops(trust),
        "rows": [row for name, value in trust.items() if (row := _row(name, value, trust)) is not None],
    }


def _drops(trust: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Score points lost by hiding the hottest patches and by hiding random ones, as lengths on one scale from 0."""
    hottest, random = trust.get("hottest_drop"), trust.get("random_drop")
    if hottest is None or random is None:
        return []
    spread = trust.get("random_drop_spread")
    scale = max(abs(hottest), abs(random)) or 1.0
    around = f" ± {short(spread)}" if spread is not None else ""
    return [
        {"words": "the hottest", "text": short(hottest), "length": max(hottest, 0.0) / scale, "kind": "hottest"},
        {"words": "random ones", "text": short(random) + around, "length": max(random, 0.0) / scale, "kind": "random"},
    ]


_SAID_ELSEWHERE = ("sentence", "uninformative", "hottest_drop", "random_drop", "random_drop_spread", "random_draws", "target_swapped_to")


def _row(name: str, value: object, trust: Mapping[str, Any]) -> tuple[str, str] | None:
    if name in _SAID_ELSEWHERE and not (name.endswith("drop") and not _drops(trust)):
        return None
    if value is None and name == "target_swap_similarity" and not trust.get("target_swapped_to"):
        return None
    if value is None:
        return _NAMES.get(name, name.replace("_", " ")).format(trust.get("target_swapped_to") or "another class"), "undefined here"
    if name == "draws_beaten" and isinstance(value, (int, float)):
        return f"random draws beaten, of {trust.get('random_draws', '?')}", percent(float(value))
    return _NAMES.get(name, name.replace("_", " ")).format(trust.get("target_swapped_to") or "another class"), value_words(value)


_NAMES = {
    "redrawn_weights_similarity": "likeness with re-drawn weights (rank correlation)",
    "target_swap_similarity": "likeness for {} (rank correlation)",
    "hottest_drop": "score lost, hottest patches hidden",
    "random_drop": "score lost, random patches hidden",
    "relative_spread": "spread of the map’s values over their size",
    "attention_from_uniform": "attention’s distance from an even spread",
}
