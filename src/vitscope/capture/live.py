"""Live: a pass still attached to its graph; Pass: what is left of it, detached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from vitscope.capture.blocks import Blocks
from vitscope.capture.heard import Heard
from vitscope.capture.hidden import batch_second
from vitscope.core.targets import Target
from vitscope.errors import CaptureError
from vitscope.scoring import BARE, Made
from vitscope.trace import AttentionCall, Needs

#: ``forward(pixels)`` gives logits ``[b, c]``, None for a model without class scores, or all that was made.
Forward = Callable[[Tensor], Tensor | Made | None]


@dataclass(frozen=True)
class Pass:
    """What one pass left, detached from any graph.

    Shapes:
        logits ``[b, c]`` or None; hidden, hidden_grads: L tensors ``[b, n, width]``; pixel_grads ``[b, 3, h, w]``.

    Attributes:
        calls: every attention call in running order, with block numbers.
        layer_pools: where the head pools by attention and layer scores were asked: its call on each block's tokens.
        layer_logits: where layer scores were asked: the model's own tail on each block's tokens, ``[b, c]`` each.
        target: what the gradients are of.
        made: what it made beside class scores.
        blocks: the blocks' module paths.
    """

    calls: tuple[AttentionCall, ...]
    logits: Tensor | None
    blocks: Blocks
    target: Target | None = None
    hidden: tuple[Tensor, ...] = ()
    hidden_grads: tuple[Tensor, ...] = ()
    pixel_grads: Tensor | None = None
    layer_pools: tuple[AttentionCall, ...] = ()
    layer_logits: tuple[Tensor, ...] = ()
    made: Made = BARE

    @property
    def block_paths(self) -> tuple[str, ...]:
        """The blocks' module paths, first block first."""
        return self.blocks.paths


@dataclass(frozen=True)
class Gradients:
    """What one backward pass gave, in the model's own layouts; empty where not asked."""

    outs: tuple[Tensor, ...] = ()
    weights: tuple[Tensor | None, ...] = ()
    hidden: tuple[Tensor, ...] = ()
    pixels: Tensor | None = None


@dataclass(frozen=True)
class LayerScores:
    """``∂s_l/∂out_l`` (and ``∂s_l/∂A_l`` for mixed heads) by block number, the pool's calls, and each layer's own logits ``[b, c]``; empty
    where not asked.
    """

    outs: dict[int, Tensor] | None = None
    weights: dict[int, Tensor] | None = None
    pools: tuple[AttentionCall, ...] = ()
    logits: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Live:
    """One forward pass, still attached."""

    module: nn.Module
    forward: Forward
    pixels: Tensor
    made: Made
    heard: tuple[Heard, ...]
    outputs: tuple[Tensor, ...]
    blocks: Blocks

    @property
    def whole(self) -> Made:
        """All that was made, blocks' tokens too."""
        return replace(self.made, hidden=tuple(self.batch_first(z) for z in self.outputs))

    def numbers(self) -> tuple[int | None, ...]:
        """Block number of each call."""
        return tuple(self.blocks.number(call.path) for call in self.heard)

    def batch_first(self, x: Tensor) -> Tensor:
        """A block's output or its gradient as ``[b, n, width]``."""
        call = next((call for call, number in zip(self.heard, self.numbers(), strict=True) if number is not None), None)
        if call is None:
            return x
        tokens = call.place(call.out.detach()).shape[-2]
        return x.transpose(0, 1) if batch_second(x.shape, len(self.pixels), tokens) else x

    def as_pass(
        self, needs: Needs, target: Target | None = None, gradients: Gradients = Gradients(), layers: LayerScores = LayerScores()
    ) -> Pass:
        """Detached, nothing of the graph kept."""
        calls = tuple(
            call.call(
                block=number,
                grad=gradients.outs[i] if gradients.outs else None,
                grad_weights=gradients.weights[i] if gradients.weights else None,
                layer_grad=None if layers.outs is None or number is None else layers.outs.get(number),
                layer_grad_weights=None if layers.weights is None or number is None else layers.weights.get(number),
            )
            for i, (call, number) in enumerate(zip(self.heard, self.numbers(), strict=True))
        )
        return Pass(
            calls,
            None if self.made.scores is None else self.made.scores.detach(),
            self.blocks,
            target,
            hidden=tuple(self.batch_first(z.detach()) for z in self.outputs) if needs.hidden else (),
            hidden_grads=tuple(self.batch_first(g) for g in gradients.hidden),
            pixel_grads=gradients.pixels,
            layer_pools=layers.pools,
            layer_logits=layers.logits,
            made=replace(self.made, scores=None).detach(),
        )


def in_graph(x: Tensor, path: str) -> Tensor:
    """The tensor, if gradients can reach it.

    Raises:
        CaptureError: the model's forward cuts the graph.
    """
    if x.requires_grad:
        return x
    raise CaptureError(
        "no gradient can reach this output: the model's forward runs under torch.no_grad, torch.inference_mode or reentrant checkpointing",
        expected="a forward with autograd on",
        where=path or "the model",
        todo="remove the no_grad/inference_mode decorator around it, or use a method without gradients (attention, rollout)",
    )
