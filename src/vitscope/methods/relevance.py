"""Gradient-weighted attention through all blocks: generic relevance, and gradient rollout beside it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.core.targets import Target
from vitscope.methods.fusion import on_padding, push, require_map, stage_notes
from vitscope.methods.result import Said, to_array, token_map
from vitscope.methods.starts import pool_vector, start_for
from vitscope.trace import AttentionCall, Needs, Trace

METHOD = "relevance"
NEEDS = Needs(gradients=True)


def relevance(trace: Trace, target: object = None, start: int = 0) -> TokenMap:
    """Which patches the target's score drew on, through every block's attention.

    Formula:
        ``Ē_l = mean_h (∂s/∂A_h ⊙ A_h)⁺``; ``R ← R + Ē_l R`` from ``R = I``; the map is the read-out's row of ``R``, computed as
        ``v ← v + v Ē_l`` from the last block to the first. Where the head pools by attention ``v`` begins as the pool's own ``Ē`` row.

    Shapes:
        values ``[b, n]``.

    Units:
        gradient × attention, summed over all paths; not negative. The start's own weight (1 on CLS) is part of the row.

    Raises:
        MethodError: no class scores, or a block that does not attend over all tokens.

    Source:
        Chefer, Gur and Wolf, "Generic attention-model explainability", ICCV 2021, eqs. 5 and 6 (self-attention, encoder only).
    """
    aim = trace.resolve(target)
    require_map(trace, trace.blocks)
    begin = start_for(trace.with_needs(needs_for(aim), aim), aim, start)
    lost: list[Tensor] = []
    values = relevance_by_layer(trace, aim, start, lost)[0]
    gone = torch.stack(lost).sum(dim=0) if lost else values.new_zeros(len(values))
    said = Said(
        method=METHOD,
        unit="relevance (gradient × attention)",
        parameters={"start": start, "reads": begin.name},
        query=begin.query,
        target=aim,
        notes=(*begin.notes, *stage_notes(trace)),
        **on_padding(trace, gone, values.sum(dim=1) + gone),
    )
    return token_map(trace, to_array(values), said)


def relevance_by_layer(trace: Trace, target: object = None, start: int = 0, lost: list[Tensor] | None = None) -> list[Tensor]:
    """How the row develops: entry ``l`` holds blocks ``L−1 … l`` ``[b, n]``, so entry 0 is the map itself.

    What goes to padding is added to ``lost``, block by block.
    """
    aim = trace.resolve(target)
    seen = trace.with_needs(needs_for(aim), aim)
    require_map(seen, seen.blocks)
    vector = weighted_start(seen, aim, start)
    steps: list[Tensor] = []
    for number, call in reversed(list(enumerate(seen.blocks))):
        vector = seen.onto(number, vector)
        vector = seen.past(number, vector) + push(call, vector, partial(weighted_rows, call), lost)
        steps.append(seen.on_first(number, vector))
    return steps[::-1]


def needs_for(aim: Target) -> Needs:
    """What a gradient-weighted method needs; of a score at a place also where it reads the last block."""
    return NEEDS | Needs(hidden=aim.placed)


def weighted_start(trace: Trace, aim: Target, start: int) -> Tensor:
    """The read-out as weights ``[b, n]``; a pool's own gradient-weighted row where the head pools by attention."""
    begin = start_for(trace, aim, start)
    if begin.weights is not None:
        return begin.weights
    return pool_vector(begin, lambda call: push(call, call.out.new_ones(len(trace), 1), partial(weighted_rows, call)), keep=1.0, mix=1.0)


def weighted_rows(call: AttentionCall, at: Tensor) -> Tensor:
    """Rows of ``mean_h (∂s/∂A_h ⊙ A_h)⁺``, ``[b, m, nk]``."""
    return call.rows(at).mul_(call.grad_rows(at)).clamp_(min=0).mean(dim=1)
