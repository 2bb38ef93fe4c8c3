"""TokenLayout: what each token is and which input pixels it stands for. The only object that turns tokens into pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ProofError


class Kind(IntEnum):
    """What a token is."""

    PATCH = 0
    CLS = 1
    REGISTER = 2
    DISTILL = 3
    TEXT = 4
    QUERY = 5
    PAD = 6


@dataclass(frozen=True)
class Readout:
    """One way the head reads the tokens.

    Attributes:
        name: "cls", "patch mean", "cls and distillation mean", "attention pool".
        weights: float64 ``[n]`` over the last block's tokens, summing to one; for an attention pool the weights are the
            pool's own attention row, which depends on the photo: None here.
        call: path of the pooling attention call, where there is one ("" otherwise).
    """

    name: str
    weights: NDArray[np.float64] | None = None
    call: str = ""


@dataclass(frozen=True)
class TokenLayout:
    """What each of ``n`` tokens is, and where.

    Attributes:
        kinds: int8 ``[n]`` of :class:`Kind`.
        cells: int32 ``[n, 3]``: (t, y, x) on the patch grid; −1 for tokens that are not patches.
        grid: ``(gh, gw)``, patches down and across; gh·gw patches must all be there exactly once.
        patch: ``(ph, pw)`` input pixels per patch (the embedding's kernel).
        stride: ``(sy, sx)`` input pixels from one patch to the next (= patch unless patches overlap).
        origin: input coordinates of the first patch's corner (negative where the embedding pads).
        input_size: ``(h, w)`` of the model input.
        readouts: what the head reads, one entry for each start (usually one).
        source: how it is known: "measured", "configuration" or "given".
    """

    kinds: NDArray[np.int8]
    cells: NDArray[np.int32]
    grid: tuple[int, int]
    patch: tuple[int, int]
    stride: tuple[int, int]
    input_size: tuple[int, int]
    origin: tuple[float, float] = (0.0, 0.0)
    readouts: tuple[Readout, ...] = ()
    source: str = "configuration"

    def __post_init__(self) -> None:
        self._check_tokens()
        for axis, name in enumerate(("down", "across")):
            self._check_extent(axis, name)

    def _check_tokens(self) -> None:
        """Every cell of the grid is one token's, exactly once."""
        gh, gw = self.grid
        if self.cells.shape != (len(self.kinds), 3):
            raise ProofError(
                f"cells {self.cells.shape} for {len(self.kinds)} tokens", expected=f"({len(self.kinds)}, 3)", where="token layout"
            )
        patches = self.cells[self.kinds == Kind.PATCH]
        flat = patches[:, 1].astype(np.int64) * gw + patches[:, 2]
        inside = (patches[:, 1:] >= 0).all() and (patches[:, 1] < gh).all() and (patches[:, 2] < gw).all()
        if not inside or len(np.unique(flat)) != len(flat) or len(flat) != gh * gw:
            raise ProofError(
                f"{len(flat)} patch tokens ({len(np.unique(flat))} different cells) for a {gh}×{gw} grid",
                expected=f"each of the {gh * gw} cells exactly once",
                where="token layout",
                todo="give the right patch size, input size and prefix tokens",
            )

    def _check_extent(self, axis: int, name: str) -> None:
        """The last patch begins inside the input, and no further patch would fit behind it: else the patch size is not the real one."""
        count, patch, stride, size = self.grid[axis], self.patch[axis], self.stride[axis], self.input_size[axis]
        last = self.origin[axis] + (count - 1) * stride
        if min(count, patch, stride) < 1 or last >= size or last + stride + patch <= size:
            raise ProofError(
                f"{count} patches of {patch} px, {stride} px apart, {name} an input of {size} px",
                expected="patches that reach from edge to edge",
                where="token layout",
                todo="give the right patch size and input size",
            )

    @classmethod
    def plain(
        cls,
        prefix: tuple[Kind, ...],
        grid: tuple[int, int],
        patch: tuple[int, int],
        input_size: tuple[int, int],
        *,
        stride: tuple[int, int] | None = None,
        origin: tuple[float, float] = (0.0, 0.0),
        readouts: tuple[Readout, ...] = (),
        source: str = "configuration",
    ) -> TokenLayout:
        """Prefix tokens first, then the patches row by row: the layout of most plain ViTs."""
        gh, gw = grid
        kinds = np.array([*prefix, *([Kind.PATCH] * (gh * gw))], dtype=np.int8)
        cells = np.full((len(kinds), 3), -1, dtype=np.int32)
        y, x = np.divmod(np.arange(gh * gw), gw)
        cells[len(prefix) :] = np.stack([np.zeros_like(y), y, x], axis=1)
        return cls(kinds, cells, grid, patch, stride or patch, input_size, origin, readouts, source)

    @property
    def n(self) -> int:
        """Number of tokens."""
        return len(self.kinds)

    @property
    def patches(self) -> NDArray[np.intp]:
        """Token indices of the patches, in raster order (row by row): ``tokens[layout.patches].reshape(layout.grid)``."""
        where = np.flatnonzero(self.kinds == Kind.PATCH)
        order = self.cells[where, 1].astype(np.int64) * self.grid[1] + self.cells[where, 2]
        return np.asarray(where[np.argsort(order, kind="stable")], dtype=np.intp)

    @property
    def prefix(self) -> NDArray[np.intp]:
        """Token indices of everything that is not a patch."""
        return np.flatnonzero(self.kinds != Kind.PATCH)

    def where(self, kind: Kind) -> NDArray[np.intp]:
        """Token indices of one kind."""
        return np.flatnonzero(self.kinds == kind)

    def token_at(self, row: int, column: int) -> int:
        """Token index of the patch at a grid cell."""
        gh, gw = self.grid
        if not (0 <= row < gh and 0 <= column < gw):
            raise IndexError(f"patch ({row}, {column}) on a {gh}×{gw} grid")
        return int(self.patches[row * gw + column])

    def to_grid(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Token values ``[..., n]`` to patch values ``[..., gh, gw]``."""
        return values[..., self.patches].reshape(*values.shape[:-1], *self.grid)

    def patch_box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1) in input pixels of the patch at a grid cell."""
        y0 = self.origin[0] + row * self.stride[0]
        x0 = self.origin[1] + column * self.stride[1]
        return y0, x0, y0 + self.patch[0], x0 + self.patch[1]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1) in input pixels: from the first patch's corner to the last one's, inside the input."""
        y0, x0, _, _ = self.patch_box(0, 0)
        _, _, y1, x1 = self.patch_box(self.grid[0] - 1, self.grid[1] - 1)
        return max(y0, 0.0), max(x0, 0.0), min(y1, float(self.input_size[0])), min(x1, float(self.input_size[1]))

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON (`vitscope inspect --json`)."""
        counts = {kind.name.lower(): int((self.kinds == kind).sum()) for kind in Kind if (self.kinds == kind).any()}
        return {
            "tokens": self.n,
            "kinds": counts,
            "prefix": [Kind(int(self.kinds[i])).name.lower() for i in self.prefix],
            "grid": list(self.grid),
            "patch": list(self.patch),
            "stride": list(self.stride),
            "origin": [value + 0.0 for value in self.origin],  # 0.0, never −0.0
            "input_size": list(self.input_size),
            "readout": [r.name for r in self.readouts],
            "source": self.source,
        }
