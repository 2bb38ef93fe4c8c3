"""Projection: points in two or three dimensions, with what they stand for and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ProofError


@dataclass(frozen=True)
class Projection:
    """Points, in the order of the photos.

    Shapes:
        points: float32 ``[m, 2]`` or ``[m, 3]``.

    Attributes:
        ids: the photo of each point.
        layer: block whose vectors they are.
        method: "pca", "tsne" or "umap".
        parameters: the method's settings, plain values.
        seed: what randomness was drawn with.
        token: the token of each point where points are tokens, else empty.
        quality: measured figures by name (see :mod:`vitscope.projection.quality`).
    """

    points: NDArray[np.float32]
    ids: tuple[str, ...]
    layer: int
    method: str
    parameters: dict[str, object] = field(default_factory=dict)
    seed: int = 0
    token: tuple[int, ...] = ()
    quality: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] not in (2, 3) or len(self.points) != len(self.ids):
            raise ProofError(
                f"points {self.points.shape} for {len(self.ids)} photos", expected=f"({len(self.ids)}, 2 or 3)", where=self.method
            )
        bad = int((~np.isfinite(self.points)).any(axis=1).sum())
        if bad:
            raise ProofError(f"{bad} of {len(self.points)} points are not finite", expected="finite points", where=self.method)

    def __len__(self) -> int:
        return len(self.ids)
