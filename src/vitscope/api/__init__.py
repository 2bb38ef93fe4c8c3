"""The verbs. Everything heavy is imported when a verb is first used, never when the package is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitscope.api.aims import axis, boxes, features, similar_to
from vitscope.api.auditing import audit
from vitscope.api.display import show_maps
from vitscope.api.explanation import Explanation, explain
from vitscope.api.misreading import misread
from vitscope.api.nearest_job import nearest
from vitscope.api.notebook import view
from vitscope.api.parts import patch_filters, position_similarity, token_figure, token_pca
from vitscope.api.sheets import write_sheet
from vitscope.api.views import same_run
from vitscope.api.write import figure, report, save

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from vitscope.core.maps import TokenMap
    from vitscope.methods.starts import Query
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

__all__ = [
    "Explanation",
    "attention",
    "audit",
    "axis",
    "boxes",
    "check",
    "explain",
    "features",
    "figure",
    "grad_cam",
    "gradient_rollout",
    "integrated_gradients",
    "legrad",
    "load",
    "misread",
    "nearest",
    "occlusion",
    "patch_filters",
    "position_similarity",
    "relevance",
    "report",
    "rollout",
    "save",
    "similar_to",
    "token_figure",
    "token_pca",
    "view",
    "write_sheet",
]

show_maps()


def load(ref: str | Path | nn.Module, **given: Any) -> LoadedModel:
    """A model by reference, from a local folder, or a module of your own.

    Args:
        ref: "builtin:photos", "hf:facebook/dinov2-small", "timm:vit_tiny_patch16_224", "torchvision:vit_b_16", "open_clip:ViT-B-32",
            a local folder, or an ``nn.Module``.
        given: ``weights`` (a local checkpoint), ``labels`` (a file, one name a line, or a list), ``input_size``, ``device``, ``dtype``,
            ``seed``; for a two-tower model of your own ``processor`` or ``tokenizer``; for any other ``mean``, ``std``, and where they
            cannot be measured ``patch`` and ``prefix``.

    Raises:
        ModelError: unknown scheme or name, a folder without config, a checkpoint that does not fit or needs unpickling.
        MissingExtra: the library of that scheme is not installed.
    """
    from vitscope.models import load as load_model

    return load_model(ref, **given)


def attention(trace: Trace, *, layer: int = -1, head: int | str = "mean", query: Query = "pooled", start: int = 0) -> TokenMap:
    """Where one layer looks from a query token; see :func:`vitscope.methods.attention.attention`."""
    from vitscope.methods.attention import attention as method

    return method(trace, layer=layer, head=head, query=query, start=start)


def rollout(trace: Trace, *, fuse: str = "mean", residual: float = 0.5, discard: float = 0.0, **more: Any) -> TokenMap:
    """Attention multiplied through all layers, with the residual stream; see :func:`vitscope.methods.rollout.rollout`."""
    from vitscope.methods.rollout import rollout as method

    return method(trace, fuse=fuse, residual=residual, discard=discard, **more)


def gradient_rollout(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """Rollout of gradient-weighted attention; see :mod:`vitscope.methods`."""
    return _by_name("gradient-rollout", trace, target=target, **more)


def relevance(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """Generic relevance (Chefer et al., ICCV 2021); see :mod:`vitscope.methods.relevance`."""
    return _by_name("relevance", trace, target=target, **more)


def grad_cam(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """Grad-CAM at a block; see :mod:`vitscope.methods`."""
    return _by_name("grad-cam", trace, target=target, **more)


def legrad(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """LeGrad (ICCV 2025); see :mod:`vitscope.methods.legrad`."""
    return _by_name("legrad", trace, target=target, **more)


def integrated_gradients(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """Integrated gradients through captum; see :mod:`vitscope.methods`."""
    return _by_name("integrated-gradients", trace, target=target, **more)


def occlusion(trace: Trace, *, target: object = None, **more: Any) -> TokenMap:
    """What the score loses when patches are dropped; see :mod:`vitscope.methods.occlusion`."""
    return _by_name("occlusion", trace, target=target, **more)


def check(trace: Trace, maps: TokenMap | Sequence[TokenMap], *, target: object = None, seed: int = 0) -> list[TokenMap]:
    """The same maps with their trust figures in ``meta["trust"]``; see :mod:`vitscope.trust`.

    Args:
        trace: the pass they were made from.
        maps: one or several.
        target: the score that maps for no target (attention, rollout) are put to the test on; the top prediction where not given.
        seed: of what is drawn at random.
    """
    from vitscope.core.maps import TokenMap as Map
    from vitscope.trust import check as check_one

    given = [maps] if isinstance(maps, Map) else list(maps)
    for one in given:
        same_run(trace, one, "check")
    return [check_one(trace, one, target=target, seed=seed) for one in given]


def _by_name(name: str, trace: Trace, **options: Any) -> TokenMap:
    from vitscope.methods import METHODS

    return METHODS[name].run(trace, **options)
