"""What a run leaves on disk: one offline report, one picture, or arrays for other programs; each file is there in full or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitscope.api.views import same_run, views_of
from vitscope.core.files import write_atomically
from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.trace import Trace
    from vitscope.views.explore import Carried
    from vitscope.views.state import State


def report(
    trace: Trace,
    maps: Sequence[TokenMap] | TokenMap,
    path: str | Path,
    *,
    interactive: bool = True,
    state: State | Mapping[str, Any] | None = None,
    audits: Sequence[Audit] = (),
) -> Path:
    """Write one offline HTML file: the photo, what the model was fed, its answer, the maps and how far to trust them.

    Args:
        trace: of one photo or a batch.
        maps: maps of that trace (each over the whole batch); see :func:`vitscope.check` for trust figures beside them.
        path: the file to write.
        interactive: carry attention rows too, as many as fit 16 MB, so that one can point at any patch; the report says how exact they are.
        state: what the interactive view shows first.
        audits: of each photo, from :func:`vitscope.audit`: the view shows them in a panel.

    Raises:
        ArgumentError: a state that cannot be, or audits of other photos.
        OutputError: the file cannot be written.
    """
    from vitscope.web.report import write_report

    listed, shown = _listed(maps), state_of(state)
    return Path(
        write_report(views_of(trace, listed), Path(path), carried_of([(trace, listed)], audits=audits) if interactive else (), shown)
    )


def carried_of(explained: Sequence[tuple[Trace, Sequence[TokenMap]]], share: float = 1.0, audits: Sequence[Audit] = ()) -> list[Carried]:
    """What a report carries for its interactive view, in so large a share of its room; a bare entry where the view was not built.

    Args:
        explained: traces with their maps.
        share: of the room for rows.
        audits: one for each photo, or none.
    """
    from vitscope.api.carry import carry
    from vitscope.views.explore import CARRY_BYTES, Carried
    from vitscope.web.built import built

    return carry(explained, int(CARRY_BYTES * share), audits) if built() else [Carried({}, {})]


def state_of(given: State | Mapping[str, Any] | str | None) -> State:
    """A state given as one, as plain JSON, or as JSON text.

    Raises:
        ArgumentError: it names what is wrong.
    """
    from vitscope.views.state import State, from_dict, from_json

    if given is None or isinstance(given, State):
        return given or State()
    return from_json(given) if isinstance(given, str) else from_dict(given)


def written_state(text: str) -> State:
    """A state as the command line takes it: JSON, or the name of a file with it.

    Raises:
        ArgumentError: neither, or not a state.
    """
    text = text.strip()
    if not text.startswith("{"):
        path = Path(text)
        if not path.is_file():
            raise ArgumentError(f"--state {text!r}", expected='JSON text such as {"query": "3,4"}, or a file with it')
        text = path.read_text(encoding="utf-8", errors="replace")
    return state_of(text)


def figure(
    trace: Trace | Sequence[Trace],
    maps: Sequence[TokenMap] | TokenMap | None = None,
    path: str | Path = "",
    *,
    state: State | Mapping[str, Any] | str | None = None,
) -> Path:
    """Write one figure: one photo with its maps side by side (PNG), or what a state of the interactive view shows (PNG or SVG).

    Args:
        trace: of one photo; for a state of one or several, which are its sources in this order.
        maps: maps of that trace; or
        state: ``view.state``, as a dict, JSON text or State.
        path: the file to write.

    Raises:
        ArgumentError: both or none of maps and state, several photos for maps, or a state that cannot be.
        MissingExtra: matplotlib is not installed.
    """
    if (maps is None) == (state is None) or not str(path):
        raise ArgumentError(
            "both or none of maps and state" if str(path) else "no path", expected="one of the two, and path=", where="figure"
        )
    if state is not None:
        return _figure_of_state([trace] if not isinstance(trace, Sequence) else trace, state_of(state), Path(path))
    return _figure_of_maps(trace if not isinstance(trace, Sequence) else trace[0], _listed(maps or ()), Path(path))


def _figure_of_state(traces: Sequence[Trace], state: State, path: Path) -> Path:
    from vitscope.api.explorer import Explorer
    from vitscope.api.scene import scene_of
    from vitscope.figures import write_scene

    return Path(write_scene(scene_of(Explorer(traces), state), path))


def _figure_of_maps(trace: Trace, maps: Sequence[TokenMap], path: Path) -> Path:
    from vitscope.figures import write_png

    if len(trace) != 1:
        raise ArgumentError(
            f"a batch of {len(trace)} photos", expected="one photo for one PNG", where=str(path), todo="give a folder instead"
        )
    return Path(write_png(views_of(trace, maps)[0], path))


def save(trace: Trace, token_map: TokenMap, path: str | Path, *, picture: int = 0) -> Path:
    """Write one map of one photo as NPZ for other programs.

    Shapes:
        ``grid`` float32 ``[gh, gw]``, ``tokens`` float32 ``[n]``, ``image_map`` float32 ``[H, W]`` (NaN = not seen),
        ``meta`` JSON text (see :func:`meta_of`).
    """
    same_run(trace, token_map, str(path))
    one = token_map[picture]
    buffer = io.BytesIO()
    meta = json.dumps(meta_of(trace, one, picture), ensure_ascii=False, sort_keys=True, default=_plain)
    np.savez_compressed(buffer, grid=one.grid, tokens=one.tokens, image_map=one.on_image(), meta=np.array(meta))
    return write_atomically(Path(path), buffer.getvalue())


def meta_of(trace: Trace, one: TokenMap, picture: int) -> dict[str, object]:
    """Everything about one map that is not an array, as plain values."""
    import vitscope
    from vitscope.aiming import found_boxes

    top = trace.top(5, picture) if trace.answers else []
    sample, placement = trace.samples[picture], one.placement
    return {
        "model": one.provenance.model,
        "version": vitscope.__version__,
        "labels": [label for label, _ in top],
        "probabilities": [probability for _, probability in top],
        "top": [[label, probability] for label, probability in top],
        **({"boxes": [asdict(box) for box in found_boxes(trace.scene, picture)]} if trace.made.boxes is not None else {}),
        "method": one.method,
        "parameters": one.parameters,
        "layer": one.layer,
        "head": one.head,
        "query": one.query,
        "target": one.target[0] if one.target else "",
        "unit": one.unit,
        "signed": one.signed,
        "notes": [*sample.notes, *one.notes],
        "hidden_mass": one.hidden_mass(),
        "photo": {"id": sample.id, "size": list(sample.size), "sha256": sample.digest, "exif": sample.exif},
        "placement": {
            "input_size": list(placement.input_size),
            "scale": list(placement.scale),
            "offset": list(placement.offset),
            "seen": list(placement.seen),
            "seen_share": placement.seen_share,
        },
        "layout": one.layout.as_dict(),
        "provenance": one.provenance.as_dict(),
        **one.meta,
    }


def _listed(maps: Sequence[TokenMap] | TokenMap) -> list[TokenMap]:
    return [maps] if isinstance(maps, TokenMap) else list(maps)


def _plain(value: object) -> object:
    """Scalars and arrays as JSON values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in meta is not a plain value")
