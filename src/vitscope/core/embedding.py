"""Embedding: the convolution with which a model cuts its input into patches, as heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Embedding:
    """The convolution that cuts the input.

    Shapes:
        fed: float32 ``[c, *size]``: what it was fed: the prepared pixels, and what the model padded them with.
        weight: ``[d, c, *kernel]``; output ``[d, *grid]``, the bias taken off.

    Attributes:
        stride, padding: for each axis, (y, x) or (t, y, x).
        corner: where in ``fed`` the prepared pixels begin.
        size: how many there are along each axis.
    """

    fed: NDArray[np.float32]
    weight: NDArray[np.float32]
    output: NDArray[np.float32]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    corner: tuple[int, ...]
    size: tuple[int, ...]
