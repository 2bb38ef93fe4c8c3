"""Rollout of gradient-weighted attention."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.methods.fusion import check_share, discard_low, normalise_rows, on_padding, patch_columns, push, require_map, stage_notes
from vitscope.methods.relevance import needs_for, weighted_rows
from vitscope.methods.result import Said, to_array, token_map
from vitscope.methods.starts import pool_vector, start_for
from vitscope.trace import AttentionCall, Trace

METHOD = "gradient-rollout"


def gradient_rollout(trace: Trace, target: object = None, residual: float = 0.5, discard: float = 0.0, start: int = 0) -> TokenMap:
    """Rollout over the attention that raised the target's score.

    Formula:
        ``map = w · Â_{L−1} … Â_0``, ``Â = (1 − r)·F + r·I``, ``F = mean_h (∂s/∂A_h ⊙ A_h)⁺``, the lowest share of each row's patch
        columns discarded, rows normalised where they are not empty (an empty row keeps only ``r`` of its mass: nothing in it helped).

    Shapes:
        values ``[b, n]``.

    Units:
        share of the read-out's mass; sums to at most 1.

    Raises:
        ArgumentError: residual, discard or start out of range.
        MethodError: no class scores, or a block that does not attend over all tokens.

    Source:
        J. Gildenblat, "vit-explain", 2020 (gradient attention rollout); gradients are paired with their own layer, and heads are
        averaged after the product is cut at zero, as in Chefer et al., ICCV 2021, eq. 5.
    """
    aim = trace.resolve(target)
    require_map(trace, trace.blocks)
    begin = start_for(trace.with_needs(needs_for(aim), aim), aim, start)
    lost: list[Tensor] = []
    values = gradient_rollout_by_layer(trace, aim, residual, discard, start, lost)[0]
    gone = torch.stack(lost).sum(dim=0) if lost else values.new_zeros(len(values))
    said = Said(
        method=METHOD,
        unit="share of gradient-weighted attention (sums to at most 1)",
        parameters={"residual": residual, "discard": discard, "start": start, "reads": begin.name},
        query=begin.query,
        target=aim,
        notes=(*begin.notes, *stage_notes(trace)),
        **on_padding(trace, gone, values.sum(dim=1) + gone),
    )
    return token_map(trace, to_array(values), said)


def gradient_rollout_by_layer(
    trace: Trace,
    target: object = None,
    residual: float = 0.5,
    discard: float = 0.0,
    start: int = 0,
    lost: list[Tensor] | None = None,
) -> list[Tensor]:
    """How the row develops: entry ``l`` holds blocks ``L−1 … l`` ``[b, n]``, so entry 0 is the map itself.

    What goes to padding is added to ``lost``, block by block.
    """
    check_share(residual, "residual")
    check_share(discard, "discard", below_one=True)
    aim = trace.resolve(target)
    seen = trace.with_needs(needs_for(aim), aim)
    require_map(seen, seen.blocks)
    begin = start_for(seen, aim, start)
    vector = begin.weights
    if vector is None:
        ones = seen.calls[0].out.new_ones(len(seen), 1)
        vector = pool_vector(begin, lambda call: _through(seen, call, ones, discard), keep=residual, mix=1.0 - residual)
    steps: list[Tensor] = []
    for number, call in reversed(list(enumerate(seen.blocks))):
        vector = seen.onto(number, vector)
        stays, here = seen.stays(number, residual), list[Tensor]()
        vector = (1.0 - stays) * _through(seen, call, vector, discard, here) + stays * seen.past(number, vector)
        if lost is not None:
            lost += [(1.0 - stays) * gone for gone in here]
        steps.append(seen.on_first(number, vector))
    return steps[::-1]


def _through(trace: Trace, call: AttentionCall, vector: Tensor, discard: float, lost: list[Tensor] | None = None) -> Tensor:
    columns = patch_columns(trace.layout, call)
    return push(call, vector, lambda at: normalise_rows(discard_low(weighted_rows(call, at), discard, columns)), lost)
