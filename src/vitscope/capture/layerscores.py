"""Each layer's own score (LeGrad): the model's own tail — norm, pool, head — applied to each block's output.

Source: Bousselham et al., "LeGrad", ICCV 2025, eq. 4-6. The tail is not taken apart: the model runs once more, and the last
block's output is exchanged on its way for all blocks' outputs, one after the other along the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope.capture.backward import grads
from vitscope.capture.heard import Heard
from vitscope.capture.hidden import batch_second, replacing_output
from vitscope.capture.intercept import intercept
from vitscope.capture.live import LayerScores, Live, in_graph
from vitscope.core.targets import Target
from vitscope.errors import CaptureError
from vitscope.scoring import Made, as_made, columns, score
from vitscope.trace import AttentionCall


def layer_scores(live: Live, target: Target) -> LayerScores:
    """``∂s_l/∂out_l`` for every block, and the attention pool's calls on each block's tokens.

    Formula:
        ``s_l = score(tail(Z_l))``; first ``G_l = ∂s_l/∂Z_l`` for all layers at once (they share no token), then L short
        backward passes from ``Z_l`` to the attention of block l.

    Raises:
        CaptureError: the tail's logits do not depend on the blocks' outputs.
    """
    cotangents, pools, logits = _tail(live, target)
    outs: dict[int, Tensor] = {}
    weights: dict[int, Tensor] = {}
    for call, number in zip(live.heard, live.numbers(), strict=True):
        if number is None:
            continue
        mixed = [call.weights] if call.mixed and call.weights is not None else []
        at = [in_graph(call.out, call.path), *mixed]
        found = grads(live.outputs[number], at, given=cotangents[number], keep_graph=True)
        outs[number] = found[0]
        if mixed:
            weights[number] = found[1]
    return LayerScores(outs, weights, pools, logits)


def _tail(live: Live, target: Target) -> tuple[list[Tensor], tuple[AttentionCall, ...], tuple[Tensor, ...]]:
    """All layers through the tail in one batch; one after the other where the tail insists on the batch it began with."""
    layers = [z.detach() for z in live.outputs]
    try:
        found = _through_tail(live, target, layers)
    except RuntimeError:  # shapes fixed before the last block (masks, ids): the tail takes the original batch only
        found = [part for z in layers for part in _through_tail(live, target, [z])]
    pools = tuple(call for one in found for call in one.pools)
    return [one.cotangent for one in found], pools, tuple(one.logits for one in found)


@dataclass(frozen=True)
class _Layer:
    """One layer through the tail: ``∂s_l/∂Z_l``, the calls the tail made on it with their ``layer_grad``, and its logits ``[b, c]``."""

    cotangent: Tensor
    pools: list[AttentionCall]
    logits: Tensor


def _through_tail(live: Live, target: Target, layers: list[Tensor]) -> list[_Layer]:
    """Each layer through the tail."""
    at_batch = _batch_axis(live, layers[0])
    stacked = torch.cat(layers, dim=at_batch).requires_grad_()
    count = len(layers)
    made, pools = _run_tail(live, stacked, count)
    index = target.of([*range(len(target.index))] * count)
    logits = in_graph(columns(made, index), "scores of each layer")
    total = score(made, index).sum()
    mixed = [call.weights for call in pools if call.mixed and call.weights is not None]
    found = grads(total, [stacked, *(in_graph(call.out, call.path) for call in pools), *mixed], keep_graph=False)
    at_outs = found[1 : 1 + len(pools)]
    calls = [_sliced(call, grad, count) for call, grad in zip(pools, at_outs, strict=True) if not call.mixed]
    parts = zip(found[0].chunk(count, dim=at_batch), logits.detach().chunk(count), strict=True)
    return [_Layer(g, [call[i] for call in calls], own) for i, (g, own) in enumerate(parts)]


def _run_tail(live: Live, stacked: Tensor, count: int) -> tuple[Made, list[Heard]]:
    """The model once more, without a graph until the last block; from there on with the stacked tokens and a graph."""
    batch = len(live.pixels) * count

    def exchange(_: Tensor) -> Tensor:
        torch.set_grad_enabled(True)  # no_grad below ends it again
        return stacked

    last = live.blocks.paths[-1]
    with torch.no_grad(), intercept(live.module, batch=batch) as recorder, replacing_output(live.module, last, exchange):
        made = as_made(live.forward(live.pixels.detach()))
    found = made.scores if made.scores is not None else made.features
    if found is None or len(found) != batch:
        shape = None if found is None else list(found.shape)
        raise CaptureError(f"the tail gives logits {shape}", expected=f"[{batch}, classes]", where="LeGrad's layer scores")
    return made, [call for call in recorder.heard if _after(live, call)]


def _after(live: Live, call: Heard) -> bool:
    """Outside the blocks, and on the stacked tokens (a call before the blocks has no graph)."""
    return live.blocks.number(call.path) is None and call.out.requires_grad


def _sliced(call: Heard, grad: Tensor, count: int) -> list[AttentionCall]:
    """A call on the stacked batch as one call for each layer."""
    whole = call.call(layer_grad=grad)
    kept = (whole.q, whole.k, whole.v, whole.mask, whole.weights, whole.layer_grad)
    parts = zip(*(_chunks(x, count) for x in kept), whole.out.chunk(count), strict=True)
    return [
        AttentionCall(whole.path, whole.kind, q, k, v, out, whole.scale, mask, whole.is_causal, weights, layer_grad=g)
        for q, k, v, mask, weights, g, out in parts
    ]


def _chunks(x: Tensor | None, count: int) -> list[Tensor | None]:
    """Along the batch; what all pictures share (a mask), or nothing, is shared by all layers."""
    if x is None:
        return [None] * count
    return list(x.chunk(count)) if len(x) > 1 or count == 1 else [x] * count


def _batch_axis(live: Live, z: Tensor) -> int:
    call = next(call for call, number in zip(live.heard, live.numbers(), strict=True) if number is not None)
    return 1 if batch_second(z.shape, len(live.pixels), call.place(call.out.detach()).shape[-2]) else 0
