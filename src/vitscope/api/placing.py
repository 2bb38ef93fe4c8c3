"""``vitscope embed NEW/ --into photos.parquet``: new photos placed into maps that are there and do not move, in one file with the old."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.embedding import embed_photos, plan
from vitscope.api.progress import progress
from vitscope.api.projecting import IN_MEMORY, label_names, place
from vitscope.core.files import write_atomically
from vitscope.core.projection import Projection
from vitscope.errors import ArgumentError
from vitscope.projection.beside import Beside, beside
from vitscope.projection.distances import nearest
from vitscope.projection.quality import NEAR
from vitscope.projection.store import Rows, Store, arrow, held
from vitscope.projection.table import Cloud, Map, read_cloud
from vitscope.views.cloud import USUAL

if TYPE_CHECKING:
    from vitscope.inputs.folders import Folder
    from vitscope.models.loaded import LoadedModel


@dataclass(frozen=True)
class Placing:
    """One ``vitscope embed --into``.

    Attributes:
        folder: of the new photos.
        into: a file of ``vitscope embed``, its vectors beside it.
        model: reference; the one the file names where None.
        given: what :func:`vitscope.load` takes besides the reference.
        limit, labels_file: as for ``vitscope embed``.
        out: the file with the old rows and the new; beside ``into``.
        state: what the page shows first; "" for none.
    """

    folder: Path
    into: Path
    model: str | None
    given: dict[str, Any]
    limit: int | None = None
    labels_file: Path | None = None
    out: Path | None = None
    threads: int | None = None
    quiet: bool = False
    state: str = ""


@dataclass(frozen=True)
class Placed:
    """What came of it.

    Attributes:
        old: the points that were there.
        store, rows, folder: of the new photos.
        projections: where these lie in each of the maps, in the file's order.
        agreement: of each map: neighbours of one label among the old points, in the map and in the original space (None where undefined).
        label_names: labels that are the model's names.
    """

    old: Cloud
    store: Store
    rows: Rows
    folder: Folder
    projections: tuple[Projection, ...]
    agreement: tuple[dict[str, Any], ...]
    label_names: Mapping[str, str]


def run(job: Placing) -> list[Path]:
    """Do the job; returns the files written."""
    out = _out(job)
    with progress(quiet=job.quiet) as tell:
        from vitscope.api.live_cloud import own_model
        from vitscope.api.loading import load_model
        from vitscope.api.points_page import check_state
        from vitscope.inputs.folders import open_folder

        tell(f"reading {job.into.name}")
        old = read_cloud(job.into)
        maps = _maps(old)
        tell("listing photos")
        folder = open_folder(job.folder, labels_file=job.labels_file).thinned(job.limit)
        check_state(job.state, len(maps), (*USUAL, *old.columns, "placed"), len(old) + len(folder))
        ref = job.model or str(old.made["model"])
        model = load_model(ref, job.given, job.threads, tell)
        own_model(old, {ref: model})
        done = _placed(model, old, maps, folder, out.with_suffix(".vectors"), tell)
        tell("writing")
        written = _write(done, out, model, job, tell)
    if not job.quiet:
        sys.stdout.write("\n".join([*summary(done), *map(str, written)]) + "\n")
    return written


def _out(job: Placing) -> Path:
    """Where to; refused before any work where it cannot be."""
    from vitscope.api.output import check_folder
    from vitscope.api.write import written_state

    if job.state:
        written_state(job.state)
    out = job.out or job.into.with_name(f"{job.into.stem}-with-{job.folder.resolve().stem}.parquet")
    if out.suffix.lower() != ".parquet" or out.is_dir():
        raise ArgumentError(f"--out {out}", expected="a file name ending in .parquet")
    check_folder(out.parent)
    if out.parent.resolve() != job.into.parent.resolve() or out.resolve() == job.into.resolve():
        raise ArgumentError(f"--out {out}", expected=f"another file in the folder of {job.into}, whose vectors it needs beside it")
    if job.folder.is_dir() and out.resolve().is_relative_to(job.folder.resolve()):
        raise ArgumentError(f"--out {out} lies inside the folder of photos", expected="another folder", todo="move the file of points")
    return out


def _maps(old: Cloud) -> list[Path]:
    """The saved map of each of a file's.

    Raises:
        ArgumentError: placed points in it already, no vectors beside it, or a map that new points cannot be placed in.
    """
    if "placed" in old.columns or "stores" in old.made:
        raise ArgumentError(
            "photos were placed into it already",
            expected=f"the file they were placed into, {old.made.get('placed_into')}",
            where=old.name,
            todo="place all new photos into that one",
        )
    store = beside(old).stores[0]
    made = {(one["layer"], one["method"]): one for one in old.made["projections"]}
    paths = []
    for one in old.maps:
        facts = made.get((one.layer, one.method))
        if facts is None or "reduced_to" in facts["parameters"]:
            why = "made of reduced vectors" if facts else "not one that vitscope made"
            raise ArgumentError(f"{one.method} of layer {one.layer} is {why}", expected="a map new points can be placed in", where=old.name)
        paths.append(store.folder / "maps" / f"{one.method}-layer{one.layer}-{one.points.shape[1]}d-seed{facts['seed']}.npz")
    return paths


def _placed(model: LoadedModel, old: Cloud, maps: Sequence[Path], folder: Folder, where: Path, tell: Any) -> Placed:
    """The new photos' vectors, and their places."""
    before = beside(old)
    made = before.stores[0].manifest
    manifest = plan(model, folder, made.layers, vectors=made.vectors, dtype=made.dtype)
    where.mkdir(exist_ok=True)
    with held(where):
        store = embed_photos(model, folder, where, manifest, tell)
        rows = store.rows()
        if not len(rows):
            raise ArgumentError(f"none of {len(folder)} photos can be read", expected="photos", where=folder.root)
        projections, agreement = [], []
        for one, path in zip(old.maps, maps, strict=True):
            tell(f"placing {len(rows):,} photos into {one.method} of layer {one.layer}")
            projections.append(place(before.stores[0], store, path, layer=one.layer))
            agreement.append(_agreement(old, one, before, store, rows, projections[-1]))
    return Placed(old, store, rows, folder, tuple(projections), tuple(agreement), label_names(rows, model.labels))


def _agreement(old: Cloud, one: Map, before: Beside, store: Store, rows: Rows, new: Projection) -> dict[str, Any]:
    """How far the places of labelled new points can be trusted: mean share of their nearest old points that have their label."""
    none = {"points": len(new), "label_agreement": None, "original_label_agreement": None, "neighbours": NEAR}
    points = before.points(one.layer)
    if "label" not in old.columns or before.tokens(one.layer) != 1 or (points < 0).any() or (before.photos < 0).any():
        return none
    labels, asked = np.array(old.column("label").fill_null("").to_pylist(), dtype=object), np.array(rows.label, dtype=object)
    known = (asked != "") & np.isin(asked, labels)
    if not known.any() or len(labels) <= NEAR:
        return none
    found = {"label_agreement": _share(labels, asked[known], nearest(new.points[known], NEAR, one.points)[0])}
    width = next(before.batches(one.layer)).shape[-1]
    if len(labels) * width * 4 <= IN_MEMORY:  # in the order of the vectors, which somebody may have changed in the file
        index, _ = nearest(store.matrix(one.layer)[known], NEAR, before.stores[0].matrix(one.layer))
        found["original_label_agreement"] = _share(labels[points], asked[known], index)
    return {**none, **found}


def _share(labels: NDArray[np.object_], asked: NDArray[np.object_], index: NDArray[np.intp]) -> float:
    return float((labels[index] == asked[:, None]).mean())


def parquet(done: Placed) -> bytes:
    """The old rows as they were, with ``placed`` false, then the new ones of each map with ``placed`` true."""
    pa, pq = arrow()
    assert done.old.file is not None
    table = pq.read_table(done.old.file)
    table = table.append_column("placed", pa.array(np.zeros(len(table), dtype=bool)))
    ids = _ids(done.old, done.rows)
    parts = [_rows(done, ids, one, table.schema) for one in done.projections]
    joined = pa.concat_tables([table.replace_schema_metadata(None), *parts], promote_options="default")
    out = io.BytesIO()
    pq.write_table(joined.replace_schema_metadata(_metadata(done)), out, compression="zstd")
    return out.getvalue()


def _rows(done: Placed, ids: Sequence[str], one: Projection, schema: Any) -> Any:
    """The new rows of one map; what somebody added to the file stays empty."""
    pa, _ = arrow()
    times = len(one) // len(done.rows)
    texts = {"id": ids, "path": done.rows.path, "label": done.rows.label, "predicted": done.rows.predicted}
    columns = {name: [value or None for value in values for _ in range(times)] for name, values in texts.items()}
    found = {name: pa.array(values, schema.field(name).type) for name, values in columns.items() if name in schema.names}
    numbers: dict[str, Any] = {"layer": np.full(len(one), one.layer), "placed": np.ones(len(one), dtype=bool)}
    numbers |= {name: one.points[:, i] for i, name in enumerate("xyz"[: one.points.shape[1]])}
    if one.token:
        numbers["token"] = np.array(one.token)
    found |= {name: pa.array(values).cast(schema.field(name).type) for name, values in numbers.items()}
    if "method" in schema.names:
        found["method"] = pa.array([one.method] * len(one), schema.field("method").type)
    return pa.table({name: found[name] for name in schema.names if name in found})


def _ids(old: Cloud, rows: Rows) -> list[str]:
    """What the new photos are called; one that is called as an old one gets a number."""
    taken, found = set(old.column("id").to_pylist()), []
    for name in rows.id:
        chosen, number = name, 1
        while chosen in taken:
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen)
        found.append(chosen)
    return found


def _metadata(done: Placed) -> dict[str, str]:
    """Figures and provenance of the file, with what was placed."""
    quality = dict(done.old.quality)
    by_map = {(one.layer, one.method): said for one, said in zip(done.projections, done.agreement, strict=True)}
    known = [(one, by_map.get((one["layer"], one["method"]))) for one in quality.get("projections", [])]
    quality["projections"] = [{**one, "placed": said} if said else one for one, said in known]
    left_out = [*((one.path, one.reason) for one in done.folder.left_out), *done.store.left_out()]
    file = done.old.file
    assert file is not None
    made = {
        **done.old.made,
        "label_names": {**done.old.made.get("label_names", {}), **done.label_names},
        "stores": [file.with_suffix(".vectors").name, done.store.folder.name],
        "placed_into": file.name,
        "placed_folder": done.folder.root,
        "placed_understood_as": done.folder.kind,
        "placed_photos": len(done.rows),
        "placed_left_out": [list(pair) for pair in left_out[:1000]],
        "placed_left_out_found": len(left_out),
    }
    return {
        name: json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        for name, facts in (("quality", quality), ("vitscope", made))
    }


def _write(done: Placed, out: Path, model: LoadedModel, job: Placing, tell: Any) -> list[Path]:
    """The file, and its picture and page, as of any other file of points."""
    from vitscope.api.points_page import Page, named_by_folder, write_page
    from vitscope.api.write import written_state

    written = [write_atomically(out, parquet(done))]
    cloud = read_cloud(out)
    if find_spec("matplotlib") is not None:
        written.append(_picture(cloud, out.with_suffix(".png")))
    seed = int(job.given.get("seed", 0))
    page = Page(named_by_folder(cloud), beside(cloud).confidence(), model, seed, written_state(job.state) if job.state else None)
    html = write_page(page, out.with_suffix(".html"), tell)
    return [*written, html] if html else written


def _picture(cloud: Cloud, path: Path) -> Path:
    from vitscope.figures.scatter import write_scatter

    ids = tuple(cloud.column("id").to_pylist())
    projections = [Projection(one.points, ids, one.layer, one.method, quality=dict(one.quality)) for one in cloud.maps]
    label, predicted = (
        cloud.column(name).fill_null("").to_pylist() if name in cloud.columns else [""] * len(cloud) for name in ("label", "predicted")
    )
    curve, accuracy = cloud.quality.get("layers", []), cloud.quality.get("model_accuracy")
    return write_scatter(projections, label, predicted, path, curve=curve, accuracy=accuracy)


def summary(done: Placed) -> list[str]:
    """The same for people, a line each."""
    from vitscope.views.points import placed_words

    lines = [f"{len(done.rows):,} new photos ({done.folder.kind}), placed into maps of {done.old.name}, which did not move"]
    left_out = [*((one.path, one.reason) for one in done.folder.left_out), *done.store.left_out()]
    if left_out:
        lines += [f"left out: {len(left_out):,}", *(f"  {path}: {reason}" for path, reason in left_out[:10])]
    both = zip(done.projections, done.agreement, strict=True)
    return lines + [f"layer {one.layer}, {one.method}: {placed_words(said)}" for one, said in both]
