"""What a pass made, from what a family's model returns: class scores, features, scores at pixels, boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.hidden import replacing_output
from vitscope.capture.modes import ordinary_mode
from vitscope.core.layout import Kind, TokenLayout
from vitscope.models.family import Loaded
from vitscope.scoring import Made


def places_of(out: Any, classes: int, side: tuple[int, int] | None = None) -> Made:
    """Scores at the cells of a dense head, or of boxes, as transformers and kin return them.

    Args:
        out: with ``logits`` ``[b, c, h, w]``, or ``[b, m, c]`` beside ``pred_boxes`` ``[b, m, 4]``, or ``predicted_depth`` ``[b, h, w]``,
            or queries: ``class_queries_logits`` ``[b, q, c + 1]`` beside ``masks_queries_logits`` ``[b, q, h, w]``.
        classes: number of classes by the configuration: one column more stands for "no object".
        side: what the masks of queries are enlarged to before they are read.
    """
    kinds, masks = (getattr(out, name, None) for name in ("class_queries_logits", "masks_queries_logits"))
    if isinstance(kinds, Tensor) and isinstance(masks, Tensor):
        return _by_queries(kinds, masks, side)
    logits, boxes, depth = (getattr(out, name, None) for name in ("logits", "pred_boxes", "predicted_depth"))
    if isinstance(logits, Tensor) and isinstance(boxes, Tensor) and logits.dim() == 3 and boxes.shape[:2] == logits.shape[:2]:
        return Made(places=logits.transpose(1, 2), boxes=boxes, nothing=logits.shape[2] == classes + 1)
    dense = logits if isinstance(logits, Tensor) and logits.dim() == 4 else None
    if dense is None and isinstance(depth, Tensor) and depth.dim() == 3:
        dense = depth[:, None]
    if dense is None:
        return Made()
    return Made(places=dense.flatten(2), grid=(int(dense.shape[2]), int(dense.shape[3])))


def _by_queries(kinds: Tensor, masks: Tensor, side: tuple[int, int] | None) -> Made:
    """A class's score at a cell: ``Σ_q softmax(class)_q · σ(mask)_q``, without "no object", as the library's own post-processing has it.

    Source:
        Cheng et al., "Per-pixel classification is not all you need for semantic segmentation", NeurIPS 2021, section 3.4.
    """
    if side is not None:
        masks = nn.functional.interpolate(masks, size=side, mode="bilinear", align_corners=False)
    dense = torch.einsum("bqc,bqhw->bchw", kinds.softmax(dim=-1)[..., :-1], masks.sigmoid())
    return Made(places=dense.flatten(2), grid=(int(dense.shape[2]), int(dense.shape[3])))


def made_of(described: Loaded, out: Any, layout: TokenLayout | None = None, keep: Tensor | None = None) -> Made:
    """All that a pass made; a model without a head gives features, its tokens pooled as its head would read them.

    Args:
        described: the model.
        out: what its call returned.
        layout: of its tokens, where known.
        keep: bool ``[b, n]``: tokens that were not dropped (all where None).
    """
    scores, made = described.output(out)
    rest = described.rest(out)
    if scores is not None or rest.places is not None:
        embedded = scores is not None and made is not scores and made.dim() == 2  # a two-tower model gives both
        return replace(rest, scores=scores, features=made if embedded else None)
    return replace(rest, features=_pooled(made, described.reads, layout, keep))


def _pooled(made: Tensor, reads: str, layout: TokenLayout | None, keep: Tensor | None) -> Tensor | None:
    """One vector a picture ``[b, w]``: as it is, the mean of a feature map, or of tokens what the head would read."""
    if made.dim() == 2:
        return made
    if made.dim() == 4:
        return made.mean(dim=(2, 3))
    if made.dim() != 3 or layout is None:
        return None
    kinds = torch.as_tensor(layout.kinds, device=made.device)
    cls = kinds == Kind.CLS
    read = cls if reads != "patch mean" and int(cls.sum()) == 1 else kinds == Kind.PATCH
    weights = read.expand(len(made), -1)
    if keep is not None:
        weights = weights[keep].view(len(made), -1) if made.shape[1] < layout.n else weights & keep
    if weights.shape[1] != made.shape[1]:  # the last stage's tokens, or others than the layout's: all of them
        return made.mean(dim=1) if reads != "cls" else None
    weights = weights.to(made.dtype)
    return torch.einsum("bn,bnw->bw", weights / weights.sum(dim=1, keepdim=True), made)


def through_last(described: Loaded, noise: Tensor, block: str) -> bool:
    """Whether all that the scores at pixels or boxes read of a picture passes the last block's output; tried, not guessed."""
    module: nn.Module = described.module
    cut: Any = lambda output: output.detach()  # noqa: E731 - one word for it
    pixels = noise.clone().requires_grad_()
    with ordinary_mode(grad=True), replacing_output(module, block, cut):
        places = described.rest(described.call(module, pixels)).places
        if places is None or not places.requires_grad:
            return places is not None
        found = torch.autograd.grad(places.sum(), pixels, allow_unused=True)[0]
    return found is None or not bool(found.any())
