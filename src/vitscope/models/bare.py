"""Any nn.Module of the user's own: what cannot be read from it is asked for, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vitscope.core.layout import Kind
from vitscope.errors import ModelError
from vitscope.models.family import Loaded, Options, pair
from vitscope.models.given import OPTIONS, given_preparation
from vitscope.models.prefixes import learned_tokens


def describe(module: nn.Module, ref: str, options: Options) -> Loaded:
    """What is known of a module nobody has described, together with what its owner says.

    Photos need ``input_size``, ``mean`` and ``std``, or a ``preprocess`` of the owner's own; prepared tensors need neither.
    ``patch`` and ``prefix`` are measured; they are given only where that fails.
    """
    given = options.only(*OPTIONS, "patch", "prefix")
    preparation, missing = given_preparation(options, None)
    return Loaded(
        module=module,
        ref=ref,
        call=lambda model, pixels: model(pixels),
        output=output,
        preparation=preparation,
        input_size=options.input_size,
        prefix=_prefix(given["prefix"]) if "prefix" in given else (learned_tokens(module) or None),
        patch=pair(given["patch"]) if "patch" in given else None,
        missing=missing,
    )


def _prefix(given: Any) -> tuple[Kind, ...]:
    """A number of prefix tokens (the first is taken for the cls token), or their kinds by name."""
    if isinstance(given, int) and not isinstance(given, bool):
        return (Kind.CLS, *[Kind.REGISTER] * (given - 1)) if given else ()
    try:
        return tuple(kind if isinstance(kind, Kind) else Kind[str(kind).upper()] for kind in given)
    except (KeyError, TypeError) as error:
        names = ", ".join(kind.name.lower() for kind in Kind)
        raise ModelError(f"prefix {given!r}", expected=f"a number, or a list of kinds among {names}", where="prefix") from error


def output(out: Any) -> tuple[Tensor | None, Tensor]:
    """Class scores from what a module returns: a tensor, the first of a tuple, or "logits" of a dictionary or output object.

    Raises:
        ModelError: nothing among it looks like scores ``[b, c]`` or features.
    """
    found = out
    if isinstance(out, Mapping):
        found = next((out[key] for key in ("logits", "scores", "out", "output") if key in out), None)
    elif hasattr(out, "logits"):
        found = out.logits
    elif isinstance(out, (tuple, list)):
        found = out[0] if out else None
    if not isinstance(found, Tensor) or found.dim() < 2:
        raise ModelError(f"an output of type {type(out).__name__}", where="forward", expected="a tensor [b, c], or .logits holding one")
    return (found, found) if found.dim() == 2 else (None, found)
