"""Attention rows in one byte a value: square-root code with each row's own largest value, and the largest few values exactly.

``value ≈ max · (u / 255)²``, ``u = round(255 · √(value / max))``. The square root spends the 256 steps where attention rows have their
values: near zero. What was coded as ``u`` lies within ``max · (u + ¼) / 255²`` of what is read back, at most 0.4 % of the row's
largest value; that largest value itself comes back as it was, rounded to float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

STEPS = 255
TOP = 2
"""Exact values kept of each row."""

PRECISION = (
    "8-bit square-root code with each row's own maximum: within 0.4 % of the row's largest value; the "
    f"{TOP} largest values of each row exactly (float32)"
)


@dataclass(frozen=True)
class Coded:
    """Rows in one byte a value.

    Shapes:
        codes: uint8 ``[..., n]``; largest: float32 ``[...]``; top: float32 ``[..., K]``, largest first; top_at: uint16 ``[..., K]``.
    """

    codes: NDArray[np.uint8]
    largest: NDArray[np.float32]
    top: NDArray[np.float32]
    top_at: NDArray[np.uint16]

    @property
    def nbytes(self) -> int:
        """Bytes of all four."""
        return self.codes.nbytes + self.largest.nbytes + self.top.nbytes + self.top_at.nbytes


def encode(rows: NDArray[np.floating], *, top: int = TOP) -> Coded:
    """Code rows of values that are finite and not negative.

    Shapes:
        rows: ``[..., n]``, n at most 65,536.

    Raises:
        ArgumentError: a negative or undefined value, or more columns than a key number can say.
    """
    if rows.shape[-1] > 1 << 16:
        raise ArgumentError(f"rows of {rows.shape[-1]} values", expected="at most 65536", where="square-root code")
    if not (rows >= 0).all() or not np.isfinite(rows).all():
        raise ArgumentError("a negative or undefined value", expected="finite values from 0 on", where="square-root code")
    largest = rows.max(axis=-1).astype(np.float32)
    inverse = np.divide(1.0, largest, out=np.zeros(largest.shape, np.float32), where=largest >= np.finfo(np.float32).tiny)
    codes = np.rint(STEPS * np.sqrt(np.minimum(rows * inverse[..., None], 1.0))).astype(np.uint8)
    at = largest_at(rows, top)
    exact = np.take_along_axis(rows, at, axis=-1).astype(np.float32)
    return Coded(codes, largest, exact, at.astype(np.uint16))


def decode(codes: NDArray[np.uint8], largest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values read back, float32 ``[..., n]``; a row whose largest value is 0 is all zeros."""
    share = codes.astype(np.float32) / STEPS
    return np.asarray(largest[..., None] * share * share, dtype=np.float32)


def error_bound(codes: NDArray[np.uint8], largest: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far a value read back can be from what was coded, ``max · (u + ¼) / 255²``, beside the rounding of float32 itself."""
    return largest[..., None].astype(np.float64) * (codes + 0.25) / STEPS**2


def largest_at(rows: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Where each row's largest values are, largest first; among equals the earlier column comes first.

    Shapes:
        returns ``[..., min(count, n)]``.
    """
    rest, found = rows.copy(), []
    for _ in range(min(count, rows.shape[-1])):
        at = rest.argmax(axis=-1)[..., None]
        found.append(at)
        np.put_along_axis(rest, at, -np.inf, axis=-1)
    return np.concatenate(found, axis=-1) if found else np.zeros((*rows.shape[:-1], 0), dtype=np.intp)
