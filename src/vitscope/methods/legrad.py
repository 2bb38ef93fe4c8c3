"""LeGrad: every layer scored by itself, and the gradient of that score with respect to its attention."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.errors import MethodError
from vitscope.methods.fusion import on_padding, push, require_map, stage_notes
from vitscope.methods.result import Said, to_array, token_map
from vitscope.methods.starts import start_of
from vitscope.trace import AttentionCall, Needs, Trace

METHOD = "legrad"
NEEDS = Needs(layer_scores=True)


def legrad(trace: Trace, target: object = None, start: int = 0) -> TokenMap:
    """Which patches each layer's attention would have to look at more to raise that layer's own score, averaged over layers.

    Formula:
        ``map = mean_l w · mean_h (∂s_l/∂A_l)⁺``; ``s_l`` = the model's head on layer ``l``'s pooled tokens; ``w`` = the read-out
        weights. Where the head pools by attention, ``A_l`` is the (last) pool's own attention on layer ``l``'s tokens.

    Shapes:
        values ``[b, n]``.

    Units:
        score points per unit of attention; not negative.

    Raises:
        MethodError: no class scores, no layer scores for this model, or stages: the head takes the tokens of the last one only.

    Source:
        Bousselham et al., "LeGrad", ICCV 2025. All layers are averaged, as in the paper; no min-max at the end. The read-out row is used
        where the paper averages all rows: for a model read at CLS only that row has a gradient, so the two differ by the factor ``n``.
    """
    aim = trace.resolve(target)
    require_map(trace, trace.blocks)
    begin = start_of(trace, "pooled", start)
    lost: list[Tensor] = []
    layers = legrad_by_layer(trace, aim, start, lost)
    gone = torch.stack(lost).sum(dim=0) if lost else layers[0].new_zeros(len(trace))
    said = Said(
        method=METHOD,
        unit="score points per unit of attention",
        parameters={"start": start, "reads": begin.name, "layers": len(layers)},
        query=begin.query,
        target=aim,
        notes=(*begin.notes, *stage_notes(trace)),
        **on_padding(trace, gone, torch.stack(layers).sum(dim=(0, 2)) + gone),
    )
    return token_map(trace, to_array(torch.stack(layers).mean(dim=0)), said)


def legrad_by_layer(trace: Trace, target: object = None, start: int = 0, lost: list[Tensor] | None = None) -> list[Tensor]:
    """Each layer's own map, first block first: ``L`` tensors ``[b, n]``. What goes to windows' padding is added to ``lost``."""
    if trace.stages is not None and not trace.stages.alike:
        raise MethodError(
            "the head cannot be put on tokens of an earlier stage", expected="one grid throughout", where=METHOD, todo="use relevance"
        )
    aim = trace.resolve(target)
    if aim.placed or aim.blocks:
        raise MethodError(
            "each layer's own score needs a head on the last block's tokens",
            expected="a class or a feature",
            where=METHOD,
            todo="use relevance",
        )
    seen = trace.with_needs(NEEDS, aim)
    begin = start_of(seen, "pooled", start)
    if begin.weights is None:
        pools = [call for call in seen.layer_pools if call.path == begin.pool[-1].path]
        if len(pools) != len(seen.blocks):
            raise MethodError(f"{len(pools)} layer scores", expected=f"one for each of {len(seen.blocks)} blocks", where=METHOD)
        return [_row(pool, pool.out.new_ones(len(seen), 1))[:, pool.keys - begin.tokens :] for pool in pools]
    require_map(seen, seen.blocks)
    return [_row(call, begin.weights, lost) for call in seen.blocks]


def _row(call: AttentionCall, weights: Tensor, lost: list[Tensor] | None = None) -> Tensor:
    """``w · mean_h (∂s_l/∂A_l)⁺``."""
    return push(call, weights, lambda at: call.grad_rows(at, of="layer").clamp_(min=0).mean(dim=1), lost)
