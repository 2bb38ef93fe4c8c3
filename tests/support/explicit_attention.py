"""Every attention of a model as the model itself wrote it out, and autograd's own gradients: never through the interceptor.

The twin runs the library's explicit path (transformers "eager", timm ``fused_attn=False``, nn.MultiheadAttention asked for its
weights, in test hooks on the twin alone), or, for a module that knows only the fused kernel, that kernel computed by hand. What
the softmax gave is kept, in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from support.zoo import Built


@dataclass
class Explicit:
    """Logits, and what each softmax over keys gave, in running order."""

    logits: Tensor
    weights: list[Tensor] = field(default_factory=list)


def explicit_attention(built: Built) -> Explicit:
    """Run the twin."""
    twin = built.explicit()
    for part in twin.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.register_forward_pre_hook(_ask_for_weights, with_kwargs=True)
    with torch.enable_grad(), _listening() as weights:
        logits = built.forward(twin, built.pixels)
    return Explicit(logits, list(weights))


def _ask_for_weights(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    return args, {**kwargs, "need_weights": True, "average_attn_weights": False}


@contextmanager
def _listening() -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    of_tensor, of_torch = Tensor.softmax, torch.softmax

    def keep(out: Tensor) -> Tensor:
        if out.dim() >= 3:
            kept.append(out)
        return out

    def by_hand(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
        return keep(of_tensor(scores, -1)) @ value

    with (
        mock.patch.object(Tensor, "softmax", lambda *a, **k: keep(of_tensor(*a, **k))),
        mock.patch.object(torch, "softmax", lambda *a, **k: keep(of_torch(*a, **k))),
        mock.patch.object(F, "scaled_dot_product_attention", by_hand),
    ):
        yield kept


def as_heads(weights: Tensor, batch: int) -> Tensor:
    """``[b·h, nq, nk]`` or ``[b, h, nq, nk]`` to the latter."""
    return weights.reshape(batch, -1, *weights.shape[-2:])
