"""TokenMap: raw values on tokens, with everything needed to draw and to doubt them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vitscope.core.drawing import draw_on_photo
from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, ProofError

#: How a notebook shows a map: media type -> a function of the map. Empty until a layer that can draw says so (:func:`shown_by`).
_SHOWN: dict[str, Callable[[TokenMap], object]] = {}


def shown_by(draw: Mapping[str, Callable[[TokenMap], object]]) -> None:
    """Say how a map is shown where it is the last thing in a cell; the core itself knows nothing of drawing."""
    _SHOWN.update(draw)


@dataclass(frozen=True)
class TokenMap:
    """Raw values on tokens: never normalised, never clipped.

    Shapes:
        values: float32 (float64 for a float64 model) ``[b, n]``: every token with its prefixes. NaN: undefined for that token.

    Attributes:
        placements: one for each picture of the batch.
        parameters: the method's own settings, plain values (fuse, residual, discard, steps …).
        layer: block number (non-negative) or None for methods over all layers.
        head: "mean", "max", "min", a head number as text, or "" where the method has no head choice.
        query: "pooled", "cls", "row,column" or "" where the method has none.
        target: what is explained, one text for each picture ("tabby", "tabby rather than beagle"), "" for class-agnostic methods.
        unit: what a value is, e.g. "attention weight (row sums to 1)", "logit change when hidden".
        signed: True where negative values mean evidence against.
        notes: sentences a reader must see beside the map ("mean of two read-outs …", "uninformative: …").
        meta: extra plain values (trust figures, error estimates); a tuple holds one for each picture of the batch.
        aim: the target itself, for making the map again; None for class-agnostic methods.
        picture_notes: notes on single pictures, a tuple for each picture of the batch; they join ``notes`` when one picture is taken.
    """

    values: NDArray[np.floating]
    layout: TokenLayout
    placements: tuple[Placement, ...]
    method: str
    unit: str
    provenance: Provenance
    parameters: dict[str, object] = field(default_factory=dict)
    layer: int | None = None
    head: str = ""
    query: str = ""
    target: tuple[str, ...] = ()
    signed: bool = False
    notes: tuple[str, ...] = ()
    meta: dict[str, object] = field(default_factory=dict)
    picture_notes: tuple[tuple[str, ...], ...] = ()
    aim: Target | None = None

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.placements), self.layout.n):
            raise ProofError(
                f"values {self.values.shape} for {len(self.placements)} pictures of {self.layout.n} tokens",
                expected=f"({len(self.placements)}, {self.layout.n})",
                where=f"{self.method} map",
            )
        if len(self) == 1 and self.picture_notes:
            object.__setattr__(self, "notes", self.notes + self.picture_notes[0])
            object.__setattr__(self, "picture_notes", ())

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __getitem__(self, i: int) -> TokenMap:
        if not -len(self) <= i < len(self):
            raise IndexError(f"picture {i} of a batch of {len(self)}")
        i %= len(self)
        return replace(
            self,
            values=self.values[i : i + 1],
            placements=self.placements[i : i + 1],
            target=self.target[i : i + 1],
            provenance=replace(self.provenance, samples=self.provenance.samples[i : i + 1]),
            meta={key: value[i] if isinstance(value, tuple) and len(value) == len(self) else value for key, value in self.meta.items()},
            picture_notes=self.picture_notes[i : i + 1],
            aim=None if self.aim is None else self.aim.of([i]),
        )

    def __iter__(self) -> Iterator[TokenMap]:
        return (self[i] for i in range(len(self)))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        """What a notebook shows; the text alone where nobody said how to draw."""
        del include, exclude  # the notebook leaves out by itself what it does not want
        return {"text/plain": repr(self), **{kind: draw(self) for kind, draw in _SHOWN.items()}}

    def _one(self) -> NDArray[np.floating]:
        if len(self) != 1:
            raise ArgumentError(f"a batch of {len(self)} maps", expected="one picture", where="TokenMap", todo="pick one: m[0].grid")
        return np.asarray(self.values[0])

    @property
    def tokens(self) -> NDArray[np.float32]:
        """float32 ``[n]``: raw values of every token, prefixes included."""
        return np.asarray(self._one(), dtype=np.float32)

    @property
    def grid(self) -> NDArray[np.float32]:
        """float32 ``[gh, gw]``: raw values of the patches."""
        return np.asarray(self.layout.to_grid(self._one()), dtype=np.float32)

    @property
    def placement(self) -> Placement:
        """Where the one picture's input lies in its photo."""
        self._one()
        return self.placements[0]

    def on_image(self, *, smooth: bool = True) -> NDArray[np.float32]:
        """float32 ``[H, W]`` on the photo as displayed (EXIF applied); NaN where nothing was seen."""
        return draw_on_photo(self.layout.to_grid(self._one()), self.layout, self.placement, smooth=smooth)

    def hidden_mass(self) -> dict[str, float]:
        """Share of the map's absolute mass that the picture does not show: on cls, registers, other prefixes, and padded patches.

        Units: shares 0..1 by kind ("cls", "register", "distill", "padding" …); an all-zero map gives zeros.
        """
        values = np.asarray(self._one(), dtype=np.float64)
        values = np.where(np.isfinite(values), np.abs(values), 0.0)
        total = float(values.sum()) or 1.0
        shares = {
            kind.name.lower(): float(values[self.layout.where(kind)].sum()) / total
            for kind in Kind
            if kind != Kind.PATCH and len(self.layout.where(kind))
        }
        padded = self._padded()
        on_padding = float((self.layout.to_grid(values) * padded).sum()) / total
        return {**shares, "padding": on_padding} if padded.max() > 1e-9 else shares

    def _padded(self) -> NDArray[np.float64]:
        """Share of each patch that is padding, ``[gh, gw]``; patches and content are boxes, so rows and columns are found apart."""
        inside = []
        for axis in (0, 1):
            start = self.layout.origin[axis] + np.arange(self.layout.grid[axis]) * self.layout.stride[axis]
            low, high = self.placement.content[axis], self.placement.content[axis + 2]
            overlap = np.minimum(start + self.layout.patch[axis], high) - np.maximum(start, low)
            inside.append(np.maximum(overlap, 0.0) / self.layout.patch[axis])
        return 1.0 - np.outer(inside[0], inside[1])
