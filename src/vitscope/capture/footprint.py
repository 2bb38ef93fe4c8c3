"""What a pass would keep in memory, known before it runs: the same forward on tensors that have shapes and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from vitscope.capture.blocks import Blocks
from vitscope.capture.hidden import hearing_blocks
from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary_mode
from vitscope.errors import CaptureError
from vitscope.trace import Needs


@dataclass(frozen=True)
class Footprint:
    """Bytes that one pass keeps until it ends; the weights, and what a kernel needs for a moment, come on top.

    Attributes:
        captured: attention's queries, keys, values, outputs (and weights a model writes out), block outputs asked for, the pixels, and
            the gradients of all of these where asked for.
        graph: what the backward pass needs beyond that; 0 without gradients. This is what can be moved out.
    """

    captured: int
    graph: int

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(self.captured + other.captured, self.graph + other.graph)

    @property
    def whole(self) -> int:
        """All of it."""
        return self.captured + self.graph


@dataclass(frozen=True)
class Pixels:
    """Pixels ``[b, 3, h, w]`` without values."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - a constant


class _Stores:
    """Tensors by the memory they stand in; each is counted once."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.bytes: dict[int, int] = {}
        self.alive: list[Tensor] = []  # so that no address is used twice
        self.known = {self._key(x) for x in known}

    @staticmethod
    def _key(x: Tensor) -> int:
        return int(x.untyped_storage()._cdata)

    def add(self, x: Tensor) -> Tensor:
        """Count a tensor; returns it."""
        if self._key(x) not in self.known:
            self.alive.append(x)
            self.bytes[self._key(x)] = int(x.untyped_storage().nbytes())
        return x

    @property
    def total(self) -> int:
        return sum(self.bytes.values())


def footprint(
    module: nn.Module, forward: Callable[[Tensor], Any], like: Pixels, needs: Needs, blocks: Blocks | None = None, *, attention: int = 0
) -> Footprint:
    """What a pass over pixels of this shape, type and device would keep.

    Args:
        module: the model; nothing is computed, and it is not touched.
        forward: how it is called.
        like: the pixels, without their values.
        needs: what the pass leaves behind.
        blocks: whose outputs are kept where ``needs.hidden``.
        attention: bytes that its attention calls keep, for a model whose written-out attention can only be followed on real values:
            then an upper bound, as the graph may count some of them again.

    Raises:
        CaptureError: the model's forward depends on values, so its shapes cannot be known beforehand.
    """
    try:
        return _felt(module, forward, like, needs, blocks, listen=True)
    except CaptureError:
        if not attention:
            raise
        twice = needs.gradients or needs.layer_scores
        return _felt(module, forward, like, needs, blocks, listen=False) + Footprint(attention * (1 + twice), 0)


def _felt(
    module: nn.Module, forward: Callable[[Tensor], Any], like: Pixels, needs: Needs, blocks: Blocks | None, *, listen: bool
) -> Footprint:
    """The pass itself, without values."""
    backward = needs.gradients or needs.layer_scores or needs.pixel_gradients
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    own = [*module.parameters(), *module.buffers()]
    weights = [*own, *map(mode.from_tensor, own)]  # the graph holds some as they are, some as they are here
    captured, graph = _Stores(weights), _Stores(weights)
    try:
        with ExitStack() as stack:
            stack.enter_context(ordinary_mode(grad=backward))
            stack.enter_context(mode)
            pixels = torch.empty(like.shape, dtype=like.dtype, device=like.device).requires_grad_(backward)
            stack.enter_context(saved_tensors_hooks(lambda x: bare(graph.add(x)), empty))
            outputs = stack.enter_context(hearing_blocks(module, blocks if needs.hidden or needs.layer_scores else None))
            heard = stack.enter_context(intercept(module, batch=like.shape[0])).heard if listen else []
            made = forward(pixels)
    except Exception as error:  # whatever a model does with values that are not there
        said = " ".join(str(error).split())[:160]
        raise CaptureError(f"what a pass keeps cannot be known before it runs ({said})", where=type(module).__name__) from error
    finally:
        graph.alive.clear()  # the graph holds its hooks, and they hold this: a circle, as in `bare`
    for x in (pixels, *outputs, *parts(made), *(x for call in heard for x in (call.q, call.k, call.v, call.out, call.weights))):
        if x is not None:
            captured.add(x)
    graph.known |= set(captured.bytes)
    rest = sum(size for key, size in graph.bytes.items() if key not in graph.known)
    gradients = [call.out for call in heard] if needs.gradients or needs.layer_scores else []
    gradients += [*(outputs if needs.gradients else ()), *([pixels] if needs.pixel_gradients else ())]
    return Footprint(captured.total + sum(x.numel() * x.element_size() for x in gradients), rest)


Bare = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


def bare(x: Tensor) -> Bare:
    """What a saved tensor is, without it: a graph that holds what it made itself is a circle never freed, the weights with it."""
    return x.shape, x.stride(), x.dtype, x.device


def empty(kept: Bare) -> Tensor:
    """A tensor like one that was saved."""
    shape, stride, dtype, device = kept
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)


def parts(made: Any) -> tuple[Tensor, ...]:
    """The tensors of what a forward made."""
    found = made.tensors() if hasattr(made, "tensors") else (made,)
    return tuple(x for x in found if isinstance(x, Tensor))
