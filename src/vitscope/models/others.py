"""Families that other packages bring: entry points in the group ``vitscope.families``, loaded when first needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from torch import nn

from vitscope.errors import ModelError
from vitscope.models.family import Loaded, Options

GROUP = "vitscope.families"


class Family(Protocol):
    """What an entry point names: a module or an object with these three functions. Its name is the scheme (``name:REF``)."""

    def recognises(self, module: nn.Module) -> bool:
        """Whether a model object is of this family."""
        ...

    def describe(self, module: nn.Module, ref: str, options: Options) -> Loaded:
        """What is known of a model object."""
        ...

    def load(self, name: str, options: Options) -> Loaded:
        """A model by its name after the scheme."""
        ...


def schemes() -> tuple[str, ...]:
    """Names of the families installed beside vitscope's own."""
    return tuple(sorted(_points()))


def family(scheme: str) -> Family:
    """A family by its scheme.

    Raises:
        ModelError: the package that brings it cannot be imported, or lacks one of the three functions.
    """
    point = _points()[scheme]
    try:
        found: Any = point.load()
    except Exception as error:
        raise ModelError(f"{point.value} cannot be imported ({error})", where=f"{GROUP}: {scheme}") from error
    lacking = [name for name in ("recognises", "describe", "load") if not callable(getattr(found, name, None))]
    if lacking:
        raise ModelError(f"{point.value} has no {', '.join(lacking)}", where=f"{GROUP}: {scheme}", expected="recognises, describe and load")
    return found  # type: ignore[no-any-return]  # an entry point's object, just looked at


def families() -> Iterator[Family]:
    """All of them, loaded one after the other."""
    yield from (family(scheme) for scheme in schemes())


@cache
def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
