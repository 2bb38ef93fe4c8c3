"""What is wrong with a photo itself: enlarged from a small one, coded too hard, next to empty. Each is measured on its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.finding import Finding
from vitscope.auditing.recipe import Photo, recoded
from vitscope.core.placement import Placement
from vitscope.inputs.stored import Stored

#: A model's pixel that is so much larger than the photo's shows enlarged, not real, detail.
ENLARGED = 1.5
#: Detail finer than the small original's, over detail as fine as it: 19 photos had more than 0.27, enlarged from 64 px less than 0.12.
CLIFF, FINE = 0.15, 2.6
#: Sides of small originals that are looked for.
SIDES = (32, 48, 64, 80, 96)
#: Steps over the 8-pixel borders in units of the photo's mean step: at most 0.22 on photos, above 0.45 from quality 20 down.
BLOCKS = 0.45
#: What a photo coded at quality 5 changes when coded so again, in its own standard deviations: 0.03; others 0.07 or more.
UNCHANGED = 0.04
POOR_QUALITY = 20
#: From the first to the 99th percentile, in grey levels: less is next to empty.
FLAT = 20.0


@dataclass(frozen=True)
class Quality:
    """Measured on the photo's pixels.

    Attributes:
        real_side: shorter side of the picture that holds all the detail there is, in pixels; the photo's own where none is missing.
        blocks: steps over 8-pixel borders against those beside them, in units of the mean step.
        recoding: what coding at quality 5 changes, in standard deviations.
        contrast: first to 99th percentile of brightness, in grey levels.
        saturated: share of the values that are 0 or 255.
    """

    real_side: int
    blocks: float
    recoding: float
    contrast: float
    saturated: float


def quality(photo: Photo) -> Quality:
    """Measure a photo uint8 ``[H, W, 3]``."""
    grey = photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    low, high = np.percentile(grey, (1, 99))
    spread = float(photo.std())
    change = float(np.sqrt(((recoded(photo, 5).astype(np.float64) - photo) ** 2).mean())) / spread if spread > 1 else np.inf
    return Quality(real_side(grey), blocks(grey), change, float(high - low), float(((photo == 0) | (photo == 255)).mean()))


def real_side(grey: NDArray[np.floating]) -> int:
    """Shorter side of the smallest picture that holds all its detail.

    An enlarged picture's spectrum falls off a cliff at half the small one's sampling rate; one enlarged by repeating pixels has rows
    equal to their neighbours.
    """
    side = min(grey.shape)
    distinct = min(1 + int((np.abs(np.diff(grey, axis=axis)).max(axis=1 - axis) > 0.5).sum()) for axis in (0, 1))
    repeated = max(float((np.abs(np.diff(grey, axis=axis)).max(axis=1 - axis) <= 0.5).mean()) for axis in (0, 1))
    if repeated > 0.4 and distinct < 0.6 * side and grey.std() > 1:
        return distinct
    return next((n for n in SIDES if 1.8 * n < side and _cliff_at(grey, n)), side)


def _cliff_at(grey: NDArray[np.floating], small: int) -> bool:
    """Whether detail ends where a picture of ``small`` pixels would have it end (a Hann window over the middle square)."""
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    window = np.outer(np.hanning(side), np.hanning(side))
    square = grey[top : top + side, left : left + side]
    power = np.abs(np.fft.fft2((square - square.mean()) * window)) ** 2 / (side**2 * (window**2).sum())
    cycles = np.fft.fftfreq(side) * side
    radius = np.hypot(cycles[:, None], cycles[None, :])
    edge = small / 2
    as_fine = float(power[(radius >= 0.6 * edge) & (radius < edge)].sum())
    finer = float(power[radius >= 1.4 * edge].sum())
    # less detail than half a grey level is no detail to see an end of
    return as_fine > 0.25 and finer < CLIFF * as_fine and finer < FINE**2


def blocks(grey: NDArray[np.floating]) -> float:
    """How much larger steps over 8-pixel borders are than those beside them, where the grid lies best; the smaller of both axes."""
    found = []
    for axis in (0, 1):
        steps = np.moveaxis(np.minimum(np.abs(np.diff(grey, axis=axis)), 16.0), axis, 0)
        if len(steps) < 24:
            return 0.0
        extra = (steps[1:-1] - (steps[:-2] + steps[2:]) / 2).mean(axis=1)
        found.append(max(float(extra[start::8].mean()) for start in range(8)) / (float(steps.mean()) + 0.05))
    return min(found)


def photo_findings(photo: Photo, measured: Quality, file: Stored, placement: Placement) -> list[Finding]:
    """What is wrong with the photo itself, for this model."""
    if measured.contrast < FLAT:
        return [_flat(measured)]
    found = []
    small = _enlarged(photo, measured, placement)
    if small is not None:
        found.append(small)
    coded = _coded(measured, file, enlarged=small is not None)
    return [*found, *([coded] if coded else [])]


def _flat(measured: Quality) -> Finding:
    return Finding(
        "near-constant",
        "fault",
        "The picture is next to empty: it shows almost one colour.",
        f"98 % of its pixels lie within {measured.contrast:.1f} of 255 grey levels (a photo: more than 60).",
        "Check the file, the exposure, or the scaling before it was saved; whatever the model answers, it is not about an object.",
        0.9,
    )


def _enlarged(photo: Photo, measured: Quality, placement: Placement) -> Finding | None:
    """The photo, or the small one it was made from, has fewer pixels than the model's input."""
    side = min(photo.shape[:2])
    per_pixel = max(placement.scale) * side / measured.real_side
    if per_pixel < ENLARGED:
        return None
    made = measured.real_side < side
    what = f"It was enlarged from about {measured.real_side} px before it was saved" if made else f"It has only {side} px"
    spread = f"Detail ends at what {measured.real_side} px on the shorter side can show" if made else f"The photo is {_by(photo)} px"
    return Finding(
        "upscaled",
        "fault" if per_pixel >= 2 else "warning",
        f"The photo is smaller than what the model looks for detail in. {what}.",
        f"{spread}; the model’s input spreads each real pixel over {per_pixel:.1f} of its own, so fine texture is missing.",
        "Use the original photo, or one of at least the model’s input size.",
        min(0.5 + per_pixel / 20, 0.95),
    )


def _coded(measured: Quality, file: Stored, *, enlarged: bool) -> Finding | None:
    poor = 0 < file.quality <= POOR_QUALITY
    seen = measured.recoding < UNCHANGED or (measured.blocks > BLOCKS and not enlarged)
    if not poor and not seen:
        return None
    said = f"The file’s tables say JPEG quality {file.quality}. " if file.quality else ""
    return Finding(
        "jpeg-blocks",
        "fault" if poor or measured.recoding < UNCHANGED or measured.blocks > 2 * BLOCKS else "warning",
        "The photo shows heavy JPEG blocks: 8×8 squares that are no part of the scene.",
        f"{said}Steps over the 8-pixel borders stand out by {measured.blocks:.2f} of the mean step (a photo: at most 0.2); "
        f"coding it at quality 5 once more changes {measured.recoding:.3f} of its standard deviation (a photo: at least 0.07).",
        "Use the original, or save with quality 75 or more.",
        0.6 if enlarged else 0.7,
    )


def _by(photo: Photo) -> str:
    return f"{photo.shape[1]}×{photo.shape[0]}"
