"""What to explain where there is no class: likenesses and axes, made from photos and vectors; and targets written on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.core.readings import Axis, Detected, Region, SimilarTo
from vitscope.errors import ArgumentError, MethodError

if TYPE_CHECKING:
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace


#: How a mask's file may end.
MASKS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")


def features(trace: Trace) -> NDArray[np.float32]:
    """What a model without a head makes of each photo, ``[b, w]``: its pooled output, or its tokens pooled as its head would read them.

    Raises:
        MethodError: a model that makes scores instead.
    """
    made = trace.made.features
    if made is None:
        raise MethodError("this model gives no one vector of features", expected="a model without a head", where=trace.provenance.model)
    return np.asarray(made.detach().float().cpu().numpy(), dtype=np.float32)


def boxes(trace: Trace, picture: int = 0, *, at_least: float = 0.0) -> list[Detected]:
    """A detector's boxes of one photo, likeliest first, from this probability on: number, label, probability, corners on the photo.

    Raises:
        MethodError: a model that gives none.
    """
    from vitscope.aiming import found_boxes

    return found_boxes(trace.scene, picture, at_least)


def similar_to(model: LoadedModel, photo: object) -> SimilarTo:
    """The likeness to another photo, as a target: the cosine with what the model makes of it, which is held fixed.

    Args:
        model: one without a head.
        photo: a path, PIL image, array or Sample; one.

    Raises:
        ArgumentError: several photos.
        MethodError: a model that makes scores instead.
    """
    trace = model.trace(photo)
    if len(trace) != 1:
        raise ArgumentError(f"{len(trace)} photos", expected="one photo to be like", where="similar_to")
    return SimilarTo(features(trace)[0].astype(np.float64), trace.samples[0].id or "the other photo")


def axis(vectors: NDArray[np.floating] | str | Path, number: int = 0, *, layer: int = -1, model: LoadedModel | None = None) -> Axis:
    """A principal axis of vectors, as a target: where along it the photo lies.

    Args:
        vectors: ``[m, w]`` of a few photos (:func:`features`), or a folder that ``vitscope embed`` wrote.
        number: which axis, the one of largest variance first.
        layer: of a folder: the block, −1 the last that it holds.
        model: of a folder: checked to be the model that made it.

    Raises:
        ArgumentError: no such axis or layer, or vectors that another model made.
    """
    from vitscope.projection.pca import fit_pca

    if isinstance(vectors, (str, Path)):
        return _stored_axis(vectors, number, layer, model)
    found = np.asarray(vectors, dtype=np.float64)
    if found.ndim != 2:
        raise ArgumentError(f"vectors {found.shape}", expected="[m, w]", where="axis")
    pca = fit_pca(found, _count(number, *found.shape))
    return Axis(pca.axes[number], pca.mean, f"axis {number} of {len(found)} vectors")


def _stored_axis(folder: str | Path, number: int, layer: int, model: LoadedModel | None) -> Axis:
    from vitscope.projection.pca import fit_pca
    from vitscope.projection.store import read_store

    store = read_store(folder)
    made = store.manifest
    if model is not None and made.weights != model.weights_fingerprint():
        raise ArgumentError(f"vectors of {made.model} ({made.weights})", expected=f"of {model.ref}", where=str(folder))
    if made.vectors == "tokens":
        raise ArgumentError("vectors of tokens", expected="one vector a photo", where=str(folder), todo="embed with --vectors pooled")
    block = made.layers[-1] if layer == -1 else layer
    found = store.matrix(block)
    pca = fit_pca(found, _count(number, *found.shape))
    return Axis(pca.axes[number], pca.mean, f"axis {number} of {Path(folder).name}, block {block}", block, made.vectors)


def _count(number: int, vectors: int, width: int) -> int:
    """Axes to fit for one of that number."""
    most = min(vectors - 1, width)
    if not 0 <= number < most:
        raise ArgumentError(f"axis {number}", expected=f"0 to {most - 1} of {vectors} vectors of {width} values", where="target")
    return number + 1


def read_aim(text: str | int | None, model: LoadedModel) -> object:
    """A target as written on a command line: what needs another photo or a file is looked up, the rest is left to the trace.

    ``similar-to:PHOTO``, ``axis:NUMBER@FOLDER.vectors``, ``region:MASK.png[:LABEL]``; and the forms of :mod:`vitscope.core.spoken`.

    Raises:
        PhotoError, ArgumentError: a photo, mask or folder that cannot be read.
    """
    if not isinstance(text, str):
        return text
    from vitscope.api.patches_job import read_mask

    form, _, rest = text.partition(":")
    if form == "similar-to" and rest:
        return similar_to(model, Path(rest))
    if form == "axis" and rest:
        number, at, folder = rest.partition("@")
        if not number.isdecimal() or not at or not folder:
            raise ArgumentError(f"target {text!r}", expected="axis:NUMBER@FOLDER.vectors", where="target")
        if Path(folder).suffix == ".parquet":
            vectors = f"{Path(folder).with_suffix('.vectors')}"
            raise ArgumentError(f"an axis of {folder}", expected=f"of the vectors beside it: axis:{number}@{vectors}", where="target")
        return axis(folder, int(number), model=model)
    if form == "region" and not _is_file(rest) and Path(rest.partition(":")[0]).suffix.lower() in MASKS:
        raise ArgumentError(f"no such file {rest.partition(':')[0]!r}", expected="a mask of the photo's size", where="target")
    if form == "region" and rest and _is_file(rest):
        path, _, label = rest.partition(":") if not Path(rest).is_file() else (rest, "", "")
        return Region(mask=read_mask(Path(path)), label=label or None, name=f"the region of {Path(path).name}")
    return text


def _is_file(rest: str) -> bool:
    return Path(rest).is_file() or Path(rest.partition(":")[0]).is_file()
