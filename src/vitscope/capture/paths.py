"""Which module made a call: found by looking at who is calling, so that no hook is needed."""

from __future__ import annotations

import sys
from types import FrameType

from torch import nn

#: Locals under which functions that run on a module's behalf carry it.
OWNERS = ("self", "module")


class Paths:
    """Dotted paths of a model's modules, and the innermost one that is running now."""

    def __init__(self, module: nn.Module) -> None:
        self._path = {id(part): path for path, part in module.named_modules()}

    def running(self) -> str:
        """Path of the innermost module of the model on the calling stack ("" for the model itself, or for none)."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            path = self._owner(frame)
            if path is not None:
                return path
            frame = frame.f_back
        return ""

    def _owner(self, frame: FrameType) -> str | None:
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
        carried = [name for name in OWNERS if name in names] or [name for name in frame.f_code.co_freevars if name in OWNERS]
        if not carried:
            return None
        for name in carried:
            path: str | None = self._path.get(id(frame.f_locals.get(name)))
            if path is not None:
                return path
        return None
