"""The maps by name, fitted, saved and read again: as plain arrays, never as pickled objects."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitscope.core.files import write_atomically
from vitscope.errors import ArgumentError
from vitscope.projection.pca import PCA, fit_pca
from vitscope.projection.tsne import TSNE, fit_tsne
from vitscope.projection.umap import UMAP, fit_umap

METHODS = ("pca", "tsne", "umap")
Model = PCA | TSNE | UMAP
_TYPES: dict[str, type[PCA] | type[TSNE] | type[UMAP]] = {"pca": PCA, "tsne": TSNE, "umap": UMAP}


@dataclass(frozen=True)
class Fitted:
    """A map and where the vectors it was fitted on lie in it.

    Shapes:
        points: float32 ``[m, 2 or 3]``.
    """

    method: str
    model: Model
    points: NDArray[np.float32]

    @property
    def parameters(self) -> dict[str, object]:
        """The method's settings as plain values."""
        if isinstance(self.model, PCA):
            return {"axes": len(self.model.axes)}
        if isinstance(self.model, TSNE):
            return {"perplexity": self.model.perplexity, "neighbours": "exact"}
        return {"n_neighbors": self.model.neighbours, "min_dist": self.model.min_dist, "neighbours": "exact"}


def check_method(method: str, dim: int) -> None:
    """Refuse a method or a number of dimensions that is not there."""
    if method not in METHODS:
        raise ArgumentError(f"method {method!r}", expected=", ".join(METHODS), where="--method")
    if dim not in (2, 3):
        raise ArgumentError(f"{dim} dimensions", expected="2 or 3", where="--dim")


def fit_map(method: str, vectors: NDArray[np.floating], dim: int = 2, *, seed: int = 0, threads: int = 1) -> Fitted:
    """A map of vectors ``[m, d]``, by the name of its method.

    Raises:
        ArgumentError: no such method, or too few vectors.
        MissingExtra: its library is not installed.
    """
    check_method(method, dim)
    if method == "pca":
        model = fit_pca(vectors, dim)
        return Fitted(method, model, model.place(vectors))
    found = fit_tsne(vectors, dim, seed=seed, threads=threads) if method == "tsne" else fit_umap(vectors, dim, seed=seed)
    return Fitted(method, found, found.points)


def save_map(fitted: Fitted, path: str | Path, facts: dict[str, object]) -> Path:
    """Write a map as an ``.npz`` of its arrays.

    Args:
        fitted: what to write.
        path: where to.
        facts: plain values that :func:`read_map` must find again.
    """
    values = {field.name: getattr(fitted.model, field.name) for field in fields(fitted.model)}
    arrays = {name: np.asarray(value) for name, value in values.items()} | {"points": fitted.points}
    out = io.BytesIO()
    np.savez(out, meta=np.array(json.dumps({"method": fitted.method, **facts}, sort_keys=True)), **arrays)  # type: ignore[arg-type]
    return write_atomically(path, out.getvalue())


def read_map(path: str | Path, facts: dict[str, object] | None = None) -> Fitted:
    """A map that was saved.

    Args:
        path: the ``.npz``.
        facts: what it must have been saved with; not looked at where None.

    Raises:
        ArgumentError: no map, or one saved with other facts.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            arrays = {name: archive[name] for name in archive.files if name != "meta"}
        method = meta.pop("method")
        kind = _TYPES[method]
        model = kind(**{f.name: arrays[f.name] if arrays[f.name].ndim else arrays[f.name].item() for f in fields(kind)})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ArgumentError(f"no map ({error})", expected="an .npz that vitscope saved", where=str(path)) from None
    if facts is not None and meta != json.loads(json.dumps(facts)):
        raise ArgumentError("a map of something else", expected=json.dumps(facts, sort_keys=True), where=str(path))
    return Fitted(method, model, arrays["points"])
