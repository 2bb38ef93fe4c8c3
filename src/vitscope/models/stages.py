"""Stages and windows, measured: which token sits at each (window, slot), and which tokens a merged token is made of.

Every row and every column of a stage's grid is changed in turn at a block's input, and the block runs, with its own partition code, up to
its attention: the slots that change belong to that row (column). Between blocks the same is done from one block's output to the next
one's input. Nothing is known here of shifts, padding, pooling or strides.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.hidden import replacing_output
from vitscope.capture.modes import ordinary_mode
from vitscope.core.layout import Kind, TokenLayout
from vitscope.errors import ProofError
from vitscope.grids import Form, Shares, Stage, Stages
from vitscope.models.channels import holding_channels
from vitscope.models.family import Loaded
from vitscope.models.gates import holding_gates
from vitscope.models.layout import Told, planted_layout
from vitscope.models.probing import by_kind, channels_axis, depends, differences, merged_grid
from vitscope.models.seating import Reached, Seated, Step, seat
from vitscope.models.stems import stem_layout

#: Of what reaches a block's output past its attention, the share from other rows or columns that is worth a sentence.
ASIDE = 1e-4

#: Squares of differences, over those of the values, that may be rounding.
ROUNDING = 1e-10


def steps(
    module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, calls: Sequence[str], others: Sequence[str] = ()
) -> list[Step]:
    """The block around each attention call: the outermost module with that one call that leaves the tokens' shape as it is.

    Where none does (pooled queries), the outermost that takes tokens and gives tokens. A block holds none of the ``others`` either.

    Raises:
        ProofError: a call without such a module, or several at one module.
    """
    twice, count = Counter(calls).most_common(1)[0]
    if count > 1:
        raise ProofError(
            f"{count} attentions at one module, whose results it adds, subtracts or passes on",
            expected="one attention in each block, whose rows are shares",
            where=twice,
            todo="its calls are captured one by one",
        )
    under = Counter(path for call in (*calls, *others) for path in _above(call))
    seen: dict[str, Step] = {}

    def listener(path: str) -> Any:
        def listen(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            left = output[0] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(given, Tensor) or not isinstance(left, Tensor):
                return
            if given.dim() in (3, 4) and left.dim() == given.dim() and len(given) == len(left):
                seen[path] = Step(path, "", part, args, kwargs, given.detach(), left.detach())

        return listen

    with ExitStack() as hooks, ordinary_mode(grad=False):
        for path in under:
            if path and under[path] == 1:
                hooks.callback(module.get_submodule(path).register_forward_hook(listener(path), with_kwargs=True).remove)
        forward(noise)
    return [_around(call, seen, len(noise)) for call in calls]


def _around(call: str, seen: dict[str, Step], batch: int) -> Step:
    found = [seen[path] for path in _above(call) if path in seen]
    keeping = [step for step in found if step.entered.shape == step.left.shape]
    pooling = [step for step in found if len(step.entered) == batch]
    best = (keeping or pooling)[:1]
    if not best:
        raise ProofError(
            "no module around this attention takes tokens and gives tokens", expected="blocks: tokens in, tokens out", where=call
        )
    return replace(best[0], call=call)


def _above(call: str) -> list[str]:
    """Module paths around a call, outermost first."""
    parts = call.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def learn_stages(
    described: Loaded, noise: Tensor, calls: Sequence[str], over_channels: Sequence[str] = ()
) -> tuple[TokenLayout, Stages, tuple[str, ...]]:
    """The first grid's layout, all stages, and the blocks' paths.

    Args:
        described: the model.
        noise: ``[1, 3, h, w]``.
        calls: paths of the attention calls among tokens, in running order.
        over_channels: paths of those among channels, which mix no places.

    Raises:
        ProofError: tokens or slots that cannot be accounted for, with the numbers.
    """
    if not calls:
        raise ProofError("attention among channels only", expected="attention among tokens", where=over_channels[0])

    def forward(pixels: Tensor) -> object:
        return described.call(described.module, pixels)

    module = described.module
    held = holding_channels(module, forward, noise, over_channels)
    with ordinary_mode(grad=False), held, holding_gates(module, forward, noise) as gates:
        found = steps(module, forward, noise, calls, over_channels)
        form = _first_form(forward, module, found[0], noise)
        layout, said = _first_layout(described, forward, noise, replace(found[0], form=form))
        grids = _Grids([Stage(layout.grid, torch.as_tensor(layout.cells[:, 1:]).long())])
        for number, step in enumerate(found):
            if number and not _same(found[number - 1].left, step.entered):
                form = grids.merge(module, forward, noise, (grids.steps[-1], step))
            elif number:
                form = grids.steps[-1].gives
            grids.block(replace(step, form=form, gives=_given_form(step, form)))
        grids.need_skip(_bypassing(module, grids.steps[-1], noise, lambda pixels: described.output(described.call(module, pixels))[1]))
    return layout, grids.stages(gates, len(over_channels), said), tuple(step.path for step in found)


class _Grids:
    """What has been measured so far, in running order."""

    def __init__(self, grids: list[Stage]) -> None:
        self.grids = grids
        self.merges: list[Shares] = []
        self.steps: list[Step] = []
        self.blocks: list[tuple[Seated, int, int]] = []
        self.past: list[float] = []

    def merge(self, module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, between: tuple[Step, Step]) -> Form:
        """From one block's output to the next one's input; how that holds its tokens."""
        past = _bypassing(module, between[0], noise, lambda pixels: _entering(module, between[1], forward, pixels))
        self.need_skip(past)
        self.past.append(past)
        stage, form, shares = _merged(module, forward, noise, between, self.grids[-1])
        if not _as_they_are(shares):
            self.grids.append(stage)
            self.merges.append(shares)
        return form

    def need_skip(self, past: float) -> None:
        """Raises ProofError where nothing passes the last block's attention inside what was measured, but something does outside."""
        if past > ASIDE and not self.blocks[-1][0].skips:
            raise ProofError(
                f"{past:.0%} of what reaches the next block comes past this attention, outside the module that was measured",
                expected="blocks that hold their own residual path",
                where=self.steps[-1].path,
            )

    def block(self, step: Step) -> None:
        """One block; its pooled queries are a grid of their own."""
        reads = len(self.grids) - 1
        seated = seat(step, self.grids[-1])
        if seated.merge is not None:
            self.grids.append(seated.stage)
            self.merges.append(seated.merge)
        self.steps.append(step)
        self.blocks.append((seated, reads, len(self.grids) - 1))

    def stages(self, gates: int, over_channels: int, said: tuple[str, ...]) -> Stages:
        """All of it, with what was said of the first grid."""
        return Stages(
            stages=tuple(self.grids),
            of=tuple(of for _, _, of in self.blocks),
            seats=tuple(seated.seats for seated, _, _ in self.blocks),
            merges=tuple(self.merges),
            reads=tuple(reads for _, reads, _ in self.blocks),
            skips=tuple(seated.skips for seated, _, _ in self.blocks),
            forms=tuple(step.gives for step in self.steps),
            notes=(*said, *_around_notes(self.past), *_notes([seated for seated, _, _ in self.blocks], gates, over_channels)),
            alike=len(self.grids) == 1 and len({(step.gives, step.left.shape) for step in self.steps}) == 1,
        )


def _around_notes(past: Sequence[float]) -> list[str]:
    """What a map leaves out where something goes around several blocks (a skip connection)."""
    around = [x for x in past if x > ASIDE]
    if not around:
        return []
    return [
        f"At {len(around)} of {len(past)} merges something reaches the next block past several blocks together (a skip connection): "
        f"{min(around):.0%} to {max(around):.0%} of how it differs from picture to picture, measured on noise; "
        "the map follows the way through the blocks."
    ]


def _notes(blocks: Sequence[Seated], gates: int, over_channels: int) -> list[str]:
    """What a map through these blocks leaves out, with the measured share."""
    found = []
    aside = [seated.aside for seated in blocks if seated.aside > ASIDE]
    if aside:
        found.append(
            f"In {len(aside)} of {len(blocks)} blocks tokens also mix with their neighbours outside attention (convolutions): "
            f"{min(aside):.1%} to {max(aside):.1%} of what passes attention by comes from other rows or columns, measured on noise; "
            "the map follows attention only."
        )
    bare = sum(not seated.skips for seated in blocks)
    if bare:
        found.append(f"Nothing passes the attention of {bare} of {len(blocks)} blocks by: there the residual share is 0.")
    if over_channels:
        found.append(
            f"{over_channels} attentions of this model are over channels: they mix no places, though their weights hear of all of them; "
            "the map passes them by."
        )
    if gates:
        found.append(
            f"{gates} {'step of this model scales' if gates == 1 else 'steps of this model scale'} "
            "channels by what the whole picture holds (squeeze and excitation, global norms); "
            "the map follows what each place itself gives on."
        )
    return found


def _as_they_are(shares: Shares) -> bool:
    """Whether each token is just the token of the same number."""
    same = torch.arange(shares.shape[1])
    return (
        shares.shape[0] == shares.shape[1]
        and len(shares.row) == len(same)
        and bool((shares.row == same).all() and (shares.column == same).all())
    )


# tokens in whatever shape


def _same(left: Tensor, entered: Tensor) -> bool:
    return left.shape == entered.shape and bool(torch.equal(left, entered))


def _differs(a: Tensor, b: Tensor) -> Tensor:
    """Entries that differ by more than rounding (a ten-thousandth of the largest difference)."""
    difference = (a - b).abs()
    return difference > 1e-4 * difference.max().clamp_min(1e-30)


def _given_form(step: Step, form: Form) -> Form:
    """How a block's output holds its tokens: as its input does (channels where as many axes and the same sides say so)."""
    if step.entered.dim() == step.left.dim():
        return form
    raise ProofError(f"a block from {list(step.entered.shape)} to {list(step.left.shape)}", expected="as many axes", where=step.path)


def _first_layout(described: Loaded, forward: Callable[[Tensor], object], noise: Tensor, step: Step) -> tuple[TokenLayout, tuple[str, ...]]:
    """The first block's tokens on the picture: patches of one convolution, or what a stem of several leaves; and what to say of it."""
    told = Told((described.prefix or ()) * step.form.groups or None, None)  # where pictures come in parts, each part has its own

    def entering(pixels: Tensor) -> Tensor:
        return step.form.tokens(_entering(described.module, step, forward, pixels))

    try:
        return planted_layout(described.module, forward, noise, told, lambda pixels: entering(pixels)[0]), ()
    except ProofError as error:
        try:
            return _stem(described, noise, told, step)
        except ProofError as other:
            raise other from error


def _stem(described: Loaded, noise: Tensor, told: Told, step: Step) -> tuple[TokenLayout, tuple[str, ...]]:
    """Measured on a copy in float64: the edge of what a token sees is lost in float32's rounding. What is held still is held there too."""
    twin = copy.deepcopy(described.module).double() if noise.dtype == torch.float32 else described.module
    wide = noise.double() if twin is not described.module else noise

    def forward(pixels: Tensor) -> object:
        return described.call(twin, pixels)

    return stem_layout(twin, forward, wide, told, lambda pixels: step.form.tokens(_entering(twin, step, forward, pixels)))


def _entering(module: nn.Module, step: Step, forward: Callable[[Tensor], object], pixels: Tensor) -> Tensor:
    kept: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)))
        raise Reached

    handle = module.get_submodule(step.path).register_forward_pre_hook(stop, with_kwargs=True)
    try:
        forward(pixels)
    except Reached:
        pass
    finally:
        handle.remove()
    return kept[-1]


def _first_form(forward: Callable[[Tensor], object], module: nn.Module, step: Step, noise: Tensor) -> Form:
    groups = len(step.entered) // len(noise)
    if step.entered.dim() == 3:
        return Form(groups=groups)
    other = noise.clone()
    other[..., : noise.shape[-2] // 4, : noise.shape[-1] // 4] *= -1.5
    return Form(
        channels_axis(_differs(_entering(module, step, forward, noise), _entering(module, step, forward, other)), step.module), groups
    )


# between blocks


def _bypassing(module: nn.Module, left: Step, noise: Tensor, read: Callable[[Tensor], Tensor]) -> float:
    """Of how what is read behind a block differs from picture to picture, the share that is left with its output held (squares)."""
    other, before = noise.flip(1) * -1.5 + 0.25, read(noise)
    with replacing_output(module, left.path, lambda _: left.left):
        held = read(other)
    apart, all_apart, whole = (float(x.double().square().sum()) for x in (held - before, read(other) - before, before))
    return apart / all_apart if all_apart > ROUNDING * whole else 0.0


def _merged(
    module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor, between: tuple[Step, Step], stage: Stage
) -> tuple[Stage, Form, Shares]:
    """The next grid, how the next block is given its tokens, and their shares in the grid before."""
    left, entered = between
    shapes: list[Tensor] = []

    def run(tokens: Tensor) -> Tensor:
        with replacing_output(module, left.path, lambda _: left.gives.shaped(tokens, left.left)):
            try:
                shapes.append(_entering(module, entered, forward, noise))
            except (RuntimeError, ValueError):  # a batch fixed before this block: the whole model runs on as many pictures
                shapes.append(_entering(module, entered, forward, noise.expand(len(tokens), -1, -1, -1)))
        return shapes[-1].reshape(len(tokens), -1)

    difference, names = differences(left.gives.tokens(left.left), stage, run)
    changed = by_kind(difference > 1e-4 * difference.max(), names)
    shape = entered.entered.shape
    wide = {kind: x.view(-1, *shape) for kind, x in changed.items()}
    axis = channels_axis((wide["row"][:1] & wide["column"][:1])[0], entered.module) if len(shape) == 4 else 2
    form = Form(axis, len(entered.entered) // len(noise))
    slots = {kind: form.tokens(x.flatten(0, 1)).any(dim=-1) if len(x) else x.new_zeros(0, 0) for kind, x in wide.items()}
    slots["token"] = slots["token"] if len(slots["token"]) else slots["row"].new_zeros(0, slots["row"].shape[1])
    strength = {kind: form.tokens(x.flatten(0, 1)).norm(dim=-1) for kind, x in by_kind(difference.view(-1, *shape), names).items()}
    merged = merged_grid(slots, f"between {left.path} and {entered.path}", strength)
    return merged, form, Shares.even(depends(slots, stage), stage.n)


def stage_layout(layout: TokenLayout, stages: Stages, number: int) -> TokenLayout:
    """One stage's own grid on the picture: its patches are as far apart as what they are made of."""
    stage = stages.stages[number]
    if number == 0:
        return layout
    across = [math.prod([layout.stride[i], *(s.apart[i] for s in stages.stages[1 : number + 1])]) for i in (0, 1)]
    kinds = torch.where(stage.cells[:, 0] >= 0, int(Kind.PATCH), int(Kind.CLS)).numpy().astype("int8")
    cells = torch.cat([torch.where(stage.cells[:, :1] >= 0, 0, -1), stage.cells], dim=1).numpy().astype("int32")
    size = (across[0], across[1])
    patch = layout.patch if size == layout.stride else size
    return TokenLayout(kinds, cells, stage.grid, patch, size, layout.input_size, layout.origin, (), "measured")
