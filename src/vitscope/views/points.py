"""What is said beside a projection: its measured figures in words, those of the original space next to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitscope.core.projection import Projection

TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def quality_words(quality: Mapping[str, Any]) -> list[str]:
    """Short sentences, most important first; what is not defined is left out."""
    words = []
    explained = quality.get("explained_variance")
    if explained is not None:
        words.append(f"shows {sum(explained):.1%} of the variance ({' + '.join(f'{share:.1%}' for share in explained)})")
    k = quality["neighbours"]
    words.append(f"trustworthiness {quality['trustworthiness']:.3f}, continuity {quality['continuity']:.3f} ({k} neighbours)")
    if quality["label_agreement"] is not None and quality["original_label_agreement"] is not None:
        words.append(
            f"neighbours of one label {quality['label_agreement']:.1%}, in the original space {quality['original_label_agreement']:.1%}"
        )
        words.append(f"silhouette {quality['silhouette']:.3f}, in the original space {quality['original_silhouette']:.3f}")
    if quality["points"] < quality["of"]:
        words.append(f"measured on {quality['points']:,} of {quality['of']:,} points, drawn at random")
    if quality.get("placed"):
        words.append(placed_words(quality["placed"]))
    return words


def placed_words(placed: Mapping[str, Any]) -> str:
    """One sentence on points that were placed into a map afterwards."""
    said = f"{placed['points']:,} points were placed into it afterwards; the figures are of the others"
    if placed["label_agreement"] is None:
        return said
    said += f"; of a placed point's {placed['neighbours']} nearest others have its label: {placed['label_agreement']:.1%}"
    original = placed["original_label_agreement"]
    return said if original is None else f"{said}, in the original space {original:.1%}"


def quality_line(one: Projection) -> str:
    """All in one line."""
    return "; ".join(quality_words(one.quality))


def title(one: Projection) -> str:
    """What a projection is called."""
    return map_title(one.method, one.layer)


def map_title(method: str, layer: int) -> str:
    """What a map of a layer is called."""
    return f"{TITLES.get(method, method)}, layer {layer}"
