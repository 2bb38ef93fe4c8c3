"""An object in the photo, given as a box or a mask: what of it the crop left, and how it falls on the patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.cut import Cut
from vitscope.auditing.finding import Finding
from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError

#: So much of an object lost to the crop is a fault, and so much worth a warning (a box drawn by hand is some percent off).
LOST, NICKED = 0.10, 0.03

BoxXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    """An object as the model met it.

    Shapes:
        shares: float64 ``[gh, gw]``, the part of what is left of the object in each patch, summing to 1 (zeros where nothing is left).

    Attributes:
        lost: share of its area that the model never saw.
        size: height and width in input pixels, as far as seen.
        patches: how many patches hold at least a hundredth of it.
    """

    shares: NDArray[np.float64]
    lost: float
    size: tuple[float, float]
    patches: int

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "lost_share": self.lost,
            "size_in_input": list(self.size),
            "patches": self.patches,
            "largest_share": float(self.shares.max()),
            "shares": self.shares.tolist(),
        }


def object_mask(size: tuple[int, int], box: BoxXY | None, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Bool ``[H, W]`` of an object from a box or a mask; None where neither is given.

    Args:
        size: ``(H, W)`` of the photo as displayed.
        box: ``(x0, y0, x1, y1)`` in pixels of the photo as displayed, or all four as fractions 0..1 of its width and height.
        mask: bool ``[H, W]``.

    Raises:
        ArgumentError: both, a box that is empty or leaves the photo, a mask of another size or without a pixel.
    """
    height, width = size
    if box is not None and mask is not None:
        raise ArgumentError("a box and a mask", expected="one of them", where="object")
    if mask is not None:
        if mask.shape != size or not mask.any():
            raise ArgumentError(
                f"a mask {mask.shape} with {int(mask.sum())} pixels set",
                expected=f"({height}, {width}), the photo as displayed, with the object set",
                where="mask",
            )
        return np.asarray(mask, dtype=bool)
    if box is None:
        return None
    x0, y0, x1, y1 = (float(v) for v in box)
    if max(abs(v) for v in (x0, y0, x1, y1)) <= 1.0:
        x0, y0, x1, y1 = x0 * width, y0 * height, x1 * width, y1 * height
    out = np.zeros(size, dtype=bool)
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height or x1 <= x0 or y1 <= y0:
        raise ArgumentError(
            f"a box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})",
            expected=f"x0 < x1 and y0 < y1 inside {width}×{height} px (or fractions from 0 to 1)",
            where="box",
        )
    out[int(np.floor(y0)) : int(np.ceil(y1)), int(np.floor(x0)) : int(np.ceil(x1))] = True
    return out


def seen_object(mask: NDArray[np.bool_], placement: Placement, cut: Cut) -> Seen:
    """What of an object reached the model, and on which patches; where patches overlap, a pixel counts for the one nearest to it."""
    left = mask & placement.seen_mask()
    rows, columns = np.nonzero(left)
    y = (rows + 0.5) * placement.scale[0] + placement.offset[0]
    x = (columns + 0.5) * placement.scale[1] + placement.offset[1]
    shares = np.zeros(cut.grid[-2:])
    if len(rows):
        np.add.at(shares, (_nearest(y, cut, -2), _nearest(x, cut, -1)), 1.0)
        shares /= shares.sum()
    size = tuple(float(v.max() - v.min()) + s if len(v) else 0.0 for v, s in zip((y, x), placement.scale, strict=True))
    return Seen(shares, 1.0 - float(left.sum() / mask.sum()), (size[0], size[1]), int((shares >= 0.01).sum()))


def _nearest(at: NDArray[np.floating], cut: Cut, axis: int) -> NDArray[np.int64]:
    one = cut.axes[axis]
    number = np.round((at + one.padding - one.kernel / 2) / one.stride)
    return np.asarray(np.clip(number, 0, one.count - 1), dtype=np.int64)


def object_findings(seen: Seen, cut: Cut) -> list[Finding]:
    """An object cut by the crop, split over patches though it would fit into one, or too small to be seen."""
    found = []
    if seen.lost > NICKED:
        found.append(_cut_off(seen))
    kernel = (cut.axes[-2].kernel, cut.axes[-1].kernel)
    fits = 0 < seen.size[0] <= kernel[0] and 0 < seen.size[1] <= kernel[1]
    if fits and seen.patches > 1 and seen.shares.max() < 0.75:
        found.append(_split(seen))
    if 0 < seen.size[0] * seen.size[1] < 0.25 * kernel[0] * kernel[1]:
        found.append(_tiny(seen, kernel))
    return found


def _cut_off(seen: Seen) -> Finding:
    fault = seen.lost > LOST
    return Finding(
        "object-cut",
        "fault" if fault else "warning",
        "The crop cuts the object off." if seen.lost < 1 else "The object lies outside the crop: the model never saw it.",
        f"{seen.lost:.1%} of its area never reached the model.",
        "Pad instead of cropping, crop around the object, or resize to the crop’s size directly.",
        0.6 + 0.4 * seen.lost,
    )


def _split(seen: Seen) -> Finding:
    parts = sorted((float(v) for v in seen.shares.ravel() if v >= 0.01), reverse=True)
    said = ", ".join(f"{share:.0%}" for share in parts[:4])
    return Finding(
        "object-split",
        "note",
        "The object would fit into one patch but lies across several.",
        f"Shares by patch: {said}.",
        "Shift the crop by a part of a patch and see whether the answer changes.",
        0.4,
    )


def _tiny(seen: Seen, kernel: tuple[int, int]) -> Finding:
    return Finding(
        "object-tiny",
        "warning",
        "The object is smaller than a quarter of a patch in the model’s input.",
        f"It measures {seen.size[1]:.1f}×{seen.size[0]:.1f} input pixels; a patch {kernel[1]}×{kernel[0]}.",
        "Crop closer around it, tile the photo, or use a model with a larger input.",
        0.5,
    )
