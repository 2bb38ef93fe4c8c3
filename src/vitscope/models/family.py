"""What a family file tells about one loaded model, and what the families share: fetching, names, options."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from vitscope.core.layout import Kind
from vitscope.errors import MissingExtra, ModelError, VitscopeError
from vitscope.models.preparing import Preparation
from vitscope.scoring import Made

if TYPE_CHECKING:
    from vitscope.models.words import TextTower

Call = Callable[[nn.Module, Tensor], Any]


@dataclass(frozen=True)
class Options:
    """What the caller gave beside the reference.

    Attributes:
        weights: a local checkpoint to load in place of the published weights.
        labels: a file of class names, one a line, or the names themselves.
        input_size: ``(h, w)`` other than the model's own.
        given: everything else, by name; a family takes what it knows and refuses the rest.
    """

    weights: Path | None = None
    labels: Path | Sequence[str] | None = None
    input_size: tuple[int, int] | None = None
    seed: int = 0
    given: dict[str, Any] = field(default_factory=dict)

    def only(self, *known: str) -> dict[str, Any]:
        """The given options, all of them known.

        Raises:
            ModelError: an option this family has no use for.
        """
        unknown = sorted(set(self.given) - set(known))
        if unknown:
            raise ModelError(f"option {', '.join(unknown)}", expected=", ".join(("input_size", *known)), where="load")
        return self.given


@dataclass(frozen=True)
class Loaded:
    """One model as its family describes it.

    Attributes:
        call: how to run it on prepared pixels; takes the module, so that a copy can be run the same way.
        output: from what the call returns to ``(scores [b, c] or None, what the head made [b, …])``; the second is there for headless
            models too, and shows what the head reads.
        rest: from what the call returns to what it made beside class scores: scores at pixels, boxes (:mod:`vitscope.models.heads`).
        preparation: None where nothing is known about preprocessing; ``missing`` then says what to give.
        input_size: the size the preprocessing leads to, or the model was built for; None where any will do.
        prefix: kinds of the tokens before the patches as the configuration has them; None where it says nothing.
        patch: ``(ph, pw)`` as the configuration has it; None where it says nothing.
        reads: what a headless model's head would read: "cls" or "patch mean"; "" where it is measured.
        flexible: takes inputs of any size (position embeddings are interpolated), so that it can be studied on a small one.
        texts: how it reads texts, where it has a text tower.
        libraries: names of the libraries whose versions belong into the provenance.
    """

    module: nn.Module
    ref: str
    call: Call
    output: Callable[[Any], tuple[Tensor | None, Tensor]]
    preparation: Preparation | None
    input_size: tuple[int, int] | None
    labels: tuple[str, ...] = ()
    labels_from: str = "the model's configuration"
    prefix: tuple[Kind, ...] | None = None
    patch: tuple[int, int] | None = None
    reads: str = ""
    missing: tuple[str, ...] = ()
    flexible: bool = False
    libraries: tuple[str, ...] = ()
    rest: Callable[[Any], Made] = field(default=lambda _: Made())
    texts: TextTower | None = None


def library(name: str, extra: str, purpose: str) -> ModuleType:
    """An optional library, or the error that names the extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(name, extra, purpose=purpose) from error


def nearest(name: str, known: Sequence[str]) -> str:
    """Up to four of the names that begin most like the one asked for, a library's own test models left out."""
    asked = name.lower()

    def unlike(one: str) -> tuple[float, int]:
        begin = one[: len(asked)].lower()
        same = takewhile(lambda pair: pair[0] == pair[1], zip(begin, asked, strict=False))
        return -difflib.SequenceMatcher(None, begin, asked).ratio(), -len(list(same))

    return ", ".join(sorted((one for one in known if not one.startswith("test_")), key=unlike)[:4])


@contextmanager
def fetching(ref: str) -> Iterator[None]:
    """Turns every way a download or a folder can fail into one line.

    Raises:
        ModelError: with the first line of what the library said.
    """
    try:
        yield
    except VitscopeError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = (lines[0] if lines else type(error).__name__)[:300]
        raise ModelError(
            f"cannot be loaded ({said})",
            where=ref,
            todo="check the name and the network (HF_HUB_OFFLINE), or use a local folder or checkpoint",
        ) from error


def pair(size: Any) -> tuple[int, int]:
    """(h, w) of a number, a pair, or anything of two numbers."""
    if isinstance(size, (list, tuple)):
        return int(size[-2]), int(size[-1])
    return int(size), int(size)
