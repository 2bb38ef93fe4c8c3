"""A model of the user's own by reference: ``package.module:function``, a function without arguments that gives it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from vitscope.errors import ModelError
from vitscope.models import others

#: What a reference to a library's model begins with.
SCHEMES = ("builtin", "hf", "timm", "torchvision", "open_clip")

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_function(ref: str) -> bool:
    """Whether a reference is no scheme and name, but a function in a module that is there (installed, or in the folder one works in)."""
    first = ref.partition(":")[0]
    if not _FORM.fullmatch(ref) or first in (*SCHEMES, *others.schemes()):
        return False
    with _working_folder():
        return importlib.util.find_spec(first.partition(".")[0]) is not None


def made(ref: str) -> tuple[nn.Module, dict[str, Any]]:
    """The model that a function gives: a module, or a module and what :func:`vitscope.load` takes besides (``mean``, ``std`` …).

    Raises:
        ModelError: the module cannot be imported, has no such function, or the function fails or gives something else.
    """
    name, _, function = ref.partition(":")
    with _working_folder():
        try:
            found: Any = getattr(importlib.import_module(name), function)()
        except Exception as error:
            raise ModelError(
                f"gives no model ({type(error).__name__}: {error})", where=ref, expected=f"a function {function}() in {name}"
            ) from error
    module, given = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
    if not isinstance(module, nn.Module) or not isinstance(given, dict):
        raise ModelError(f"gives a {type(found).__name__}", where=ref, expected="a torch module, or a module and a dict of options")
    return module, given


@contextmanager
def _working_folder() -> Iterator[None]:
    """While it lasts, modules in the folder one works in can be imported, as under ``python -m``."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
