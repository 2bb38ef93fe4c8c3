"""Perceptual colours for raw values: brighter is always more, dark is nothing; signed values are centred on zero.

``magma`` and ``viridis`` (Smith and van der Walt, CC0) are kept as 33 anchors of the published 256-entry tables, linear in between
(at most 2 of 255 levels off); ``grey`` is for printing. ``tideline`` is ours, for signed values: blue below zero, near-black at zero,
orange above, made in OKLCh so that −v and +v are equally bright; blue against orange stays apart for all common forms of
colour-vision deficiency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

LEVELS = 251
"""Colour steps: odd, so that zero has a step of its own in the middle of a signed table."""

_ANCHORS = {
    "magma": (
        "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337db73779c23b75cf4070db476a"
        "e55064ee5b5ef4695cf9785dfb8761fd9668fea571feb47bfec287fed194fde0a1fceeb0fcfdbf"
    ),
    "viridis": (
        "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f978b1f9f8821a685"
        "27ad8131b57b3dbc744cc26c5cc8636ece5881d34d95d840aadc32c0df25d5e21aeae51afde725"
    ),
}
SEQUENTIAL = "magma"
DIVERGING = "tideline"
GREY = "grey"
TABLES = (*_ANCHORS, GREY, DIVERGING)


@dataclass(frozen=True)
class Limits:
    """Raw values at the ends of a colour bar: ``0..high`` for unsigned values, ``−high..high`` for signed ones."""

    low: float
    high: float

    @property
    def signed(self) -> bool:
        """Zero lies in the middle."""
        return self.low < 0

    @property
    def colours(self) -> str:
        """The table these limits call for."""
        return DIVERGING if self.signed else SEQUENTIAL


def limits_of(arrays: list[NDArray[np.floating]], *, signed: bool) -> Limits:
    """One raw scale for all arrays: from 0 to the largest value; symmetrical about 0 where values are signed or any is negative.

    NaN and infinite values are left out. All-zero arrays get the scale 0..1.
    """
    finite = np.concatenate([np.asarray(a, dtype=np.float64).ravel() for a in arrays] or [np.zeros(0)])
    finite = finite[np.isfinite(finite)]
    highest = float(np.abs(finite).max()) if finite.size else 0.0
    highest = highest if highest > 0 else 1.0
    return Limits(-highest if signed or bool((finite < 0).any()) else 0.0, highest)


def levels(values: NDArray[np.floating], limits: Limits) -> NDArray[np.int64]:
    """The colour step of each value, ``round((v − low) / (high − low) · (LEVELS − 1))``, held inside 0..LEVELS−1.

    NaN gives 0; who draws must mark NaN and values beyond the limits by itself (see :mod:`vitscope.views.paint`).
    """
    position = (np.nan_to_num(values.astype(np.float64), posinf=limits.high, neginf=limits.low) - limits.low) / (limits.high - limits.low)
    return np.asarray(np.rint(np.clip(np.nan_to_num(position), 0, 1) * (LEVELS - 1)), dtype=np.int64)


@cache
def _table(name: str) -> bytes:
    if name == DIVERGING:
        return _tideline().tobytes()
    if name == GREY:
        return np.repeat(np.rint(255 * np.arange(LEVELS) / (LEVELS - 1)).astype(np.uint8), 3).tobytes()
    if name not in _ANCHORS:
        raise ArgumentError(f"unknown colours {name!r}", expected=", ".join(TABLES), where="colours")
    anchors = np.frombuffer(bytes.fromhex(_ANCHORS[name]), dtype=np.uint8).reshape(-1, 3).astype(np.float64)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8).tobytes()


def table(name: str) -> NDArray[np.uint8]:
    """uint8 ``[LEVELS, 3]``: sRGB colours from the low end to the high end.

    Raises:
        ArgumentError: no such table.
    """
    return np.frombuffer(_table(name), dtype=np.uint8).reshape(LEVELS, 3)


def _tideline() -> NDArray[np.uint8]:
    """Blue, near-black, orange; lightness depends on |v| alone."""
    signed = np.linspace(-1, 1, LEVELS)
    strength = np.abs(signed)
    lightness = 0.14 + 0.74 * strength
    chroma = 0.19 * np.sqrt(strength) * (1 - 0.55 * strength)
    hue = np.where(signed < 0, math.radians(250), math.radians(65))
    return _srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))


def _srgb(lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.uint8]:
    """OKLab to 8-bit sRGB (Björn Ottosson, 2020)."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short
    linear = np.clip(np.stack([red, green, blue], axis=1), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), dtype=np.uint8)
