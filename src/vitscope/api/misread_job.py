"""``vitscope explain --misread WRONG --truth RIGHT`` from arguments to files."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitscope.api.loading import load_model
from vitscope.api.patches_job import check_sheet_output
from vitscope.api.progress import progress
from vitscope.errors import ArgumentError


@dataclass(frozen=True)
class MisreadJob:
    """One misread photo.

    Attributes:
        given: what :func:`vitscope.load` takes besides the reference.
        unused: names of options given beside it that it does not take.
    """

    photos: tuple[Path, ...]
    model: str
    given: dict[str, Any]
    wrong: str | None
    truth: str | None
    unused: tuple[str, ...]
    out: Path | None
    seed: int
    threads: int | None
    quiet: bool


def run(job: MisreadJob) -> list[Path]:
    """Do the job; returns the files written."""
    from vitscope.api.misreading import misread
    from vitscope.api.sheets import write_sheet
    from vitscope.auditing.misread import sentences

    wrong, truth = _both(job)
    out = job.out or Path(f"{job.photos[0].stem or 'photo'}.misread.html")
    check_sheet_output(out)
    with progress(quiet=job.quiet) as tell:
        model = load_model(job.model, job.given, job.threads, tell)
        found = misread(model, job.photos[0], wrong, truth, seed=job.seed, tell=tell)
        tell("writing")
        written = write_sheet(found, out)
    if not job.quiet:
        sys.stdout.write("".join(f"{line}\n" for line in sentences(found)))
        sys.stdout.write("".join(f"{path}\n" for path in written))
    return written


def _both(job: MisreadJob) -> tuple[str, str]:
    """The two labels.

    Raises:
        ArgumentError: one of them is missing, several photos, or options that belong to maps.
    """
    if job.wrong is None or job.truth is None:
        missing = "--misread" if job.wrong is None else "--truth"
        raise ArgumentError(f"no {missing}", expected='--misread "the wrong label" --truth "the right one"', where="explain")
    if len(job.photos) != 1:
        raise ArgumentError(f"{len(job.photos)} photos", expected="one", where="--misread")
    if job.unused:
        raise ArgumentError(f"{', '.join(job.unused)} beside --misread", expected="none of them", where="explain", todo="leave it out")
    return job.wrong, job.truth
