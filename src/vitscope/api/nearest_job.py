"""``vitscope nearest``: the photos (or patches) nearest to one, in the model's own space."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.progress import progress
from vitscope.errors import ArgumentError
from vitscope.projection.beside import Beside, beside
from vitscope.projection.table import Cloud, read_cloud

if TYPE_CHECKING:
    from vitscope.core.layout import TokenLayout
    from vitscope.models.loaded import LoadedModel


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        photo: an id or a path of the file, or any photo.
        k: how many.
        layer: block; the last map's where None.
        patch: "row,column", where the vectors are those of tokens.
    """

    photo: str
    k: int = 10
    layer: int | None = None
    patch: str | None = None


@dataclass(frozen=True)
class NearestJob:
    """One ``vitscope nearest``.

    Attributes:
        file: of ``vitscope embed``, its vectors beside it.
        model: reference; the one the file names where None. It is loaded only where it is needed.
        given: what :func:`vitscope.load` takes besides the reference.
    """

    file: Path
    asked: Asked
    model: str | None
    given: Mapping[str, Any]
    as_json: bool = False
    threads: int | None = None
    quiet: bool = False


def run(job: NearestJob) -> dict[str, Any]:
    """Find them and print them; returns what is printed as plain values."""
    from vitscope.api.loading import load_model

    with progress(quiet=job.quiet or job.as_json) as tell:
        tell(f"reading {job.file.name}")
        cloud = read_cloud(job.file)
        ref = job.model or str(cloud.made["model"])
        found = nearest_to(cloud, beside(cloud), job.asked, lambda: load_model(ref, dict(job.given), job.threads, tell))
    if job.as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(lines(found)) + "\n")
    return found


def nearest(
    file: str | Path,
    photo: str | Path,
    *,
    k: int = 10,
    layer: int | None = None,
    patch: tuple[int, int] | None = None,
    model: LoadedModel | None = None,
) -> list[dict[str, Any]]:
    """The photos nearest to one, or the patches nearest to a patch, in the model's own space: Euclidean, exact, nearest first.

    Args:
        file: of ``vitscope embed``, its vectors beside it.
        photo: an id or a path of the file, or any other photo.
        k: how many.
        layer: block, −1 the last that is kept; the last map's where None.
        patch: (row, column), where the vectors are those of tokens.
        model: the one that made the file; where None the one it names is loaded, if it is needed at all.

    Returns:
        ``id, path, label, predicted, distance`` of each, and of tokens ``token`` in words.

    Raises:
        ArgumentError: no such photo, layer or patch, no vectors beside the file, or another model than the file's.
        PhotoError: a photo that cannot be read.
    """
    cloud = read_cloud(file)
    asked = Asked(str(photo), k, layer, None if patch is None else f"{patch[0]},{patch[1]}")

    def made() -> LoadedModel:
        from vitscope.api import load

        return load(str(cloud.made["model"])) if model is None else model

    found: list[dict[str, Any]] = nearest_to(cloud, beside(cloud), asked, made)["nearest"]
    return found


def nearest_to(cloud: Cloud, vectors: Beside, asked: Asked, model: Callable[[], LoadedModel]) -> dict[str, Any]:
    """What ``vitscope nearest`` prints, as plain values; see :func:`nearest`."""
    kind = vectors.stores[0].manifest.vectors
    layer = _layer(vectors, cloud.maps[-1].layer if asked.layer is None else asked.layer)
    if (kind == "tokens") != (asked.patch is not None):
        needs = "--patch row,column" if kind == "tokens" else "no --patch: make them with vitscope embed --vectors tokens"
        raise ArgumentError(f"these vectors are {kind}", expected=needs, where=cloud.name)
    rows_of = find_rows(cloud, asked.photo)
    loaded = _own(cloud, model()) if kind == "tokens" or not len(rows_of) else None
    layout = loaded.layout() if loaded is not None and kind == "tokens" else None
    if layout is not None and layout.n != vectors.tokens(layer):
        got = f"layer {layer} has {vectors.tokens(layer)} tokens a photo, another grid than the first layer's {layout.n}"
        raise ArgumentError(got, expected="a layer whose patches are those of the input", where=cloud.name)
    token = 0 if layout is None else _token(layout, asked.patch or "")
    itself = None
    if loaded is not None and not len(rows_of):
        query = _new(loaded, asked.photo, kind, layer, token)
    else:
        itself = int(rows_of[0]) if layout is None else _row_of(cloud, rows_of, token)
        query = vectors.vector(itself, layer)
    rows = _described(cloud, layout, *vectors.nearest(query, asked.k, layer, but=itself))
    return {"photo": asked.photo, "patch": asked.patch, "layer": layer, "vectors": kind, "model": cloud.made["model"], "nearest": rows}


def _described(cloud: Cloud, layout: TokenLayout | None, index: NDArray[np.int64], distance: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Neighbours as plain values."""
    names = ("id", "path", "label", "predicted")
    rows = [{name: one.get(name) for name in names} for one in cloud.rows(index.tolist())] if len(index) else []
    for one, point, far in zip(rows, index, distance, strict=True):
        one["distance"] = float(far)
        if layout is not None:
            one["token"] = _token_words(layout, int(cloud.column("token")[int(point)].as_py()))
    return rows


def find_rows(cloud: Cloud, photo: str) -> NDArray[np.intp]:
    """The rows of a photo, by its id or else its path, or else by the end of its path; none where the file has it not, or a photo is here.

    Raises:
        ArgumentError: several photos of that name.
    """
    import pyarrow.compute as pc

    def where(name: str, same: Callable[[Any], Any]) -> NDArray[np.intp]:
        return np.flatnonzero(same(cloud.column(name)).fill_null(False).to_numpy(zero_copy_only=False))

    for name in ("id", "path"):
        found = where(name, lambda texts: pc.equal(texts, photo))
        if len(found):
            return found
    if Path(photo).exists():
        return np.zeros(0, dtype=np.intp)
    found = where("path", lambda texts: pc.ends_with(texts, f"/{photo}"))
    ids = list(dict.fromkeys(cloud.text("id", int(row)) for row in found))
    if len(ids) > 1:
        several = ", ".join([*ids[:4], *(["…"] if len(ids) > 4 else [])])
        raise ArgumentError(f"{photo!r} names {len(ids)} photos ({several})", expected="one of them", where=cloud.name)
    return found


def _row_of(cloud: Cloud, rows: NDArray[np.intp], token: int) -> int:
    """The row of one of a photo's tokens."""
    found = rows[cloud.column("token").to_numpy(zero_copy_only=False)[rows] == token]
    if not len(found):
        raise ArgumentError(f"token {token} of this photo is not in the file", expected="a patch whose row is there", where=cloud.name)
    return int(found[0])


def _layer(vectors: Beside, layer: int) -> int:
    """A block whose vectors are kept; −1 is the last of them."""
    kept = vectors.stores[0].manifest.layers
    if -len(kept) <= layer < 0:
        return kept[layer]
    if layer not in kept:
        raise ArgumentError(f"layer {layer}", expected=", ".join(map(str, kept)), where="--layer")
    return layer


def _own(cloud: Cloud, model: LoadedModel) -> LoadedModel:
    """The model, which must be the one that made the file."""
    from vitscope.api.live_cloud import own_model

    own_model(cloud, {model.ref: model})
    return model


def _new(model: LoadedModel, photo: str, kind: str, layer: int, token: int) -> NDArray[np.float32]:
    """The vector ``[1, width]`` of a photo that is not in the file."""
    from vitscope.api.vectors import vectors_of
    from vitscope.inputs.images import read_sample
    from vitscope.trace import Needs

    if not Path(photo).exists():
        raise ArgumentError(f"{photo!r} is neither in the file nor a photo here", expected="an id or a path of the file, or a photo")
    found = vectors_of(model.trace([read_sample(Path(photo))], needs=Needs(hidden=True)), kind, [layer])[layer]
    return found[:, token] if kind == "tokens" else found


def _token(layout: TokenLayout, patch: str) -> int:
    """The token of a patch."""
    parts = patch.split(",")
    gh, gw = layout.grid
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ArgumentError(f"--patch {patch!r}", expected="row,column")
    y, x = (int(part) for part in parts)
    if y >= gh or x >= gw:
        raise ArgumentError(f"--patch {patch}", expected=f"a row from 0 to {gh - 1}, a column from 0 to {gw - 1}")
    return int(layout.patches[y * gw + x])


def _token_words(layout: TokenLayout, token: int) -> str:
    at = np.flatnonzero(np.asarray(layout.patches) == token)
    return f"patch {at[0] // layout.grid[1]},{at[0] % layout.grid[1]}" if len(at) else f"token {token}"


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same for people: distance, what it is, its label, and what the model says of it."""
    of = found["photo"] + (f", patch {found['patch']}" if found["patch"] else "")
    said = [f"nearest to {of} at layer {found['layer']} of {found['model']} ({found['vectors']}), by Euclidean distance"]
    for one in found["nearest"]:
        named = {"label": one["label"], "model says": one["predicted"]}
        words = [one["id"], one.get("token"), *(f"{what} {name}" for what, name in named.items() if name)]
        said.append(f"  {one['distance']:9.4f}  " + "  ".join(str(word) for word in words if word))
    return said
