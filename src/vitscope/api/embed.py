"""``vitscope embed``: a folder of photos to points in a plane or in space, with the figures that say how far to trust them."""

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

from vitscope.api.embedding import embed_photos, layer_numbers, plan
from vitscope.api.progress import progress
from vitscope.api.projecting import Layer, findings, label_names, layer_curve, model_accuracy, numbers_note, project
from vitscope.api.write import written_state
from vitscope.core.files import write_atomically
from vitscope.core.projection import Projection
from vitscope.errors import ArgumentError
from vitscope.projection.maps import check_method
from vitscope.projection.store import Rows, Store, arrow, held
from vitscope.projection.table import read_cloud
from vitscope.views.cloud import USUAL

if TYPE_CHECKING:
    from vitscope.inputs.folders import Folder
    from vitscope.models.loaded import LoadedModel

#: Findings of each kind that are printed.
SHOWN = 5


@dataclass(frozen=True)
class Job:
    """One ``vitscope embed``.

    Attributes:
        folder: of photos; see :func:`vitscope.inputs.folders.open_folder`.
        model: reference.
        given: what :func:`vitscope.load` takes besides the reference.
        layers: numbers, or "all", as they were written; where empty every layer is compared and the last one projected.
        methods: "pca", "tsne", "umap".
        vectors: what of each photo.
        keep: what a value is kept as, "float32" or "float16".
        limit: so many photos, evenly spread over the folder.
        labels_file: a table of labels.
        out: the Parquet file; the store of vectors lies beside it.
        state: what the page shows first, as JSON text or the name of a file with it; "" for none.
    """

    folder: Path
    model: str
    given: dict[str, Any]
    layers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("pca",)
    dim: int = 2
    vectors: str = "pooled"
    keep: str = "float32"
    limit: int | None = None
    labels_file: Path | None = None
    out: Path | None = None
    threads: int | None = None
    quiet: bool = False
    state: str = ""

    @property
    def seed(self) -> int:
        """For draws and maps."""
        return int(self.given.get("seed", 0))


@dataclass(frozen=True)
class Embedded:
    """What came of it.

    Attributes:
        curve: class separation by layer.
        accuracy: the model's own on the labelled photos, and on how many; None where labels are not its names.
        found: near-duplicates and label suspects.
        label_names: labels that are the model's names, as it writes them.
    """

    store: Store
    rows: Rows
    folder: Folder
    projections: tuple[Projection, ...]
    curve: list[dict[str, Any]]
    accuracy: tuple[float | None, int]
    found: dict[str, Any]
    label_names: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the folder and its labels."""
        numbers = numbers_note(self.label_names)
        return (*self.folder.notes, numbers) if numbers else self.folder.notes

    @property
    def uneven(self) -> bool:
        """Whether maps differ in their number of points, as tokens of stages do: a page shows the same points in every map."""
        return len({len(one) for one in self.projections}) > 1

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Files that are not among the points: (path, reason)."""
        return [*((one.path, one.reason) for one in self.folder.left_out), *self.store.left_out()]


def run(job: Job) -> list[Path]:
    """Do the job; returns the files written."""
    out = job.out or Path(f"{job.folder.resolve().stem or 'photos'}.parquet")
    _check(job, out)
    with progress(quiet=job.quiet) as tell:
        from vitscope.api.loading import load_model
        from vitscope.inputs.folders import open_folder

        tell("listing photos")
        arrow()  # a missing library is said before any work
        folder = open_folder(job.folder, labels_file=job.labels_file).thinned(job.limit)
        model = load_model(job.model, job.given, job.threads, tell)
        done = embed(model, folder, out.with_suffix(".vectors"), job, tell)
        tell("writing")
        written = write(done, out, model, job, tell)
    if not job.quiet:
        sys.stdout.write("\n".join([*summary(done), *map(str, written)]) + "\n")
    return written


def embed(model: LoadedModel, folder: Folder, where: Path, job: Job, tell: Any = None) -> Embedded:
    """Vectors, projections and their quality; vectors and maps that an earlier run left are used.

    Args:
        model: from :func:`vitscope.load`.
        folder: the photos.
        where: folder of the store.
        job: what is asked.
        tell: called with a few words before each part.
    """
    asked = _layers(job.layers)
    layers = layer_numbers(model, asked)
    manifest = plan(model, folder, layers, vectors=job.vectors, dtype=job.keep)
    _check_state(job, model, len(layers) if job.layers else 1, len(folder))
    where.mkdir(exist_ok=True)
    with held(where):
        store = embed_photos(model, folder, where, manifest, tell)
        rows = store.rows()
        if not len(rows):
            raise ArgumentError(
                f"none of {len(folder)} photos can be read (the first: {store.left_out()[0][1]})", expected="photos", where=folder.root
            )
        curve = layer_curve(store, rows, seed=job.seed, tell=tell) if len(layers) > 1 else []
        shown = layers if job.layers else layers[-1:]
        projections: list[Projection] = []
        for number in shown:
            layer = Layer(store, number, rows, job.seed)
            projections += [project(layer, method, job.dim, threads=job.threads or 1, tell=tell) for method in job.methods]
        if tell is not None:
            tell("near-duplicates and label suspects")
        found = findings(layer)
    known = label_names(rows, model.labels)
    return Embedded(store, rows, folder, tuple(projections), curve, model_accuracy(rows, known), found, known)


def _check_state(job: Job, model: LoadedModel, layers: int, photos: int) -> None:
    """Refuse a state for the page that says what cannot be there, before any work."""
    from vitscope.api.points_page import check_state

    each, more = (model.layout().n, ("token",)) if job.vectors == "tokens" else (1, ())
    check_state(job.state, layers * len(job.methods), (*USUAL, *more), photos * each)


def _layers(written: Sequence[str]) -> list[int] | None:
    """Layers as people write them; None is all.

    Raises:
        ArgumentError: neither a number nor "all".
    """
    if not written or any(text.strip().lower() == "all" for text in written):
        return None
    wrong = [text for text in written if not text.strip().removeprefix("-").isdecimal()]
    if wrong:
        raise ArgumentError(f"--layer {wrong[0]!r}", expected="a number, or all")
    return [int(text) for text in written]


def _check(job: Job, out: Path) -> None:
    """Refuse what cannot be done before any work."""
    from vitscope.api.output import check_folder

    if job.state:
        written_state(job.state)
    for method in job.methods:
        check_method(method, job.dim)
    repeated = [method for method in job.methods if job.methods.count(method) > 1]
    if repeated:
        raise ArgumentError(f"--method {repeated[0]} twice", expected="each once")
    if out.suffix.lower() != ".parquet" or out.is_dir():
        raise ArgumentError(f"--out {out}", expected="a file name ending in .parquet")
    check_folder(out.parent)
    if job.folder.is_dir() and out.resolve().is_relative_to(job.folder.resolve()):
        raise ArgumentError(f"--out {out} lies inside the folder of photos", expected="another folder", todo="give --out elsewhere")
    if ("tsne" in job.methods and find_spec("openTSNE") is None) or ("umap" in job.methods and find_spec("umap") is None):
        from vitscope.errors import MissingExtra

        raise MissingExtra("openTSNE or umap-learn", "projection", purpose="t-SNE and UMAP")


def write(done: Embedded, out: Path, model: LoadedModel, job: Job, tell: Any) -> list[Path]:
    """The Parquet file, and beside it a picture of the points where matplotlib is there, and a page where the front end was built."""
    from vitscope.api.points_page import Page, named_by_folder, write_page

    data = parquet(done)
    written = [write_atomically(out, data)]
    if find_spec("matplotlib") is not None:
        from vitscope.figures.scatter import write_scatter

        png = out.with_suffix(".png")
        written.append(
            write_scatter(done.projections, done.rows.label, done.rows.predicted, png, curve=done.curve, accuracy=done.accuracy[0])
        )
    if done.uneven:
        return written
    cloud = named_by_folder(read_cloud(data))
    confidence = np.repeat(np.array(done.rows.confidence, dtype=np.float32), len(cloud) // len(done.rows))
    state = written_state(job.state) if job.state else None
    page = write_page(Page(cloud, confidence, model, job.seed, state), out.with_suffix(".html"), tell)
    return [*written, page] if page else written


def parquet(done: Embedded) -> bytes:
    """One row a photo, layer and method: ``id, path, label, predicted, layer, x, y[, z]``, ``token`` where points are tokens,
    ``method`` where several were asked for; figures and provenance in the file's metadata (``quality``, ``vitscope``).
    """
    pa, pq = arrow()
    tables = [_table(done.rows, one, named=len({p.method for p in done.projections}) > 1) for one in done.projections]
    table = pa.concat_tables(tables).replace_schema_metadata({"quality": _json(quality_of(done)), "vitscope": _json(provenance_of(done))})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def _table(rows: Rows, one: Projection, *, named: bool) -> Any:
    pa, _ = arrow()
    times = len(one) // len(rows)

    def text(values: Sequence[str]) -> Any:
        return pa.array([value or None for value in values for _ in range(times)], pa.string())

    columns = {"id": text(rows.id), "path": text(rows.path), "label": text(rows.label), "predicted": text(rows.predicted)}
    columns["layer"] = pa.array(np.full(len(one), one.layer, dtype=np.int32))
    columns |= {name: pa.array(np.ascontiguousarray(one.points[:, i])) for i, name in enumerate("xyz"[: one.points.shape[1]])}
    if one.token:
        columns["token"] = pa.array(np.array(one.token, dtype=np.int32))
    if named:
        columns["method"] = pa.array([one.method] * len(one), pa.string())
    return pa.table(columns)


def quality_of(done: Embedded) -> dict[str, Any]:
    """Every measured figure, as plain values."""
    accuracy, asked = done.accuracy
    return {
        "projections": [{"layer": one.layer, "method": one.method, **one.quality} for one in done.projections],
        "layers": done.curve,
        "model_accuracy": accuracy,
        "model_accuracy_photos": asked,
        **done.found,
    }


def provenance_of(done: Embedded) -> dict[str, Any]:
    """What made the file, as plain values."""
    made = done.store.manifest
    return {
        "model": made.model,
        "weights": made.weights,
        "preprocessing": made.preprocessing,
        "precision": made.precision,
        "vectors": made.vectors,
        "kept_as": made.dtype,
        "versions": made.versions,
        "folder": done.folder.root,
        "understood_as": done.folder.kind,
        "photos": len(done.rows),
        "label_names": done.label_names,
        "left_out": [list(pair) for pair in done.left_out[:1000]],
        "left_out_found": len(done.left_out),
        "notes": list(done.notes),
        "projections": [
            {"layer": one.layer, "method": one.method, "seed": one.seed, "parameters": one.parameters} for one in done.projections
        ],
    }


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False, allow_nan=False)


def summary(done: Embedded) -> list[str]:
    """The same for people, a line each."""
    labels = len({*done.rows.label} - {""})
    lines = [f"{len(done.rows):,} photos ({done.folder.kind}), {labels or 'no'} labels", *(f"note: {note}" for note in done.notes)]
    if done.left_out:
        lines.append(f"left out: {len(done.left_out):,}")
        lines += [f"  {path}: {reason}" for path, reason in done.left_out[:10]]
        lines += ["  …"] if len(done.left_out) > 10 else []
    if done.curve:
        accuracy = "" if done.accuracy[0] is None else f"; the model's own accuracy {done.accuracy[0]:.1%}"
        layers = ", ".join(f"{point['layer']}: {point['knn_accuracy']:.1%}" for point in done.curve)
        lines.append(f"nearest neighbours name the label, by layer: {layers}{accuracy}")
    lines += [figures(one) for one in done.projections]
    lines += ["no page: these layers have different numbers of tokens; ask for one --layer"] if done.uneven else []
    if "not_compared" in done.found:
        lines.append(f"near-duplicates and label suspects: {done.found['not_compared']}")
    else:
        lines += findings_lines(done.found)
    return lines


def findings_lines(found: Mapping[str, Any]) -> list[str]:
    """How many near-duplicates and label suspects there are, and the first few of each with their evidence."""
    pairs, suspects = found["near_duplicates"], found["label_suspects"]
    lines = [f"near-duplicates: {found['near_duplicates_found']:,}"]
    for one in pairs[:SHOWN]:
        how = "the same file" if one["same_file"] else f"{one['ratio']:.2f} of the usual distance to the nearest"
        lines.append(f"  {one['one']} and {one['other']}: {how}")
    lines += ["  …"] if len(pairs) > SHOWN else []
    lines.append(f"label suspects: {found['label_suspects_found']:,}")
    for one in suspects[:SHOWN]:
        lines.append(f"  {one['id']}: label {one['label']}, but {one['share']:.0%} of its neighbours are {one['instead']}")
    return lines + (["  …"] if len(suspects) > SHOWN else [])


def figures(one: Projection) -> str:
    """One projection's figures in a line."""
    from vitscope.views.points import quality_line

    return f"layer {one.layer}, {one.method}: {quality_line(one)}"
