"""How well a picture explains a tensor: the share of the tensor's variation it leaves over, whatever the scaling of the values.

Geometry and values are apart: a crop that is off shows in any scaling, and a wrong mean in any crop. So pictures are compared with
each channel's gain and offset fitted freely, and values are compared on the picture that fits best.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

#: Colour orders in use, the model's own first.
ORDERS = ((0, 1, 2), (2, 1, 0), *(p for p in permutations(range(3)) if p not in ((0, 1, 2), (2, 1, 0))))
#: Another order is only believed where it leaves so much less over.
BETTER = 0.8


@dataclass(frozen=True)
class Fit:
    """A picture fitted to a tensor.

    Attributes:
        residual: ``√(Σ(t − gain·x − offset)² / Σ(t − mean)²)``: 0 explains all, 1 nothing.
        order: which colour each channel holds.
        gain, offset: of each channel, by least squares.
    """

    residual: float
    order: tuple[int, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]


def fit(tensor: NDArray[np.floating], picture: NDArray[np.floating], shown: NDArray[np.bool_]) -> Fit:
    """The best gain and offset of each channel, in the colour order that fits best.

    Args:
        tensor: ``[3, h, w]``.
        picture: ``[h, w, 3]``.
        shown: bool ``[h, w]``, where the picture shows photo; only there is anything compared.
    """
    t = tensor[:, shown].astype(np.float64)
    x = picture[shown].T.astype(np.float64)
    if t.shape[1] < 16:
        return Fit(1.0, ORDERS[0], (0.0,) * 3, (0.0,) * 3)
    t0, x0 = t - t.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    power = (x0**2).sum(axis=1)
    gains = (t0 @ x0.T) / np.maximum(power, 1e-12)
    # what channel c keeps when explained by colour k
    left = (t0**2).sum(axis=1)[:, None] - gains**2 * power
    total = float((t0**2).sum()) or 1.0
    by_order = [float(np.sqrt(max(left[range(3), order].sum(), 0.0) / total)) for order in ORDERS]
    best = int(np.argmin(by_order))
    best = best if by_order[best] < BETTER * by_order[0] - 1e-3 else 0
    order = ORDERS[best]
    gain = tuple(float(gains[c, order[c]]) for c in range(3))
    offset = tuple(float(t[c].mean() - gain[c] * x[order[c]].mean()) for c in range(3))
    return Fit(by_order[best], order, gain, offset)


def distance(tensor: NDArray[np.floating], predicted: NDArray[np.floating], shown: NDArray[np.bool_]) -> float:
    """``√(Σ(t − p)² / Σ(t − mean)²)``: no free scaling; may exceed 1."""
    t, p = tensor[:, shown].astype(np.float64), predicted[:, shown].astype(np.float64)
    total = float(((t - t.mean(axis=1, keepdims=True)) ** 2).sum()) or 1.0
    return float(np.sqrt(((t - p) ** 2).sum() / total))


def coarse(channels: NDArray[np.floating], by: int = 2) -> NDArray[np.floating]:
    """``[..., h, w]`` averaged over squares of ``by`` pixels: what is compared where the kernel does not matter yet."""
    h, w = (side // by * by for side in channels.shape[-2:])
    cut = channels[..., :h, :w]
    return np.asarray(cut.reshape(*cut.shape[:-2], h // by, by, w // by, by).mean(axis=(-3, -1)))


def registered(tensor: NDArray[np.floating], wide: NDArray[np.floating]) -> tuple[int, int, float]:
    """Where a tensor lies in a wider picture: ``(top, left, correlation)``, by normalised cross-correlation of brightness.

    Shapes:
        tensor ``[3, h, w]``; wide ``[H, W, 3]``; the corner may lie outside by up to a quarter of the tensor.
    """
    t, x = tensor.mean(axis=0).astype(np.float64), wide.mean(axis=2).astype(np.float64)
    h, w = t.shape
    around = max(h, w) // 4
    shape = (x.shape[0] + 2 * around + h, x.shape[1] + 2 * around + w)
    big, there = np.zeros(shape), np.zeros(shape)
    big[around : around + x.shape[0], around : around + x.shape[1]] = x - x.mean()
    there[around : around + x.shape[0], around : around + x.shape[1]] = 1.0

    def slid(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
        spectrum = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b, s=shape))
        return np.asarray(np.fft.irfft2(spectrum, s=shape))

    # correlation over the overlap alone (Padfield, 2012): sums of both, their squares and their product at every corner
    one = np.ones_like(t)
    t = t - t.mean()
    n = np.maximum(slid(there, one), 1.0)
    sx, st = slid(big, one), slid(there, t)
    sxx, stt, sxt = slid(big**2, one), slid(there, t**2), slid(big, t)
    spread = np.sqrt(np.maximum(sxx - sx**2 / n, 1e-9) * np.maximum(stt - st**2 / n, 1e-9))
    found = np.where(n >= 0.5 * h * w, (sxt - sx * st / n) / spread, -1.0)
    rows, columns = x.shape[0] + 2 * around - h + 1, x.shape[1] + 2 * around - w + 1
    found = found[: max(rows, 1), : max(columns, 1)]
    row, column = np.unravel_index(int(np.argmax(found)), found.shape)
    return int(row) - around, int(column) - around, float(found[row, column])
