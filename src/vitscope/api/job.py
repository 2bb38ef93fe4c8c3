"""One command's work from arguments to files: read, load, explain, write, say where it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOSPC
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any

from vitscope.api.explanation import Explanation, Options, Tell, explain
from vitscope.api.progress import progress
from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError, MissingExtra, OutputError

if TYPE_CHECKING:
    from vitscope.core.sample import Sample
    from vitscope.models.loaded import LoadedModel
    from vitscope.views.state import State

#: Said after the demonstration: the small built-in model need not be right about it.
DEMO_WORDS = (
    "The photo shows a cat, at 32 pixels a hard one. What speaks for it, against another answer: "
    "vitscope explain PHOTO --target cat --against frog\n"
)

#: Photos that go through the model together.
BATCH = 8


@dataclass(frozen=True)
class Job:
    """One ``vitscope explain``.

    Attributes:
        given: what :func:`vitscope.load` takes besides the reference.
        methods: public names; empty for the defaults (for one NPZ: relevance, or rollout for a model without class scores).
        out: where to write; None: beside where the command runs, named after the first photo.
        state: what the interactive view shows, as JSON text or the name of a file with it; "" for none.
    """

    photos: tuple[Path, ...]
    model: str
    given: dict[str, Any]
    methods: tuple[str, ...]
    options: Options
    out: Path | None
    threads: int | None
    quiet: bool
    state: str = ""


def run(job: Job) -> list[Path]:
    """Do the job; returns the files written."""
    out = job.out or Path(f"{job.photos[0].stem or 'photo'}.vitscope.html")
    check_output(out)
    _check_choice(job, out)
    state = _state(job, out)
    with progress(quiet=job.quiet) as tell:
        tell("reading photos")
        samples = _read(job.photos)
        model = _load(job.model, job.given, job.threads, tell)
        if state is not None and _kind(out) != ".html":
            return _draw_state(samples, model, state, out, tell, quiet=job.quiet)
        methods = job.methods or (_one_method(model) if _kind(out) == ".npz" else ())
        done = [
            explain(samples[at : at + BATCH], model, methods, job.options, tell=_telling(tell, at, len(samples)))
            for at in range(0, len(samples), BATCH)
        ]
        tell("writing")
        written = write(done, out, state)
    if not job.quiet:
        _say_answers(done)
        sys.stdout.write("".join(f"{path}\n" for path in written))
    return written


def _state(job: Job, out: Path) -> State | None:
    """The state asked for, or None.

    Raises:
        ArgumentError: not a state, one for an output that shows none, or settings beside it that it has itself.
    """
    from vitscope.api.write import state_of

    if not job.state:
        if _kind(out) == ".svg":
            raise ArgumentError(f"--out {out}", expected=".svg with --state", todo="give .png or .html, or a state")
        return None
    if _kind(out) not in (".png", ".svg", ".html"):
        raise ArgumentError(f"--state for --out {out}", expected="a name ending in .png, .svg or .html")
    chosen = [*job.options.chosen, *(name for name in ("target", "against") if getattr(job.options, name) is not None)]
    if _kind(out) != ".html" and (job.methods or chosen or job.options.check):
        names = ", ".join(
            f"--{name}" for name in [*(["method"] if job.methods else []), *chosen, *(["check"] if job.options.check else [])]
        )
        raise ArgumentError(f"--state with {names}", expected="the state alone: it says all of that", todo="leave them out")
    text = job.state.strip()
    if not text.startswith("{"):
        path = Path(text)
        if not path.is_file():
            raise ArgumentError(f"--state {text!r}", expected='JSON text such as {"query": "3,4"}, or a file with it')
        text = path.read_text(encoding="utf-8", errors="replace")
    return state_of(text)


def _draw_state(samples: Sequence[Sample], model: LoadedModel, state: State, out: Path, tell: Tell, *, quiet: bool) -> list[Path]:
    """One figure of what the interactive view shows of these photos, its sources in this order."""
    from vitscope.api.write import figure

    tell("one pass through the model")
    traces = [model.trace(samples[at : at + BATCH]) for at in range(0, len(samples), BATCH)]
    tell("drawing")
    written = [figure(traces, state=state, path=out)]
    if not quiet:
        sys.stdout.write(f"{written[0]}\n")
    return written


def demo(out: Path, given: dict[str, Any], *, threads: int | None, quiet: bool) -> list[Path]:
    """The main job on the built-in model and a photo everybody with scikit-image has."""
    options = Options(check=True, seed=int(given.get("seed", 0)))
    job = Job((_chelsea(),), "builtin:photos", given, (), options, out, threads, quiet)
    written = run(job)
    if not quiet:
        sys.stdout.write(DEMO_WORDS)
        sys.stdout.write(f"Open this report in a browser: {written[0].resolve().as_uri()}\n")
    return written


def inspect(ref: str, given: dict[str, Any], *, as_json: bool, out: Path | None, threads: int | None, quiet: bool) -> None:
    """Describe a model: layout, attention calls, methods, proofs."""
    from vitscope.api.describe import as_text

    if out is not None:
        if out.is_dir():
            raise ArgumentError(f"{out} is a folder", expected="a file name", where="--out")
        check_folder(out.parent)
    with progress(quiet=quiet) as tell:
        model = _load(ref, given, threads, tell)
        tell("proving the capture")
        found = model.describe()
    text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if out is not None:
        write_atomically(out, text.encode())
    if as_json:
        sys.stdout.write(text)
    elif not quiet:
        sys.stdout.write(as_text(found))


def check_output(out: Path) -> None:
    """Refuse an output that cannot be written before any work is done.

    Raises:
        ArgumentError: an ending that no command writes, or a folder that may not be written to (see :func:`check_folder`).
    """
    if _kind(out) == "":
        folder = out if out.exists() else out.parent
    else:
        folder = out.parent
        if out.is_dir():
            raise ArgumentError(f"{out} is a folder", expected="a file name", where="--out")
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written to, by writing nothing to it.

    Raises:
        ArgumentError: it is missing, is a file, or may not be written to.
        OutputError: the disk is full.
    """
    if not folder.is_dir():
        raise ArgumentError(f"no folder {folder}", expected="an existing folder", where="--out", todo=f"mkdir -p {folder}")
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno == ENOSPC:
            raise OutputError(f"disk full: {folder}", where="--out", todo="choose another folder") from error
        why = error.strerror or "no permission"
        raise ArgumentError(f"folder {folder} is not writable ({why})", where="--out", todo="choose another folder") from error


def write(done: Sequence[Explanation], out: Path, state: State | None = None) -> list[Path]:
    """Write what ``out`` asks for; after an error no file of this call is left. ``state``: what a report's interactive view shows first."""
    from vitscope.api.views import views_of
    from vitscope.api.write import carried_of, figure, save

    if _kind(out) == ".npz":
        return [save(done[0].trace, done[0].maps[0], out)]
    if _kind(out) == ".png":
        return [figure(done[0].trace, done[0].maps, out)]
    from vitscope.web.report import write_report

    if _kind(out) == ".html":
        views = [view for one in done for view in views_of(one.trace, one.maps)]
        return [Path(write_report(views, out, carried_of([(one.trace, one.maps) for one in done]), state))]
    return _write_folder(done, out)


def _write_folder(done: Sequence[Explanation], out: Path) -> list[Path]:
    """A report of all, and one NPZ and one PNG for each photo and method."""
    from vitscope.api.views import views_of
    from vitscope.api.write import carried_of, save
    from vitscope.web.report import write_report

    with _room(out) as room:
        written: list[Path] = []
        taken: set[str] = set()
        for one in done:
            for picture, sample in enumerate(one.trace.samples):
                stem = _free_name(sample.id, taken)
                for number, token_map in enumerate(one.maps):
                    same = sum(other.method == token_map.method for other in one.maps[:number])
                    name = f"{stem}.{token_map.method}" + (f".{same + 1}" if same else "")
                    written.append(save(one.trace, token_map, room / f"{name}.npz", picture=picture))
                if find_spec("matplotlib") is not None:
                    from vitscope.figures import write_png

                    written.append(Path(write_png(views_of(one.trace, one.maps, pictures=[picture])[0], room / f"{stem}.png")))
        views = [view for one in done for view in views_of(one.trace, one.maps)]
        carried = carried_of([(one.trace, one.maps) for one in done])
        written.append(Path(write_report(views, room / "report.html", carried)))
    return [out / path.name for path in written]


@contextmanager
def _room(out: Path) -> Iterator[Path]:
    """An empty folder inside ``out`` to write in; what is in it at the end is moved out together, after an exception nothing is.

    Raises:
        OutputError: a file cannot be moved to its place (a folder of that name); files that were there before are back then.
    """
    made = not out.exists()
    out.mkdir(exist_ok=True)
    try:
        with TemporaryDirectory(prefix=".vitscope-", dir=out) as room:
            new, old = Path(room) / "new", Path(room) / "old"
            new.mkdir()
            old.mkdir()
            yield new
            _move_all(new, out, old)
    except BaseException:
        if made:
            out.rmdir()
        raise


def _move_all(new: Path, out: Path, old: Path) -> None:
    """Every file of ``new`` into ``out``; files of the same names wait in ``old`` and come back after an error."""
    folders = [out / path.name for path in new.iterdir() if (out / path.name).is_dir()]
    if folders:
        raise OutputError("a folder has this name", where=str(folders[0]), todo="move it away or choose another --out")
    moved: list[Path] = []
    try:
        for path in sorted(new.iterdir()):
            place = out / path.name
            moved.append(place)
            if place.exists():
                place.replace(old / path.name)
            path.replace(place)
    except BaseException:
        for place in moved:
            if (old / place.name).exists():
                (old / place.name).replace(place)
            elif not (new / place.name).exists():
                place.unlink(missing_ok=True)
        raise


def _kind(out: Path) -> str:
    """Give ".html", ".png", ".svg", ".npz", or "" for a folder."""
    ending = out.suffix.lower()
    if ending in ("", ".html", ".png", ".svg", ".npz") and not (ending and out.is_dir()):
        return ending
    if out.is_dir():
        return ""
    raise ArgumentError(f"--out {out}", expected="a name ending in .html, .png or .npz, or a folder")


def _check_choice(job: Job, out: Path) -> None:
    """One photo and one method for an NPZ, one photo for a PNG; nothing twice."""
    if _kind(out) == ".npz" and (len(job.photos) > 1 or len(job.methods) > 1):
        raise ArgumentError(
            f"{len(job.photos)} photos and {len(job.methods)} methods for {out.name}",
            expected="one of each for one .npz",
            todo="give --out a folder",
        )
    if _kind(out) == ".png" and len(job.photos) > 1 and not job.state:
        raise ArgumentError(f"{len(job.photos)} photos for {out.name}", expected="one photo for one .png", todo="give --out a folder")
    from vitscope.methods.registry import find_method

    for name in job.methods:
        find_method(name)


def _read(photos: Sequence[Path]) -> list[Sample]:
    from vitscope.inputs.images import read_sample

    return [read_sample(path) for path in photos]


def _load(ref: str, given: dict[str, Any], threads: int | None, tell: Callable[[str], None]) -> LoadedModel:
    import torch

    from vitscope.api import load

    if threads:
        torch.set_num_threads(threads)
    tell(f"loading {ref}")
    return load(ref, **given)


def _one_method(model: LoadedModel) -> tuple[str]:
    return ("relevance",) if model.labels else ("rollout",)


def _telling(tell: Callable[[str], None], at: int, total: int) -> Callable[[str], None]:
    """Progress words that say which photos they are about, where there are several batches."""
    return tell if total <= BATCH else lambda words: tell(f"photos {at + 1}–{min(at + BATCH, total)} of {total}: {words}")


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name nobody else of this run has."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _say_answers(done: Sequence[Explanation]) -> None:
    for one in done:
        for picture, sample in enumerate(one.trace.samples):
            if one.trace.logits is not None:
                top = ", ".join(f"{label} {probability:.1%}" for label, probability in one.trace.top(3, picture))
                sys.stdout.write(f"{sample.id}: {top}\n")
            for note in sample.notes:
                sys.stdout.write(f"  note: {note}\n")
            for single in (token_map[picture] for token_map in one.maps):
                trust = single.meta.get("trust")
                if isinstance(trust, dict):
                    sys.stdout.write(f"  {single.method}: {trust['sentence']}\n")


def _chelsea() -> Path:
    """The cat photo inside scikit-image (CC0), read from its installed files."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingExtra("scikit-image", "demo", purpose="the demonstration photo")
    path = Path(found.origin).parent / "data" / "chelsea.png"
    if not path.exists():
        raise ArgumentError(f"no {path}", expected="the photo that comes inside scikit-image", todo="give a photo: vitscope explain PHOTO")
    return path
