"""Occlusion by dropping tokens: what the score loses when patches are taken away."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from vitscope.core.maps import TokenMap
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError
from vitscope.methods.dropping import Progress, full_scores, scores_without
from vitscope.methods.result import Said, on_patches, token_map
from vitscope.scoring import columns
from vitscope.trace import Needs, Trace

METHOD = "occlusion"


def occlusion(
    trace: Trace, target: object = None, size: int = 1, stride: int = 1, batch: int = 16, progress: Progress | None = None
) -> TokenMap:
    """How much the target's score drops when a square of patches is taken away.

    Formula:
        ``map_i = mean over squares on patch i of (s(all) − s(without the square))``. Patch tokens are removed from the sequence
        where the model allows it, else masked as keys (``parameters["drop"]`` says which): the model is shown no grey pixels.
        Windows and convolutions allow neither: there the pixels are set to the mean colour, in squares of as many patches
        (``parameters["cell"]``) as make one token of the last stage.

    Args:
        trace: what one pass left.
        target: which score.
        size: side of the square, in patches.
        stride: patches from one square to the next, at most ``size``; the last square ends at the edge.
        batch: pictures in one run.
        progress: called with (done, total) runs.

    Shapes:
        values ``[b, n]``, NaN on tokens that are not patches.

    Units:
        score points lost when hidden; negative: the score rises without it.

    Raises:
        ArgumentError: size, stride or batch out of range.

    Source:
        Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, sec. 4.2; tokens dropped, not greyed.
    """
    aim = trace.resolve(target)
    unit = cell(trace)
    covered = squares(trace.layout.grid, size * unit, stride * unit)
    hidden = np.zeros((len(covered), trace.layout.n), dtype=bool)
    hidden[:, trace.layout.patches] = covered
    full, b, m = full_scores(trace.with_needs(Needs(), aim), aim), len(trace), len(covered)
    drops = np.empty((b, m))
    for i in range(b):
        told = None if progress is None else lambda done, _, i=i: progress(i * m + done, b * m)
        drops[i] = full[i] - scores_without(trace, aim, i, hidden, batch=batch, progress=told)
    values = (drops @ covered / covered.sum(axis=0)).astype(np.float64 if str(trace.pixels.dtype) == "torch.float64" else np.float32)
    said = Said(
        method=METHOD,
        unit="score points lost when hidden",
        parameters={"size": size, "stride": stride, "drop": trace.exact_drop} | ({"cell": unit} if unit > 1 else {}),
        target=aim,
        signed=True,
        notes=_coarse(trace, aim),
    )
    return token_map(trace, on_patches(trace, values), said)


def cell(trace: Trace) -> int:
    """Patches along the side of the smallest square that is hidden: those of one token of the last stage."""
    return max(1, round(trace.layout.grid[0] / trace.layouts[-1].grid[0])) if trace.stages is not None else 1


def _coarse(trace: Trace, aim: Target) -> tuple[str, ...]:
    """A note where scores are kept so coarsely that small differences are rounding."""
    dtype = trace.pixels.dtype
    if dtype not in (torch.float16, torch.bfloat16):
        return ()
    step = float(columns(trace.with_needs(Needs(), aim).whole, aim).abs().max()) * torch.finfo(dtype).eps
    return (f"Scores come in {str(dtype).removeprefix('torch.')}: differences up to about {step:.1g} are rounding.",)


def squares(grid: tuple[int, int], size: int, stride: int) -> NDArray[np.bool_]:
    """Squares of patches, each ``True`` on what it hides, ``[m, gh·gw]`` in raster order; every patch lies under at least one.

    Raises:
        ArgumentError: a square that does not fit or hides everything, or a stride that would leave patches out.
    """
    limit = min(grid) if max(grid) > min(grid) else min(grid) - 1
    if not 1 <= size <= limit:
        raise ArgumentError(f"size {size}", expected=f"1 to {limit} patches on a {grid[0]}×{grid[1]} grid", where="size")
    if not 1 <= stride <= size:
        raise ArgumentError(f"stride {stride}", expected=f"1 to {size} (the size)", where="stride")
    corners = [sorted({*range(0, cells - size + 1, stride), cells - size}) for cells in grid]
    out = np.zeros((len(corners[0]), len(corners[1]), *grid), dtype=bool)
    for j, y in enumerate(corners[0]):
        for i, x in enumerate(corners[1]):
            out[j, i, y : y + size, x : x + size] = True
    return out.reshape(-1, grid[0] * grid[1])
