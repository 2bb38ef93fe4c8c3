"""Trace: what one pass through a model left behind; AttentionCall: one attention of it; Model: the protocol a family meets.

Letters: ``b`` pictures, ``h`` heads, ``n`` tokens (``nq`` queries, ``nk`` keys), ``d`` head width, ``c`` classes, ``L`` blocks.
Nothing here stores an ``[n, n]`` matrix: attention rows are computed in blocks when asked for, and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vitscope.aiming import ReadTexts, Scene, aim, top_places
from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, CaptureError, MethodError
from vitscope.grids import Cut, Seats, Stages
from vitscope.scoring import BARE, Made

#: Attention rows of all heads are computed in blocks of at most this many values (float32: 16 MB).
BLOCK_VALUES = 4_000_000

#: Products with attention go head by head, in tiles of this many values: small enough to stay in a core's cache (float32: 2 MB).
TILE_VALUES = 500_000

#: … but never of fewer rows than this: with less, reading the keys again and again costs more than the cache saves.
TILE_ROWS = 64

#: From this many keys on, one head's row block fills a tile by itself.
LONG = 512

#: Scores below this need no shift before ``exp``: its float32 range ends at 88, and a row sums at most some millions of them.
UNSHIFTED = 60.0

ALL_HEADS = slice(None)

CallKind = Literal["sdpa", "mha", "written out"]


@dataclass(frozen=True)
class AttentionCall:
    """One attention as it happened: tensors kept by reference, detached.

    Shapes:
        q: ``[b, h, nq, d]``; k: ``[b, hk, nk, d]``; v: ``[b, hk, nk, dv]`` (``hk`` divides ``h``); out: ``[b, h, nq, dv]``.
        mask: as given to the kernel, broadcastable to ``[b, h, nq, nk]``; bool means keep, else added to the scores.
        weights: ``[b, h, nq, nk]`` only where the model wrote the attention out and q, k could not be followed; else None.
        grad_out: ``∂s/∂out`` where gradients were asked for.
        grad_weights: ``∂s/∂A``, only where ``weights`` is kept.
        layer_grad: ``∂s_l/∂out`` where layer scores were asked for (LeGrad); layer_grad_weights: ``∂s_l/∂A``, where the heads are mixed.

    Attributes:
        path: dotted path of the module that made the call.
        block: block number 0..L−1; None for calls outside the blocks (attention pools).
        mixed: the model mixes the heads after the softmax (talking heads): then ``out ≠ A V``, and ``∂s/∂A`` is kept as it came.
        seats: which token sits at each (window, slot), where the call is over windows or reduced keys: its ``b`` is then pictures
            times windows; None for a call over all tokens.
    """

    path: str
    kind: CallKind
    q: Tensor | None
    k: Tensor | None
    v: Tensor | None
    out: Tensor
    scale: float = 1.0
    mask: Tensor | None = None
    is_causal: bool = False
    weights: Tensor | None = None
    block: int | None = None
    grad_out: Tensor | None = None
    grad_weights: Tensor | None = None
    layer_grad: Tensor | None = None
    layer_grad_weights: Tensor | None = None
    mixed: bool = False
    seats: Seats | None = None

    def enter(self, vector: Tensor) -> Tensor:
        """Weights on tokens ``[b, n]`` as weights on this call's queries ``[b · w, nq]``: the same where it is over all tokens."""
        return vector if self.seats is None else self.seats.take(vector)

    def leave(self, slots: Tensor) -> Tensor:
        """Weights on this call's keys ``[b · w, nk]`` as weights on tokens ``[b, n]``."""
        return slots if self.seats is None else self.seats.give(slots)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return int(self.out.shape[1])

    @property
    def queries(self) -> int:
        """Number of query tokens."""
        return int(self.out.shape[2])

    @property
    def keys(self) -> int:
        """Number of key tokens."""
        if self.weights is not None:
            return int(self.weights.shape[-1])
        assert self.k is not None
        return int(self.k.shape[2])

    @property
    def dtype(self) -> torch.dtype:
        """What rows are computed in: float64 for float64 models, float32 otherwise (half precision is widened first)."""
        return torch.float64 if self.out.dtype == torch.float64 else torch.float32

    def blocks(self) -> Iterator[Tensor]:
        """Query indices ``[m]`` in blocks small enough that one block of rows stays within ``BLOCK_VALUES``."""
        step = max(1, BLOCK_VALUES // max(1, self.out.shape[0] * self.heads * self.keys))
        yield from torch.split(torch.arange(self.queries, device=self.out.device), step)

    def rows(self, queries: Tensor | Sequence[int] | None = None, *, heads: slice = ALL_HEADS) -> Tensor:
        """Attention rows ``A[b, heads, queries, :]``, exact, in float32 (float64 for float64 models).

        Formula:
            ``A = softmax(q kᵀ · scale + mask)`` over keys; a bool mask means keep, else −∞; ``is_causal`` keeps key ≤ query.

        Shapes:
            queries: ``[m]`` token indices (all where None: then this is the full matrix, so ask in blocks); returns ``[b, h, m, nk]``.
        """
        at = self._index(queries)
        if self.weights is not None:
            return self.weights[:, heads][:, :, at].to(self.dtype)
        return torch.softmax(self._scores(at, heads), dim=-1)

    def grad_rows(self, queries: Tensor | Sequence[int] | None = None, *, of: Literal["target", "layer"] = "target") -> Tensor:
        """Gradient rows ``∂s/∂A[b, h, queries, :] = (∂s/∂O) Vᵀ``, exact.

        Shapes:
            returns ``[b, h, m, nk]``.

        Raises:
            CaptureError: gradients were not asked for.
        """
        at = self._index(queries)
        whole = self.grad_weights if of == "target" else self.layer_grad_weights
        if whole is not None:
            return whole[:, :, at].to(self.dtype)
        grad = self.grad_out if of == "target" else self.layer_grad
        if grad is None or self.v is None or self.mixed:
            raise CaptureError("no gradients in this trace", expected=f"a trace with {of} gradients", where=self.path)
        return grad[:, :, at].to(self.dtype) @ self._grouped(self.v).to(self.dtype).transpose(-1, -2)

    def vecmat(self, vector: Tensor) -> Tensor:
        """A row vector times attention, head by head, in row blocks: ``vector · A``.

        Shapes:
            vector: ``[b, nq]`` (the same for every head) or ``[b, h, nq]``; returns ``[b, h, nk]``. Rows with zero weight are skipped.
        """
        v = vector[:, None].expand(-1, self.heads, -1) if vector.dim() == 2 else vector
        v = v.to(self.dtype)
        if self._plain() and bool(v.any(dim=0).any(dim=0).all()):
            return self._vecmat_plain(v)
        out = torch.zeros(*v.shape[:2], self.keys, dtype=self.dtype, device=self.out.device)
        for heads, at in self._tiles((v != 0).any(dim=0).any(dim=0).nonzero().flatten()):
            part = v[:, heads][:, :, at]
            if self.weights is not None:
                tile = self.weights[:, heads][:, :, at].to(self.dtype)
            else:
                tile = self._scores(at, heads)
                tile -= tile.amax(dim=-1, keepdim=True)
                tile.exp_()
                part = part / tile.sum(dim=-1)
            out[:, heads] += (part[:, :, None] @ tile)[:, :, 0]
        return out

    def _plain(self) -> bool:
        """Whether every score is so small that ``exp`` needs no shift (Cauchy–Schwarz), on a CPU and long enough for it to matter."""
        if self.q is None or self.k is None or self.weights is not None or self.mask is not None or self.is_causal:
            return False
        if self.keys < LONG or self.out.device.type != "cpu":
            return False
        longest = self.q.to(self.dtype).norm(dim=-1).max() * self.k.to(self.dtype).norm(dim=-1).max()
        return bool(abs(self.scale) * longest < UNSHIFTED)

    def _vecmat_plain(self, v: Tensor) -> Tensor:
        """``vector · A`` head by head in one reused tile: product, exponential, row sums, and no other pass over it."""
        assert self.q is not None
        assert self.k is not None
        q = (self.q.to(self.dtype) * self.scale).flatten(0, 1)
        k = self._grouped(self.k).to(self.dtype).flatten(0, 1).transpose(1, 2)
        weights, out = v.flatten(0, 1), torch.zeros(len(q), self.keys, dtype=self.dtype)
        step = max(TILE_ROWS, TILE_VALUES // self.keys)
        room = torch.empty(step * self.keys, dtype=self.dtype)
        for head in range(len(q)):
            for at in range(0, self.queries, step):
                part = q[head, at : at + step]
                tile = torch.mm(part, k[head], out=room[: len(part) * self.keys].view(len(part), self.keys)).exp_()
                out[head] += (weights[head, at : at + step] / tile.sum(dim=-1)) @ tile
        return out.view(*v.shape[:2], self.keys)

    def _tiles(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Heads and query indices, tile by tile, each of about ``TILE_VALUES`` values."""
        row = int(self.out.shape[0]) * self.keys
        heads = max(1, TILE_VALUES // max(1, row * len(rows)))
        for first in range(0, self.heads if len(rows) else 0, heads):
            for at in torch.split(rows, max(TILE_ROWS, TILE_VALUES // row)):
                yield slice(first, min(first + heads, self.heads)), at

    def top_edges(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The ``k`` heaviest links of each head, found in row blocks.

        Shapes:
            returns queries ``[b, h, k]``, keys ``[b, h, k]``, weights ``[b, h, k]``, heaviest first.
        """
        best: Tensor | None = None
        where: Tensor | None = None
        for at in self.blocks():
            flat = self.rows(at).flatten(2)
            values, index = flat.topk(min(k, flat.shape[-1]), dim=-1)
            index = index + int(at[0]) * self.keys
            best = values if best is None else torch.cat([best, values], dim=-1)
            where = index if where is None else torch.cat([where, index], dim=-1)
            best, order = best.topk(min(k, best.shape[-1]), dim=-1)
            where = where.gather(-1, order)
        assert best is not None
        assert where is not None
        return where // self.keys, where % self.keys, best

    def one(self, picture: int, of: int) -> AttentionCall:
        """The same call for one picture of a batch of so many: slices of the same tensors."""
        each = self.out.shape[0] // of  # more than one where the model cuts pictures into windows
        mine = slice(picture * each, (picture + 1) * each)
        cut = {name: value[mine] for name in _PER_PICTURE if (value := getattr(self, name)) is not None}
        if self.mask is not None and self.mask.dim() == 4 and self.mask.shape[0] == self.out.shape[0]:
            cut["mask"] = self.mask[mine]
        return replace(self, **cut)

    def turned(self, pictures: int, cut: Cut) -> AttentionCall:
        """The call of a model that keeps windows among or inside its heads, the usual way round.

        Raises:
            CaptureError: a mask that differs from window to window but not from head to head, or the other way round.
        """
        names = [name for name in _PER_PICTURE if getattr(self, name) is not None]
        if self.mask is not None and self.mask.dim() == 4 and self.mask.shape[:2] != (1, 1):
            if self.mask.shape[:2] != self.out.shape[:2]:
                raise CaptureError(f"a mask {list(self.mask.shape)} over windows among heads", expected="one for all", where=self.path)
            names.append("mask")
        other: dict[str, Any] = {name: cut.turn(getattr(self, name), pictures) for name in names}
        return replace(self, **other)

    def _index(self, queries: Tensor | Sequence[int] | None) -> Tensor:
        if queries is None:
            return torch.arange(self.queries, device=self.out.device)
        return torch.as_tensor(queries, device=self.out.device, dtype=torch.long)

    def _grouped(self, x: Tensor, heads: slice = ALL_HEADS) -> Tensor:
        """Keys or values ``[b, hk, nk, d]`` as these of the ``h`` heads see them (grouped-query attention: each serves its group)."""
        if x.shape[1] == self.heads:
            return x[:, heads]
        group = self.heads // x.shape[1]
        return x[:, torch.arange(self.heads, device=x.device)[heads] // group]

    def _scores(self, at: Tensor, heads: slice = ALL_HEADS) -> Tensor:
        """Scores before the softmax, a fresh tensor ``[b, heads, m, nk]``."""
        if self.q is None or self.k is None:
            raise CaptureError("neither queries and keys nor weights were kept", where=self.path)
        q = self.q[:, heads][:, :, at].to(self.dtype) * self.scale
        scores = q @ self._grouped(self.k, heads).to(self.dtype).transpose(-1, -2)
        if self.mask is not None:
            mask = self.mask.expand(scores.shape[0], self.heads, self.queries, self.keys)[:, heads][:, :, at]
            scores = scores.masked_fill_(~mask, float("-inf")) if mask.dtype == torch.bool else scores.add_(mask)
        if self.is_causal:
            keys = torch.arange(self.keys, device=scores.device)
            scores = scores.masked_fill_(keys[None, :] > at[:, None], float("-inf"))
        return scores


_PER_PICTURE = ("q", "k", "v", "out", "weights", "grad_out", "grad_weights", "layer_grad", "layer_grad_weights")


@dataclass(frozen=True)
class Needs:
    """What a pass should leave behind, beyond q, k, v and logits.

    Attributes:
        hidden: block outputs ``Z_l``.
        gradients: ``∂s/∂O`` of every attention call (and ``∂s/∂Z_l`` where hidden is asked too); one backward pass.
        layer_scores: ``∂s_l/∂O_l`` with each layer's own score (LeGrad).
        pixel_gradients: ``∂s/∂pixels``.
    """

    hidden: bool = False
    gradients: bool = False
    layer_scores: bool = False
    pixel_gradients: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(*(getattr(self, f) or getattr(other, f) for f in self.__dataclass_fields__))

    def within(self, other: Needs) -> bool:
        """Whether all that is needed here is needed there too."""
        return all(getattr(other, f) or not getattr(self, f) for f in self.__dataclass_fields__)


@dataclass(frozen=True)
class Inputs:
    """What to change in another run; None leaves it as it was.

    Shapes:
        pixels: ``[b', 3, h, w]`` other prepared pixels (``b'`` may differ from the trace's).
        keep: bool ``[b', n]``: False drops that token (patches only).
        redraw: seed of re-drawn weights (a copy of the model; the user's own is not touched).
    """

    pixels: Tensor | None = None
    keep: Tensor | None = None
    redraw: int | None = None


#: ``again(needs, target, inputs)``: the one opaque way back to the model.
Again = Callable[[Needs, Target | None, Inputs], "Trace"]


@dataclass(frozen=True)
class Trace:
    """What one forward pass (and, where asked, one backward pass) left behind.

    Shapes:
        pixels: ``[b, 3, h, w]`` the tensor the model was fed.
        logits: ``[b, c]``, or None for a model without class scores.
        hidden, hidden_grads: ``L`` tensors ``[b, n, width]``: block outputs and ``∂s/∂Z_l``; empty where not asked.
        pixel_grads: ``[b, 3, h, w]`` or None.

    Attributes:
        calls: every attention call, in the order they ran.
        layer_pools: where the head pools by attention and layer scores were asked: the pool's call on each block's tokens, with layer_grad.
        layer_logits: where layer scores were asked: ``[b, c]`` for each block, the model's own tail (norm, pool, head) on its tokens.
        target: what the gradients are of, or None.
        exact_drop: how tokens are dropped in another run: "removed" from the sequence, or "masked" as keys.
        layouts: one for each stage of a hierarchical model, first grid first (that one is ``layout``); else just ``layout``.
        stages: how a hierarchical model's windows and grids fit together; None for one grid throughout.
        unmapped: why attention cannot be put on the picture; "" where it can.
        made: what it made beside class scores: features, scores at pixels or boxes, the boxes.
        on_cells: whether the first attention's tokens are the layout's cells in raster order (a detector's encoder on a feature map).
        through_last: whether all that those scores read passes the last block.
        words: how a two-tower model scores its pictures for texts.
        mean, std: the normalisation the pixels went through last, per channel: ``(x − mean) / std`` of values 0..1.
    """

    calls: tuple[AttentionCall, ...]
    layout: TokenLayout
    placements: tuple[Placement, ...]
    samples: tuple[Sample, ...]
    pixels: Tensor
    logits: Tensor | None
    labels: tuple[str, ...]
    provenance: Provenance
    rerun: Again = field(repr=False)
    needs: Needs = Needs()
    target: Target | None = None
    hidden: tuple[Tensor, ...] = ()
    hidden_grads: tuple[Tensor, ...] = ()
    pixel_grads: Tensor | None = None
    layer_pools: tuple[AttentionCall, ...] = ()
    layer_logits: tuple[Tensor, ...] = ()
    exact_drop: str = "removed"
    layouts: tuple[TokenLayout, ...] = ()
    stages: Stages | None = None
    unmapped: str = ""
    made: Made = BARE
    on_cells: bool = False
    through_last: bool = True
    words: ReadTexts | None = field(default=None, repr=False, compare=False)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    _cache: dict[object, Trace] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    def __getitem__(self, i: int) -> Trace:
        """One picture's own trace: slices of the same tensors, and the same way back to the model."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"picture {i} of a batch of {len(self)}")
        return self if len(self) == 1 else _picture(self, i % len(self))

    @cached_property
    def blocks(self) -> tuple[AttentionCall, ...]:
        """The blocks' attention calls, first block first."""
        inside = [call for call in self.calls if call.block is not None]
        return tuple(sorted(inside, key=lambda call: call.block or 0))

    def block(self, layer: int) -> AttentionCall:
        """The attention call of one block; negative numbers count from the last.

        Raises:
            ArgumentError: no such layer.
        """
        return self.blocks[checked_layer(layer, len(self.blocks))]

    def layout_of(self, layer: int) -> TokenLayout:
        """The tokens a block gives, which ask in it: the layout, or a hierarchical model's grid at that block."""
        return self.layout if self.stages is None else self.layouts[self.stages.of[layer]]

    def layout_read(self, layer: int) -> TokenLayout:
        """The tokens a block is given, which are asked in it: others than it gives where it pools its queries."""
        return self.layout if self.stages is None else self.layouts[self.stages.reads[layer]]

    def onto(self, layer: int, vector: Tensor) -> Tensor:
        """Weights on the tokens that enter the next block as weights on those that leave this one (after the last: unchanged)."""
        if self.stages is None or layer + 1 >= len(self.stages.of):
            return vector
        return self.stages.down(vector, self.stages.reads[layer + 1], self.stages.of[layer])

    def past(self, layer: int, vector: Tensor) -> Tensor:
        """Weights on the tokens a block gives as weights on those it is given, past its attention (the residual path)."""
        if self.stages is None:
            return vector
        kept = self.stages.down(vector, self.stages.of[layer], self.stages.reads[layer])
        return kept if self.stages.skips[layer] else torch.zeros_like(kept)

    def stays(self, layer: int, residual: float) -> float:
        """The share of a block's tokens that passes its attention by: as asked for, or nothing where the block has no such path."""
        return residual if self.stages is None or self.stages.skips[layer] else 0.0

    def on_first(self, layer: int, vector: Tensor) -> Tensor:
        """Weights on the tokens a block is given as weights on the first grid's."""
        return vector if self.stages is None else self.stages.down(vector, self.stages.reads[layer], 0)

    def call(self, path: str) -> AttentionCall:
        """The attention call made at a module path."""
        for call in self.calls:
            if call.path == path:
                return call
        raise ArgumentError(f"no attention call at {path!r}", expected=", ".join(c.path for c in self.calls[:3]) + " …", where="trace")

    def top(self, k: int = 5, picture: int = 0) -> list[tuple[str, float]]:
        """The ``k`` likeliest labels of one picture with their softmax probabilities, likeliest first.

        Of a detector: its likeliest boxes, each with its label, number and probability. Of a dense head: the labels likeliest at most
        of its cells, each with its share of them.
        """
        if k < 1:
            raise ArgumentError(f"the top {k}", expected="at least 1", where="top")
        if self.made.places is not None:
            return top_places(self.scene, k, picture)
        probabilities = torch.softmax(self.scores()[picture].double(), dim=-1)
        values, index = probabilities.topk(min(k, len(probabilities)))
        return [(self.labels[i], p) for i, p in zip(index.tolist(), values.tolist(), strict=True)]

    @property
    def answers(self) -> bool:
        """Whether it has scores with labels: of classes, at pixels, or of boxes."""
        return self.whole.columns > 0

    @property
    def scene(self) -> Scene:
        """What a target is resolved against."""
        return Scene(self.whole, self.labels, self.layout, self.placements, self.provenance.model, self.words)

    @cached_property
    def whole(self) -> Made:
        """All that the pass made: class scores and blocks' tokens too."""
        return replace(self.made, scores=self.logits, hidden=self.hidden)

    def scores(self) -> Tensor:
        """Logits ``[b, c]``.

        Raises:
            MethodError: the model has no class scores.
        """
        if self.logits is None:
            raise MethodError(
                "this model has no class scores",
                expected="a classification head",
                where=self.provenance.model,
                todo="use attention or rollout",
            )
        return self.logits

    def resolve(self, target: object = None) -> Target:
        """What people want explained to a Target for this batch; see :func:`vitscope.aiming.aim`."""
        return aim(target, self.scene)

    def with_needs(self, needs: Needs, target: Target | None = None) -> Trace:
        """This trace if it already holds what is needed for this target, else one more run (kept, so that methods share it)."""
        needs = needs | Needs(hidden=target is not None and target.blocks)
        target_matters = needs.gradients or needs.layer_scores or needs.pixel_gradients
        if needs.within(self.needs) and (not target_matters or target == self.target):
            return self
        key = target if target_matters else None
        found = self._cache.get(key)
        if found is None or not needs.within(found.needs):
            wider = needs | (found.needs if found else Needs())
            self._cache[key] = found = self.again(wider, target)
        return found

    def again(self, needs: Needs, target: Target | None = None, inputs: Inputs | None = None) -> Trace:
        """Run the model once more: other needs, another target, other pixels, without some tokens, or with re-drawn weights."""
        return self.rerun(needs, target, inputs or Inputs())

    def targets(self) -> list[Target]:
        """Every target that this trace holds gradients of."""
        return [t for t in (self.target, *self._cache) if isinstance(t, Target)]

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept here: tensors once each, photos too; without what other runs left."""
        kept = [
            self.pixels,
            self.logits,
            self.made.features,
            self.made.places,
            self.pixel_grads,
            *self.hidden,
            *self.hidden_grads,
            *self.layer_logits,
        ]
        kept += [getattr(call, name) for call in (*self.calls, *self.layer_pools) for name in (*_PER_PICTURE, "mask")]
        stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept if t is not None}
        return sum(stores.values()) + sum(sample.pixels.nbytes for sample in self.samples)

    def forget(self) -> Trace:
        """The same trace without what other runs left."""
        return replace(self, _cache={})


def _picture(trace: Trace, i: int) -> Trace:
    """See :meth:`Trace.__getitem__`."""
    own, count = slice(i, i + 1), len(trace)
    sample, placement = trace.samples[i], trace.placements[i]
    provenance = replace(trace.provenance, samples=trace.provenance.samples[own])

    def rerun(needs: Needs, target: Target | None, inputs: Inputs) -> Trace:
        given = inputs if inputs.pixels is not None else replace(inputs, pixels=trace.pixels[own])
        seen = trace.rerun(needs, target, given)  # which knows only that it was given some pixels, not of which photo
        many = len(seen)
        made = replace(seen.provenance, samples=provenance.samples * many)
        return replace(seen, samples=(sample,) * many, placements=(placement,) * many, provenance=made)

    return replace(
        trace,
        calls=tuple(call.one(i, count) for call in trace.calls),
        layer_pools=tuple(call.one(i, count) for call in trace.layer_pools),
        layer_logits=tuple(z[own] for z in trace.layer_logits),
        placements=(placement,),
        samples=(sample,),
        pixels=trace.pixels[own],
        logits=None if trace.logits is None else trace.logits[own],
        made=trace.made.one(own),
        provenance=provenance,
        rerun=rerun,
        target=None if trace.target is None else trace.target.of([i]),
        hidden=tuple(z[own] for z in trace.hidden),
        hidden_grads=tuple(z[own] for z in trace.hidden_grads),
        pixel_grads=None if trace.pixel_grads is None else trace.pixel_grads[own],
        _cache={},
    )


def checked_layer(layer: int, count: int) -> int:
    """A layer's number from 0; negative ones count from the last.

    Raises:
        ArgumentError: no such layer.
    """
    if isinstance(layer, bool) or not isinstance(layer, int):
        raise ArgumentError(f"layer {layer!r}", expected="a whole number", where="layer")
    if not -count <= layer < count:
        raise ArgumentError(f"layer {layer}", expected=f"0 to {count - 1}, or −{count} to −1", where="layer")
    return layer % count


class Model(Protocol):
    """What every family gives."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index (empty for a model without class scores)."""
        ...

    def prepare(self, samples: Sequence[Sample]) -> tuple[Tensor, tuple[Placement, ...]]:
        """The library's own tensor ``[b, 3, h, w]``, and where it lies in each photo."""
        ...

    def layout(self, input_size: tuple[int, int] | None = None) -> TokenLayout:
        """What each token is, for an input of this size."""
        ...

    def trace(self, samples: object, needs: Needs = Needs(), target: object = None) -> Trace:
        """One forward pass on a path, PIL image, array, Sample, or a list of them."""
        ...
