"""Linear maps between grids of tokens: where a window's slots sit, and what a coarser grid's tokens are made of.

A vector of weights over tokens is pushed through them from the last stage to the first; an entry gives its weight on in shares, which
sum to one wherever there is something to give it to. Weight given to padding is lost, and whoever pushes says how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Form:
    """How a model's own tensor holds the tokens of a picture.

    Attributes:
        channel: the channels' axis: ``[b, n, c]``, ``[b, h, w, c]`` or (1) ``[b, c, h, w]``.
        groups: rows of the tensor for each picture, where the model folds parts of a picture into the batch: ``[b · groups, n, c]``.
    """

    channel: int = 2
    groups: int = 1

    def tokens(self, x: Tensor) -> Tensor:
        """``[b, n, c]`` from the model's tensor."""
        if x.dim() != 4:
            return x if self.groups == 1 else x.reshape(-1, self.groups * x.shape[1], x.shape[2])
        flat = x.flatten(2).transpose(1, 2) if self.channel == 1 else x.flatten(1, 2)
        return flat if self.groups == 1 else flat.reshape(-1, self.groups * flat.shape[1], flat.shape[2])

    def shaped(self, tokens: Tensor, like: Tensor) -> Tensor:
        """The way back, to the shape of ``like`` (but for the batch)."""
        if like.dim() == 4 and self.channel == 1:
            return tokens.reshape(len(tokens) * self.groups, -1, tokens.shape[2]).transpose(1, 2).reshape(-1, *like.shape[1:])
        return tokens if like.dim() != 4 and self.groups == 1 else tokens.reshape(-1, *like.shape[1:])


#: Tokens ``[b, n, c]`` as they are.
PLAIN_FORM = Form()


@dataclass(frozen=True)
class Shares:
    """A sparse matrix ``[rows, columns]``: entry ``i`` gives ``share[i]`` of row ``row[i]`` to column ``column[i]``.

    Shapes:
        row, column: int64 ``[m]``; share: float64 ``[m]``.
    """

    row: Tensor
    column: Tensor
    share: Tensor
    shape: tuple[int, int]

    @classmethod
    def even(cls, children: list[Tensor], columns: int) -> Shares:
        """Each row's weight in equal parts to its children (a row without children gives nothing)."""
        counts = torch.tensor([len(c) for c in children], dtype=torch.long)
        share = (1.0 / counts.clamp_min(1).double()).repeat_interleave(counts)
        column = torch.cat(children) if children else torch.zeros(0, dtype=torch.long)
        return cls(torch.arange(len(children)).repeat_interleave(counts), column.long(), share, (len(children), columns))

    def push(self, vector: Tensor) -> Tensor:
        """``vector · matrix``: ``[b, rows]`` to ``[b, columns]``."""
        out = vector.new_zeros(len(vector), self.shape[1])
        at = vector.device
        return out.index_add_(1, self.column.to(at), vector[:, self.row.to(at)] * self.share.to(vector))

    def dense(self) -> Tensor:
        """The matrix itself, float64: for small ones."""
        out = torch.zeros(self.shape, dtype=torch.float64)
        return out.index_put_((self.row, self.column), self.share, accumulate=True)


@dataclass(frozen=True)
class Cut:
    """Where a call as it was heard, ``[b', h', n, d]``, has its windows.

    Attributes:
        heads_first: windows inside heads: ``b' = b · h`` and ``h' = w``.
        folded: windows that are kept among the heads: ``b' = b`` and ``h' = folded · h``; 1 for none.
    """

    heads_first: bool = False
    folded: int = 1

    @property
    def usual(self) -> bool:
        """Whether it is ``[b · w, h, n, d]`` already."""
        return not self.heads_first and self.folded == 1

    def turn(self, x: Tensor, batch: int) -> Tensor:
        """``[b', h', n, d]`` as ``[b · w, h, n, d]``."""
        if self.heads_first:
            return x.reshape(batch, -1, *x.shape[1:]).transpose(1, 2).flatten(0, 1)
        return x if self.folded == 1 else x.reshape(batch * self.folded, -1, *x.shape[2:])


#: Windows where they usually are.
USUAL = Cut()


@dataclass(frozen=True)
class Seats:
    """Which token sits at each (window, slot) of an attention call.

    Shapes:
        queries: int64 ``[w, nq]`` token numbers, −1 for padding.

    Attributes:
        keys: from ``w · nk`` slots to tokens: one token each, several where keys are reduced, none for padding.
        tokens: tokens in the keys' grid.
        cut: where the call as heard has its windows.
        asks: from tokens to ``w · nq`` slots, where a token is made of several slots' results (attention on a coarser or finer grid than
            the block gives); None where each sits at one.
    """

    queries: Tensor
    keys: Shares
    tokens: int
    cut: Cut = USUAL
    asks: Shares | None = None

    @property
    def windows(self) -> int:
        """Windows in one picture."""
        return int(self.queries.shape[0])

    def take(self, vector: Tensor) -> Tensor:
        """Weights on tokens ``[b, n]`` as weights on query slots ``[b · w, nq]``."""
        if self.asks is not None:
            return self.asks.push(vector).reshape(-1, self.queries.shape[1])
        at = self.queries.to(vector.device)
        return torch.where(at >= 0, vector[:, at.clamp_min(0)], 0.0).flatten(0, 1)

    def give(self, slots: Tensor) -> Tensor:
        """Weights on key slots ``[b · w, nk]`` as weights on tokens ``[b, n]``; what lies on padding is not among them."""
        return self.keys.push(slots.reshape(-1, self.keys.shape[0]))


@dataclass(frozen=True)
class Stage:
    """One grid of tokens between blocks.

    Shapes:
        cells: int64 ``[n, 2]`` (row, column), −1 for tokens that are no patch.

    Attributes:
        apart: tokens of the grid before from one token to the next, down and across.
    """

    grid: tuple[int, int]
    cells: Tensor
    apart: tuple[int, int] = (1, 1)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.cells)


@dataclass(frozen=True)
class Stages:
    """The way from the last block's tokens to the first grid, block by block.

    Attributes:
        stages: the grids, in running order; the first is made of the picture's patches.
        of: for each block, the number of the grid of its queries, which is that of its output.
        seats: for each block, where its slots sit.
        merges: for each grid but the first, its tokens' shares in the grid before.
        reads: for each block, the number of the grid of its keys, which is that of its input; another than ``of`` where a block
            pools its queries.
        skips: for each block, whether its tokens reach its output past the attention (where not, no share of them stays).
        forms: for each block, how its output holds the tokens.
        notes: what a reader of a map through these stages must know.
        alike: whether all blocks give tokens of one grid and one width, in one form: then what reads the last one's can read any.
    """

    stages: tuple[Stage, ...]
    of: tuple[int, ...]
    seats: tuple[Seats, ...]
    merges: tuple[Shares, ...]
    reads: tuple[int, ...]
    skips: tuple[bool, ...]
    forms: tuple[Form, ...]
    notes: tuple[str, ...] = ()
    alike: bool = False

    def spread(self, values: Tensor, stage: int) -> Tensor:
        """Values on one grid's tokens as the same values on the first grid's (the mean of the parents' where there are several)."""
        for number in range(stage, 0, -1):
            merge = self.merges[number - 1]
            count = torch.zeros(merge.shape[1], dtype=torch.long).index_add_(0, merge.column, torch.ones_like(merge.column))
            whole = Shares(merge.row, merge.column, 1.0 / count[merge.column].double(), merge.shape)
            values = whole.push(values)
        return values

    def down(self, vector: Tensor, stage: int, to: int) -> Tensor:
        """Weights on one grid's tokens as weights on an earlier one's, each parent's share in equal parts to its children."""
        for number in range(stage, to, -1):
            vector = self.merges[number - 1].push(vector)
        return vector
