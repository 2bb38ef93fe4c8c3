"""Made: everything one pass made of its pictures; and a target's score, read off it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from vitscope.core.readings import Directions, Features, Places, Reading
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, CaptureError


@dataclass(frozen=True)
class Made:
    """What a pass made; None for what a model does not make.

    Shapes:
        scores: ``[b, c]`` class scores.
        features: ``[b, w]``, what a model without a head gives (its tokens pooled as its head would read them).
        places: ``[b, c, m]`` class scores at the ``m`` cells of a dense head's grid, or of ``m`` boxes.
        boxes: ``[b, m, 4]`` centre x, y, width, height, in parts of the input.
        hidden: the blocks' outputs ``[b, n, width]``, where they were kept; keep: bool ``[b, n]``, tokens not dropped (all where None).

    Attributes:
        grid: ``(gh, gw)`` of a dense head's cells.
        nothing: whether the boxes' last column stands for "no object".
    """

    scores: Tensor | None = None
    features: Tensor | None = None
    places: Tensor | None = None
    boxes: Tensor | None = None
    grid: tuple[int, int] | None = None
    nothing: bool = False
    hidden: tuple[Tensor, ...] = ()
    keep: Tensor | None = None

    @property
    def columns(self) -> int:
        """Number of classes it scores; 0 where it scores none."""
        if self.scores is not None:
            return int(self.scores.shape[1])
        return 0 if self.places is None else int(self.places.shape[1]) - self.nothing

    def tensors(self) -> tuple[Tensor, ...]:
        """Whatever of it a score can be read off."""
        return tuple(x for x in (self.scores, self.features, self.places, *self.hidden) if x is not None)

    def detach(self) -> Made:
        """The same without a graph."""
        return self._each(torch.Tensor.detach)

    def one(self, picture: slice) -> Made:
        """Some pictures' part of it."""
        return self._each(lambda x: x[picture])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Made:
        changed: dict[str, Any] = {f.name: change(x) for f in fields(self) if isinstance(x := getattr(self, f.name), Tensor)}
        return replace(self, hidden=tuple(change(z) for z in self.hidden), **changed)


#: Nothing beside what is said elsewhere.
BARE = Made()


def as_made(found: Tensor | Made | None) -> Made:
    """What a forward gave: class scores alone, or all of it."""
    return found if isinstance(found, Made) else Made(scores=found)


def score(made: Tensor | Made, target: Target) -> Tensor:
    """The explained score ``[b]``: ``column[index]``, minus ``column[against]`` where given."""
    read = columns(as_made(made), target)
    at = torch.arange(len(read), device=read.device)
    one = read[at, torch.as_tensor(target.index, device=read.device)]
    return one - read[at, torch.as_tensor(target.against, device=read.device)] if target.against else one


def columns(made: Made, target: Target) -> Tensor:
    """The scores a target chooses among, ``[b, c]``: class scores, or what its readings read, picture by picture.

    Raises:
        CaptureError: the model makes no such thing.
    """
    if not target.at:
        return _there(made.scores, "class scores")
    return torch.stack([_read(made, reading, i) for i, reading in enumerate(target.at)])


def _read(made: Made, reading: Reading, i: int) -> Tensor:
    if isinstance(reading, Features):
        return _there(made.features, "one vector of features")[i]
    if isinstance(reading, Places):
        places = _there(made.places, "scores at places")
        return wide(places[i]) @ _like(reading.weights.array, wide(places))
    return along(_vector(made, reading, i), reading)


def along(z: Tensor, reading: Directions) -> Tensor:
    """What a vector ``[w]`` scores along each direction, ``[k]``.

    Raises:
        ArgumentError: directions of another width.
    """
    rows = _like(reading.rows.array, z)
    if rows.shape[1] != len(z):
        raise ArgumentError(f"a vector of {rows.shape[1]} numbers", expected=f"{len(z)}, as this model makes them", where="target")
    if reading.cosine:
        found: Tensor = (rows @ z) / (rows.norm(dim=1) * z.norm()).clamp_min(torch.finfo(z.dtype).tiny)
    else:
        found = rows @ (z if reading.origin is None else z - _like(reading.origin.array, z))
    return found if (reading.scale, reading.bias) == (1.0, 0.0) else found * reading.scale + reading.bias


def _vector(made: Made, reading: Directions, i: int) -> Tensor:
    """What the model makes, or what is read of one block's tokens: of those that are left, where some were dropped."""
    if reading.block is None or reading.tokens is None:
        return wide(_there(made.features, "one vector of features")[i])
    if reading.block >= len(made.hidden):
        raise CaptureError(f"{len(made.hidden)} blocks' tokens were kept", expected=f"block {reading.block}", where="target")
    z = wide(made.hidden[reading.block][i])
    weights = _like(reading.tokens.array, z)
    if made.keep is not None:
        kept = made.keep[i].to(z.device)
        weights = weights[:, kept] if len(z) < weights.shape[1] else weights * kept
        weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights @ z).flatten()


def _there(found: Tensor | None, what: str) -> Tensor:
    if found is None:
        raise CaptureError(f"this model makes no {what}", expected="what the target is read off", where="target")
    return found


def wide(x: Tensor) -> Tensor:
    """Half precision is widened before it is added up."""
    return x if x.dtype == torch.float64 else x.float()


def _like(array: object, x: Tensor) -> Tensor:
    return torch.tensor(array, dtype=x.dtype, device=x.device)
