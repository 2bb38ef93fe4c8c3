"""Grad-CAM on the tokens of one block."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError, MethodError
from vitscope.methods.result import Said, on_patches, to_array, token_map
from vitscope.trace import Needs, Trace

METHOD = "grad-cam"
NEEDS = Needs(hidden=True, gradients=True)


def grad_cam(trace: Trace, target: object = None, layer: int | None = None) -> TokenMap:
    """Which patches carry, at one block's output, the features that raise the score.

    Formula:
        ``map_i = (Σ_c w_c Z_l[i, c])⁺``, ``w = mean_patches ∂s/∂Z_l``, on patches; other tokens are NaN.

    Args:
        trace: what one pass left.
        target: which score.
        layer: block number, −1 the last; None takes the last block at which the map is defined.

    Shapes:
        values ``[b, n]``, NaN on tokens that are not patches.

    Units:
        score points (activation × gradient), cut at zero.

    Raises:
        ArgumentError: no such layer.
        MethodError: no gradient reaches the patches there (after the last mixing of a model read at CLS), with the measured number.

    Source:
        Selvaraju et al., "Grad-CAM", ICCV 2017, eqs. 1 and 2, with tokens for positions.
    """
    aim = trace.resolve(target)
    seen = trace.with_needs(NEEDS, aim)
    _require_hidden(seen)
    number = _last_defined(seen) if layer is None else _checked(seen, layer)
    values = _map(seen, number)
    empty = ("Uninformative: nothing above zero on any patch.",)
    said = Said(
        method=METHOD,
        unit="score points (activation × gradient, cut at 0)",
        layer=number,
        target=aim,
        picture_notes=tuple(() if peak > 0 else empty for peak in values.amax(dim=-1).tolist()),
    )
    layout = trace.layout_of(number)
    return token_map(trace, on_patches(trace, to_array(values), layout), said, layout)


def grad_cam_by_layer(trace: Trace, target: object = None) -> list[Tensor]:
    """The map at every block, first block first, ``L`` tensors ``[b, n]``; NaN throughout where it is undefined."""
    seen = trace.with_needs(NEEDS, trace.resolve(target))
    _require_hidden(seen)
    maps = [
        _map(seen, i) if _patch_share(seen, i) > 0 else seen.hidden[i].new_full((len(seen), len(seen.layout_of(i).patches)), float("nan"))
        for i in range(len(seen.hidden))
    ]
    wide = [torch.as_tensor(on_patches(trace, to_array(one), seen.layout_of(i))) for i, one in enumerate(maps)]
    return [one if trace.stages is None else trace.stages.spread(one, trace.stages.of[i]) for i, one in enumerate(wide)]


def _require_hidden(trace: Trace) -> None:
    wanted = [trace.layout_of(i).n for i in range(len(trace.hidden))]
    found = [int(z.shape[1]) for z in trace.hidden]
    if not trace.hidden or found != wanted:
        numbers = sorted(set(found)), sorted(set(wanted)) or [trace.layout.n]
        raise MethodError(f"block outputs with {numbers[0]} tokens", expected=f"{numbers[1]} tokens in every block", where=METHOD)


def _map(trace: Trace, layer: int) -> Tensor:
    """``[b, P]``."""
    patches = torch.as_tensor(trace.layout_of(layer).patches, device=trace.hidden[layer].device)
    z, g = trace.hidden[layer][:, patches], trace.hidden_grads[layer][:, patches]
    dtype = torch.float64 if z.dtype == torch.float64 else torch.float32
    weights = g.to(dtype).mean(dim=1)
    return torch.einsum("bpc,bc->bp", z.to(dtype), weights).clamp(min=0)


def _patch_share(trace: Trace, layer: int) -> float:
    """Largest gradient on a patch over the largest on any token, at one block's output."""
    g = trace.hidden_grads[layer].abs()
    patches = torch.as_tensor(trace.layout_of(layer).patches, device=g.device)
    return float(g[:, patches].max()) / max(float(g.max()), torch.finfo(torch.float32).tiny)


def _last_defined(trace: Trace) -> int:
    for layer in reversed(range(len(trace.hidden))):
        if _patch_share(trace, layer) > 0:
            return layer
    raise MethodError("no gradient reaches any patch at any block", where=METHOD, todo="choose another target")


def _checked(trace: Trace, layer: int) -> int:
    count = len(trace.hidden)
    if not -count <= layer < count:
        raise ArgumentError(f"layer {layer}", expected=f"0 to {count - 1}, or −{count} to −1", where="layer")
    number = layer % count
    share = _patch_share(trace, number)
    if share == 0:
        raise MethodError(
            f"the largest gradient on a patch is {share:.1e} of the largest on any token",
            expected="patches that still reach the score",
            where=f"{METHOD} at block {number}, after the last mixing of tokens",
            todo=f"use layer {_last_defined(trace)}",
        )
    return number
