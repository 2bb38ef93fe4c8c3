"""The model and the photos a command was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.core.sample import Sample
    from vitscope.models.loaded import LoadedModel


def load_model(ref: str, given: dict[str, Any], threads: int | None, tell: Callable[[str], None]) -> LoadedModel:
    """A model by reference, computed with so many CPU threads (None: all); ``tell`` is told."""
    import torch

    from vitscope.api import load

    if threads:
        torch.set_num_threads(threads)
    tell(f"loading {ref}")
    return load(ref, **given)


def read_photos(photos: Sequence[Path], at_once: int) -> Iterator[list[Sample]]:
    """Photos, so many at a time; before the first of them all have been read once, so that a broken one is refused before any work.

    Raises:
        PhotoError: one that cannot be read.
    """
    from vitscope.inputs.images import read_sample

    first = [read_sample(path) for path in photos[:at_once]]
    for path in photos[at_once:]:
        read_sample(path)
    return _in_turn(first, photos, at_once)


def _in_turn(first: list[Sample], photos: Sequence[Path], at_once: int) -> Iterator[list[Sample]]:
    from vitscope.inputs.images import read_sample

    yield first
    for at in range(at_once, len(photos), at_once):
        yield [read_sample(path) for path in photos[at : at + at_once]]
