"""Frame: where the patches lie on the photo, in plain numbers that travel inside a View and come back as placement and layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement

HIDDEN = 0.999
"""A patch with more padding than this shows nothing of the photo."""


@dataclass(frozen=True)
class Frame:
    """A patch grid on a photo: the geometry a painter needs, without what each token is."""

    placement: Placement
    layout: TokenLayout

    @classmethod
    def of(cls, placement: Placement, layout: TokenLayout) -> Frame:
        """Keep the geometry of a placement and a layout."""
        grid = TokenLayout.plain((), layout.grid, layout.patch, layout.input_size, stride=layout.stride, origin=layout.origin)
        return cls(placement, grid)

    def as_facts(self) -> dict[str, object]:
        """Plain numbers for a view's header; (y, x) order throughout."""
        p, t = self.placement, self.layout
        return {
            "photo_size": list(p.photo_size),
            "input_size": list(p.input_size),
            "scale": list(p.scale),
            "offset": list(p.offset),
            "seen": list(p.seen),
            "covered": list(self.covered),
            "grid": list(t.grid),
            "patch": list(t.patch),
            "stride": list(t.stride),
            "origin": list(t.origin),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Frame:
        """The frame that :meth:`as_facts` wrote."""
        size, fed, scale, offset, seen = (tuple(facts[key]) for key in ("photo_size", "input_size", "scale", "offset", "seen"))
        placement = Placement(size, fed, scale, offset, seen)
        grid, patch, stride, origin = (tuple(facts[key]) for key in ("grid", "patch", "stride", "origin"))
        return cls(placement, TokenLayout.plain((), grid, patch, fed, stride=stride, origin=origin))

    def resized(self, size: tuple[int, int]) -> Frame:
        """The same frame on a photo shown at ``(H, W)`` pixels."""
        p = self.placement
        fy, fx = size[0] / p.photo_size[0], size[1] / p.photo_size[1]
        y0, x0, y1, x1 = p.seen
        smaller = replace(p, photo_size=size, scale=(p.scale[0] / fy, p.scale[1] / fx), seen=(y0 * fy, x0 * fx, y1 * fy, x1 * fx))
        return Frame(smaller, self.layout)

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1) in photo coordinates: seen by the model and under some patch."""
        t, (y0, x0, y1, x1) = self.layout, self.placement.seen
        last_y, last_x = (t.origin[k] + (t.grid[k] - 1) * t.stride[k] + t.patch[k] for k in (0, 1))
        top, left = self.placement.to_photo((max(t.origin[0], 0.0), max(t.origin[1], 0.0)))
        bottom, right = self.placement.to_photo((min(last_y, t.input_size[0]), min(last_x, t.input_size[1])))
        return max(y0, top), max(x0, left), min(y1, bottom), min(x1, right)

    def padded(self) -> NDArray[np.bool_]:
        """Bool ``[gh, gw]``: patches that are all padding."""
        gh, gw = self.layout.grid
        box, share = self.layout.patch_box, self.placement.padded_share
        return np.array([[share(box(y, x)) > HIDDEN for x in range(gw)] for y in range(gh)])


def fitted(size: tuple[int, int], longest: int, *, enlarge: bool = False) -> tuple[int, int]:
    """``(H, W)`` scaled so that the longer side is ``longest`` (only downwards unless ``enlarge``), at least 1×1."""
    factor = longest / max(size)
    if factor >= 1 and not enlarge:
        return size
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)
