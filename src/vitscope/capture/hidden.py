"""Temporary hooks on the blocks: reading their outputs, taking tokens out before them, putting others in after them.

Hooks sit on the modules only inside the ``with`` block, are removed also after an exception, and do nothing in other threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.blocks import Blocks
from vitscope.capture.kept import overwritten, unchanged
from vitscope.errors import CaptureError


@contextmanager
def hearing_blocks(module: nn.Module, blocks: Blocks | None) -> Iterator[list[Tensor]]:
    """Collect each block's output in running order; nothing where ``blocks`` is None.

    Raises:
        CaptureError: a block gives no tensor, or its output is written over before the pass ends.
    """
    outputs: list[Tensor] = []
    checks: list[Callable[[], bool]] = []
    me = threading.get_ident()

    def listen(block: nn.Module, _args: Any, output: Any) -> None:
        if threading.get_ident() == me:
            outputs.append(first_tensor(output, block))
            checks.append(unchanged(outputs[-1]))

    with ExitStack() as hooks:
        for path in blocks.paths if blocks is not None else ():
            handle = module.get_submodule(path).register_forward_hook(listen)
            hooks.callback(handle.remove)
        yield outputs
    if not all(check() for check in checks):
        raise overwritten("a block", "block's output")


@contextmanager
def without_tokens(module: nn.Module, block: str, keep: Tensor | None) -> Iterator[None]:
    """Take the tokens marked False out of the sequence before one block; nothing where ``keep`` is None.

    Raises:
        CaptureError: pictures that would keep different numbers of tokens, or a block that is not given that sequence.
    """
    if keep is None:
        yield
        return
    kept = _kept_indices(keep)
    me = threading.get_ident()

    def shorten(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if threading.get_ident() != me:
            return None
        if args and isinstance(args[0], Tensor):
            return (_shortened(args[0], kept, keep, block), *args[1:]), kwargs
        name = next((name for name, value in kwargs.items() if isinstance(value, Tensor)), None)
        if name is None:
            raise CaptureError(f"{type(part).__name__} is called without a tensor", expected="its tokens", where=block)
        return args, {**kwargs, name: _shortened(kwargs[name], kept, keep, block)}

    handle = module.get_submodule(block).register_forward_pre_hook(shorten, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replacing_output(module: nn.Module, block: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The block's output is exchanged on its way: what follows sees ``change(output)``."""
    me = threading.get_ident()

    def exchange(part: nn.Module, _args: Any, output: Any) -> Any:
        if threading.get_ident() != me:
            return output
        new = change(first_tensor(output, part))
        return new if isinstance(output, Tensor) else (new, *tuple(output)[1:])

    handle = module.get_submodule(block).register_forward_hook(exchange)
    try:
        yield
    finally:
        handle.remove()


def first_tensor(output: Any, block: nn.Module) -> Tensor:
    """A block's tokens: its output, or the first of several.

    Raises:
        CaptureError: the block gives no tensor.
    """
    found = output if isinstance(output, Tensor) else output[0] if isinstance(output, (tuple, list)) and output else None
    if not isinstance(found, Tensor):
        raise CaptureError(
            f"the block gives a {type(output).__name__}", expected="a tensor, or a tuple that begins with one", where=type(block).__name__
        )
    return found


def batch_second(shape: torch.Size, batch: int, tokens: int) -> bool:
    """Whether tokens come as ``[n, b, width]`` (only where they cannot be ``[b, n, width]``)."""
    return len(shape) == 3 and shape[:2] == (tokens, batch) and tokens != batch


def _kept_indices(keep: Tensor) -> Tensor:
    counts = keep.sum(dim=1)
    if (counts != counts[0]).any():
        raise CaptureError(
            f"pictures keep {int(counts.min())} to {int(counts.max())} tokens", expected="as many in each picture", where="token dropping"
        )
    return keep.nonzero()[:, 1].view(len(keep), -1)


def _shortened(tokens: Tensor, kept: Tensor, keep: Tensor, block: str) -> Tensor:
    """``[b, n, c]`` or ``[n, b, c]`` with the kept tokens only."""
    second = batch_second(tokens.shape, *keep.shape)
    x = tokens.transpose(0, 1) if second else tokens
    if x.dim() != 3 or x.shape[:2] != keep.shape:
        raise CaptureError(f"the block is given {list(tokens.shape)}", expected=f"tokens {list(keep.shape)} × width", where=block)
    short = x.gather(1, kept.to(x.device)[:, :, None].expand(-1, -1, x.shape[2]))
    return short.transpose(0, 1) if second else short
