"""From a trace to one vector a photo (or one a token), layer by layer: tensors become arrays here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import Kind, Readout
from vitscope.errors import ArgumentError, MethodError

if TYPE_CHECKING:
    from torch import Tensor

    from vitscope.trace import Trace

#: What of a read-out may be on no token of an earlier layer: rounding.
WHOLE = 1e-4

KINDS = ("pooled", "cls", "patch-mean", "tokens")


def vectors_of(trace: Trace, kind: str = "pooled", layers: Sequence[int] | None = None) -> dict[int, NDArray[np.float32]]:
    """Vectors of each photo from the blocks' outputs, before any norm of the head.

    Formula:
        ``w · Z_l``: "pooled" with ``w`` what the head reads of the last block (several read-outs one after the other, as a head sees
        them; of an attention pool its own row, mean over heads); "cls" and "patch-mean" that token, and the patches' mean. In a
        hierarchical model ``w`` is followed down to the layer's own tokens, each token's weight in equal parts to those it is made of.

    Args:
        trace: of a batch of photos.
        kind: one of :data:`KINDS`; "tokens" keeps every token.
        layers: blocks, from 0; all where None.

    Shapes:
        returns by layer ``[b, width]``, or ``[b, n, width]`` for tokens.

    Raises:
        ArgumentError: another kind, or a layer that is not there.
        MethodError: a model without that token, or whose read-out is not known.
    """
    from vitscope.trace import Needs

    if kind not in KINDS:
        raise ArgumentError(f"vectors {kind!r}", expected=", ".join(KINDS), where="--vectors")
    hidden = trace.with_needs(Needs(hidden=True)).hidden
    found = {}
    for layer in range(len(hidden)) if layers is None else layers:
        if not 0 <= layer < len(hidden):
            raise ArgumentError(f"layer {layer}", expected=f"0 to {len(hidden) - 1}", where="layer")
        z = hidden[layer]
        if z.dim() != 3:
            raise MethodError(f"block {layer} gives {list(z.shape)}", expected="tokens [b, n, width]", where=trace.provenance.model)
        found[layer] = (
            _array(z) if kind == "tokens" else np.concatenate([_read(z, w, layer, trace) for w in _weights(trace, kind, layer)], axis=1)
        )
    return found


def _read(z: Tensor, weights: Tensor, layer: int, trace: Trace) -> NDArray[np.float32]:
    """``w · Z``, in the precision of the weights."""
    import torch

    if z.shape[1] != weights.shape[1]:
        raise MethodError(
            f"block {layer} has {z.shape[1]} tokens",
            expected=f"the {weights.shape[1]} tokens of the layout",
            where=trace.provenance.model,
            todo=f"give {_instead(trace)}",
        )
    return _array(torch.einsum("bn,bnw->bw", weights, z.to(weights.dtype)))


def _weights(trace: Trace, kind: str, layer: int) -> list[Tensor]:
    """One row of weights ``[b, n]`` over a layer's tokens for each read-out."""
    from vitscope.methods.starts import pool_vector, start_of

    layout = trace.layout_of(layer)
    if kind == "patch-mean":
        return [_even(trace, layout.kinds == Kind.PATCH)]
    if kind == "cls":
        if not (layout.kinds == Kind.CLS).any():
            which = "this model has" if trace.stages is None else f"layer {layer} has"
            raise MethodError(f"{which} no CLS token", where=trace.provenance.model, todo=f"give {_instead(trace)}")
        return [_even(trace, layout.kinds == Kind.CLS)]
    if not trace.layout.readouts:
        raise MethodError(
            "it is not known which tokens this model's head reads", where=trace.provenance.model, todo=f"give {_instead(trace)}"
        )
    found = []
    for number, readout in enumerate(trace.layout.readouts):
        begin = start_of(trace, "pooled", number, layer)
        if begin.weights is not None and float(begin.weights[0].sum()) < 1 - WHOLE:
            raise MethodError(
                f"{1 - float(begin.weights[0].sum()):.0%} of what the head reads ({readout.name}) is on no token of layer {layer}",
                expected="a read-out made of that layer's tokens",
                where=trace.provenance.model,
                todo=f"give {_instead(trace)}, or --layer -1",
            )
        if begin.weights is None and begin.pool[-1].keys != layout.n:
            raise MethodError(_late(readout), where=trace.provenance.model, todo=f"give {_instead(trace)}")
        found.append(
            begin.weights
            if begin.weights is not None
            else pool_vector(begin, lambda call: call.rows().mean(dim=1)[:, 0], keep=0.0, mix=1.0)
        )
    return found


def _instead(trace: Trace) -> str:
    """The option that works on any model, with the last layer it works on where it is not every one."""
    from vitscope.trace import Needs

    hidden = trace.with_needs(Needs(hidden=True)).hidden
    fitting = [layer for layer, z in enumerate(hidden) if z.dim() == 3 and z.shape[1] == trace.layout_of(layer).n]
    if not fitting:
        return "another model: no layer here keeps the tokens of the picture"
    return "--vectors patch-mean" + ("" if len(fitting) == len(hidden) else f" --layer {fitting[-1]}")


def _late(readout: Readout) -> str:
    return f"the head reads a token that joins after the blocks ({readout.name})"


def _even(trace: Trace, which: NDArray[np.bool_]) -> Tensor:
    import torch

    like = trace.pixels
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.as_tensor(which / which.sum(), dtype=dtype, device=like.device).expand(len(trace), -1)


def _array(x: Tensor) -> NDArray[np.float32]:
    return np.asarray(x.detach().float().cpu().numpy(), dtype=np.float32)
