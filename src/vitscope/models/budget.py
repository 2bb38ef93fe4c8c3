"""What a pass of a model keeps: for its card, for the line before a pass, and held against a limit."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from vitscope.capture.footprint import Footprint, Pixels, footprint
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
    device, dtype = works_in(described.module, torch.empty(0))
    kept = sum(call.kept for call in found.calls) * int(shape[0])

    def forward(x: Tensor) -> Made:
        return made_of(described, described.call(described.module, x), found.layout)

    return footprint(described.module, forward, Pixels(tuple(shape), dtype, device), needs, found.laid.blocks, attention=kept)


def passes(described: Loaded, found: Study) -> dict[str, int]:
    """Of one photo: bytes without and with gradients, and what of these stays where activations are moved out; {} where not known."""
    shape = (1, 3, *found.layout.input_size)
    with suppress(CaptureError):
        plain = of_pass(described, found, shape, Needs())
        back = of_pass(described, found, shape, Needs(gradients=True, hidden=True))
        return {"plain": plain.whole, "gradients": back.whole, "offloaded": back.captured}
    return {}


def pass_in_words(described: Loaded, found: Study, shape: tuple[int, ...], needs: Needs) -> str:
    """One line before a pass."""
    with suppress(CaptureError):
        return f"one pass through the model, keeping {in_words(of_pass(described, found, shape, needs).whole)}"
    return "one pass through the model"


def within(limit: int, found: Footprint, pixels: Tensor, *, offload: bool, where: str) -> None:
    """Refuse a pass that would keep more.

    Raises:
        CaptureError: with both numbers and what to do.
    """
    kept = found.captured if offload else found.whole
    if kept <= limit:
        return
    b, _, h, w = pixels.shape
    what = f"{b} photo{'s' if b > 1 else ''} of {w}×{h} px{' with gradients' if found.graph else ''}"
    helps = found.graph and not offload and found.captured <= limit
    moved = f", or activations on disk (offload): then {in_words(found.captured)} stay" if helps else ""
    fewer = "fewer photos at once or " if b > 1 else ""
    raise CaptureError(
        f"a pass over {what} would keep {in_words(kept)}",
        expected=f"at most {in_words(limit)} (memory)",
        where=where,
        todo=f"give {fewer}a smaller input size{moved}",
    )
