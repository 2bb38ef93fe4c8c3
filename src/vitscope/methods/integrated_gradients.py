"""Integrated gradients on the pixels, summed over each patch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.core.layout import TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, MissingExtra
from vitscope.methods.dropping import full_scores, target_of
from vitscope.methods.result import Said, on_patches, per_picture, token_map
from vitscope.trace import Inputs, Needs, Trace

METHOD = "integrated-gradients"

#: A completeness gap beyond this share of the score's change makes the map uninformative: too few steps for this model.
LARGE_GAP = 0.1


def integrated_gradients(trace: Trace, target: object = None, steps: int = 50, baseline: float = 0.0, batch: int = 8) -> TokenMap:
    """How much each patch's pixels contribute to the score's change from an empty picture to this one.

    Formula:
        ``IG = (x − x₀) ⊙ ∫₀¹ ∂s/∂x(x₀ + α(x − x₀)) dα``, Gauss-Legendre with ``steps`` points, summed over a patch's pixels and
        channels (a pixel under several overlapping patches counts in equal parts); sums to ``s(x) − s(x₀)`` up to ``meta["gap"]``.

    Args:
        trace: what one pass left.
        target: which score.
        steps: points on the straight line.
        baseline: value of every pixel of ``x₀`` in the model's own normalised units; 0 is the mean colour of its training data.
        batch: pictures in one run.

    Shapes:
        values ``[b, n]``, NaN on tokens that are not patches.

    Units:
        score points; negative: evidence against.

    Raises:
        ArgumentError: steps or batch below 1.
        MissingExtra: captum is not installed.

    Source:
        Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, eq. 1; computed by captum.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise ArgumentError(f"{name} {value}", expected="at least 1", where=name)
    aim = trace.resolve(target)
    pixels = _attributions(trace, aim, steps, baseline, batch)
    wide = pixels.double().sum(dim=1).cpu().numpy()
    values = sum_over_patches(wide, trace.layout)
    empty = trace.again(Needs(hidden=aim.blocks), None, Inputs(pixels=torch.full_like(trace.pixels, baseline)))
    change = full_scores(trace.with_needs(Needs(), aim), aim) - full_scores(empty, aim)
    gap = np.abs(wide.sum(axis=(1, 2)) - change)
    said = Said(
        method=METHOD,
        unit="score points (sum over the patch)",
        parameters={"steps": steps, "baseline": baseline},
        target=aim,
        signed=True,
        picture_notes=_doubts(gap, change, steps),
        meta={"gap": per_picture(gap.tolist()), "change": per_picture(change.tolist())},
    )
    return token_map(trace, on_patches(trace, values.astype(np.float64 if pixels.dtype == torch.float64 else np.float32)), said)


def _attributions(trace: Trace, aim: Target, steps: int, baseline: float, batch: int) -> Tensor:
    """Attributions by captum, ``[b, 3, h, w]``; it asks for gradients where it always does, and gets them through the trace."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError as missing:
        raise MissingExtra("captum", "captum", purpose="integrated gradients") from missing

    method = IntegratedGradients(lambda pixels: pixels)  # never run: captum gets its gradients from the line below
    method.gradient_func = _Gradients(trace, aim, steps)
    found: Tensor = method.attribute(
        trace.pixels, baselines=baseline, n_steps=steps, method="gausslegendre", internal_batch_size=max(batch, len(trace))
    )
    return found.detach()


class _Gradients:
    """``∂s/∂pixels`` for the points captum asks for, one stretch of the line after the other.

    captum rounds the steps' weights to float32 before it multiplies the gradients by them; what that loses is given back here.
    """

    def __init__(self, trace: Trace, aim: Target, steps: int) -> None:
        weights = np.polynomial.legendre.leggauss(steps)[1] / 2
        self.trace, self.aim = trace, aim
        self.regain = weights / weights.astype(np.float32)
        self.done = 0

    def __call__(self, *, inputs: tuple[Tensor, ...], **_: object) -> tuple[Tensor, ...]:
        """Gradients ``[steps · b, 3, h, w]``, steps outside, pictures inside."""
        (pixels,), b = inputs, len(self.trace)
        steps = len(pixels) // b
        seen = self.trace.again(Needs(pixel_gradients=True), target_of(self.aim, [*range(b)] * steps), Inputs(pixels=pixels.detach()))
        assert seen.pixel_grads is not None
        regain = torch.as_tensor(self.regain[self.done : self.done + steps]).repeat_interleave(b).to(seen.pixel_grads)
        self.done += steps
        return (seen.pixel_grads * regain[:, None, None, None],)


def sum_over_patches(values: NDArray[np.float64], layout: TokenLayout) -> NDArray[np.float64]:
    """Pixel values ``[b, h, w]`` to patch sums ``[b, P]`` in raster order; where patches overlap a pixel is shared equally."""
    rows = _membership(layout, 0, values.shape[1])
    columns = _membership(layout, 1, values.shape[2])
    return np.asarray(np.einsum("yh,bhw,xw->byx", rows, values, columns)).reshape(len(values), -1)


def _membership(layout: TokenLayout, axis: int, length: int) -> NDArray[np.float64]:
    """``[cells, pixels]``: each pixel's share in each row (column) of patches; columns sum to one where covered."""
    first = layout.origin[axis] + np.arange(layout.grid[axis]) * layout.stride[axis]
    centre = np.arange(length) + 0.5
    inside = (centre > first[:, None]) & (centre < first[:, None] + layout.patch[axis])
    return np.asarray(inside / np.maximum(inside.sum(axis=0), 1))


def _doubts(gap: NDArray[np.float64], change: NDArray[np.float64], steps: int) -> tuple[tuple[str, ...], ...]:
    """For each picture, a sentence where the parts do not add up."""
    share = gap / np.maximum(np.abs(change), 1e-12)
    text = "Uninformative: the parts miss the score's change of {:.3g} by {:.3g} ({:.0%}) with {} steps; use more steps."
    return tuple((text.format(c, g, s, steps),) if s > LARGE_GAP else () for c, g, s in zip(change, gap, share, strict=True))
