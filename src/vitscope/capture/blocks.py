"""Which module is block 0, 1, 2 …: read off where the attention calls were made, not off names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from vitscope.errors import CaptureError


@dataclass(frozen=True)
class Blocks:
    """The repeated blocks of a model, in running order.

    Attributes:
        paths: dotted path of each block; its index is the block's number.
        attends: whether attention is expected (False for models known to have none).
    """

    paths: tuple[str, ...]
    attends: bool = True

    def number(self, call: str) -> int | None:
        """Block number of a call made at a module path; None outside the blocks (attention pools, class-attention layers)."""
        return next((i for i, path in enumerate(self.paths) if call == path or call.startswith(path + ".")), None)


def number_blocks(module: nn.Module, calls: Sequence[str]) -> Blocks:
    """The container whose most distinct direct children made attention calls holds the blocks.

    Args:
        module: the model.
        calls: module paths of the attention calls, in running order.

    Raises:
        CaptureError: a block made several calls, or a block between others made none that was seen.
    """
    if not calls:
        raise CaptureError("no attention call to number", where=type(module).__name__)
    containers = _containers(calls)
    modules = dict(module.named_modules())
    best = max(containers, key=lambda path: _rank(path, containers, modules, calls))
    children = containers[best]
    blocks = Blocks(tuple(_join(best, child) for child in children))
    _once_each(blocks, calls)
    _none_missing(best, children, modules)
    return blocks


def _containers(calls: Sequence[str]) -> dict[str, list[str]]:
    """For each module on the way to a call, its direct children that lead to calls, in running order."""
    found: dict[str, list[str]] = {}
    for call in calls:
        parts = call.split(".") if call else []
        for i, part in enumerate(parts):
            children = found.setdefault(".".join(parts[:i]), [])
            if part not in children:
                children.append(part)
        if not parts:
            found.setdefault("", [""])
    return found


def _rank(
    path: str, containers: dict[str, list[str]], modules: dict[str, nn.Module], calls: Sequence[str]
) -> tuple[int, bool, bool, int, int]:
    """Most children; of equals a list of modules, one whose children are not the attentions themselves, the first run, the innermost."""
    children = containers[path]
    full = [_join(path, child) for child in children]
    listed = isinstance(modules.get(path), (nn.ModuleList, nn.Sequential, nn.ModuleDict))
    first = next(i for i, call in enumerate(calls) if call == full[0] or call.startswith(full[0] + ".") or full[0] == "")
    return len(children), listed, not any(child in calls for child in full), -first, path.count(".") + bool(path)


def _once_each(blocks: Blocks, calls: Sequence[str]) -> None:
    counts = Counter(blocks.number(call) for call in calls)
    for number, path in enumerate(blocks.paths):
        if counts[number] != 1:
            names = sorted({call for call in calls if blocks.number(call) == number})
            raise CaptureError(
                f"block {number} made {counts[number]} attention calls in one pass ({', '.join(names)})",
                expected="one call in each block",
                where=path or "the model",
                todo="maps over layers are not defined here; capture one call by its path with vitscope.capture.intercept",
            )


def _none_missing(container: str, children: Sequence[str], modules: dict[str, nn.Module]) -> None:
    """A sibling of the same class, between others, without a call: its attention ran where nothing can be heard."""
    if len(children) < 2:
        return
    siblings = [name for name, _ in modules[container].named_children()]
    classes = {type(modules[_join(container, child)]) for child in children}
    last = max(siblings.index(child) for child in children if child in siblings)
    silent = [name for name in siblings[:last] if name not in children and type(modules[_join(container, name)]) in classes]
    if silent:
        raise CaptureError(
            f"{len(silent)} of {last + 1} blocks made no attention call that was seen ({', '.join(silent[:4])})",
            expected="one call in each block",
            where=container or "the model",
            todo="use the model's sdpa attention throughout",
        )


def _join(container: str, child: str) -> str:
    return f"{container}.{child}" if container and child else container or child
