"""One command's work from arguments to files: read, load, explain, write, say where it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitscope.api.explanation import Explanation, Options, Tell, explain
from vitscope.api.finished import write
from vitscope.api.loading import load_model, read_photos
from vitscope.api.output import check_folder, check_output, kind_of
from vitscope.api.progress import progress, silent
from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError, MissingExtra, ProofError

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
        batches = read_photos(job.photos, BATCH)
        model = load_model(job.model, job.given, job.threads, tell)
        if state is not None and kind_of(out) != ".html":
            return _draw_state(batches, model, state, out, tell, quiet=job.quiet)
        methods = job.methods or (_one_method(model) if kind_of(out) == ".npz" else ())
        written, said = write(_explained(batches, model, methods, job, tell), out, len(job.photos), state)
    if not job.quiet:
        sys.stdout.write("".join([*said, *(f"{path}\n" for path in written)]))
    return written


def _explained(batches: Iterable[list[Sample]], model: LoadedModel, methods: Sequence[str], job: Job, tell: Tell) -> Iterator[Explanation]:
    """One batch after the other; whoever takes them lets go of one before the next."""
    for number, samples in enumerate(batches):
        yield explain(samples, model, methods, job.options, tell=_telling(tell, number * BATCH, len(job.photos)))
    tell("writing")


def _state(job: Job, out: Path) -> State | None:
    """The state asked for, or None.

    Raises:
        ArgumentError: not a state, one for an output that shows none, or settings beside it that it has itself.
    """
    from vitscope.api.write import written_state

    if not job.state:
        if kind_of(out) == ".svg":
            raise ArgumentError(f"--out {out}", expected=".svg with --state", todo="give .png or .html, or a state")
        return None
    if kind_of(out) not in (".png", ".svg", ".html"):
        raise ArgumentError(f"--state for --out {out}", expected="a name ending in .png, .svg or .html")
    chosen = [*job.options.chosen, *(name for name in ("target", "against") if getattr(job.options, name) is not None)]
    if kind_of(out) != ".html" and (job.methods or chosen or job.options.check):
        names = ", ".join(
            f"--{name}" for name in [*(["method"] if job.methods else []), *chosen, *(["check"] if job.options.check else [])]
        )
        raise ArgumentError(f"--state with {names}", expected="the state alone: it says all of that", todo="leave them out")
    return written_state(job.state)


def _draw_state(batches: Iterable[list[Sample]], model: LoadedModel, state: State, out: Path, tell: Tell, *, quiet: bool) -> list[Path]:
    """One figure of what the interactive view shows of these photos, its sources in this order."""
    from vitscope.api.write import figure

    tell("one pass through the model")
    traces = [model.trace(samples) for samples in batches]
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


def inspect(
    ref: str, given: dict[str, Any], *, as_json: bool, out: Path | None, threads: int | None, quiet: bool, prove: bool = False
) -> None:
    """Describe a model: layout, attention calls, methods, proofs; with ``prove`` the rules every model keeps, tried on it.

    Raises:
        ProofError: one of these rules does not hold, after everything has been written.
    """
    from vitscope.api.describe import as_text

    if out is not None:
        if out.is_dir():
            raise ArgumentError(f"{out} is a folder", expected="a file name", where="--out")
        check_folder(out.parent)
    with progress(quiet=quiet) as tell:
        model = load_model(ref, given, threads, tell)
        tell("proving the capture")
        found = model.describe()
        if prove:
            found["rules"] = {name: check.as_dict() for name, check in model.rules().items()}
    text = json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if out is not None:
        write_atomically(out, text.encode())
    if as_json:
        sys.stdout.write(text)
    elif not quiet:
        sys.stdout.write(as_text(found))
    broken = next((check for check in found.get("rules", {}).values() if not check["passed"]), None)
    if broken is not None:
        raise ProofError(broken["text"], expected=f"within {broken['tolerance']:g}", where=ref)


def _check_choice(job: Job, out: Path) -> None:
    """One photo and one method for an NPZ, one photo for a PNG; nothing twice."""
    if kind_of(out) == ".npz" and (len(job.photos) > 1 or len(job.methods) > 1):
        raise ArgumentError(
            f"{len(job.photos)} photos and {len(job.methods)} methods for {out.name}",
            expected="one of each for one .npz",
            todo="give --out a folder",
        )
    if kind_of(out) == ".png" and len(job.photos) > 1 and not job.state:
        raise ArgumentError(f"{len(job.photos)} photos for {out.name}", expected="one photo for one .png", todo="give --out a folder")
    if job.options.audit and kind_of(out) not in (".html", ""):
        raise ArgumentError(
            f"--audit for {out.name}", expected="a name ending in .html, or a folder", todo="or: vitscope patches PHOTO --out FILE.png"
        )
    from vitscope.methods.registry import find_method

    for name in job.methods:
        find_method(name)


def _one_method(model: LoadedModel) -> tuple[str]:
    return ("relevance",) if model.labels else ("rollout",)


def _telling(tell: Tell, at: int, total: int) -> Tell:
    """Progress words that say which photos they are about, where there are several batches."""
    return tell if total <= BATCH or tell is silent else lambda words: tell(f"photos {at + 1}–{min(at + BATCH, total)} of {total}: {words}")


def _chelsea() -> Path:
    """The cat photo inside scikit-image (CC0), read from its installed files."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingExtra("scikit-image", "demo", purpose="the demonstration photo")
    path = Path(found.origin).parent / "data" / "chelsea.png"
    if not path.exists():
        raise ArgumentError(f"no {path}", expected="the photo that comes inside scikit-image", todo="give a photo: vitscope explain PHOTO")
    return path
