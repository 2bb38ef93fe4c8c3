"""What a pass of a model keeps: for its card, for the line before a pass, and held against a limit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from vitscope.capture.footprint import Footprint, Pixels, footprint
from vitscope.capture.fullest import fullest
from vitscope.core.memory import in_words
from vitscope.errors import CaptureError
from vitscope.models.family import Loaded
from vitscope.models.heads import made_of
from vitscope.models.study import Study
from vitscope.models.weights import works_in
from vitscope.scoring import Made
from vitscope.trace import Needs


def of_pass(described: Loaded, found: Study, shape: tuple[int, ...], needs: Needs) -> Footprint:
    """Bytes that a pass over pixels of this shape ``[b, 3, h, w]`` would keep, by the shapes alone.

    Raises:
        CaptureError: the model's forward depends on values, so that this cannot be known beforehand.
    """
    module, forward, like, kept = _asked(described, found, shape)
    return footprint(module, forward, like, needs, found.laid.blocks, attention=kept)


def at_fullest(described: Loaded, found: Study, shape: tuple[int, ...], needs: Needs, *, moved: bool = False) -> int:
    """Bytes that such a pass has in use at once at most; ``moved``: activations wait elsewhere for the backward pass.

    Raises:
        CaptureError: as above.
    """
    module, forward, like, kept = _asked(described, found, shape)
    largest = max((call.kept for call in found.calls), default=0) * int(shape[0])  # its scores, and their softmax
    return fullest(module, forward, like, needs, found.laid.blocks, attention=kept + 2 * largest, moved=moved)


def _asked(described: Loaded, found: Study, shape: tuple[int, ...]) -> tuple[nn.Module, Callable[[Tensor], Made], Pixels, int]:
    device, dtype = works_in(described.module, torch.empty(0))
    kept = sum(call.kept for call in found.calls) * int(shape[0])

    def forward(x: Tensor) -> Made:
        return made_of(described, described.call(described.module, x), found.layout)

    return described.module, forward, Pixels(tuple(shape), dtype, device), kept


def passes(described: Loaded, found: Study) -> dict[str, int]:
    """Of one photo: bytes without and with gradients, what stays where activations are moved out, the most in use; {} if unknown."""
    shape = (1, 3, *found.layout.input_size)
    with suppress(CaptureError):
        plain = of_pass(described, found, shape, Needs())
        back = of_pass(described, found, shape, Needs(gradients=True, hidden=True))
        most = at_fullest(described, found, shape, Needs(gradients=True, hidden=True))
        return {"plain": plain.whole, "gradients": back.whole, "offloaded": back.captured, "fullest": max(most, back.whole)}
    return {}


def pass_in_words(described: Loaded, found: Study, shape: tuple[int, ...], needs: Needs) -> str:
    """One line before a pass."""
    with suppress(CaptureError):
        kept, most = of_pass(described, found, shape, needs).whole, at_fullest(described, found, shape, needs)
        return f"one pass through the model, keeping {in_words(kept)}, {in_words(max(kept, most))} in use at its fullest"
    return "one pass through the model"


def within(limit: int, kept: int, most: int, pixels: Tensor, *, moved: Callable[[], int] | None, gradients: bool, where: str) -> None:
    """Refuse a pass that would take more.

    Args:
        limit: bytes.
        kept: what it keeps until it ends.
        most: what it has in use at its fullest.
        pixels: ``[b, 3, h, w]``.
        moved: the same at its fullest with activations moved out, where they are not yet.
        gradients: whether there is a backward pass.
        where: the model.

    Raises:
        CaptureError: with the numbers and what to do.
    """
    most = max(kept, most)
    if most <= limit:
        return
    b, _, h, w = pixels.shape
    what = f"{b} photo{'s' if b > 1 else ''} of {w}×{h} px{' with gradients' if gradients else ''}"
    less = moved() if gradients and moved is not None else limit + 1
    helps = f", or activations on disk (offload): then {in_words(less)} at its fullest" if less <= limit else ""
    fewer = "fewer photos at once or " if b > 1 else ""
    raise CaptureError(
        f"a pass over {what} would keep {in_words(kept)}, with {in_words(most)} in use at its fullest",
        expected=f"at most {in_words(limit)} (memory)",
        where=where,
        todo=f"give {fewer}a smaller input size{helps}",
    )
