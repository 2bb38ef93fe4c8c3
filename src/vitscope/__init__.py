"""vitscope: see a vision transformer's way from data to decision.

>>> import vitscope as vs
>>> model = vs.load("builtin:photos")  # doctest: +SKIP
>>> trace = model.trace("cat.jpg")  # doctest: +SKIP
>>> vs.relevance(trace, target="cat").on_image()  # doctest: +SKIP

Importing this package imports neither torch nor any model library; the verbs do so when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.api import (
        attention,
        audit,
        axis,
        boxes,
        check,
        explain,
        features,
        figure,
        grad_cam,
        gradient_rollout,
        integrated_gradients,
        legrad,
        load,
        misread,
        nearest,
        occlusion,
        patch_filters,
        position_similarity,
        relevance,
        report,
        rollout,
        save,
        similar_to,
        token_figure,
        token_pca,
        view,
        write_sheet,
    )
    from vitscope.core.layout import TokenLayout
    from vitscope.core.maps import TokenMap
    from vitscope.core.placement import Placement
    from vitscope.core.provenance import Provenance
    from vitscope.core.readings import Axis, Box, Feature, Pixel, Region, SimilarTo, Text
    from vitscope.core.sample import Sample
    from vitscope.core.targets import Target
    from vitscope.errors import VitscopeError
    from vitscope.trace import Trace

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        (
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
        ),
        "vitscope.api",
    ),
    "Placement": "vitscope.core.placement",
    "Provenance": "vitscope.core.provenance",
    **dict.fromkeys(("Axis", "Box", "Feature", "Pixel", "Region", "SimilarTo", "Text"), "vitscope.core.readings"),
    "Sample": "vitscope.core.sample",
    "Target": "vitscope.core.targets",
    "TokenLayout": "vitscope.core.layout",
    "TokenMap": "vitscope.core.maps",
    "Trace": "vitscope.trace",
    "VitscopeError": "vitscope.errors",
}

__all__ = [
    "Axis",
    "Box",
    "Feature",
    "Pixel",
    "Placement",
    "Provenance",
    "Region",
    "Sample",
    "SimilarTo",
    "Target",
    "Text",
    "TokenLayout",
    "TokenMap",
    "Trace",
    "VitscopeError",
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


def __getattr__(name: str) -> Any:
    """Public names are found where they live, on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vitscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
