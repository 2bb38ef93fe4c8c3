"""What the way from photo to tensor lost, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.photo import Quality
from vitscope.auditing.recipe import Own
from vitscope.core.placement import Placement

#: A normalised value may lie so far outside what black and white map to, in parts of that range, before it counts as outside.
SLACK = 0.02


def expected_range(own: Own) -> tuple[float, float]:
    """What black and white become, over the channels: the range the model was trained on."""
    low = min(-m / s for m, s in zip(own.mean, own.std, strict=True))
    return low, max((1 - m) / s for m, s in zip(own.mean, own.std, strict=True))


def undone(tensor: NDArray[np.floating], own: Own) -> NDArray[np.float64]:
    """The picture 0..1 ``[h, w, 3]`` that a tensor is by the model's own mean and std; not clipped."""
    return np.asarray(tensor.transpose(1, 2, 0).astype(np.float64) * np.asarray(own.std) + np.asarray(own.mean))


def outside_share(tensor: NDArray[np.floating], own: Own) -> float:
    """Share of the values outside what black and white map to, channel by channel."""
    picture = undone(tensor, own)
    return float(((picture < -SLACK) | (picture > 1 + SLACK)).mean())


def lost(tensor: NDArray[np.floating], own: Own, placement: Placement, measured: Quality) -> dict[str, Any]:
    """Plain numbers, each with its unit in its name.

    Args:
        tensor: ``[3, h, w]`` as fed.
        own: the model's own preparation.
        placement: where the tensor lies in the photo.
        measured: what was measured on the photo.
    """
    numbers = np.where(np.isfinite(tensor), tensor, 0.0)  # what is no number is a finding of its own
    picture = undone(numbers, own)
    eight = np.rint(np.clip(picture, 0, 1) * 255)
    per_input = [1.0 / scale for scale in placement.scale]
    low, high = expected_range(own)
    return {
        "seen_share": placement.seen_share,
        "never_seen_share": 1.0 - placement.seen_share,
        "photo_pixels_per_input_pixel": per_input,
        "smallest_detail_photo_pixels": [max(2.0 * step, 2.0) for step in per_input],
        "photo_real_side_pixels": measured.real_side,
        "aspect_stretch": placement.scale[1] / placement.scale[0],
        "round_trip_error_levels": float(np.abs(picture * 255 - eight).max()),
        "values_clipped_share": float(((picture < -0.5 / 255) | (picture > 1 + 0.5 / 255)).mean()),
        "photo_saturated_share": measured.saturated,
        "range_expected": [low, high],
        "range_found": [float(numbers.min()), float(numbers.max())],
        "outside_expected_share": outside_share(numbers, own),
    }
