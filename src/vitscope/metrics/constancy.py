"""Whether a map says anything: how far its values differ at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Below this spread, relative to the values' own size, what differs is rounding, not evidence.
CONSTANT_BELOW = 1e-3


def relative_spread(values: NDArray[np.floating]) -> float:
    """Standard deviation over the root mean square of the finite values, 0..1; 0 where all are equal, or there are none."""
    v = np.ravel(values).astype(np.float64)
    v = v[np.isfinite(v)]
    size = float(np.sqrt(np.mean(v * v))) if len(v) else 0.0
    return float(v.std()) / size if size > 0 else 0.0


def is_constant(values: NDArray[np.floating], *, below: float = CONSTANT_BELOW) -> bool:
    """Whether a map is the same everywhere, up to ``below`` of its own size: then it is uninformative."""
    return relative_spread(values) < below
