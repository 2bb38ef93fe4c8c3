"""Tensors kept by reference must not be written over afterwards: noticed through torch's own version counters."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vitscope.errors import CaptureError


def unchanged(x: Tensor) -> Callable[[], bool]:
    """A question to ask later: does the tensor still hold what it holds now? (Tensors of inference mode keep no count: yes.)"""
    if x.is_inference():
        return lambda: True
    version = x._version
    return lambda: x._version == version


def overwritten(path: str, what: str) -> CaptureError:
    """An in-place operation after the fact."""
    return CaptureError(
        f"the model writes over the {what} in place, after this module has run",
        expected="tensors that stay as they are until the pass ends",
        where=path or "the model",
        todo="write x = x + y instead of x += y there",
    )
