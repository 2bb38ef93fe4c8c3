"""The score without some tokens, in batches: what occlusion and the trust figures are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vitscope.core.targets import Target
from vitscope.errors import ArgumentError
from vitscope.scoring import score
from vitscope.trace import Inputs, Needs, Trace

#: ``progress(done, total)``.
Progress = Callable[[int, int], None]


def scores_without(
    trace: Trace, target: Target, picture: int, hidden: NDArray[np.bool_], *, batch: int = 16, progress: Progress | None = None
) -> NDArray[np.float64]:
    """The target's score of one picture with some of its patch tokens dropped, once for each row of ``hidden``.

    Rows that hide equally many tokens share a run; which pictures run together changes nothing.

    Shapes:
        hidden: bool ``[m, n]``, True drops that token; returns ``[m]``.

    Raises:
        ArgumentError: a row that hides a token that is not a patch, or every patch.
    """
    _check(trace, hidden, batch)
    out = np.empty(len(hidden))
    sizes = hidden.sum(axis=1)
    done = 0
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        for some in np.array_split(rows, -(-len(rows) // batch)):
            out[some] = _run(trace, target, picture, hidden[some])
            done += len(some)
            if progress is not None:
                progress(done, len(hidden))
    return out


def target_of(target: Target, pictures: Sequence[int]) -> Target:
    """The target of these pictures of the batch, in this order (a picture may come more than once)."""
    return target.of(pictures)


def full_scores(trace: Trace, target: Target) -> NDArray[np.float64]:
    """The target's score of every picture as it was, ``[b]``."""
    return np.asarray(score(trace.whole, target).double().cpu().numpy())


def _run(trace: Trace, target: Target, picture: int, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
    keep = torch.as_tensor(~hidden, device=trace.pixels.device)
    pixels = trace.pixels[picture : picture + 1].expand(len(hidden), -1, -1, -1)
    seen = trace.again(Needs(hidden=target.blocks), None, Inputs(pixels=pixels, keep=keep))
    return full_scores(seen, target_of(target, [picture] * len(hidden)))


def _check(trace: Trace, hidden: NDArray[np.bool_], batch: int) -> None:
    patches = trace.layout.patches
    if batch < 1:
        raise ArgumentError(f"batch {batch}", expected="at least 1", where="batch")
    if hidden[:, trace.layout.prefix].any():
        raise ArgumentError("a token that is not a patch is hidden", expected="patches only", where="dropping tokens")
    if hidden[:, patches].all(axis=1).any():
        raise ArgumentError(f"all {len(patches)} patches hidden", expected=f"at most {len(patches) - 1}", where="dropping tokens")
