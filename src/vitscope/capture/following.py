"""Following attention that a model writes out: from q kᵀ through scale, bias and mask to the softmax, and on to the product with v.

Each tensor on the way carries a :class:`Track`, found by the tensor's identity. Scores are followed exactly as long as they
are ``q kᵀ · scale + masks``; a step that is none of these leaves a track without q and k, and the weights the model made are kept.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

#: Functions that leave values and shape as they are (in evaluation mode).
SAME = frozenset(
    {"to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "dropout", "alpha_dropout", "detach"}
)
SCALING = frozenset({"mul", "multiply", "rmul", "imul", "div", "divide", "true_divide", "truediv", "itruediv"})
ADDING = frozenset({"add", "radd", "iadd", "sub", "subtract", "isub"})
#: Functions that may reshape or reorder the leading dimensions.
RESHAPING = frozenset({"view", "reshape", "unflatten", "flatten", "squeeze", "unsqueeze"})
REORDERING = frozenset({"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "mT", "T"})
#: Filling scores with less than this drops the key: exp of it is zero beside any real score.
DROPPED = -1e4


@dataclass(frozen=True)
class Track:
    """What is known of a tensor on the way through an attention.

    Attributes:
        axes: (query axis, key axis), counted from the front.
        lead: where the other axes are now, in the order they had at the product (after the softmax: at the softmax).
        q, k: ``[*lead, n, d]`` while the scores are followed exactly; None after a step that cannot be followed.
        masks: terms of the scores, broadcastable to ``[*lead, nq, nk]``.
        weights: after the softmax: what it gave.
        weights_axes: its (query axis, key axis).
        mixed: a step after the softmax changed the weights.
    """

    axes: tuple[int, int]
    lead: tuple[int, ...]
    q: Tensor | None = None
    k: Tensor | None = None
    scale: float = 1.0
    masks: tuple[Tensor, ...] = ()
    weights: Tensor | None = None
    weights_axes: tuple[int, int] = (-2, -1)
    mixed: bool = False

    @property
    def exact(self) -> bool:
        """Whether the scores are still ``q kᵀ · scale + masks``."""
        return self.q is not None

    def lost(self) -> Track:
        """The same way, no longer exact."""
        return replace(self, q=None, k=None, masks=())


class Tracks:
    """Tracks by tensor identity, for as long as the tensors live."""

    def __init__(self) -> None:
        self._at: dict[int, tuple[weakref.ref[Tensor], Track]] = {}

    def get(self, x: object) -> Track | None:
        """The track of a tensor, if it has one."""
        found = self._at.get(id(x))
        return found[1] if found is not None and found[0]() is x else None

    def set(self, x: Tensor, track: Track | None) -> None:
        """Give a tensor a track, or take it away."""
        if track is None:
            self._at.pop(id(x), None)
            return
        key = id(x)
        self._at[key] = (weakref.ref(x, lambda _: self._at.pop(key, None)), track)

    def __len__(self) -> int:
        return len(self._at)


def step(name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tracked: tuple[int, Track], result: Tensor) -> Track | None:
    """The track of a function's result, given which argument was tracked."""
    at, track = tracked
    source = args[at]
    if name in SAME and result.shape == source.shape:
        return track
    if name in REORDERING:
        return _reordered(track, source, func, args, kwargs)
    if name in RESHAPING:
        return _reshaped(track, source, result)
    if track.weights is not None:
        return _mixed(track, source, result)
    if track.exact:
        followed = _arithmetic(name, args, kwargs, at, track, result)
        if followed is not None:
            return followed
    same = result.dim() == source.dim() and all(result.shape[a] == source.shape[a] for a in track.axes)
    return track.lost() if same else None


def _arithmetic(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], at: int, track: Track, result: Tensor) -> Track | None:
    """Scale, bias and mask; None where it is none of these."""
    if result.shape != args[at].shape:
        return None
    if name in SCALING and len(args) == 2 and not kwargs:
        return _scaled(track, args[1 - at], divide="div" in name, numerator=at == 0)
    if name in ADDING and len(args) == 2:
        return _added(track, args[1 - at], at, -1.0 if "sub" in name else 1.0, float(kwargs.get("alpha", 1)))
    if name == "masked_fill" and at == 0:
        values = [*args[1:], *kwargs.values()]
        return _filled(track, values[0], values[-1]) if len(values) == 2 else None
    if name == "where" and len(args) == 3 and at > 0:
        return _filled(track, ~args[0] if at == 1 else args[0], args[3 - at])
    return None


def _scaled(track: Track, by: object, *, divide: bool, numerator: bool) -> Track | None:
    if divide and not numerator:
        return None
    assert track.q is not None
    if isinstance(by, Tensor) and by.numel() > 1:
        if by.shape[-1] != 1 or by.dim() > track.q.dim():
            return None
        by = 1 / by if divide else by
        return replace(track, q=track.q * by, masks=tuple(mask * by for mask in track.masks))
    if not isinstance(by, (int, float, Tensor)):
        return None
    factor = 1 / float(by) if divide else float(by)
    return replace(track, scale=track.scale * factor, masks=tuple(mask * factor for mask in track.masks))


def _added(track: Track, term: object, at: int, sign: float, alpha: float) -> Track | None:
    if isinstance(term, (int, float)):
        return track if at == 0 or sign > 0 else None
    if not isinstance(term, Tensor) or (at == 1 and (sign < 0 or alpha != 1)):
        return None
    return replace(track, masks=(*track.masks, term if sign * alpha == 1 else term * (sign * alpha)))


def _filled(track: Track, dropped: object, value: object) -> Track | None:
    """``masked_fill`` with something hugely negative drops keys: a term of −∞."""
    if not isinstance(dropped, Tensor) or dropped.dtype != torch.bool:
        return None
    if isinstance(value, Tensor):
        value = float(value) if value.numel() == 1 else 0.0
    if not isinstance(value, (int, float)) or value > DROPPED:
        return None
    term = torch.zeros(dropped.shape, device=dropped.device).masked_fill_(dropped, float("-inf"))
    return replace(track, masks=(*track.masks, term))


def _reshaped(track: Track, source: Tensor, result: Tensor) -> Track | None:
    """Leading dimensions joined or split; the last two must stay."""
    dims = source.dim()
    in_order = track.axes == (dims - 2, dims - 1) and track.lead == tuple(range(dims - 2))
    if not in_order or result.dim() < 2 or result.shape[-2:] != source.shape[-2:]:
        return None
    moved = replace(track, axes=(result.dim() - 2, result.dim() - 1), lead=tuple(range(result.dim() - 2)))
    if track.q is None or track.k is None:
        return moved
    lead, old = result.shape[:-2], source.shape[:-2]
    q, k = (x.expand(*old, *x.shape[-2:]).reshape(*lead, *x.shape[-2:]) for x in (track.q, track.k))
    return replace(moved, q=q, k=k, masks=tuple(mask.expand(source.shape).reshape(result.shape) for mask in track.masks))


def _reordered(track: Track, source: Tensor, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Track:
    """Where each axis went is read off a tensor without memory whose sizes are all different."""
    sizes = tuple(range(2, 2 + source.dim()))
    probe = torch.empty(sizes, device="meta")
    order = [size - 2 for size in func(probe, *args[1:], **kwargs).shape]
    moved = replace(
        track, axes=(order.index(track.axes[0]), order.index(track.axes[1])), lead=tuple(order.index(axis) for axis in track.lead)
    )
    return moved if track.weights is not None or order == sorted(order) else moved.lost()


def _mixed(track: Track, source: Tensor, result: Tensor) -> Track | None:
    """Some other step after the softmax: still this attention if queries and keys are where they were."""
    if result.dim() != source.dim() or any(result.shape[a] != source.shape[a] for a in track.axes):
        return None
    return replace(track, mixed=True)
