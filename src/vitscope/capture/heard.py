"""Heard: one attention call as the interceptor heard it, still attached to the graph, in whatever layout the model uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vitscope.capture.kept import overwritten, unchanged
from vitscope.trace import AttentionCall, CallKind


@dataclass(frozen=True)
class Heads:
    """How a call's leading dimensions stand for pictures and heads.

    Attributes:
        lead: leading shape of the call's output, everything before ``[n, d]``.
        batch: pictures in the batch: what ``[b·h, n, d]`` is divided by (b outermost, as everybody does).
    """

    lead: tuple[int, ...]
    batch: int

    def unfold(self, x: Tensor) -> Tensor:
        """``[*lead or broadcastable, m, k]`` to ``[b, h, m, k]`` (or broadcastable to it): a view wherever there is one."""
        missing = len(self.lead) - (x.dim() - 2)
        x = x[(None,) * missing] if missing > 0 else x
        if len(self.lead) == 2:
            return x
        if len(self.lead) == 0:
            return x[None, None]
        if len(self.lead) == 1:
            whole = self.lead[0]
            split = (self.batch, whole // self.batch) if whole % self.batch == 0 else (whole, 1)
            return x.view(*split, *x.shape[1:]) if x.shape[0] == whole else x[None]
        return x.expand(*self.lead[:-1], *x.shape[-3:]).flatten(0, -4)


def as_it_is(x: Tensor) -> Tensor:
    """The layout that needs no change."""
    return x


@dataclass
class Heard:
    """One attention call, attached.

    Shapes:
        q, k, v: ``[*lead, n, d]``; out: the tensor the model goes on with, ``place(out)`` is ``[*lead, nq, dv]``.
        weights: the model's own softmax output, ``place_weights(weights)`` is ``[*lead, nq, nk]``; None where q and k explain it.

    Attributes:
        graph_on: whether autograd was on when it was made.
        mixed: the model mixes the weights after the softmax (talking heads): then ``∂s/∂A`` is not ``(∂s/∂O) Vᵀ``.
    """

    path: str
    kind: CallKind
    heads: Heads
    q: Tensor | None
    k: Tensor | None
    v: Tensor
    out: Tensor
    scale: float = 1.0
    masks: tuple[Tensor, ...] = ()
    is_causal: bool = False
    weights: Tensor | None = None
    mixed: bool = False
    graph_on: bool = field(default_factory=torch.is_grad_enabled)
    place: Callable[[Tensor], Tensor] = as_it_is
    place_weights: Callable[[Tensor], Tensor] = as_it_is

    def __post_init__(self) -> None:
        kept = (self.q, self.k, self.v, self.out, self.weights, *self.masks)
        self._untouched = [unchanged(x) for x in kept if x is not None]

    @property
    def of_no_photo(self) -> bool:
        """Whether it was made, autograd on, of tensors that depend on no pixel: a decoder's first attention among its learned queries."""
        operands = [x for x in (self.q, self.k, self.v) if x is not None]
        return self.graph_on and not self.out.requires_grad and not any(x.requires_grad for x in operands)

    def call(
        self,
        *,
        block: int | None = None,
        grad: Tensor | None = None,
        grad_weights: Tensor | None = None,
        layer_grad: Tensor | None = None,
        layer_grad_weights: Tensor | None = None,
    ) -> AttentionCall:
        """The call as the trace keeps it: detached, ``[b, h, n, d]``.

        Raises:
            CaptureError: the model has since written over a tensor that was kept by reference.
        """
        if not all(check() for check in self._untouched):
            raise overwritten(self.path, "queries, keys, values or output")
        out = self._out(self.out)
        weights = None if self.weights is None else self._weights(self.weights)
        return AttentionCall(
            path=self.path,
            kind=self.kind,
            q=self._operand(self.q, out) if weights is None else None,
            k=self._operand(self.k, out) if weights is None else None,
            v=self._operand(self.v, out),
            out=out,
            scale=self.scale,
            mask=self._mask() if weights is None else None,
            is_causal=self.is_causal,
            weights=weights,
            block=block,
            grad_out=None if grad is None else self._out(grad),
            grad_weights=None if grad_weights is None else self._weights(grad_weights),
            layer_grad=None if layer_grad is None else self._out(layer_grad),
            layer_grad_weights=None if layer_grad_weights is None else self._weights(layer_grad_weights),
            mixed=self.mixed,
        )

    def _out(self, x: Tensor) -> Tensor:
        return self.heads.unfold(self.place(x.detach()))

    def _weights(self, x: Tensor) -> Tensor:
        return self.heads.unfold(self.place_weights(x.detach()))

    def _operand(self, x: Tensor | None, out: Tensor) -> Tensor | None:
        """Queries, keys or values for every picture; under autocast, as the kernel saw them (cast to the output's type)."""
        if x is None:
            return None
        x = self.heads.unfold(x.detach())
        heads = x.shape[1] if x.shape[1] > 1 or out.shape[1] == 1 else out.shape[1]
        return x.expand(out.shape[0], heads, -1, -1).to(out.dtype)

    def _mask(self) -> Tensor | None:
        """The masks, summed where there are several."""
        masks = [self.heads.unfold(mask.detach()) for mask in self.masks]
        if len(masks) < 2:
            return masks[0] if masks else None
        added = [_additive(mask) for mask in masks]
        total = added[0]
        for mask in added[1:]:
            total = total + mask
        return total


def _additive(mask: Tensor) -> Tensor:
    """A mask as a term of the scores: a bool mask keeps (0) or drops (−∞)."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
