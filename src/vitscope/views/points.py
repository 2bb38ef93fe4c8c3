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


#: A map and its original space tell labels apart alike where their shares differ by no more than this.
ALIKE = 0.05
#: Trustworthiness from which neighbours in a map may be read as neighbours, and below which they should not.
NEAR_TRUE, NEAR_FALSE = 0.95, 0.85


def verdict(quality: Mapping[str, Any]) -> str:
    """What a map's figures allow to read off it: its neighbours, and how far apart its labels are."""
    trust = quality["trustworthiness"]
    said = (
        "neighbours can be read off it"
        if trust >= NEAR_TRUE
        else "neighbours only roughly"
        if trust >= NEAR_FALSE
        else "read no neighbours"
    )
    drawn, original = quality["label_agreement"], quality["original_label_agreement"]
    if drawn is None or original is None:
        return said
    if drawn > original + ALIKE:
        return f"{said}; labels look further apart than they are"
    return f"{said}; labels that the model tells apart lie mixed" if drawn < original - ALIKE else f"{said}; labels as in the model"


def quality_row(quality: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """One map's figures as cells of a table: what it is, its value, and that of the original space ("" where there is none)."""
    explained = quality.get("explained_variance")
    cells = [
        ("trustworthiness", f"{quality['trustworthiness']:.3f}", ""),
        ("continuity", f"{quality['continuity']:.3f}", ""),
        ("variance shown", "" if explained is None else f"{sum(explained):.1%}", ""),
    ]
    if quality["label_agreement"] is not None and quality["original_label_agreement"] is not None:
        pair = ("label_agreement", "original_label_agreement", "silhouette", "original_silhouette")
        same, original, apart, apart_original = (quality[name] for name in pair)
        cells += [
            ("neighbours of one label", f"{same:.1%}", f"{original:.1%}"),
            ("silhouette", f"{apart:.3f}", f"{apart_original:.3f}"),
        ]
    return cells


def quality_notes(quality: Mapping[str, Any]) -> list[str]:
    """What the figures are of, where not of all points, and of points that were placed afterwards."""
    notes = [f"{quality['neighbours']} neighbours"]
    if quality["points"] < quality["of"]:
        notes.append(f"measured on {quality['points']:,} of {quality['of']:,} points, drawn at random")
    return [*notes, placed_words(quality["placed"])] if quality.get("placed") else notes


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
