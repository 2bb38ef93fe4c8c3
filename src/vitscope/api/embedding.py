"""Photos through a model into a store of vectors: what is missing is made, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.api.vectors import KINDS, vectors_of
from vitscope.errors import ArgumentError, ModelError, PhotoError
from vitscope.projection.store import DTYPES, Manifest, Rows, Shard, Store, open_store, shard_rows

if TYPE_CHECKING:
    from vitscope.core.sample import Sample
    from vitscope.inputs.folders import Folder
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

#: Tokens that go through the model together: what a trace keeps of them stays below a GB for a large ViT.
BATCH_TOKENS = 2048
Tell = Callable[[str], None]


def layer_numbers(model: LoadedModel, layers: Sequence[int] | None) -> tuple[int, ...]:
    """Block numbers from 0, rising, none twice; all where None.

    Raises:
        ArgumentError: no such layer.
    """
    count = len(model.facts().blocks.paths)
    for layer in layers or ():
        if not -count <= layer < count:
            raise ArgumentError(f"layer {layer}", expected=f"0 to {count - 1}, or −{count} to −1", where="--layer")
    return tuple(range(count)) if layers is None else tuple(sorted({layer % count for layer in layers}))


def plan(model: LoadedModel, folder: Folder, layers: tuple[int, ...], *, vectors: str = "pooled", dtype: str = "float32") -> Manifest:
    """What a store of these photos' vectors is made of.

    Args:
        model: from :func:`vitscope.load`.
        folder: the photos.
        layers: blocks.
        vectors: one of :data:`vitscope.api.vectors.KINDS`.
        dtype: what a value is kept as: "float32", or "float16".
    """
    from importlib.metadata import version

    for value, known, where in ((vectors, KINDS, "--vectors"), (dtype, DTYPES, "--vectors-dtype")):
        if value not in known:
            raise ArgumentError(f"{value!r}", expected=", ".join(known), where=where)
    tokens = model.layout().n
    like = next(p for p in model.module.parameters() if p.is_floating_point())
    batch = int(np.clip(BATCH_TOKENS // tokens, 1, 64))
    one = sum(_width(model) * (tokens if vectors == "tokens" else 1) * np.dtype(dtype).itemsize for _ in layers)
    preparation = model.described.preparation
    return Manifest(
        model=model.ref,
        weights=model.weights_fingerprint(),
        preprocessing=preparation.text if preparation else "none",
        device=str(like.device),
        precision=str(like.dtype).removeprefix("torch."),
        vectors=vectors,
        layers=layers,
        dtype=dtype,
        photos=len(folder),
        listing=folder.digest,
        shard=max(batch, shard_rows(one) // batch * batch),
        batch=batch,
        versions={name: version(name) for name in ("vitscope", "torch", "pyarrow", *model.described.libraries)},
    )


def _width(model: LoadedModel) -> int:
    """About how many values a token has: those of the widest norm."""
    return max((int(p.shape[0]) for p in model.module.parameters() if p.dim() == 1), default=1024)


def embed_photos(model: LoadedModel, folder: Folder, where: Path, manifest: Manifest, tell: Tell | None = None) -> Store:
    """The store of these photos' vectors, with every shard in it; those that are there already are left as they are.

    Args:
        model: makes the vectors.
        folder: the photos.
        where: the store's folder, made if it is not there.
        manifest: from :func:`plan`.
        tell: called with a few words before each batch.

    Raises:
        ArgumentError: a store of another model, folder or option is there.
        OutputError: it cannot be written to.
    """
    store = open_store(where, manifest)
    say = tell or (lambda _: None)
    for number in store.missing():
        store.write(number, _shard(model, folder, store, number, say))
    return store


def _shard(model: LoadedModel, folder: Folder, store: Store, number: int, say: Tell) -> Shard:
    first, last = store.spans[number]
    made = store.manifest
    rows = Rows(*([] for _ in Rows.__dataclass_fields__))
    parts: dict[int, list[NDArray[np.float32]]] = {layer: [] for layer in made.layers}
    left_out: list[tuple[str, str]] = []
    for at in range(first, last, made.batch):
        say(f"photos {at + 1:,} to {min(at + made.batch, last):,} of {made.photos:,}")
        samples = _readable(folder, slice(at, min(at + made.batch, last)), left_out)
        for trace in _traces(model, samples):
            for layer, vectors in vectors_of(trace, made.vectors, made.layers).items():
                parts[layer].append(vectors)
            _add(rows, trace)
    return Shard(rows, {layer: np.concatenate(some) for layer, some in parts.items() if some}, left_out)


def _readable(folder: Folder, which: slice, left_out: list[tuple[str, str]]) -> list[Sample]:
    """The photos of a stretch; those that cannot be read are noted."""
    samples = []
    for entry in folder.entries[which]:
        try:
            samples.append(folder.read(entry))
        except PhotoError as error:
            left_out.append((entry.path, "; ".join(part for part in (error.got, error.expected and f"expected {error.expected}") if part)))
    return samples


def _traces(model: LoadedModel, samples: list[Sample]) -> Iterator[Trace]:
    """All together, or one at a time where the model takes them in different sizes."""
    from vitscope.trace import Needs

    if not samples:
        return
    needs = Needs(hidden=True)
    try:
        together = model.trace(samples, needs=needs)
    except ModelError:
        for sample in samples:
            yield model.trace([sample], needs=needs)
        return
    yield together


def _add(rows: Rows, trace: Trace) -> None:
    scored = trace.logits is not None
    for i, sample in enumerate(trace.samples):
        label, probability = trace.top(1, i)[0] if scored else ("", float("nan"))
        values = (sample.id, sample.path, sample.label, label, probability, sample.digest)
        for name, value in zip(Rows.__dataclass_fields__, values, strict=True):
            getattr(rows, name).append(value)
