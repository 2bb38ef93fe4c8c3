"""Whether hiding what a map calls hot costs the score more than hiding anything: which patches to hide, and the numbers that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Shares of the patches hidden at a time; their mean is one figure that does not hang on one choice.
SHARES = (0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Drops:
    """Score drops: hottest patches against random ones.

    Attributes:
        hottest: mean drop over the shares, score points.
        random: mean over draws of the same.
        spread: standard deviation over draws.
        beaten: share of draws whose drop is smaller than the hottest's (ties count half), 0..1.
        draws: how many.
    """

    hottest: float
    random: float
    spread: float
    beaten: float
    draws: int

    @property
    def beats_random(self) -> bool:
        """Whether hiding the hottest costs more than hiding random patches does on average."""
        return self.hottest > self.random


def hide_hottest(values: NDArray[np.floating], shares: Sequence[float] = SHARES, *, seed: int = 0) -> NDArray[np.bool_]:
    """The patches to hide, hottest first: bool ``[shares, P]``; ties are broken by a seeded draw, never by position."""
    order = _hottest_first(np.ravel(values), np.random.default_rng(seed))
    return np.stack([_first(order, count) for count in counts(len(order), shares)])


def hide_random(patches: int, draws: int, shares: Sequence[float] = SHARES, *, seed: int = 0) -> NDArray[np.bool_]:
    """Random patches to hide: bool ``[draws, shares, P]``; within a draw the larger sets hold the smaller ones, as the hottest do."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(patches) for _ in range(draws)]
    return np.stack([[_first(order, count) for count in counts(patches, shares)] for order in orders])


def counts(patches: int, shares: Sequence[float] = SHARES) -> list[int]:
    """How many patches each share is: at least one, never all."""
    return [min(max(round(share * patches), 1), patches - 1) for share in shares]


def compare(hottest: NDArray[np.floating], random: NDArray[np.floating]) -> Drops:
    """Drops ``[shares]`` and ``[draws, shares]`` to the figures."""
    mine, others = float(np.mean(hottest)), np.asarray(random, dtype=np.float64).mean(axis=1)
    beaten = float(np.mean((others < mine) + 0.5 * (others == mine)))
    return Drops(mine, float(others.mean()), float(others.std(ddof=1)) if len(others) > 1 else 0.0, beaten, len(others))


def _hottest_first(values: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.intp]:
    shuffled = rng.permutation(len(values))
    return np.asarray(shuffled[np.argsort(-values[shuffled].astype(np.float64), kind="stable")], dtype=np.intp)


def _first(order: NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    out = np.zeros(len(order), dtype=bool)
    out[order[:count]] = True
    return out
