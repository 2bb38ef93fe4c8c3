"""Whether a model's attention says anything at all: how far its rows are from uniform."""

from __future__ import annotations

import torch

from vitscope.trace import AttentionCall, Trace

#: Below this distance every row is as good as uniform: a map made of such rows shows nothing.
UNIFORM_BELOW = 0.02

#: Rows looked at in one call, evenly spaced.
ROWS = 32


def distance_from_uniform(trace: Trace) -> list[float]:
    """The largest total variation between an attention row and the uniform one, over all calls and heads, for each picture.

    Formula:
        ``max ½ Σ_j |A_ij − 1/m|`` over every call, every head and up to 32 evenly spaced rows; ``m`` = keys the mask allows.

    Units:
        0 (uniform) to 1 (all on one token); 1 for a model without attention, whose maps are made of none.
    """
    if not trace.calls:
        return [1.0] * len(trace)
    far = torch.stack([_farthest(call).reshape(len(trace), -1).amax(dim=1) for call in trace.calls])
    return [float(x) for x in far.amax(dim=0)]


def _farthest(call: AttentionCall) -> torch.Tensor:
    """``[b]``, windows of one picture after each other."""
    at = torch.linspace(0, call.queries - 1, min(ROWS, call.queries), device=call.out.device).round().long()
    rows = call.rows(at)
    allowed = rows > 0
    uniform = allowed.to(rows.dtype) / allowed.sum(dim=-1, keepdim=True).clamp_min(1)
    return ((rows - uniform).abs().sum(dim=-1) / 2).flatten(1).amax(dim=1)
