"""``vitscope patches`` from arguments to files: read, audit, write, say where it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.loading import load_model
from vitscope.api.output import check_folder
from vitscope.api.progress import progress
from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit


@dataclass(frozen=True)
class PatchesJob:
    """One ``vitscope patches``.

    Attributes:
        given: what :func:`vitscope.load` takes besides the reference.
        box: "x0,y0,x1,y1" as written.
        mask: a picture file, the object not black.
        tensor: a .npy file ``[3, h, w]``.
    """

    photo: Path
    model: str
    given: dict[str, Any]
    box: str | None
    mask: Path | None
    tensor: Path | None
    out: Path | None
    as_json: bool
    threads: int | None
    quiet: bool


def run(job: PatchesJob) -> Audit:
    """Do the job."""
    from vitscope.api.audit_sheet import verdict
    from vitscope.api.auditing import audit
    from vitscope.api.sheets import as_json, write_sheet

    out = job.out or (None if job.as_json else Path(f"{job.photo.stem or 'photo'}.patches.html"))
    if out is not None:
        check_sheet_output(out)
    box, tensor = read_box(job.box), read_tensor(job.tensor)
    mask = None if job.mask is None else read_mask(job.mask)
    with progress(quiet=job.quiet) as tell:
        model = load_model(job.model, job.given, job.threads, tell)
        tell("looking at what the model is fed")
        found = audit(model, job.photo, tensor=tensor, box=box, mask=mask)
        tell("writing")
        written = [] if out is None else write_sheet(found, out)
    if job.as_json:
        sys.stdout.write(as_json(found))
    elif not job.quiet:
        sys.stdout.write(verdict(found) + "\n")
        for one in found.findings:
            sys.stdout.write(f"{one.severity}: {one.what}\n  {one.evidence}\n  {one.fix}\n")
        sys.stdout.write("".join(f"{path}\n" for path in written))
    return found


def check_sheet_output(out: Path) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises:
        ArgumentError: another ending, a folder under a file's name, or a place that cannot be written to.
    """
    from vitscope.api.sheets import ENDINGS

    folder = out.is_dir()
    if out.suffix.lower() not in ENDINGS and not folder:
        raise ArgumentError(f"--out {out}", expected="a name ending in .html, .png or .json, or a folder")
    if out.suffix and folder:
        raise ArgumentError(f"{out} is a folder", expected="a file name", where="--out")
    check_folder(out if folder else out.parent)


def read_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Four numbers from "x0,y0,x1,y1".

    Raises:
        ArgumentError: anything else.
    """
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise ArgumentError(f"--box {text!r}", expected="x0,y0,x1,y1 in pixels of the photo, or as fractions from 0 to 1")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def read_tensor(path: Path | None) -> NDArray[np.generic] | None:
    """An array file.

    Raises:
        ArgumentError: missing, not an array file, or one that holds pickled objects.
    """
    if path is None:
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ArgumentError(
            f"{said}", expected="a .npy file [3, h, w]", where=f"--tensor {path}", todo="numpy.save(path, tensor.numpy())"
        ) from error
    if not isinstance(found, np.ndarray):
        raise ArgumentError("several arrays (.npz)", expected="a .npy file [3, h, w]", where=f"--tensor {path}")
    return found


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask picture: what is not black; in one with bright values, what is brighter than half (a JPEG's edges are not quite black).

    Raises:
        PhotoError: not a picture.
    """
    from vitscope.inputs.images import read_sample

    level = read_sample(path).photo.max(axis=2)
    return np.asarray(level > (127 if level.max() > 127 else 0))
