"""Every error vitscope raises, and what each one means for the caller.

::

    VitscopeError                 anything below; one line: got / expected / where / what to do
    ├── InputError      (exit 2)  something given from outside cannot be used
    │   ├── PhotoError            a picture file: missing, empty, truncated, not a picture, too large
    │   ├── ArgumentError         a layer, head, query, target or option that does not exist here
    │   ├── ModelError            a model reference, folder or checkpoint that cannot be loaded
    │   └── MissingExtra          an optional library is not installed; names the extra
    └── WorkError       (exit 1)  the work itself failed
        ├── CaptureError          attention could not be captured as asked (training mode, no_grad, compiled …)
        ├── ProofError            a proof failed, with the measured numbers (layout, rows, reconstruction, effect)
        ├── MethodError           the method is undefined for this model (e.g. Grad-CAM after the last mixing)
        └── OutputError           the result could not be written (permissions, disk full)
"""

from __future__ import annotations

from typing import ClassVar


class VitscopeError(Exception):
    """One line saying what we got, what we expected, where, and what to do.

    Args:
        got: what was found, with the measured numbers.
        expected: what would have been right.
        where: file, module path, option or token it happened at.
        todo: the next step for the reader.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, got: str, *, expected: str = "", where: str = "", todo: str = "") -> None:
        self.got, self.expected, self.where, self.todo = got, expected, where, todo
        parts = [f"{where}: {got}" if where else got]
        if expected:
            parts.append(f"expected {expected}")
        if todo:
            parts.append(todo)
        super().__init__(" ".join("; ".join(parts).split()))


class InputError(VitscopeError):
    """Something given from outside cannot be used."""

    exit_code = 2


class PhotoError(InputError):
    """A picture file is missing, empty, truncated, not a picture, or too large."""


class ArgumentError(InputError):
    """A layer, head, query, target or option that does not exist for this model or photo."""


class ModelError(InputError):
    """A model reference, folder or checkpoint that cannot be loaded."""


class MissingExtra(InputError):  # noqa: N818 - reads as what it is
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str, *, purpose: str) -> None:
        super().__init__(f"{library} is not installed", expected=f"{library}, for {purpose}", todo=f"run: pip install 'vitscope[{extra}]'")


class WorkError(VitscopeError):
    """The work itself failed, though what was given was well-formed."""


class CaptureError(WorkError):
    """Attention or gradients could not be captured as asked."""


class ProofError(WorkError):
    """A proof owed by a capture failed; the message carries the measured numbers."""


class MethodError(WorkError):
    """The method is undefined for this model, layer or target."""


class OutputError(WorkError):
    """A result could not be written."""
