"""From a trace and its maps to Views: tensors become arrays here, and nowhere above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.api.drawn import on_patches_of
from vitscope.core.maps import TokenMap
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.trace import Trace
    from vitscope.views.view import View


def views_of(trace: Trace, maps: Sequence[TokenMap], *, pictures: Sequence[int] | None = None) -> list[View]:
    """One View for each photo, with every map of it; one colour scale for each method over all of them.

    Args:
        trace: of one photo or a batch.
        maps: maps over the whole batch.
        pictures: which photos; all where None.

    Raises:
        ArgumentError: a map of another batch.
    """
    from vitscope.views.scale import share_scales

    for one in maps:
        same_run(trace, one, "report")
    developed = {i: rows for i, one in enumerate(maps) if (rows := development(trace, one)) is not None}
    maps = [on_patches_of(trace, one) for one in maps]
    return share_scales([_view(trace, maps, developed, i) for i in (range(len(trace)) if pictures is None else pictures)])


def development(trace: Trace, one: TokenMap) -> NDArray[np.floating] | None:
    """How a map develops layer by layer, ``[b, L, n]``; None where its method has no layers or its target is not known any more."""
    from vitscope.methods import METHODS, develop

    method = METHODS[one.method]
    if method.by_layer is None:
        return None
    aim = _target_of(trace, one) if method.class_specific else None
    if method.class_specific and aim is None:
        return None
    known = {"head": one.head, "query": one.query, **one.parameters, "start": _start_of(one)}
    given = {name: known[name] for name in method.options if name in known and name != "layer"}
    return develop(trace, one.method, aim, **given)


def words_of(maps: Sequence[TokenMap]) -> dict[str, dict[str, str]]:
    """What each method shows and does not show, in plain words, and its source."""
    from vitscope.methods import METHODS

    return {one.method: METHODS[one.method].words for one in maps}


def _view(trace: Trace, maps: Sequence[TokenMap], developed: dict[int, NDArray[np.floating]], picture: int) -> View:
    from vitscope.aiming import found_boxes
    from vitscope.views.photo import Fed, build_photo_view

    raw = trace.pixels[picture].detach().float().cpu().numpy().transpose(1, 2, 0)
    shown = np.asarray(raw * np.asarray(trace.std, dtype=np.float32) + np.asarray(trace.mean, dtype=np.float32), dtype=np.float32)
    low, high = raw.min(axis=(0, 1)), raw.max(axis=(0, 1))
    fed = Fed(shown, trace.placements[picture], trace.layout, trace.provenance, tuple(map(float, low)), tuple(map(float, high)))
    return build_photo_view(
        trace.samples[picture],
        fed,
        trace.top(5, picture) if trace.answers else [],
        [one[picture] for one in maps],
        develop={i: rows[picture] for i, rows in developed.items()},
        explain=words_of(maps),
        boxes=[] if trace.made.boxes is None else found_boxes(trace.scene, picture),
    )


def same_run(trace: Trace, one: TokenMap, where: str) -> None:
    """A map and a trace that belong together: the same photos in the same order, the same model with the same weights.

    Raises:
        ArgumentError: they do not, and what differs.
    """
    made, ours = one.provenance, trace.provenance
    for what, a, b in (
        ("photos", made.samples, ours.samples),
        ("model", made.model, ours.model),
        ("weights", made.weights, ours.weights),
    ):
        if a != b:
            raise ArgumentError(
                f"a {one.method} map made with other {what} than the trace",
                expected="a map of this trace",
                where=where,
                todo="make the map from the trace you give",
            )


def _start_of(one: TokenMap) -> int:
    """Which of the head's read-outs the map starts from."""
    start = one.parameters.get("start", 0)
    return start if isinstance(start, int) else 0


def _target_of(trace: Trace, one: TokenMap) -> Target | None:
    """The target a map was made for, among those this trace has run; by class numbers, as names may be shared."""
    if one.aim is not None:
        return one.aim if one.aim in trace.targets() else None

    def whole(value: object) -> tuple[object, ...]:
        return value if isinstance(value, tuple) else () if value is None else (value,)

    index, against = whole(one.meta.get("target_index")), whole(one.meta.get("target_against"))
    return next((target for target in trace.targets() if (target.index, target.against) == (index, against)), None)
