"""Scene: everything a state of the interactive view shows, as numbers and words, for whoever draws it without a browser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.views.colour import DIVERGING, Limits
from vitscope.views.frame import Frame
from vitscope.views.marks import Drawn


@dataclass(frozen=True)
class Large:
    """One map on its photo.

    Shapes:
        grid: float64 ``[gh, gw]`` values as coloured; photo: uint8 ``[H, W, 3]``, shown at the frame's shape or smaller.

    Attributes:
        title: method, layer, head, query, target.
        unit: what the colour bar says.
        limits: ends of its colour bar.
        words: sentences below it.
        marked: (row, column) of the query's patch, or None.
        marks: boxes, or where a target is, in pixels of the photo as shown.
    """

    title: str
    grid: NDArray[np.float64]
    photo: NDArray[np.uint8]
    frame: Frame
    unit: str
    limits: Limits
    words: tuple[str, ...] = ()
    marked: tuple[int, int] | None = None
    marks: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Small:
    """Every head of every layer.

    Shapes:
        grids: float64 ``[M, gh, gw]`` as coloured; layers: ``[M]`` which layer each belongs to; padded: bool ``[gh, gw]``.

    Attributes:
        limits: one for each map.
        words: what they show and how they are coloured.
    """

    grids: NDArray[np.float64]
    layers: tuple[int, ...]
    limits: tuple[Limits, ...]
    padded: NDArray[np.bool_]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Links to draw on the first map, heaviest first: patch to patch, as (row, column), with their weights.

    Shapes:
        start, end: int ``[e, 2]``; weights: ``[e]``.
    """

    start: NDArray[np.intp]
    end: NDArray[np.intp]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """What a state shows.

    Attributes:
        title: photo and answer.
        large: the map; where two are compared B beside it, and their difference where there is one.
        small: every head of every layer, or None where the model has no rows.
        lines: links on the first map, or None.
        palette: the table for unsigned values.
        overlay: opacity of the maps, 0..1.
        smooth: bilinear between patch centres, or true patches.
        notes: sentences about the whole.
    """

    title: str
    large: tuple[Large, ...]
    small: Small | None
    lines: Lines | None
    palette: str
    overlay: float
    smooth: bool
    notes: tuple[str, ...] = ()

    def colours(self, limits: Limits) -> str:
        """The table a scale is drawn with: signed values always have the signed one."""
        return DIVERGING if limits.signed else self.palette
