"""From a store of vectors to projections with their quality: what is asked of each layer, and how the layers compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.projection import Projection
from vitscope.core.targets import find_label
from vitscope.errors import ArgumentError
from vitscope.projection.distances import nearest
from vitscope.projection.maps import Fitted, fit_map, read_map, save_map
from vitscope.projection.pca import PCA, fit_pca
from vitscope.projection.quality import NEAR, held_out, knn_accuracy, label_numbers, label_structure, neighbourhoods
from vitscope.projection.store import Rows, Store
from vitscope.projection.suspects import label_suspects, near_duplicates

#: Vectors held in memory at most, in bytes; more are reduced to their first principal components, batch by batch.
IN_MEMORY = 800_000_000
REDUCED = 50
#: Quality is measured on so many points; of more, on a draw of them, and that is said.
QUALITY_POINTS = 20_000
#: t-SNE and UMAP look at every pair of points: at most of so many. Duplicates and suspects, which nobody asked for, of fewer.
MOST_PAIRED = 200_000
MOST_COMPARED = 50_000

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Layer:
    """One layer's vectors in a store, and what is measured of them.

    Attributes:
        labels: of each vector, "" where there is none.
        seed: for draws and for maps.
    """

    store: Store
    number: int
    rows: Rows
    seed: int = 0

    @cached_property
    def tokens(self) -> int:
        """Vectors of each photo."""
        return self.store.tokens(self.number)

    @property
    def count(self) -> int:
        """Vectors in all."""
        return len(self.rows) * self.tokens

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """``[rows, width]`` shard by shard."""
        return (batch.reshape(-1, batch.shape[-1]) for batch in self.store.batches(self.number))

    @cached_property
    def width(self) -> int:
        """Values of each vector."""
        return next((int(batch.shape[-1]) for batch in self.store.batches(self.number)), 0)

    @property
    def large(self) -> bool:
        """Whether these vectors are too many to be held together."""
        return self.count * self.width * 4 > IN_MEMORY

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """``[m, width]``, or where they are too many ``[m, 50]``, their first principal components."""
        if not self.large:
            return self.store.matrix(self.number)
        pca = fit_pca(self.batches(), min(REDUCED, self.width))
        return np.concatenate([pca.place(batch) for batch in self.batches()])

    @cached_property
    def drawn(self) -> NDArray[np.intp]:
        """Which vectors quality is measured on, rising."""
        if self.count <= QUALITY_POINTS:
            return np.arange(self.count)
        return np.sort(np.random.default_rng(self.seed).choice(self.count, QUALITY_POINTS, replace=False))

    @cached_property
    def sample(self) -> NDArray[np.float32]:
        """Those vectors in their original space, ``[drawn, width]``."""
        if not self.large:
            return self.vectors[self.drawn]
        parts, at = [], 0
        for batch in self.batches():
            here = self.drawn[(self.drawn >= at) & (self.drawn < at + len(batch))] - at
            parts.append(batch[here])
            at += len(batch)
        return np.concatenate(parts)

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Label numbers of the drawn vectors, −1 where there is none."""
        return label_numbers(self.rows.label)[0][self.drawn // self.tokens]

    @cached_property
    def near(self) -> int:
        """Neighbours that count as near: ten, or fewer of few vectors."""
        return max(1, min(NEAR, (len(self.drawn) - 1) // 3))

    @cached_property
    def structure(self) -> tuple[float, float]:
        """Agreement of neighbours' labels, and silhouette, in the original space."""
        return label_structure(self.sample, self.labels, self.near)

    def fit(self, method: str, dim: int, threads: int) -> Fitted:
        """A map of all vectors.

        Raises:
            ArgumentError: too few vectors, or too many for a method that looks at every pair.
        """
        if self.count < 5:
            raise ArgumentError(f"{self.count} points", expected="at least 5", where=method, todo="give more photos")
        if method == "pca":
            pca = fit_pca(self.batches() if self.width < self.count else self.vectors, dim)
            return Fitted("pca", pca, np.concatenate([pca.place(batch) for batch in self.batches()]))
        if self.count > MOST_PAIRED:
            raise ArgumentError(
                f"{self.count:,} points", expected=f"at most {MOST_PAIRED:,} for {method}", where="--method", todo="use pca, or --limit"
            )
        return fit_map(method, self.vectors, dim, seed=self.seed, threads=threads)

    def quality(self, fitted: Fitted) -> dict[str, Any]:
        """Measured figures of a map, and the same of the original space where they are defined there; None where they are not defined."""
        points = fitted.points[self.drawn]
        trust, continuity = neighbourhoods(self.sample, points, self.near)
        agreement, silhouette = label_structure(points, self.labels, self.near)
        figures = {
            "trustworthiness": trust,
            "continuity": continuity,
            "label_agreement": agreement,
            "silhouette": silhouette,
            "original_label_agreement": self.structure[0],
            "original_silhouette": self.structure[1],
        }
        explained = [float(share) for share in fitted.model.explained] if isinstance(fitted.model, PCA) else None
        return {
            "explained_variance": explained,
            **{name: None if np.isnan(value) else value for name, value in figures.items()},
            "neighbours": self.near,
            "points": len(self.drawn),
            "of": self.count,
        }

    def ids(self) -> tuple[str, ...]:
        """The photo of each vector."""
        return tuple(name for name in self.rows.id for _ in range(self.tokens))

    def token_numbers(self) -> tuple[int, ...]:
        """The token of each vector; none where vectors are of whole photos."""
        return tuple(range(self.tokens)) * len(self.rows) if self.store.manifest.vectors == "tokens" else ()


def project(layer: Layer, method: str, dim: int, *, threads: int = 1, tell: Tell | None = None) -> Projection:
    """A projection of one layer with its quality; a map that was fitted before is read from the store.

    Args:
        layer: the vectors.
        method: "pca", "tsne" or "umap".
        dim: 2 or 3.
        threads: the result does not depend on it.
        tell: called with a few words before each part.
    """
    say = tell or (lambda _: None)
    say(f"{method} of layer {layer.number}, {layer.count:,} points")
    fitted = _fitted(layer, method, dim, threads)
    say(f"quality of {method}, layer {layer.number}")
    reduced = {"reduced_to": REDUCED} if layer.large and method != "pca" else {}
    return Projection(
        fitted.points,
        layer.ids(),
        layer.number,
        method,
        {**fitted.parameters, **reduced},
        layer.seed,
        layer.token_numbers(),
        layer.quality(fitted),
    )


def _fitted(layer: Layer, method: str, dim: int, threads: int) -> Fitted:
    from importlib.metadata import PackageNotFoundError, version

    libraries = {"pca": "numpy", "tsne": "openTSNE", "umap": "umap-learn"}
    folder = layer.store.folder / "maps"
    path = folder / f"{method}-layer{layer.number}-{dim}d-seed{layer.seed}.npz"
    try:
        made = version(libraries[method])
    except PackageNotFoundError:
        made = ""
    facts: dict[str, object] = {"dim": dim, "count": layer.count, "version": made, "reduced": layer.large}
    try:
        return read_map(path, facts)
    except ArgumentError:
        fitted = layer.fit(method, dim, threads)
    folder.mkdir(exist_ok=True)
    for stale in folder.glob(".*.part"):
        stale.unlink(missing_ok=True)
    save_map(fitted, path, facts)
    return fitted


def layer_curve(store: Store, rows: Rows, *, seed: int = 0, tell: Tell | None = None) -> list[dict[str, Any]]:
    """How well classes are told apart at each layer: accuracy of the nearest neighbours on a held-out half; [] where labels are missing."""
    say = tell or (lambda _: None)
    if store.manifest.vectors == "tokens":
        return []
    curve = []
    for number in store.manifest.layers:
        say(f"class separation at layer {number}")
        layer = Layer(store, number, rows, seed)
        among, asked = held_out(layer.labels, seed)
        near = max(1, min(NEAR, len(among)))
        accuracy = knn_accuracy(layer.sample, layer.labels, k=near, seed=seed)
        if not np.isnan(accuracy):
            figures = {"knn_accuracy": accuracy, "neighbours": near, "among": len(among), "asked": len(asked)}
            curve.append({"layer": number, **figures})
    return curve


def label_names(rows: Rows, names: Sequence[str]) -> dict[str, str]:
    """The labels that are names of the model, each as the model writes it."""
    known: dict[str, str] = {}
    for label in sorted({*rows.label} - {""}):
        try:
            known[label] = names[find_label(label, names)]
        except ArgumentError:
            continue
    return known


def numbers_note(known: Mapping[str, str]) -> str:
    """Which labels were taken for class numbers, with an example; "" where none was. Folders called 0, 1, 2 … may mean something else."""
    numbers = sorted((label for label, name in known.items() if label.isdecimal() and label != name), key=int)
    if not numbers:
        return ""
    return f"{len(numbers)} labels are taken for the model's class numbers ({numbers[0]}: {known[numbers[0]]}); right and wrong rest on it"


def model_accuracy(rows: Rows, known: Mapping[str, str]) -> tuple[float | None, int]:
    """Share of the labelled photos that the model names rightly, and their number; only photos whose label is one of the model's names.

    Args:
        rows: the photos.
        known: from :func:`label_names`.
    """
    asked = [(known[label], predicted) for label, predicted in zip(rows.label, rows.predicted, strict=True) if label in known and predicted]
    right = sum(name == predicted for name, predicted in asked)
    return (right / len(asked) if asked else None), len(asked)


def findings(layer: Layer) -> dict[str, Any]:
    """Near-duplicates and label suspects with their evidence, worst first, the first hundred of each; and how many there are."""
    if layer.tokens != 1 or not NEAR < len(layer.rows) <= MOST_COMPARED:
        return {"not_compared": f"pairs of photos are compared for {NEAR + 1} to {MOST_COMPARED:,} photos, of one vector each"}
    index, distance = nearest(layer.vectors, NEAR)
    rows = layer.rows
    pairs = near_duplicates(rows.id, rows.digest, index, distance)
    suspects = label_suspects(rows.id, rows.label, rows.predicted, index)
    return {
        "layer": layer.number,
        "near_duplicates": [asdict(pair) for pair in pairs[:100]],
        "near_duplicates_found": len(pairs),
        "label_suspects": [asdict(one) for one in suspects[:100]],
        "label_suspects_found": len(suspects),
    }


def place(store: Store, others: Store, path: str | Path, *, layer: int) -> Projection:
    """Photos of another store placed into a map of this one, which does not move.

    Args:
        store: whose map it is.
        others: the new photos' vectors, made by the same model in the same way.
        path: the map's file, in the store's folder ``maps``.
        layer: the block it was made of.

    Raises:
        ArgumentError: vectors of another model, preprocessing or kind; no map there; or a map of reduced vectors.
    """
    for name in ("model", "weights", "preprocessing", "vectors"):
        mine, other = getattr(store.manifest, name), getattr(others.manifest, name)
        if mine != other:
            raise ArgumentError(f"the new vectors' {name} is {other!r}", expected=repr(mine), where=str(others.folder))
    fitted = read_map(path)
    found = Layer(others, layer, others.rows())
    points = np.concatenate([fitted.model.place(batch) for batch in found.batches()])
    projection = Projection(points, found.ids(), layer, fitted.method, fitted.parameters, 0, found.token_numbers())
    return replace(projection, parameters={**projection.parameters, "placed_into": str(path)})
