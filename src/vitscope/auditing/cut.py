"""How an embedding cuts its input: where every patch lies, whether the patches cover it, and the input put back together from them.

All of it is separable: an axis has a size, a kernel, a stride and a padding, and a picture is two axes, a clip three (tubelets).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.embedding import Embedding
from vitscope.core.layout import TokenLayout
from vitscope.errors import ArgumentError


@dataclass(frozen=True)
class Axis:
    """Patches along one axis: ``count`` of ``kernel`` pixels, ``stride`` apart, the first at ``−padding``."""

    size: int
    kernel: int
    stride: int
    padding: int
    count: int

    def __post_init__(self) -> None:
        if min(self.size, self.kernel, self.stride, self.count) < 1 or self.padding < 0:
            raise ArgumentError(
                f"{self.count} patches of {self.kernel} px, {self.stride} apart, padding {self.padding}, on {self.size} px",
                expected="positive numbers",
                where="patches",
            )

    @classmethod
    def of(cls, size: int, kernel: int, stride: int, padding: int = 0) -> Axis:
        """As many patches as a convolution makes: ``⌊(size + 2·padding − kernel) / stride⌋ + 1``."""
        return cls(size, kernel, stride, padding, (size + 2 * padding - kernel) // stride + 1)

    @property
    def index(self) -> NDArray[np.int64]:
        """Pixel numbers ``[count, kernel]``; below 0 or from ``size`` on where a patch reaches into the padding."""
        return np.asarray(np.arange(self.count)[:, None] * self.stride + np.arange(self.kernel)[None, :] - self.padding, dtype=np.int64)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Bool ``[count, kernel]``: pixels of the input, not of the padding."""
        return np.asarray((self.index >= 0) & (self.index < self.size))

    @property
    def times(self) -> NDArray[np.int64]:
        """How many patches each pixel lies in, ``[size]``."""
        return np.bincount(self.index[self.inside], minlength=self.size)

    @property
    def left_over(self) -> tuple[int, int, int]:
        """Pixels under no patch: before the first patch, in gaps between patches, after the last."""
        covered = np.flatnonzero(self.times)
        if not len(covered):
            return self.size, 0, 0
        first, last = int(covered[0]), int(covered[-1])
        return first, int((self.times[first : last + 1] == 0).sum()), self.size - 1 - last

    @property
    def padding_only(self) -> NDArray[np.bool_]:
        """Bool ``[count]``: patches without a single pixel of the input along this axis."""
        return np.asarray(~self.inside.any(axis=1))


@dataclass(frozen=True)
class Cut:
    """A grid of patches on an input: its axes, (y, x) for a picture and (t, y, x) for a clip."""

    axes: tuple[Axis, ...]

    @classmethod
    def of_layout(cls, layout: TokenLayout) -> Cut:
        """The grid of a token layout."""
        numbers = zip(layout.input_size, layout.patch, layout.stride, layout.origin, layout.grid, strict=True)
        return cls(tuple(Axis(size, kernel, stride, round(-origin), count) for size, kernel, stride, origin, count in numbers))

    @classmethod
    def of_embedding(cls, found: Embedding) -> Cut:
        """The grid of the convolution that was heard; what the model itself put around the picture counts as padding."""
        numbers = zip(found.size, found.weight.shape[2:], found.stride, found.padding, found.corner, found.output.shape[1:], strict=True)
        return cls(tuple(Axis(size, kernel, stride, pad + at, count) for size, kernel, stride, pad, at, count in numbers))

    @property
    def grid(self) -> tuple[int, ...]:
        """How many patches along each axis."""
        return tuple(axis.count for axis in self.axes)

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels (and frames) of the input."""
        return tuple(axis.size for axis in self.axes)

    def patches(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Every patch with its true pixels, zeros where it reaches into the padding.

        Shapes:
            pixels: ``[c, *size]``; returns ``[*grid, c, *kernel]``.

        Raises:
            ArgumentError: pixels of another size.
        """
        if pixels.ndim != len(self.axes) + 1 or pixels.shape[1:] != self.size:
            raise ArgumentError(f"pixels {pixels.shape}", expected=f"[c, {', '.join(map(str, self.size))}]", where="patches")
        out = pixels
        for number, axis in enumerate(self.axes):  # each axis becomes (count, kernel), in place
            at = 1 + 2 * number
            taken = np.take(out, np.clip(axis.index, 0, axis.size - 1), axis=at)
            shape = [1] * taken.ndim
            shape[at], shape[at + 1] = axis.count, axis.kernel
            out = np.where(axis.inside.reshape(shape), taken, np.zeros((), dtype=pixels.dtype))
        n = len(self.axes)
        return np.ascontiguousarray(out.transpose(*(1 + 2 * i for i in range(n)), 0, *(2 + 2 * i for i in range(n))))

    def put_back(self, patches: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """The input from its patches alone: each laid where it belongs, later ones over earlier.

        Shapes:
            patches: ``[*grid, c, *kernel]``; returns ``[c, *size]`` (zero under no patch) and bool ``[*size]``, where some patch lay.
        """
        n = len(self.axes)
        out = np.zeros((patches.shape[n], *self.size), dtype=patches.dtype)
        for cell in np.ndindex(*self.grid):
            inside = [axis.inside[i] for axis, i in zip(self.axes, cell, strict=True)]
            where = [axis.index[i][keep] for axis, i, keep in zip(self.axes, cell, inside, strict=True)]
            out[(slice(None), *np.ix_(*where))] = patches[cell][(slice(None), *np.ix_(*inside))]
        return out, self.times > 0

    @property
    def times(self) -> NDArray[np.int64]:
        """How many patches each pixel lies in, ``[*size]``."""
        out = np.ones((), dtype=np.int64)
        for axis in self.axes:
            out = out[..., None] * axis.times
        return out

    def box(self, *cell: int) -> tuple[int, ...]:
        """First and one-past-last pixel of a patch along each axis, ``(y0, x0, y1, x1)`` for a picture; may reach outside."""
        starts = [cell[i] * axis.stride - axis.padding for i, axis in enumerate(self.axes)]
        return (*starts, *(start + axis.kernel for start, axis in zip(starts, self.axes, strict=True)))

    def facts(self) -> dict[str, Any]:
        """Whether the grid covers the input, in plain numbers: pixels left over, gaps, overlaps, padding."""
        times = self.times
        before, gaps, after = zip(*(axis.left_over for axis in self.axes), strict=True)
        in_padding = 1.0 - prod(float(axis.inside.sum()) for axis in self.axes) / prod(a.count * a.kernel for a in self.axes)
        some = np.ones((), dtype=bool)
        for axis in self.axes:
            some = some[..., None] & ~axis.padding_only
        return {
            "grid": list(self.grid),
            "input_size": list(self.size),
            "patch": [axis.kernel for axis in self.axes],
            "stride": [axis.stride for axis in self.axes],
            "padding": [axis.padding for axis in self.axes],
            "left_over_before": list(before),
            "left_over_after": list(after),
            "gaps": list(gaps),
            "uncovered_share": float((times == 0).mean()),
            "overlapping_share": float((times > 1).mean()),
            "most_patches_over_a_pixel": int(times.max()),
            "padding_share_of_patches": in_padding,
            "padding_only_patches": int((~some).sum()),
        }

    def covers(self) -> bool:
        """Every pixel of the input lies in at least one patch."""
        return bool((self.times > 0).all())


def embedding_error(found: Embedding, cut: Cut) -> float:
    """How far the model's own embedding is from these patches through its own weights, over the output's largest value (rounding: 1e-6).

    Formula:
        ``max |Σ patch · weight − output| / max |output|``, in float64.
    """
    at = tuple(slice(corner, corner + size) for corner, size in zip(found.corner, found.size, strict=True))
    patches = np.asarray(cut.patches(found.fed[(slice(None), *at)]), dtype=np.float64)
    axes = len(cut.axes)
    kernel = list(range(axes, 2 * axes + 1))
    made: NDArray[np.float64] = np.tensordot(patches, found.weight.astype(np.float64), axes=(kernel, list(range(1, axes + 2))))
    expected = np.moveaxis(found.output, 0, -1).astype(np.float64)
    return float(np.abs(made - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def put_back_error(cut: Cut, pixels: NDArray[np.floating]) -> float:
    """How far the input put back together from its patches is from the input, where any patch lies (0: exactly equal)."""
    back, covered = cut.put_back(cut.patches(pixels))
    difference = np.abs(np.asarray(back, dtype=np.float64) - pixels)[:, covered]
    return float(difference.max()) if difference.size else 0.0
