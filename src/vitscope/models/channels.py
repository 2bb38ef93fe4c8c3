"""Attention over channels (DaViT, XCiT): its weights hear of every place, its values stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitscope.capture.modes import ordinary_mode
from vitscope.errors import ProofError


class _Softmax(TorchFunctionMode):
    """Keeps a module's softmax, or gives back the one it kept."""

    def __init__(self, kept: Tensor | None = None) -> None:
        super().__init__()
        self.kept = kept
        self.last: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") != "softmax":
            return out
        if self.kept is not None and out.shape[1:] == self.kept.shape[1:]:
            return self.kept.to(out.dtype).expand(out.shape)
        self.last = out.detach()
        return out


@contextmanager
def holding_channels(module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, paths: Sequence[str]) -> Iterator[None]:
    """While it lasts, these channel attentions weigh channels as they did on noise: then each place gives on what it holds, and no more.

    Raises:
        ProofError: one whose weights are not a softmax of its own that can be held.
    """
    if not paths:
        yield
        return
    first = {path: _Softmax() for path in paths}
    with ordinary_mode(grad=False), _inside(module, first):
        forward(noise)
    for path, mode in first.items():
        if mode.last is None or len(mode.last) != len(noise):
            raise ProofError("channel attention without a softmax of its own", expected="weights that can be held", where=path)
    with _inside(module, {path: _Softmax(mode.last) for path, mode in first.items()}):
        yield


@contextmanager
def _inside(module: nn.Module, modes: dict[str, _Softmax]) -> Iterator[None]:
    """Each mode is on while its module runs."""
    running = ExitStack()  # the modes themselves; no channel attention lies inside another

    def begin(mode: _Softmax) -> Any:
        def enter(*_: Any) -> None:
            running.enter_context(mode)

        return enter

    def end(*_: Any) -> None:
        running.close()

    with running, ExitStack() as hooks:
        for path, mode in modes.items():
            part = module.get_submodule(path)
            hooks.callback(part.register_forward_pre_hook(begin(mode)).remove)
            hooks.callback(part.register_forward_hook(end).remove)
        yield
