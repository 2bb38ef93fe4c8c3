"""Row: one measured number about one sample, as every metric and survey returns it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
        sample: what it was measured on.
        metric: its name.
        value: the number; NaN where it is undefined, and then ``reason`` says why.
        higher_is_better: None where neither direction is better.
        n_valid: how many values it rests on.
        reason: why it is undefined or doubtful; "" otherwise.
    """

    sample: str
    metric: str
    value: float
    higher_is_better: bool | None
    n_valid: int
    reason: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return not math.isnan(self.value)
