"""One backward pass: the gradients of the score at every attention output, block output and pixel asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vitscope.capture.live import Gradients, Live, in_graph
from vitscope.core.targets import Target
from vitscope.scoring import score
from vitscope.trace import Needs


def backward_once(live: Live, target: Target, needs: Needs) -> Gradients:
    """``∂s/∂out``, ``∂s/∂A`` (mixed heads only), ``∂s/∂Z`` and ``∂s/∂pixels``, in one ``torch.autograd.grad``.

    A call that depends on no pixel (and is in no block) has the gradient 0.

    The score is summed over the batch: pictures do not see each other, so each gets its own gradient.
    """
    fixed = [number is None and call.of_no_photo for call, number in zip(live.heard, live.numbers(), strict=True)]
    reached = [call for call, alone in zip(live.heard, fixed, strict=True) if not alone] if needs.gradients else []
    outs = [in_graph(call.out, call.path) for call in reached]
    weights = [in_graph(call.weights, call.path) for call in reached if call.mixed and call.weights is not None]
    hidden = list(live.outputs) if needs.hidden and needs.gradients else []
    pixels = [live.pixels] if needs.pixel_gradients else []
    wanted = [*outs, *weights, *hidden, *pixels]
    if not wanted:
        return Gradients()
    total = score(live.whole, target).sum()
    in_graph(total, "scores")
    found = grads(total, wanted, keep_graph=needs.layer_scores)
    outs, found = found[: len(outs)], found[len(outs) :]
    mixed, found = found[: len(weights)], found[len(weights) :]
    in_order, found_outs = iter(mixed), iter(outs)
    outs = [torch.zeros_like(c.out) if a else next(found_outs) for c, a in zip(live.heard, fixed, strict=True)] if needs.gradients else []
    by_call = tuple(next(in_order) if call.mixed and call.weights is not None else None for call in live.heard) if weights else ()
    return Gradients(tuple(outs), by_call, tuple(found[: len(hidden)]), found[-1] if pixels else None)


def grads(of: Tensor, at: list[Tensor], *, given: Tensor | None = None, keep_graph: bool) -> list[Tensor]:
    """``torch.autograd.grad`` with zeros where the score does not depend on a tensor."""
    found = torch.autograd.grad(of, at, grad_outputs=given, retain_graph=keep_graph, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(at, found, strict=True)]


#: Functions whose backward pass on the CPU (torch 2.13) misreads a gradient that comes, for one picture, in channels-last order with an odd
#: stride for the batch, as it does where a feature map is made tokens: ``bn(x).flatten(2).transpose(1, 2)``.
MISCOUNTING = frozenset({"batch_norm", "instance_norm"})


def with_plain_gradient(name: str, out: Any) -> Any:
    """What a function of this name gave; where it is one of these, its gradient will reach it in plain order."""
    if name in MISCOUNTING and isinstance(out, Tensor) and out.requires_grad:
        out.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
    return out
