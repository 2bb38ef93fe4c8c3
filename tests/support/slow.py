"""Every method once more: slow, obvious, full matrices, close to the papers.

They see only a Record: eager attentions and autograd's own gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from support.handmade import HandViT, Record, Spec, layout_of
from vitscope.core.targets import Target
from vitscope.scoring import score


def fused(a: Tensor, how: str, discard: float, columns: list[int]) -> Tensor:
    """``[h, n, n]`` to ``[n, n]`` with rows that sum to one, row by row."""
    return tidy({"mean": a.mean(0), "max": a.max(0).values, "min": a.min(0).values}[how], discard, columns)


def tidy(f: Tensor, discard: float, columns: list[int]) -> Tensor:
    """Row by row: the smallest patch columns to zero, then the sum to one where there is one."""
    rows = []
    for row in f.detach().tolist():
        cut = int(discard * len(columns) + 1e-9)
        dropped = set(sorted(columns, key=lambda j, row=row: row[j])[:cut])
        kept = [0.0 if j in dropped else x for j, x in enumerate(row)]
        rows.append([x / sum(kept) if sum(kept) > 0 else 0.0 for x in kept])
    return torch.tensor(rows, dtype=torch.float64)


def rollout(attentions: list[Tensor], how: str, residual: float, discard: float, columns: list[int]) -> Tensor:
    """``Â_{L−1} … Â_0`` of one picture, ``attentions`` first block first, each ``[h, n, n]``."""
    n = attentions[0].shape[-1]
    eye = torch.eye(n, dtype=attentions[0].dtype)
    r = eye
    for a in attentions:
        r = ((1 - residual) * fused(a, how, discard, columns) + residual * eye) @ r
    return r


def start_row(spec: Spec, seen: Record, picture: int, start: int = 0) -> Tensor:
    """What the head reads, as weights over tokens; the pool's mean row where it pools by attention."""
    if spec.pool == "class":
        return seen.pool.a[picture, :, 0].mean(0)[1:]
    if spec.pool == "attention":
        assert seen.pool is not None
        return seen.pool.a[picture, :, 0].mean(0)
    weights = layout_of(spec).readouts[start].weights
    return torch.as_tensor(weights, dtype=torch.float64)


def gradients(seen: Record, target: Target) -> list[Tensor]:
    """autograd's own ``∂s/∂A`` of every block, then of the pool."""
    calls = seen.calls + seen.pools
    return list(torch.autograd.grad(score(seen.logits, target).sum(), [c.a for c in calls], retain_graph=True))


def weighted(a: Tensor, g: Tensor) -> Tensor:
    """``mean_h (∇A ⊙ A)⁺`` of one picture, ``[n, n]``."""
    return (g * a).clamp(min=0).mean(0)


def with_class_token(matrices: list[Tensor], pools: list[Tensor], whole: Callable[[Tensor], Tensor]) -> Tensor:
    """Class attention as one product over ``n + 1`` tokens, the class token first: its row, without its own column.

    ``whole`` makes the step's matrix (residual included) of a matrix whose untouched rows are zero, and 1 where a token keeps itself.
    """
    n = matrices[0].shape[-1]
    r = torch.eye(n + 1, dtype=torch.float64)
    for m in matrices:
        step = torch.eye(n + 1, dtype=torch.float64)
        step[1:, 1:] = whole(m)
        r = step @ r
    for row in pools:
        step = torch.eye(n + 1, dtype=torch.float64)
        square = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        square[0] = row
        step[0] = whole(square)[0]
        r = step @ r
    return r[0, 1:]


def relevance(spec: Spec, seen: Record, target: Target, picture: int, start: int = 0) -> Tensor:
    """``R ← R + Ē R`` with whole matrices; the read-out's row."""
    grads = gradients(seen, target)
    n = seen.calls[0].a.shape[-1]
    if spec.pool == "class":
        every = [weighted(call.a[picture], g[picture]) for call, g in zip(seen.calls + seen.pools, grads, strict=True)]
        blocks, pools = every[: spec.depth], [one[0] for one in every[spec.depth :]]
        return with_class_token(blocks, pools, lambda m: torch.eye(len(m), dtype=torch.float64) + m)
    r = torch.eye(n, dtype=torch.float64)
    for call, g in zip(seen.calls, grads, strict=False):
        r = r + weighted(call.a[picture], g[picture]) @ r
    if spec.pool == "attention":
        return weighted(seen.pool.a[picture], grads[-1][picture])[0] @ r
    return start_row(spec, seen, picture, start) @ r


def gradient_rollout(spec: Spec, seen: Record, target: Target, picture: int, residual: float, discard: float = 0.0) -> Tensor:
    """Rollout of ``(∇A ⊙ A)⁺``, rows normalised where they are not empty."""
    grads = gradients(seen, target)
    columns = list(layout_of(spec).patches)
    n = seen.calls[0].a.shape[-1]
    eye = torch.eye(n, dtype=torch.float64)

    if spec.pool == "class":
        blocks = [tidy(weighted(c.a[picture], g[picture]), discard, columns) for c, g in zip(seen.calls, grads, strict=False)]
        later = [i + 1 for i in columns]
        pools = [tidy(weighted(c.a[picture], g[picture]), discard, later)[0] for c, g in zip(seen.pools, grads[spec.depth :], strict=True)]
        return with_class_token(blocks, pools, lambda m: (1 - residual) * m + residual * torch.eye(len(m), dtype=torch.float64))
    r = eye
    for call, g in zip(seen.calls, grads, strict=False):
        r = ((1 - residual) * tidy(weighted(call.a[picture], g[picture]), discard, columns) + residual * eye) @ r
    if spec.pool == "attention":
        return tidy(weighted(seen.pool.a[picture], grads[-1][picture]), discard, columns)[0] @ r
    return start_row(spec, seen, picture) @ r


def grad_cam(spec: Spec, seen: Record, target: Target, picture: int, layer: int) -> Tensor:
    """``(Σ_c w_c Z_c)⁺`` on patches, ``w`` = mean gradient over patches; one patch after another."""
    (g,) = torch.autograd.grad(score(seen.logits, target).sum(), seen.hidden[layer], retain_graph=True)
    patches = list(layout_of(spec).patches)
    w = torch.stack([g[picture, i] for i in patches]).mean(0)
    return torch.stack([torch.dot(seen.hidden[layer][picture, i], w).clamp(min=0) for i in patches])


def grad_cam_size(spec: Spec, seen: Record, target: Target, picture: int, layer: int) -> float:
    """The largest sum before the cut at zero: what rounding is measured against, since a map may be zero throughout."""
    (g,) = torch.autograd.grad(score(seen.logits, target).sum(), seen.hidden[layer], retain_graph=True)
    patches = list(layout_of(spec).patches)
    return float((seen.hidden[layer][picture, patches] @ g[picture, patches].mean(0)).detach().abs().max())


def legrad(spec: Spec, seen: Record, target: Target, picture: int) -> Tensor:
    """Mean over layers of ``w · mean_h (∂s_l/∂A_l)⁺``."""
    out = []
    for layer, logits in enumerate(seen.logits_by_layer):
        call = seen.pools_by_layer[layer] if spec.pool in ("attention", "class") else seen.calls[layer]
        (g,) = torch.autograd.grad(score(logits, target).sum(), call.a, retain_graph=True)
        matrix = g[picture].clamp(min=0).mean(0)
        if spec.pool == "class":
            matrix = matrix[:, 1:]
        out.append(matrix[0] if spec.pool in ("attention", "class") else start_row(spec, seen, picture) @ matrix)
    return torch.stack(out).mean(0)


def integrated_gradients(model: HandViT, pixels: Tensor, target: Target, steps: int, baseline: float = 0.0) -> np.ndarray:
    """Gauss-Legendre sum along the straight line, one point at a time; ``[b, gh, gw]`` sums over patches."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    base = torch.full_like(pixels, baseline)
    total = torch.zeros_like(pixels)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = (base + node * (pixels - base)).requires_grad_()
        total += weight * torch.autograd.grad(score(model(point).logits, target).sum(), point)[0]
    value = ((pixels - base) * total).sum(1)
    p, (gh, gw) = model.spec.patch, model.spec.grid
    out = np.zeros((len(pixels), gh, gw))
    for y in range(gh):
        for x in range(gw):
            out[:, y, x] = value[:, y * p : (y + 1) * p, x * p : (x + 1) * p].sum((1, 2)).numpy()
    return out


def occlusion(model: HandViT, pixels: Tensor, target: Target, size: int = 1, stride: int = 1) -> np.ndarray:
    """Score drop with one square of patches taken out of the sequence, one run each; ``[b, gh, gw]`` means over the squares on a patch."""
    spec, layout = model.spec, layout_of(model.spec)
    gh, gw = spec.grid
    total, count = np.zeros((len(pixels), gh, gw)), np.zeros((gh, gw))
    full = score(model(pixels).logits, target).detach().numpy()
    for y in sorted({*range(0, gh - size + 1, stride), gh - size}):
        for x in sorted({*range(0, gw - size + 1, stride), gw - size}):
            keep = torch.ones(len(pixels), layout.n, dtype=torch.bool)
            for j in range(y, y + size):
                for i in range(x, x + size):
                    keep[:, layout.token_at(j, i)] = False
            drop = full - score(model(pixels, keep).logits, target).detach().numpy()
            total[:, y : y + size, x : x + size] += drop[:, None, None]
            count[y : y + size, x : x + size] += 1
    return total / count
