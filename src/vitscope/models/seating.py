"""Where the slots of one block's attention sit: its keys by what its values are made of, its queries by what they are made of or feed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.heard import Heard
from vitscope.capture.hidden import first_tensor
from vitscope.capture.intercept import Recorder
from vitscope.capture.modes import ordinary_mode
from vitscope.errors import ProofError
from vitscope.grids import PLAIN_FORM, Cut, Form, Seats, Shares, Stage
from vitscope.models.probing import (
    Changed,
    by_kind,
    depends,
    differences,
    differences_of,
    merged_grid,
    rows_columns_others,
    slots_changing,
    spelled,
)


@dataclass(frozen=True)
class Step:
    """A block as it was called: its module path, what it was given (its tokens first), and what it gave.

    Attributes:
        call: path of its one attention call.
        form: how what it was given holds the tokens; gives: how its output does.
    """

    path: str
    call: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    entered: Tensor
    left: Tensor
    form: Form = PLAIN_FORM
    gives: Form = PLAIN_FORM

    @property
    def tokens(self) -> Tensor:
        """``[1, n, c]`` as it was given."""
        return self.form.tokens(self.entered)

    def runs(self, tokens: Tensor) -> Tensor:
        """The block on other tokens ``[p, n, c]``, to its output's tokens."""
        x = self.form.shaped(tokens, self.entered)
        if self.args and isinstance(self.args[0], Tensor):
            out = self.module(x, *self.args[1:], **self.kwargs)
        else:
            name = next(name for name, value in self.kwargs.items() if isinstance(value, Tensor))
            out = self.module(*self.args, **{**self.kwargs, name: x})
        return self.gives.tokens(first_tensor(out, self.module))


@dataclass(frozen=True)
class Seated:
    """One block, measured.

    Attributes:
        seats: where its slots sit.
        stage: the grid of its output (the one it was given, where it pools no queries).
        merge: that grid's shares in the one it was given; None where they are the same.
        skips: whether tokens reach the output past the attention.
        aside: of what reaches the output past the attention, the share that comes from other rows or columns.
    """

    seats: Seats
    stage: Stage
    merge: Shares | None
    skips: bool
    aside: float


def seat(step: Step, stage: Stage) -> Seated:
    """Measure one block on tokens of this grid.

    Raises:
        ProofError: slots that cannot be accounted for, with the numbers.
    """
    if step.tokens.shape[1] != stage.n:
        raise ProofError(f"{step.tokens.shape[1]} tokens", expected=f"{stage.n}", where=step.path)
    first = _attention_of(step, step.tokens)
    cut = _cut(step, stage, first)
    keys, queries = _slots(step, stage, cut=cut)
    past = _past_attention(step, stage, first)
    skips = bool(past.changed["row"].any() or past.changed["column"].any())
    kept = Shares.even([slot for window in keys for slot in window], stage.n)
    if past.tokens == stage.n:
        at = _seats_by_source(queries, stage) if queries else None
        feeds: list[Tensor] = []
        if at is None:
            at, feeds = _seats_by_result(step, stage, first, cut=cut)
        asks = _asking(at, feeds, stage.n, step.call)
        return Seated(Seats(at, kept, stage.n, cut, asks), stage, None, skips, past.aside)
    at = _results(step, first, past.tokens, cut=cut)
    asks = _asking(at, [x[x >= 0] for x in at.view(-1, 1)], past.tokens, step.call)
    made = past.changed if skips else _by_token(_queries_changed(step, stage, cut=cut), at, past.tokens)
    coarse = merged_grid(made, step.path)
    return Seated(Seats(at, kept, stage.n, cut, asks), coarse, Shares.even(depends(made, stage), stage.n), skips, 0.0)


def _asking(at: Tensor, feeds: list[Tensor], tokens: int, call: str) -> Shares | None:
    """None where every token sits at exactly one query slot; else each token's even shares in the slots whose results it is made of.

    Args:
        at: token at each (window, slot) ``[w, nq]``, −1 for none, −2 for several.
        feeds: for each slot, the tokens its result goes to.
        tokens: how many there are.
        call: the attention's path.

    Raises:
        ProofError: as many slots as tokens but not one for each, or a token made of none or of most of the slots.
    """
    counts = torch.bincount(at[at >= 0], minlength=tokens)
    many = int((at == SEVERAL).sum())
    if not many and bool((counts == 1).all()):
        return None
    slots: list[list[int]] = [[] for _ in range(tokens)]
    for slot, fed in enumerate(feeds):
        for token in fed.tolist():
            slots[token].append(slot)
    if at.numel() == tokens or not all(0 < len(some) <= at.numel() // 2 for some in slots):
        raise ProofError(
            f"{int((counts == 1).sum())} of {tokens} tokens sit at exactly one query slot, {many} slots see several tokens",
            expected="every token once, or each made of a few slots' results",
            where=call,
        )
    return Shares.even([torch.tensor(some) for some in slots], at.numel())


#: Rows and columns that are changed to see what passes an attention by, where tokens stay where they are.
FEW = 8

#: A slot that cannot be given one token.
SEVERAL = -2


# keys, and queries by what they are made of


def _slots(step: Step, stage: Stage, *, cut: Cut) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """For each window and slot, the tokens its value is made of, and those its query is (none where the model's own steps hide it)."""
    shape: list[tuple[int, int, int]] = []

    def run(probes: Tensor) -> Tensor:
        values, queries = _operands(step, probes, cut=cut)
        windows = len(values) // len(probes)
        shape.append((windows, values.shape[2], 0 if queries is None else queries.shape[2]))
        return torch.cat([_features(x, len(probes)) for x in (values, queries) if x is not None], dim=1)

    changed = slots_changing(step.tokens, stage, run)
    windows, nk, nq = shape[-1]
    sources = depends(changed, stage)
    keys = [sources[i * nk : (i + 1) * nk] for i in range(windows)]
    asked = sources[windows * nk :]
    return keys, [asked[i * nq : (i + 1) * nq] for i in range(windows)] if nq else []


def _queries_changed(step: Step, stage: Stage, *, cut: Cut) -> Changed:
    """What changes in each query slot, ``[so many, w · nq]``."""

    def run(probes: Tensor) -> Tensor:
        _, queries = _operands(step, probes, cut=cut)
        if queries is None:
            raise ProofError("queries that cannot be followed", expected="queries made of tokens", where=step.call)
        return _features(queries, len(probes))

    return slots_changing(step.tokens, stage, run)


def _operands(step: Step, tokens: Tensor, *, cut: Cut) -> tuple[Tensor, Tensor | None]:
    """Values ``[p · w, h, nk, d]`` and queries of the block's one attention."""
    heard = _attention_of(step, tokens)
    turn = partial(cut.turn, batch=len(tokens))
    values = turn(heard.heads.unfold(heard.v.detach()))
    q = None if heard.q is None else turn(heard.heads.unfold(heard.q.detach()))
    return values, None if q is None else q.expand(len(values), -1, -1, -1)


def _cut(step: Step, stage: Stage, first: Heard) -> Cut:
    """Where a call has its windows, from which tokens each of its leading entries sees: heads see the same tokens, windows others.

    Raises:
        ProofError: heads of one window that see different tokens.
    """
    lead = first.heads.lead

    def run(probes: Tensor) -> Tensor:
        values = _attention_of(step, probes)
        return values.heads.unfold(values.v.detach()).reshape(len(probes), -1, lead[-1] if lead else 1, *values.v.shape[-2:])

    masks = spelled(stage) if len(lead) == 3 else rows_columns_others(stage, FEW)[0]
    difference = differences_of(step.tokens, masks, run)
    seen = (difference > 1e-4 * difference.max()).any(dim=-1)  # [probes, outer, inner, slots]
    outer, inner = (bool((seen != seen.narrow(axis, 0, 1)).any()) for axis in (1, 2))
    if not inner:
        return Cut(heads_first=not outer and seen.shape[1] > 1 and lead[-1] == 1)
    if not outer and len(lead) > 1:
        return Cut(heads_first=True)
    for windows in range(2, seen.shape[2] + 1):
        if len(lead) == 1 and seen.shape[2] % windows == 0:
            apart = seen.reshape(*seen.shape[:2], windows, -1, seen.shape[3])
            if not bool((apart != apart.narrow(3, 0, 1)).any()):
                return Cut(folded=windows)
    raise ProofError(f"{seen.shape[2]} heads that see different tokens", expected="all heads of a window to see the same", where=step.call)


def _features(x: Tensor, batch: int) -> Tensor:
    """``[p · w, h, n, d]`` as four random mixtures of a slot's features in all heads, ``[p, w · n, 4]``."""
    return _mixed(x.movedim(1, 2).flatten(2).reshape(batch, -1, x.shape[1] * x.shape[3]))


def _attention_of(step: Step, tokens: Tensor) -> Heard:
    """The block's one attention on other tokens."""
    recorder = _Hearing(step.module, len(tokens))
    with suppress(Reached), recorder:
        step.runs(tokens)
    return recorder.heard[0]


def _mixed(x: Tensor) -> Tensor:
    """Features ``[…, f]`` as four random mixtures of them (values and queries are of different widths)."""
    mix = torch.randn(x.shape[-1], 4, generator=torch.Generator().manual_seed(0)).to(x) / x.shape[-1] ** 0.5
    mixed: Tensor = x @ mix / x.std().clamp_min(1e-12)
    return mixed


def _seats_by_source(queries: list[list[Tensor]], stage: Stage) -> Tensor | None:
    """Token at each (window, slot) ``[w, nq]`` where every token is seen once, alone or as the middle of its neighbours."""
    single = torch.tensor([[int(x[0]) if len(x) == 1 else -1 if len(x) == 0 else SEVERAL for x in window] for window in queries])
    for at in (single, _in_order([slot for window in queries for slot in window], stage).view(single.shape)):
        counts = torch.bincount(at[at >= 0], minlength=stage.n)
        if not bool((at == SEVERAL).any()) and bool((counts == 1).all()):
            return at
    return None


def _in_order(slots: list[Tensor], stage: Stage) -> Tensor:
    """Slots that each see a neighbourhood (a convolution on the way): the middles, in order, are the grid's cells.

    Shapes:
        returns ``[slots]`` token numbers; −2 throughout where the middles are no such grid.
    """
    middle = torch.stack([stage.cells[x].double().mean(dim=0) if len(x) else torch.full((2,), -1.0).double() for x in slots])
    ranks = [torch.unique(middle[:, axis][middle[:, axis] >= 0], return_inverse=True) for axis in (0, 1)]
    inside = (middle >= 0).all(dim=1)
    out = torch.full((len(slots),), SEVERAL)
    if tuple(len(values) for values, _ in ranks) != stage.grid or int(inside.sum()) != stage.grid[0] * stage.grid[1]:
        return out
    at = {(int(r), int(c)): i for i, (r, c) in enumerate(stage.cells.tolist())}
    cells = zip(ranks[0][1].tolist(), ranks[1][1].tolist(), strict=True)
    out[inside] = torch.tensor([at[cell] for cell in cells], dtype=torch.long)
    rest = [slot for slot, kept in zip(slots, inside.tolist(), strict=True) if not kept]
    out[~inside] = torch.tensor([int(x[0]) if len(x) == 1 else -1 if len(x) == 0 else SEVERAL for x in rest], dtype=torch.long)
    return out


# queries by what their results feed


def _seats_by_result(step: Step, stage: Stage, first: Heard, *, cut: Cut) -> tuple[Tensor, list[Tensor]]:
    """Token at each (window, slot) ``[w, nq]``: the one its result goes to, or the middle of those; and all it goes to, slot by slot."""
    masks, names = rows_columns_others(stage)
    reached = _reaching(step, first, masks, cut=cut)
    sources = depends(by_kind(reached.flatten(1), names), stage)
    windows = reached.shape[1]
    each = len(sources) // windows
    found = _seats_by_source([sources[i * each : (i + 1) * each] for i in range(windows)], stage)
    return torch.full((windows, each), SEVERAL) if found is None else found, sources


def _results(step: Step, first: Heard, tokens: int, *, cut: Cut) -> Tensor:
    """The same where the output's grid is not known: each token's number is spelled out bit by bit, and by the opposite bits."""
    numbers, bits = torch.arange(1, tokens + 1), tokens.bit_length()
    ones = torch.stack([(numbers >> bit) & 1 == 1 for bit in range(bits)])
    reached = _reaching(step, first, torch.cat([ones, ~ones]), cut=cut)
    weights = 2 ** torch.arange(bits)[:, None, None]
    code = (reached[:bits] * weights).sum(dim=0)
    both = (reached[:bits] & reached[bits:]).any(dim=0)
    return torch.where(both, SEVERAL, code - 1)


def _reaching(step: Step, first: Heard, masks: Tensor, *, cut: Cut) -> Tensor:
    """Which slots' results reach each set of output tokens: bool ``[sets, w, nq]``."""
    with ordinary_mode(grad=True):
        out = first.out.detach().clone().requires_grad_()
        with _Given(step.module, 1, out):
            left = step.runs(step.tokens)
        noise = torch.randn(left.shape, generator=torch.Generator().manual_seed(0)).to(left)
        grads = [
            torch.autograd.grad((left * noise * mask.to(left)[None, :, None]).sum(), out, retain_graph=True, allow_unused=True)[0]
            for mask in masks
        ]
    turn = partial(cut.turn, batch=1)
    found = [turn(first.heads.unfold(first.place(torch.zeros_like(out) if g is None else g))) for g in grads]
    return torch.stack([(x != 0).any(dim=-1).any(dim=1) for x in found]).cpu()


def _by_token(slots: Changed, at: Tensor, tokens: int) -> Changed:
    """What changes in slots ``[so many, w · nq]`` as what changes in the tokens that sit there."""
    order = torch.zeros(tokens, dtype=torch.long)
    flat = at.flatten()
    order[flat[flat >= 0]] = (flat >= 0).nonzero().flatten()
    return {kind: x[:, order] if len(x) else x.new_zeros(0, tokens) for kind, x in slots.items()}


# past the attention


@dataclass(frozen=True)
class _Past:
    """What reaches a block's output past its attention.

    Attributes:
        changed: with each row, column and other token of the input, which output tokens ``[so many, tokens]``.
        tokens: output tokens.
        aside: the share of the change (summed squares) that lies in other rows or columns than the changed one.
    """

    changed: Changed
    tokens: int
    aside: float


def _past_attention(step: Step, stage: Stage, first: Heard) -> _Past:
    """Measured with the attention's result held as it was."""

    def run(probes: Tensor) -> Tensor:
        out = first.out.detach()
        with _Given(step.module, len(probes), out.repeat(len(probes), *[1] * (out.dim() - 1))):
            return step.runs(probes)

    most = FEW if step.gives.tokens(step.left).shape[1] == stage.n else None
    difference, names = differences(step.tokens, stage, run, most)
    energy = difference.double().square().sum(dim=-1).cpu()
    changed = by_kind((difference > 1e-4 * difference.max()).any(dim=-1).cpu(), names)
    tokens = int(difference.shape[1])
    if tokens != stage.n or float(energy.sum()) == 0:
        return _Past(changed, tokens, 0.0)
    masks, _ = rows_columns_others(stage, most)
    return _Past(changed, tokens, float((energy * ~masks).sum() / energy.sum()))


class Reached(BaseException):
    """What was wanted is there: the rest of a pass is not needed. Never leaves this package."""


class _Hearing(Recorder):
    """Stops the block once its attention is heard."""

    def __init__(self, module: nn.Module, batch: int) -> None:
        super().__init__(module, batch=batch)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        if self.heard:
            raise Reached
        return out


class _Given(Recorder):
    """Lets the block go on with a given result of its attention."""

    def __init__(self, module: nn.Module, batch: int, given: Tensor) -> None:
        super().__init__(module, batch=batch)
        self._given: Tensor | None = given

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = super().__torch_function__(func, types, args, kwargs)
        if not self.heard or self._given is None:
            return out
        given, self._given = self._given, None
        if not isinstance(out, Tensor) or out.shape != given.shape:
            raise ProofError(
                f"an attention result {list(getattr(out, 'shape', []))}", expected=f"{list(given.shape)}, pictures first", where="block"
            )
        return given
