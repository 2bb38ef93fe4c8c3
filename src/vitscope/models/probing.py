"""Which tokens something depends on: every row and every column of their grid is changed in turn, and what changes with it is noted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from vitscope.errors import ProofError
from vitscope.grids import Stage

#: Changed rows and columns in one run.
PROBES = 32

#: Largest change, as a share of the largest value, that rounding is kept apart from by a run with nothing changed.
FAINT = 0.1

#: For rows, columns and other tokens ("row", "column", "token"): bool ``[so many, *out]``, what changes with each.
Changed = dict[str, Tensor]


def rows_columns_others(stage: Stage, most: int | None = None) -> tuple[Tensor, list[tuple[str, int]]]:
    """For each row, column and other token (or ``most`` of them): which tokens are changed, bool ``[p, n]``, and what it is."""
    masks, names = [], []
    for axis, count in enumerate(stage.grid):
        for i in range(count):
            masks.append(stage.cells[:, axis] == i)
            names.append(("row" if axis == 0 else "column", i))
    for token in (stage.cells[:, 0] < 0).nonzero().flatten().tolist():
        masks.append(torch.arange(stage.n) == token)
        names.append(("token", token))
    chosen = range(len(masks)) if most is None or most >= len(masks) else [i * len(masks) // most for i in range(most)]
    return torch.stack([masks[i] for i in chosen]), [names[i] for i in chosen]


def differences(
    tokens: Tensor, stage: Stage, run: Callable[[Tensor], Tensor], most: int | None = None
) -> tuple[Tensor, list[tuple[str, int]]]:
    """By how much each value changes with each row, column and other token: ``[p, *out]``, and what ``p`` is.

    Args:
        tokens: ``[1, n, c]`` as they were.
        stage: their grid.
        run: from ``[p, n, c]`` to ``[p, *out]``.
        most: so many of them, evenly chosen, where fewer are enough.
    """
    masks, names = rows_columns_others(stage, most)
    return differences_of(tokens, masks, run), names


def differences_of(tokens: Tensor, masks: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    """By how much each value changes with each set of tokens, bool ``[p, n]``: ``[p, *out]``.

    How a value is rounded depends on its place in the batch (several threads share the work out). Where all changes are so small that this
    could be taken for one, they are against the same place of a run with nothing changed, which is rounded alike.
    """
    other = tokens.flip(-1) * -1.5 + tokens.std() * torch.randn(tokens.shape[-1], generator=torch.Generator().manual_seed(0)).to(tokens)
    found = []
    for some in torch.split(masks.to(tokens.device), PROBES):
        ran = run(torch.cat([tokens, torch.where(some[:, :, None], other, tokens)]))
        apart = (ran[1:] - ran[:1]).abs()
        if bool(apart.max() < FAINT * ran.abs().max()):
            apart = (ran - run(tokens.expand(len(ran), -1, -1)))[1:].abs()
        found.append(apart)
    return torch.cat(found)


def spelled(stage: Stage) -> Tensor:
    """Sets of tokens that tell any two apart in few runs, bool ``[p, n]``.

    By each bit of the row's number, by its opposite, by the same of the column's, and each other token by itself.
    """
    masks = []
    for axis in (0, 1):
        numbers, inside = stage.cells[:, axis].clamp_min(0), stage.cells[:, axis] >= 0
        bits = torch.stack([(numbers >> bit) & 1 == 1 for bit in range(_bits(stage.grid[axis]))])
        masks += [bits & inside, ~bits & inside]
    others = (stage.cells[:, 0] < 0).nonzero().flatten()
    return torch.cat([*masks, others[:, None] == torch.arange(stage.n)])


def _bits(count: int) -> int:
    return max(1, (count - 1).bit_length())


def slots_changing(tokens: Tensor, stage: Stage, run: Callable[[Tensor], Tensor]) -> Changed:
    """What changes in each slot ``[so many, slots]``, from ``run`` to its features ``[p, slots, f]``.

    Windows put one token into each slot. Then the bits of its row and column spell it, in a dozen runs instead of one for each row
    and column; a slot that changes with a bit and with its opposite holds several tokens, and all are asked one by one.
    """
    masks = spelled(stage)
    if 2 * len(masks) <= sum(stage.grid):
        difference = differences_of(tokens, masks, run)
        found = _read((difference > 1e-4 * difference.max()).any(dim=-1), stage)
        if found is not None:
            return found
    return {kind: x.any(dim=-1) for kind, x in changing(tokens, stage, run).items()}


def _read(changed: Tensor, stage: Stage) -> Changed | None:
    """Bits ``[p, slots]`` as rows, columns and other tokens; None where a slot holds several tokens."""
    counts = [_bits(count) for count in stage.grid]
    ends = [0, counts[0], 2 * counts[0], 2 * counts[0] + counts[1], 2 * sum(counts), len(changed)]
    rows, opposite_rows, columns, opposite_columns, others = (changed[a:b] for a, b in itertools.pairwise(ends))
    held = rows[0] | opposite_rows[0]
    found: Changed = {"token": others}
    for kind, count, ones, zeros in (("row", stage.grid[0], rows, opposite_rows), ("column", stage.grid[1], columns, opposite_columns)):
        if bool((ones & zeros).any()) or bool(((ones | zeros) != held).any()):
            return None
        number = (ones * 2 ** torch.arange(len(ones), device=ones.device)[:, None]).sum(dim=0)
        found[kind] = (number == torch.arange(count, device=ones.device)[:, None]) & held
    return found


def changing(tokens: Tensor, stage: Stage, run: Callable[[Tensor], Tensor]) -> Changed:
    """What changes by more than rounding (a ten-thousandth of the largest difference): see :func:`differences`."""
    difference, names = differences(tokens, stage, run)
    return by_kind(difference > 1e-4 * difference.max(), names)


def by_kind(changed: Tensor, names: list[tuple[str, int]]) -> Changed:
    """Rows, columns and other tokens apart."""
    return {kind: changed[[i for i, (name, _) in enumerate(names) if name == kind]] for kind in ("row", "column", "token")}


def depends(changed: Changed, stage: Stage) -> list[Tensor]:
    """For each slot of ``[so many, slots]``, the tokens it depends on: its rows crossed with its columns, or other tokens."""
    at = {(int(r), int(c)): i for i, (r, c) in enumerate(stage.cells.tolist()) if r >= 0}
    others = (stage.cells[:, 0] < 0).nonzero().flatten().tolist()
    return [_sources(changed, slot, at, others) for slot in range(changed["row"].shape[1])]


def _sources(changed: Changed, slot: int, at: dict[tuple[int, int], int], others: list[int]) -> Tensor:
    own = [others[i] for i in changed["token"][:, slot].nonzero().flatten().tolist()]
    if len(own) == len(others) and len(others) > 0 and bool(changed["row"][:, slot].any()):
        own = []
    rows, columns = changed["row"][:, slot].nonzero().flatten().tolist(), changed["column"][:, slot].nonzero().flatten().tolist()
    return torch.tensor([*own, *(at[row, column] for row in rows for column in columns)], dtype=torch.long)


def middles(seen: Tensor) -> Tensor:
    """Of what each token sees, ``[bands, n]`` bool: halfway from the first band to the last, ``[n]``."""
    return (seen.int().argmax(dim=0) + len(seen) - 1 - seen.flip(0).int().argmax(dim=0)).double() / 2


def centres(change: Tensor) -> Tensor:
    """The centre of mass of how much each token changes with each band, ``[bands, n]`` to ``[n]``.

    Formula:
        of squared changes, less the token's smallest: what every band changes alike says nothing of its place.
    """
    mass = change.double().square()
    mass = mass - mass.amin(dim=0)
    return (mass * torch.arange(len(mass)).double()[:, None]).sum(dim=0) / mass.sum(dim=0).clamp_min(1e-300)


def in_rank(rows: Tensor, columns: Tensor, there: Tensor, size: tuple[int, int]) -> Stage | None:
    """The one grid of this shape into which as many tokens go, rows and columns by rank of the tokens' places.

    None where there is no such grid, or where the places of two rows (columns) overlap.

    Shapes:
        rows, columns: places ``[n]``; there: bool ``[n]``, the tokens that are parts of the picture.
    """
    count = int(there.sum())
    fits = [h for h in range(1, count + 1) if count % h == 0]
    if not fits:
        return None
    height = min(fits, key=lambda h: abs(math.log(h * h / count * size[1] / size[0])))
    grid = (height, count // height)
    cells = torch.full((len(there), 2), -1, dtype=torch.long)
    for axis, places in enumerate((rows, columns)):
        own = places[there]
        order = own.argsort(stable=True).view(grid[axis], -1)
        if bool((own[order][1:].amin(dim=1) <= own[order][:-1].amax(dim=1)).any()):
            return None
        place = torch.empty(count, dtype=torch.long)
        place[order] = torch.arange(grid[axis])[:, None].expand(order.shape)
        cells[there, axis] = place
    return Stage(grid, cells) if len(torch.unique(cells[there], dim=0)) == count else None


def merged_grid(slots: Changed, where: str, strength: Changed | None = None) -> Stage:
    """The grid of merged tokens, from the middle of the rows and columns each depends on.

    Args:
        slots: what changes in each merged token.
        where: for the error.
        strength: by how much: where the middles make no grid (views so wide that edges cut them), the centres of mass may.

    Raises:
        ProofError: middles that make no grid, or tokens made of rows or columns that are no neighbours.
    """
    there = slots["row"].any(dim=0)
    for kind in ("row", "column"):
        _neighbours(slots[kind][:, there], kind, where)
    cells = torch.full((len(there), 2), -1, dtype=torch.long)
    grid, apart = [], []
    for axis, kind in enumerate(("row", "column")):
        numbers = torch.arange(len(slots[kind])).double()
        middle = (slots[kind] * numbers[:, None]).sum(dim=0) / slots[kind].sum(dim=0).clamp_min(1)
        known = torch.unique(middle[there])
        cells[there, axis] = torch.searchsorted(known, middle[there].contiguous())
        grid.append(len(known))
        apart.append(max(round(float(known.diff().max())) if len(known) > 1 else 0, round(len(slots[kind]) / max(1, len(known)))))
    count = int(there.sum())
    if count == grid[0] * grid[1] and len(torch.unique(cells[there], dim=0)) == count:
        return replace(Stage((grid[0], grid[1]), cells), apart=(apart[0], apart[1]))
    before = (len(slots["row"]), len(slots["column"]))
    ranked = None if strength is None else in_rank(centres(strength["row"]), centres(strength["column"]), there, before)
    if ranked is None:
        raise ProofError(f"{count} tokens with {grid[0]} different rows and {grid[1]} different columns", expected="a grid", where=where)
    return replace(ranked, apart=(round(before[0] / ranked.grid[0]), round(before[1] / ranked.grid[1])))


def _neighbours(seen: Tensor, kind: str, where: str) -> None:
    """Raises ProofError where most merged tokens are made of rows (columns) ``[so many, n]`` with others between them."""
    span = len(seen) - seen.flip(0).int().argmax(dim=0) - seen.int().argmax(dim=0)
    gaps = (seen.sum(dim=0) != span).nonzero().flatten().tolist()
    if 2 * len(gaps) > seen.shape[1]:
        numbers = ", ".join(str(i) for i in seen[:, gaps[0]].nonzero().flatten().tolist())
        raise ProofError(
            f"{len(gaps)} of {seen.shape[1]} merged tokens are made of {kind}s with others between them ({numbers})",
            expected="tokens merged with their neighbours",
            where=where,
            todo="check whether this model puts its tokens in the order that its pooling expects",
        )


def channels_axis(changed: Tensor, module: nn.Module) -> int:
    """The channels' axis of ``[b, …]`` from what changes with a part of the picture: nearly all channels do, and not all of any other axis.

    Where that does not tell them apart (so small a grid that all of it changes), the axis as wide as what the module's first layer takes.

    Raises:
        ProofError: both, or none.
    """
    if changed.dim() == 3:
        return 2
    full = [axis for axis in (3, 1) if float(changed[0].movedim(axis - 1, 0).flatten(1).any(dim=1).double().mean()) > 0.9]
    if len(full) != 1:  # a view of the whole picture behind a deep stem, or many channels that are silent
        full = [axis for axis in (3, 1) if changed.shape[axis] == _width(module)]
    if len(full) != 1:
        raise ProofError(f"a tensor {list(changed.shape)} whose channels cannot be told from its rows", where="token layout")
    return full[0]


def _width(module: nn.Module) -> int:
    """Features the first layer of a module takes; 0 where no layer says."""
    for part in module.modules():
        for name in ("normalized_shape", "num_features", "in_features", "in_channels"):
            value = getattr(part, name, None)
            if isinstance(value, int) or (isinstance(value, tuple) and len(value) == 1):
                return int(value if isinstance(value, int) else value[0])
    return 0
