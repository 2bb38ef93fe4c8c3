"""What kind of attention a call is: read off its shapes and off what its module was given, not off names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from vitscope.trace import AttentionCall

#: For each module path: how many tokens each of the token tensors had that it was given.
Sides = dict[str, tuple[int, ...]]


@contextmanager
def sides(module: nn.Module) -> Iterator[Sides]:
    """While it lasts, note how many tokens each module is given, tensor by tensor."""
    seen: Sides = {}
    me = threading.get_ident()

    def listener(path: str) -> Any:
        def listen(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == me:
                given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and x.is_floating_point() and x.dim() == 3]
                seen[path] = tuple(int(x.shape[1]) for x in given)

        return listen

    with ExitStack() as hooks:
        for path, part in module.named_modules():
            hooks.callback(part.register_forward_pre_hook(listener(path), with_kwargs=True).remove)
        yield seen


def kind_of(call: AttentionCall, batch: int, seen: Sides) -> str:
    """One of "self", "cross", "window", "spatial reduction", "pooled", "channel".

    Args:
        call: the call.
        batch: pictures in the batch.
        seen: what the modules were given (:func:`sides`).
    """
    given = seen.get(call.path, ())
    if len(given) > 1 and call.keys in given[1:] and call.keys != given[0]:
        return "cross"
    if given and given[0] == call.out.shape[-1] and given[0] not in (call.queries, call.keys):
        return "channel"
    if call.out.shape[0] > batch:
        return "window"
    if call.queries == call.keys:
        return "self"
    return "spatial reduction" if call.keys < call.queries else "pooled"
