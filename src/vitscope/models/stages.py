"""Stages and windows, measured: which token sits at each (window, slot), and which tokens a merged token is made of.

Every row and every column of a stage's grid is changed in turn at a block's input, and the block runs, with its own partition code, up to
its attention: the slots that change belong to that row (column). Between stages the same is done from one block's output to the next
one's input. Nothing is known here of shifts, padding, pooling or strides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.hidden import replacing_output, shaped, tokens_of
from vitscope.capture.intercept import Recorder
from vitscope.capture.modes import ordinary_mode
from vitscope.core.layout import Kind, TokenLayout
from vitscope.errors import ProofError
from vitscope.grids import Seats, Shares, Stage, Stages
from vitscope.models.family import Loaded
from vitscope.models.layout import Told, planted_layout
from vitscope.models.measure import Read

#: Changed rows and columns in one run.
PROBES = 32


@dataclass(frozen=True)
class Step:
    """A block as it was called: its module path, what it was given (its tokens first), and what it gave."""

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    entered: Tensor
    left: Tensor

    def runs(self, tokens: Tensor) -> object:
        """The block on other tokens, of any batch."""
        if self.args and isinstance(self.args[0], Tensor):
            return self.module(tokens, *self.args[1:], **self.kwargs)
        name = next(name for name, value in self.kwargs.items() if isinstance(value, Tensor))
        return self.module(*self.args, **{**self.kwargs, name: tokens})


class _Reached(BaseException):
    """What was wanted is there. Never leaves this file."""


def steps(module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, calls: Sequence[str]) -> list[Step]:
    """The block around each attention call: the outermost module with that one call that leaves the tokens' shape as it is.

    Raises:
        ProofError: a call without such a module.
    """
    under = Counter(path for call in calls for path in _above(call))
    seen: dict[str, Step] = {}

    def listener(path: str) -> Any:
        def listen(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            if given is None or not (isinstance(output, Tensor) or (isinstance(output, (tuple, list)) and output)):
                return
            left = output if isinstance(output, Tensor) else output[0]
            if not isinstance(left, Tensor):
                return
            if given.shape == left.shape and given.dim() in (3, 4) and len(given) == len(noise):
                seen[path] = Step(path, part, args, kwargs, given.detach(), left.detach())

        return listen

    with ExitStack() as hooks, ordinary_mode(grad=False):
        for path in under:
            if path and under[path] == 1:
                hooks.callback(module.get_submodule(path).register_forward_hook(listener(path), with_kwargs=True).remove)
        forward(noise)
    found = []
    for call in calls:
        around = [path for path in _above(call) if path in seen]
        if not around:
            raise ProofError(
                "no module around this attention keeps its tokens' shape", expected="blocks: tokens in, as many out", where=call
            )
        found.append(seen[around[0]])
    return found


def _above(call: str) -> list[str]:
    """Module paths around a call, outermost first."""
    parts = call.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def learn_stages(described: Loaded, noise: Tensor, calls: Sequence[str]) -> tuple[TokenLayout, Stages, tuple[str, ...]]:
    """The first grid's layout, all stages, and the blocks' paths.

    Raises:
        ProofError: tokens or slots that cannot be accounted for, with the numbers.
    """

    def forward(pixels: Tensor) -> object:
        return described.call(described.module, pixels)

    with ordinary_mode(grad=False):
        found = steps(described.module, forward, noise, calls)
        first = found[0]
        axis = _picture_channel(forward, described.module, first, noise)
        layout = planted_layout(
            described.module, forward, noise, Told(described.prefix or None, None), _until_block(described.module, first, forward, axis)
        )
        cells = torch.as_tensor(layout.cells[:, 1:]).long()
        stages, axes, merges, of = [Stage(layout.grid, cells, axis)], [axis], list[Shares](), [0]
        for before, step in pairwise(found):
            if not _same(before.left, step.entered):
                stage, axis, merge = _merged(described.module, forward, noise, (before, step), (stages[-1], axes[-1]))
                stages, axes, merges = [*stages, stage], [*axes, axis], [*merges, merge]
            of.append(len(stages) - 1)
        seats = [_seats(step, stages[number], axes[number], call) for step, number, call in zip(found, of, calls, strict=True)]
    return layout, Stages(tuple(stages), tuple(of), tuple(seats), tuple(merges)), tuple(step.path for step in found)


# tokens in whatever shape


def _channel(changed: Tensor) -> int:
    """The channels' axis of ``[b, …]`` from what changes with a part of the picture: all channels do, and not all of any other axis."""
    if changed.dim() == 3:
        return 2
    full = [axis for axis in (3, 1) if bool(changed[0].movedim(axis - 1, 0).flatten(1).any(dim=1).all())]
    if len(full) != 1:
        raise ProofError(f"a tensor {list(changed.shape)} whose channels cannot be told from its rows", where="token layout")
    return full[0]


def _same(left: Tensor, entered: Tensor) -> bool:
    return left.numel() == entered.numel() and bool(torch.equal(left.flatten(), entered.flatten()))


def _differs(a: Tensor, b: Tensor) -> Tensor:
    """Entries that differ by more than rounding (a ten-thousandth of the largest difference)."""
    difference = (a - b).abs()
    return difference > 1e-4 * difference.max().clamp_min(1e-30)


def _until_block(module: nn.Module, step: Step, forward: Callable[[Tensor], object], channel: int) -> Read:
    """Runs a picture up to a block: its tokens ``[n, c]``."""
    return lambda pixels: tokens_of(_entering(module, step, forward, pixels), channel)[0]


def _entering(module: nn.Module, step: Step, forward: Callable[[Tensor], object], pixels: Tensor) -> Tensor:
    kept: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)))
        raise _Reached

    handle = module.get_submodule(step.path).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        forward(pixels)
    except _Reached:
        pass
    finally:
        handle.remove()
    return kept[-1]


def _picture_channel(forward: Callable[[Tensor], object], module: nn.Module, step: Step, noise: Tensor) -> int:
    if step.entered.dim() == 3:
        return 2
    other = noise.clone()
    other[..., : noise.shape[-2] // 4, : noise.shape[-1] // 4] *= -1.5
    return _channel(_differs(_entering(module, step, forward, noise), _entering(module, step, forward, other)))


# measuring


def _probes(tokens: Tensor, stage: Stage) -> tuple[Tensor, list[tuple[str, int]]]:
    """For each row, column and other token: which tokens are changed, bool ``[p, n]``, and what it is."""
    masks, names = [], []
    for axis, count in enumerate(stage.grid):
        for i in range(count):
            masks.append(stage.cells[:, axis] == i)
            names.append(("row" if axis == 0 else "column", i))
    for token in (stage.cells[:, 0] < 0).nonzero().flatten().tolist():
        masks.append(torch.arange(stage.n) == token)
        names.append(("token", token))
    return torch.stack(masks).to(tokens.device), names


def _changing(tokens: Tensor, stage: Stage, run: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """What changes with each row, each column and each other token: bool ``[rows, *out]``, ``[columns, *out]``, ``[others, *out]``.

    Args:
        tokens: ``[1, n, c]`` as they were.
        stage: their grid.
        run: from ``[p, n, c]`` to ``[p, *out]``.
    """
    masks, names = _probes(tokens, stage)
    other = tokens.flip(-1) * -1.5 + tokens.std() * torch.randn(tokens.shape[-1], generator=torch.Generator().manual_seed(0)).to(tokens)
    found = []
    for some in torch.split(masks, PROBES):
        ran = run(torch.cat([tokens, torch.where(some[:, :, None], other, tokens)]))
        found.append((ran[1:] - ran[:1]).abs())
    difference = torch.cat(found)
    changed = difference > 1e-4 * difference.max()
    return {kind: changed[[i for i, (name, _) in enumerate(names) if name == kind]] for kind in ("row", "column", "token")}


def _sources(changed: dict[str, Tensor], slot: int, at: dict[tuple[int, int], int], others: list[int]) -> Tensor:
    """Numbers of the tokens one slot depends on: its rows crossed with its columns, or other tokens."""
    own = [others[i] for i in changed["token"][:, slot].nonzero().flatten().tolist()]
    if len(own) == len(others) and len(others) > 0 and bool(changed["row"][:, slot].any()):
        own = []
    rows, columns = changed["row"][:, slot].nonzero().flatten().tolist(), changed["column"][:, slot].nonzero().flatten().tolist()
    return torch.tensor([*own, *(at[row, column] for row in rows for column in columns)], dtype=torch.long)


def _depends(changed: dict[str, Tensor], stage: Stage) -> list[Tensor]:
    """For each slot, the tokens it depends on."""
    at = {(int(r), int(c)): i for i, (r, c) in enumerate(stage.cells.tolist()) if r >= 0}
    others = (stage.cells[:, 0] < 0).nonzero().flatten().tolist()
    return [_sources(changed, slot, at, others) for slot in range(changed["row"].shape[1])]


def _merged(
    module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, between: tuple[Step, Step], before: tuple[Stage, int]
) -> tuple[Stage, int, Shares]:
    """The next stage's grid, its channels' axis, and its tokens' shares in the stage before."""
    (left, entered), (stage, channel) = between, before
    shapes: list[Tensor] = []

    def run(tokens: Tensor) -> Tensor:
        with replacing_output(module, left.path, lambda _: shaped(tokens, left.left, channel)):
            try:
                shapes.append(_entering(module, entered, forward, noise))
            except (RuntimeError, ValueError):  # a batch fixed before this block: the whole model runs on as many pictures
                shapes.append(_entering(module, entered, forward, noise.expand(len(tokens), -1, -1, -1)))
        return shapes[-1].flatten(1)

    changed = _changing(tokens_of(left.left, channel), stage, run)
    wide = {kind: x.view(-1, *shapes[0].shape[1:]) for kind, x in changed.items()}
    axis = _channel(wide["row"][:1] & wide["column"][:1]) if shapes[0].dim() == 4 else 2
    slots = {kind: tokens_of(x, axis).any(dim=-1) if len(x) else x.new_zeros(0, wide_tokens(shapes[0], axis)) for kind, x in wide.items()}
    sources = _depends(slots, stage)
    return replace(_grid_of(slots, sources, (left.path, entered.path)), channel=axis), axis, Shares.even(sources, stage.n)


def wide_tokens(x: Tensor, channel: int) -> int:
    """How many tokens a tensor holds."""
    return int(tokens_of(x[:1], channel).shape[1])


def _grid_of(slots: dict[str, Tensor], sources: list[Tensor], paths: tuple[str, str]) -> Stage:
    """The grid of merged tokens, from the middle of the rows and columns each depends on."""
    there = slots["row"].any(dim=0)
    cells = torch.full((len(sources), 2), -1, dtype=torch.long)
    grid, apart = [], []
    for axis, kind in enumerate(("row", "column")):
        numbers = torch.arange(len(slots[kind])).double()
        middle = (slots[kind] * numbers[:, None]).sum(dim=0) / slots[kind].sum(dim=0).clamp_min(1)
        known = torch.unique(middle[there])
        cells[there, axis] = torch.searchsorted(known, middle[there].contiguous())
        grid.append(len(known))
        apart.append(round(float(known.diff().max())) if len(known) > 1 else len(slots[kind]))
    count = int(there.sum())
    if count != grid[0] * grid[1] or len(torch.unique(cells[there], dim=0)) != count:
        raise ProofError(
            f"{count} tokens with {grid[0]} different rows and {grid[1]} different columns",
            expected="a grid",
            where=f"between {paths[0]} and {paths[1]}",
        )
    return Stage((grid[0], grid[1]), cells, apart=(apart[0], apart[1]))


def _seats(step: Step, stage: Stage, channel: int, call: str) -> Seats:
    """Where one block's slots sit."""
    tokens = tokens_of(step.entered, channel)
    if tokens.shape[1] != stage.n:
        raise ProofError(f"{tokens.shape[1]} tokens", expected=f"{stage.n}", where=step.path)
    keys, queries = _slots(step, stage, channel)
    single = [[int(x[0]) if len(x) == 1 else -1 if len(x) == 0 else -2 for x in window] for window in queries]
    at = torch.tensor(single)
    if bool((at == -2).any()) and len(queries) == 1:
        at = _in_order(queries[0], stage)[None]
    many = int((at == -2).sum())
    counts = torch.bincount(at[at >= 0], minlength=stage.n)
    if many or bool((counts != 1).any()):
        raise ProofError(
            f"{int((counts == 1).sum())} of {stage.n} tokens sit at exactly one query slot, {many} slots see several tokens",
            expected="every token once",
            where=call,
        )
    return Seats(at, Shares.even([slot for window in keys for slot in window], stage.n), stage.n)


def _in_order(slots: list[Tensor], stage: Stage) -> Tensor:
    """Queries that each see a neighbourhood (a convolution before the attention): the middles, in order, are the grid's cells.

    Shapes:
        returns ``[nq]`` token numbers; −2 throughout where the middles are no such grid.
    """
    middle = torch.stack([stage.cells[x].double().mean(dim=0) if len(x) else torch.full((2,), -1.0) for x in slots])
    ranks = [torch.unique(middle[:, axis][middle[:, axis] >= 0], return_inverse=True) for axis in (0, 1)]
    inside = (middle >= 0).all(dim=1)
    out = torch.full((len(slots),), -2)
    if tuple(len(values) for values, _ in ranks) != stage.grid or int(inside.sum()) != stage.grid[0] * stage.grid[1]:
        return out
    at = {(int(r), int(c)): i for i, (r, c) in enumerate(stage.cells.tolist())}
    cells = zip(ranks[0][1].tolist(), ranks[1][1].tolist(), strict=True)
    out[inside] = torch.tensor([at[cell] for cell in cells])
    others = [int(x[0]) if len(x) == 1 else -2 for x, kept in zip(slots, inside.tolist(), strict=True) if not kept]
    out[~inside] = torch.tensor(others, dtype=torch.long)
    return out


def _slots(step: Step, stage: Stage, channel: int) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """For each window and slot, the tokens its value is made of, and those its query is made of.

    Where the model's own steps hide the queries, each sits where the value of the same number does.
    """
    tokens = tokens_of(step.entered, channel)
    shape: list[tuple[int, int, int]] = []

    def run(probes: Tensor) -> Tensor:
        values, queries = _attention_of(step, shaped(probes, step.entered, channel))
        windows = len(values) // len(probes)
        shape.append((windows, values.shape[2], 0 if queries is None else queries.shape[2]))
        kept = [x.movedim(1, 2).flatten(2).reshape(len(probes), windows * x.shape[2], -1) for x in (values, queries) if x is not None]
        return torch.cat([_mixed(x) for x in kept], dim=1)

    changed = {kind: x.any(dim=-1) for kind, x in _changing(tokens, stage, run).items()}
    windows, nk, nq = shape[-1]
    sources = _depends(changed, stage)
    keys = [sources[i * nk : (i + 1) * nk] for i in range(windows)]
    asked = sources[windows * nk :]
    return keys, [asked[i * nq : (i + 1) * nq] for i in range(windows)] or keys


def _attention_of(step: Step, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """Values ``[p · w, h, nk, d]`` and queries of the block's one attention on other tokens."""
    recorder = _Hearing(step.module, len(tokens))
    with suppress(_Reached), recorder:
        step.runs(tokens)
    heard = recorder.heard[0]
    values = heard.heads.unfold(heard.v.detach())
    q = None if heard.q is None else heard.heads.unfold(heard.q.detach())
    return values, None if q is None else q.expand(len(values), -1, -1, -1)


def _mixed(x: Tensor) -> Tensor:
    """Features ``[…, f]`` as four random mixtures of them (values and queries are of different widths)."""
    mix = torch.randn(x.shape[-1], 4, generator=torch.Generator().manual_seed(0)).to(x) / x.shape[-1] ** 0.5
    mixed: Tensor = x @ mix / x.std().clamp_min(1e-12)
    return mixed


class _Hearing(Recorder):
    """Stops the block once its attention is heard."""

    def __init__(self, module: nn.Module, batch: int) -> None:
        super().__init__(module, batch=batch)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        if self.heard:
            raise _Reached
        return out


def stage_layout(layout: TokenLayout, stages: Stages, number: int) -> TokenLayout:
    """One stage's own grid on the picture: its patches are as far apart as what they are made of."""
    stage = stages.stages[number]
    if number == 0:
        return layout
    across = [math.prod([layout.stride[i], *(s.apart[i] for s in stages.stages[1 : number + 1])]) for i in (0, 1)]
    kinds = torch.where(stage.cells[:, 0] >= 0, int(Kind.PATCH), int(Kind.CLS)).numpy().astype("int8")
    cells = torch.cat([torch.where(stage.cells[:, :1] >= 0, 0, -1), stage.cells], dim=1).numpy().astype("int32")
    size = (across[0], across[1])
    return TokenLayout(kinds, cells, stage.grid, size, size, layout.input_size, layout.origin, (), "measured")
