"""The one pass: forward, and one backward where gradients are asked, with nothing left on the model.

Gradients come from ``torch.autograd.grad`` alone, so no parameter's ``.grad`` is written and frozen parameters do not matter:
the graph starts at the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Literal

from torch import Tensor, nn

from vitscope.capture import guards
from vitscope.capture.backward import backward_once
from vitscope.capture.blocks import Blocks, number_blocks
from vitscope.capture.heard import Heard
from vitscope.capture.hidden import hearing_blocks, without_tokens
from vitscope.capture.intercept import intercept
from vitscope.capture.layerscores import layer_scores
from vitscope.capture.live import Forward, LayerScores, Live, Pass
from vitscope.capture.modes import ordinary, ordinary_mode
from vitscope.capture.offload import Offload, offloading, stores
from vitscope.core.targets import Target
from vitscope.errors import CaptureError
from vitscope.scoring import Made, as_made
from vitscope.trace import Needs

PickTarget = Callable[[Made], Target | None]
Drop = Literal["removed", "masked"]
BARE = Needs()


def find_blocks(module: nn.Module, forward: Forward, pixels: Tensor) -> Blocks:
    """One pass without gradients, to learn which modules are the blocks; do it once per model and hand the result to :func:`run`.

    Raises:
        CaptureError: no attention seen, or blocks that cannot be numbered.
    """
    guards.check_module(module)
    with ordinary_mode(grad=False), intercept(module, batch=len(pixels)) as recorder:
        forward(ordinary(pixels))
    if not recorder.heard:
        raise guards.none_heard(module)
    return number_blocks(module, [heard.path for heard in recorder.heard])


def run(
    module: nn.Module,
    forward: Forward,
    pixels: Tensor,
    *,
    needs: Needs = BARE,
    pick_target: PickTarget | None = None,
    keep: Tensor | None = None,
    drop: Drop = "removed",
    blocks: Blocks | None = None,
    offload: Offload = "",
) -> Pass:
    """One forward pass, and one backward pass where gradients are asked.

    Args:
        module: the model whose attention is heard; never changed.
        forward: calls the model on pixels and gives its logits.
        pixels: ``[b, 3, h, w]`` prepared input.
        needs: what to keep beyond q, k, v and logits.
        pick_target: from what was made to the target; asked once, only where gradients are needed.
        keep: bool ``[b, n]``: False drops that token.
        drop: "removed" takes dropped tokens out of the sequence before the first block (as many from each picture); "masked" keeps
            them, and no token attends to them.
        offload: where activations wait for the backward pass: "cpu", "disk"; "" leaves them where they are.
        blocks: from :func:`find_blocks`; found by one more pass where not given and needed.

    Raises:
        CaptureError: training mode, compiled, no attention seen, no graph where gradients were asked, tokens that cannot be dropped.
    """
    guards.check_module(module)
    backward = needs.gradients or needs.layer_scores or needs.pixel_gradients
    if blocks is None and (needs.hidden or needs.layer_scores or (keep is not None and drop == "removed")):
        blocks = find_blocks(module, forward, pixels)
    moved = offloading(offload if backward else "", pixels.device, partial(stores, chain(module.parameters(), module.buffers())))
    with ordinary_mode(grad=backward), moved:
        pixels = ordinary(pixels)
        if backward:
            pixels = pixels.detach().requires_grad_()
        with hearing_blocks(module, blocks if needs.hidden or needs.layer_scores else None) as outputs:
            made, heard = _forward(module, forward, pixels, keep=keep, drop=drop, blocks=blocks)
        blocks = blocks or number_blocks(module, [call.path for call in heard])
        live = Live(module, forward, pixels, replace(made, keep=keep), tuple(heard), tuple(outputs), blocks)
        if not backward:
            return live.as_pass(needs)
        target = _target(live, pick_target)
        gradients = backward_once(live, target, needs)
        layers = layer_scores(live, target) if needs.layer_scores else LayerScores()
        return live.as_pass(needs, target, gradients, layers)


def _forward(
    module: nn.Module, forward: Forward, pixels: Tensor, *, keep: Tensor | None, drop: Drop, blocks: Blocks | None
) -> tuple[Made, list[Heard]]:
    """The model's own forward, heard."""
    removed = keep if drop == "removed" else None
    masked = keep if drop == "masked" else None
    first = blocks.paths[0] if blocks is not None and blocks.paths else ""
    with without_tokens(module, first, removed), intercept(module, batch=len(pixels), keep=masked) as recorder:
        made = as_made(forward(pixels))
    if not recorder.heard and (blocks is None or blocks.attends):
        raise guards.none_heard(module)
    return made, recorder.heard


def _target(live: Live, pick_target: PickTarget | None) -> Target:
    if not live.made.tensors():
        raise CaptureError("gradients of a model without class scores", expected="logits [b, c]", where=type(live.module).__name__)
    target = pick_target(live.whole.detach()) if pick_target is not None else None
    if target is None:
        raise CaptureError("gradients were asked without a target", expected="a class for each picture", where=type(live.module).__name__)
    return target
