"""Where a followed attention begins and is checked: the product q kᵀ, the softmax's axis, and whether q and k explain the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vitscope.capture.following import Track
from vitscope.capture.heard import Heads, Heard
from vitscope.capture.products import Product, arrange, scores_roles

#: Largest difference between weights from q and k and the model's own, by the type the model works in.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 5e-3, torch.bfloat16: 2e-2}
#: So much of it at most where scores are large, whose own rounding then shows in the weights: half of what the proof allows the result.
MOST = {torch.float64: 5e-11, torch.float32: 5e-6}
#: Largest distance of a row's sum from one, by the type the weights are in.
ROW_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}


def scores_track(product: Product, out: Tensor) -> Track | None:
    """The track of ``q kᵀ``, where a product can be that."""
    roles = scores_roles(product)
    if roles is None or not out.is_floating_point():
        return None
    a, b, letters = product.letters
    axes = (letters.index(roles.left), letters.index(roles.right))
    lead = tuple(letters.index(c) for c in roles.batch)
    if letters != roles.batch + roles.left + roles.right:
        return Track(axes, lead)
    q = arrange(product.left, a, roles.batch + roles.left + roles.contracted).to(out.dtype)
    k = arrange(product.right, b, roles.batch + roles.right + roles.contracted).to(out.dtype)
    masks = () if product.term is None or product.beta == 0 else (product.term if product.beta == 1 else product.term * product.beta,)
    return Track(axes, lead, q, k, product.alpha, masks)


def turned(track: Track, normalised: int) -> Track:
    """The same scores with the normalised axis as the keys'."""
    if normalised == track.axes[1]:
        return track
    return replace(track.lost(), axes=(track.axes[1], track.axes[0]))


def explains(track: Track, weights: Tensor, heads: Heads) -> bool:
    """Whether ``softmax(q kᵀ · scale + masks)`` is what the model's softmax gave, on a handful of rows."""
    assert track.q is not None
    assert track.k is not None
    if track.axes != (weights.dim() - 2, weights.dim() - 1):
        return False
    q = track.q.expand(*weights.shape[:-2], *track.q.shape[-2:])
    call = Heard("", "written out", heads, q, track.k, track.k, q, scale=track.scale, masks=track.masks).call()
    at = torch.linspace(0, q.shape[-2] - 1, min(8, q.shape[-2]), device=q.device).long()
    model = heads.unfold(weights.detach())[:, :, at].to(call.dtype)
    with torch.autocast(q.device.type, enabled=False):
        return bool((call.rows(at) - model).abs().max() <= _allowed(track.q, track.k, track.scale))


def _allowed(q: Tensor, k: Tensor, scale: float) -> float:
    """How far weights may be apart by rounding alone.

    Formula:
        ``ε |q| |k| scale / 2``: a score is a sum of products, rounded to within ``ε |q| |k| scale`` in whatever order it is added up, and a
        softmax's weight moves by at most half as much as two scores against each other; no less than ``TOLERANCE``, no more than ``MOST``.
    """
    least = TOLERANCE.get(q.dtype, 0.0)
    if q.dtype not in MOST:
        return least
    rounding = torch.finfo(q.dtype).eps * float(q.norm(dim=-1).max() * k.norm(dim=-1).max()) * abs(scale) / 2
    return min(max(least, rounding), MOST[q.dtype])


def distributes(weights: Tensor, axis: int) -> bool:
    """Whether every row along the axis is a distribution: what a mean of several softmaxes is (a gate between content and position), and
    what a mix of heads is not.
    """
    rows = weights.detach()
    off = (rows.sum(dim=axis, dtype=torch.promote_types(rows.dtype, torch.float32)) - 1).abs().max()
    return bool(off <= ROW_TOLERANCE.get(rows.dtype, 0.0)) and bool(rows.min() >= 0)


def one_key(weights: Tensor, axis: int) -> Tensor:
    """Weights of the same shape that all lie on the middle key."""
    sharp = torch.zeros_like(weights)
    sharp.select(axis, weights.shape[axis] // 2).fill_(1.0)
    return sharp


def weights_arranger(track: Track, lead: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """From the softmax's own layout to ``[*lead, nq, nk]``."""
    query, key = track.weights_axes

    def place(weights: Tensor) -> Tensor:
        others = [axis for axis in range(weights.dim()) if axis not in (query, key)]
        ordered = weights.permute(*others, query, key)
        return ordered.reshape(*lead, *ordered.shape[-2:])

    return place
