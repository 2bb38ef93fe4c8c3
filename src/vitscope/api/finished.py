"""What a run over photos leaves on disk, batch by batch: memory does not grow with attention, only with what a report shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vitscope.api.explanation import Explanation
from vitscope.api.output import fresh_folder, kind_of

if TYPE_CHECKING:
    from vitscope.views.explore import Carried
    from vitscope.views.state import State
    from vitscope.views.view import View


@dataclass(frozen=True)
class Finished:
    """One batch, done.

    Attributes:
        views: one for each photo.
        carried: what the report's interactive view carries of each.
        said: lines for the console.
    """

    views: list[View]
    carried: list[Carried]
    said: tuple[str, ...]


def finish(one: Explanation, photos: int) -> Finished:
    """Keep what a report needs of a batch; ``photos`` of the whole run share the room it has for attention rows."""
    from vitscope.api.views import views_of
    from vitscope.api.write import carried_of

    held = carried_of([(one.trace, one.maps)], len(one.trace) / photos, one.audits)
    return Finished(views_of(one.trace, one.maps), held, tuple(answers(one)))


def answers(one: Explanation) -> Iterator[str]:
    """The likeliest labels of each photo, what a reader must know about it, and how far to trust each map."""
    for picture, sample in enumerate(one.trace.samples):
        if one.trace.answers:
            top = ", ".join(f"{label} {probability:.1%}" for label, probability in one.trace.top(3, picture))
            yield f"{sample.id}: {top}\n"
        yield from (f"  note: {note}\n" for note in sample.notes)
        for single in (token_map[picture] for token_map in one.maps):
            trust = single.meta.get("trust")
            if isinstance(trust, dict):
                yield f"  {single.method}: {trust['sentence']}\n"


def write(batches: Iterable[Explanation], out: Path, photos: int, state: State | None = None) -> tuple[list[Path], list[str]]:
    """Write what ``out`` asks for; after an error no file of this call is left.

    Args:
        batches: what was explained, one batch after the other; only one is held at a time.
        out: a file or a folder.
        photos: of all batches together.
        state: what a report's interactive view shows first.

    Returns:
        The files, and lines for the console.
    """
    from vitscope.api.write import figure, save

    if kind_of(out) == "":
        return _write_folder(batches, out, photos)
    if kind_of(out) == ".html":
        done = [finish(one, photos) for one in batches]
        return [_report(done, out, state)], [line for one in done for line in one.said]
    (one,) = batches
    path = save(one.trace, one.maps[0], out) if kind_of(out) == ".npz" else figure(one.trace, one.maps, out)
    return [path], list(answers(one))


def _write_folder(batches: Iterable[Explanation], out: Path, photos: int) -> tuple[list[Path], list[str]]:
    """A report of all, and one NPZ and one PNG for each photo and method."""
    with fresh_folder(out) as room:
        written: list[Path] = []
        taken: set[str] = set()
        done: list[Finished] = []
        for one in batches:
            written += _write_batch(one, room, taken)
            done.append(finish(one, photos))
        written.append(_report(done, room / "report.html"))
    return [out / path.name for path in written], [line for one in done for line in one.said]


def _write_batch(one: Explanation, room: Path, taken: set[str]) -> Iterator[Path]:
    from vitscope.api.views import views_of
    from vitscope.api.write import save

    for picture, sample in enumerate(one.trace.samples):
        stem = _free_name(sample.id, taken)
        for number, token_map in enumerate(one.maps):
            same = sum(other.method == token_map.method for other in one.maps[:number])
            name = f"{stem}.{token_map.method}" + (f".{same + 1}" if same else "")
            yield save(one.trace, token_map, room / f"{name}.npz", picture=picture)
        if find_spec("matplotlib") is not None:
            from vitscope.figures import write_png

            yield Path(write_png(views_of(one.trace, one.maps, pictures=[picture])[0], room / f"{stem}.png"))


def _report(done: Iterable[Finished], path: Path, state: State | None = None) -> Path:
    from vitscope.web.report import write_report

    batches = list(done)
    return Path(write_report([v for one in batches for v in one.views], path, [c for one in batches for c in one.carried], state))


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name nobody else of this run has."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name
