"""Explorer: photos that were run through models, and every number the interactive view may ask of them, from several threads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.asked import KNOWN, read
from vitscope.api.audit_panel import NO_MODEL, audit_sample, auditor
from vitscope.api.cache import ByteCache
from vitscope.errors import ArgumentError, PhotoError, WorkError
from vitscope.web.compute import OPS, Stop, never

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.core.maps import TokenMap
    from vitscope.core.sample import Sample
    from vitscope.methods import Method
    from vitscope.methods.sampled import Refined
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Again, Trace

#: Bytes of traces and answers kept beside what was given; what was used longest ago goes first and is computed again when asked for.
CACHE_BYTES = 512_000_000

#: Bytes of photo files taken in, together: whose photo was looked at longest ago goes first.
PHOTO_BYTES = 256_000_000

#: Largest photo taken in, in pixels.
PIXELS = 64_000_000

#: From so many tokens on, rollout comes coarse first and is refined.
COARSE_FROM = 1024


#: Said of a map that was computed in one piece.
EXACT = {"done": True, "cells": 1, "draws": 1, "l1": 0.0, "share": 1.0}


class _Stopped(Exception):  # noqa: N818 - not an error: nobody waits any more
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Source:
    """One photo: its catalogue entry, its picture, and the way to its trace.

    Attributes:
        trace: kept for good where it was given; None where ``make`` can run the photo again.
        model: the reference its passes are counted under, so that one model runs one pass at a time.
        audit: looks at what the model was fed; None where the model is not at hand.
    """

    facts: dict[str, Any]
    picture: bytes
    model: str
    trace: Trace | None
    make: Callable[[], Trace]
    audit: Callable[[], Audit] | None = None


class Explorer:
    """What :class:`vitscope.web.compute.Compute` asks for, made of traces and models.

    Args:
        traces: already made; every picture of a batch is a source. They are kept for good and not counted.
        models: id -> model that a new photo may go through.
        cache_bytes: how much is kept beside them: traces of added photos, what gradients need, and answers.
        pixels: largest photo taken in.
    """

    def __init__(
        self,
        traces: Sequence[Trace] = (),
        models: Mapping[str, LoadedModel] | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
        pixels: int = PIXELS,
    ) -> None:
        self.models = dict(models or {})
        self.cache = ByteCache(cache_bytes)
        self.pixels = pixels
        self._sources: list[Source] = []
        self._files = ByteCache(PHOTO_BYTES)
        self._file_of: dict[int, object] = {}
        self._lock = Lock()
        self._passes: dict[str, Lock] = {}
        for trace in traces:
            self.add_trace(trace)

    # what there is

    def catalogue(self, *, inline: bool = True) -> dict[str, Any]:
        """What there is to look at; see :meth:`vitscope.web.compute.Compute.catalogue`."""
        from vitscope.views.explore import FLOAT16, FORMAT
        from vitscope.web.encode import data_uri

        sources = list(self._sources)
        pictures = [data_uri("image/jpeg", s.picture) if inline else f"api/picture?source={i}" for i, s in enumerate(sources)]
        capabilities: dict[str, Any] = {"live": True, "upload": bool(self.models), "why": "", "precision": FLOAT16}
        if self.models:
            capabilities["limits"] = {"upload_bytes": PHOTO_BYTES, "pixels": self.pixels}
        return {
            "format": FORMAT,
            "sources": [{**s.facts, "picture": p} for s, p in zip(sources, pictures, strict=True)],
            "models": [{"id": key, "name": model.ref} for key, model in self.models.items()],
            "capabilities": capabilities,
        }

    def ready(self, source: int) -> bool:
        """Whether a photo's trace is at hand, so that its rows need no pass through the model."""
        return self._held(source) is not None

    def picture(self, source: int) -> tuple[str, bytes]:
        """A photo as displayed: media type and bytes."""
        return "image/jpeg", self._source(source).picture

    def add_trace(self, trace: Trace) -> int:
        """Take in a trace, each picture of it as a source of its own; returns the number of the first."""
        first = len(self._sources)
        for i in range(len(trace)):
            one = trace[i]
            source = self._described(one, None, auditor(trace, i, self.models))
            with self._lock:
                self._sources.append(replace(source, trace=one))
        return first

    def add(self, data: bytes | Path, name: str, model: str) -> int:
        """Take in one photo and run it through a model; see :meth:`vitscope.web.compute.Compute.add`."""
        if model not in self.models:
            raise ArgumentError(f"model {model!r}", expected=", ".join(self.models) or "none: no model is loaded here", where="upload")
        raw = data.read_bytes() if isinstance(data, Path) else data
        if len(raw) > self._files.limit:
            raise ArgumentError(f"{len(raw):,} bytes", expected=f"at most {self._files.limit:,}", where="upload")
        key, loaded = object(), self.models[model]
        self._files.put(key, raw, len(raw))
        try:
            number = self.add_sample(
                lambda: _read(self._file(key, name), name, self.pixels), name, model, lambda: _audited(self._file(key, name), name, loaded)
            )
        except BaseException:
            self._files.drop(key)
            raise
        self._file_of[number] = key
        return number

    def _file(self, key: object, name: str) -> bytes:
        """A photo's file, unless it had to make room for others.

        Raises:
            ArgumentError: it had.
        """
        raw: bytes | None = self._files.get(key)
        if raw is None:
            raise ArgumentError(f"{name} made room for photos added later", where="request", todo="choose it again")
        return raw

    def open(self, cloud: int, row: int) -> int:
        """There are no points here; see :class:`vitscope.api.cloud.CloudExplorer`."""
        raise ArgumentError(f"row {row} of cloud {cloud}", expected="photos: there are no points here", where="request")

    def add_sample(self, again: Callable[[], Sample], name: str, model: str, audit: Callable[[], Audit] | None = None) -> int:
        """Take in one photo and run it through a model; returns its number.

        Args:
            again: reads the photo, now and whenever its trace had to make room.
            name: for people.
            model: its id.
            audit: looks at what the model was fed of it; what ``again`` gives where None.
        """
        loaded = self.models[model]

        def make() -> Trace:
            return loaded.trace(again())

        with self.passing(loaded.ref):
            trace = make()
        if trace.nbytes > self.cache.limit:
            raise WorkError(
                f"{trace.nbytes:,} bytes of attention for one photo",
                expected=f"at most {self.cache.limit:,}, what is kept here",
                where=name,
                todo="give a larger cache, or a smaller photo or input size",
            )
        source = self._described(trace, make, audit or (lambda: audit_sample(loaded, again())))
        with self._lock:
            self._sources.append(source)
            number = len(self._sources) - 1
        self.cache.put(("trace", number), trace, trace.nbytes)
        return number

    def _described(self, one: Trace, make: Callable[[], Trace] | None, audit: Callable[[], Audit] | None) -> Source:
        from vitscope.api.catalogue import entry
        from vitscope.views.photo import displayed
        from vitscope.web.encode import jpeg

        facts = {**entry(one), "audit": {"how": "live", "why": ""} if audit else {"how": "none", "why": NO_MODEL}}
        return Source(facts, jpeg(displayed(one.samples[0])), one.provenance.model, None, make or (lambda: one), audit)

    # what is asked

    def answer(self, op: str, args: Mapping[str, Any], stop: Stop = never) -> Iterator[bytes]:
        """Packed blocks; see :meth:`vitscope.web.compute.Compute.answer`."""
        if op not in OPS:
            raise ArgumentError(f"operation {op!r}", expected=", ".join(OPS), where="request")
        work = {"rows": self._rows, "map": self._map, "links": self._links, "audit": self._audit, "upload": self._upload}
        try:
            yield from work[op](args, stop)
        except _Stopped:
            return

    def _rows(self, args: Mapping[str, Any], stop: Stop) -> Iterator[bytes]:
        from vitscope.methods.heads import rows_of_heads
        from vitscope.methods.starts import query_text
        from vitscope.views.explore import FLOAT16

        asked = read(args, ("source", "query"), "rows")
        number, query = asked.get("source", 0), asked.get("query", "pooled")
        key = ("rows", self._numbered(number), query_text(query))

        def compute() -> bytes:
            rows, begin, notes = rows_of_heads(self._trace(number), query)
            half: NDArray[np.generic] = rows.astype(np.float16)
            return _packed({"rows": half}, {"query": begin.query, "reads": begin.name, "precision": FLOAT16, "notes": list(notes)})

        if not stop():
            yield self._kept(key, compute)

    def _links(self, args: Mapping[str, Any], stop: Stop) -> Iterator[bytes]:
        from vitscope.methods.links import links

        asked = read(args, ("source", "layer", "head", "k", "above"), "links")
        number = asked.pop("source", 0)
        key = ("links", self._numbered(number), tuple(sorted(asked.items())))

        def compute() -> bytes:
            found = links(self._trace(number), asked.pop("layer", -1), asked.pop("head", "mean"), **asked, stop=stop)
            if found is None:
                raise _Stopped
            arrays: dict[str, NDArray[np.generic]] = {"queries": found.queries, "keys": found.keys, "weights": found.weights}
            return _packed(arrays, {"left_out": found.left_out, "total": found.total})

        yield self._kept(key, compute)

    def _audit(self, args: Mapping[str, Any], stop: Stop) -> Iterator[bytes]:
        from vitscope.api.audit_panel import panel

        number = self._numbered(read(args, ("source",), "audit").get("source", 0))
        look = self._sources[number].audit
        if look is None:
            raise ArgumentError("no audit", expected="a photo whose model is at hand", where="audit", todo=NO_MODEL)
        with self.passing(self._sources[number].model):
            if not stop():
                yield self._kept(("audit", number), lambda: _packed({}, {"audit": panel(look())}))

    def _upload(self, args: Mapping[str, Any], stop: Stop) -> Iterator[bytes]:
        data = args.get("bytes")
        asked = read({key: value for key, value in args.items() if key != "bytes"}, ("name", "model"), "upload")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ArgumentError(f"bytes of type {type(data).__name__}", expected="the bytes of a picture file", where="upload")
        if not stop():
            number = self.add(bytes(data), asked.get("name", "photo"), asked.get("model", next(iter(self.models), "")))
            yield _packed({}, {"source": number, "catalogue": self.catalogue()})

    def _map(self, args: Mapping[str, Any], stop: Stop) -> Iterator[bytes]:
        from vitscope.methods.registry import find_method

        asked = read(args, tuple(KNOWN), "map")
        number, method = self._numbered(asked.get("source", 0)), find_method(asked.get("method", "attention"))
        aim = _aim(asked) if method.class_specific else None
        chosen = {name: asked[name] for name in method.options if name in asked and name != "target"}
        key = ("map", number, method.name, aim, tuple(sorted(chosen.items())))
        found = self.cache.get(key)
        if found is None and method.name == "rollout" and self._sources[number].facts["tokens"]["n"] >= COARSE_FROM:
            yield from self._refined(key, number, chosen, stop)
            return
        yield found or self._whole(key, number, method, aim, chosen, stop)

    def _whole(self, key: tuple[Any, ...], number: int, method: Method, aim: Any, chosen: dict[str, Any], stop: Stop) -> bytes:
        """A map in one piece; one pass of a model at a time."""
        if method.class_specific:
            with self.passing(self._sources[number].model):
                return self._kept(key, lambda: self._run(number, method, aim, chosen, stop))
        return self._kept(key, lambda: self._plain(number, method, chosen))

    def _plain(self, number: int, method: Method, chosen: dict[str, Any]) -> bytes:
        """A map from the trace alone."""
        trace = self._trace(number)
        own, asked = _asked_at(trace, chosen)
        return self._map_block(number, trace, method.run(trace, **own), query=asked)

    def _run(self, number: int, method: Method, aim: Any, chosen: dict[str, Any], stop: Stop) -> bytes:
        """A map that may need the model again; what its gradients left is kept for the next method."""
        trace = self._held(number) or self._made(number)
        key = ("runs", number, aim)
        runs: dict[object, Trace] = dict(self.cache.get(key) or {})
        work = replace(trace, rerun=_stoppable(trace.rerun, stop), _cache=runs)
        block = self._map_block(number, trace, method.run(work, target=aim, **chosen))
        self.cache.put(key, runs, sum(run.nbytes for run in runs.values()))
        return block

    def _refined(self, key: tuple[Any, ...], number: int, chosen: dict[str, Any], stop: Stop) -> Iterator[bytes]:
        """A rollout, coarse first."""
        from vitscope.methods.sampled import refine

        trace = self._trace(number)
        own, asked = _asked_at(trace, chosen)
        for one, state in refine(trace, **own, stop=stop):
            block = self._map_block(number, trace, one, state, query=asked)
            if state.done:
                self.cache.put(key, block, len(block))
            yield block

    def _map_block(self, number: int, trace: Trace, one: TokenMap, state: Refined | None = None, query: Any = None) -> bytes:
        """One map as a block; with its standard error and progress where it is refined."""
        from vitscope.api.drawn import on_patches_of
        from vitscope.methods import METHODS
        from vitscope.methods.starts import query_text
        from vitscope.views.photo import mean_token
        from vitscope.views.plain import plain

        arrays: dict[str, NDArray[np.generic]] = {"values": on_patches_of(trace, one).tokens}
        if state is not None and state.error is not None:
            arrays["error"] = np.asarray(state.error, dtype=np.float32)
        meta = {
            "method": one.method,
            "title": METHODS[one.method].title,
            "unit": one.unit,
            "signed": one.signed,
            "notes": list(one.notes),
            "layer": one.layer,
            "head": one.head,
            "query": one.query if query is None else query_text(query),
            **_explained(one, self._sources[number].facts["labels"]),
            "scores": _scores(trace, one),
            "parameters": plain(one.parameters),
            "hidden": plain(one.hidden_mass()),
            "uniform": mean_token(one),
            "progress": EXACT if state is None else state.progress,
        }
        return _packed(arrays, meta)

    # what is kept

    def _numbered(self, number: int) -> int:
        self._source(number)
        return number

    def _source(self, number: int) -> Source:
        if not 0 <= number < len(self._sources):
            raise ArgumentError(f"source {number}", expected=f"0 to {len(self._sources) - 1}", where="request")
        self._files.get(self._file_of.get(number))  # it is looked at: it goes last
        return self._sources[number]

    def _kept(self, key: tuple[Any, ...], compute: Callable[[], bytes]) -> bytes:
        found: bytes | None = self.cache.get(key)
        if found is None:
            found = compute()
            self.cache.put(key, found, len(found))
        return found

    def _held(self, number: int) -> Trace | None:
        source = self._source(number)
        return source.trace or self.cache.get(("trace", number))

    def _trace(self, number: int) -> Trace:
        """The trace of a source; an added photo whose trace had to make room is run again."""
        found = self._held(number)
        if found is None:
            with self.passing(self._source(number).model):
                found = self._held(number) or self._made(number)
        return found

    def _made(self, number: int) -> Trace:
        source = self._source(number)
        trace = source.make()
        if trace.provenance.weights != source.facts["weights"]:
            raise WorkError(
                f"the model's weights are now {trace.provenance.weights}",
                expected=source.facts["weights"],
                where=source.facts["photo"],
                todo="add the photo again",
            )
        self.cache.put(("trace", number), trace, trace.nbytes)
        return trace

    def passing(self, model: str) -> Lock:
        """Held while a model runs: one pass of each at a time."""
        with self._lock:
            return self._passes.setdefault(model, Lock())


def _asked_at(trace: Trace, chosen: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Settings in which a patch of the first grid asks as the token of the layer that covers it, and the query as it was asked for."""
    from vitscope.methods.windows import query_at

    if "query" not in chosen:
        return chosen, "pooled" if trace.stages is not None else None
    asked = chosen["query"]
    return {**chosen, "query": query_at(trace, asked, chosen.get("layer", -1))}, asked if trace.stages is not None else None


def _explained(one: TokenMap, labels: Sequence[str]) -> dict[str, Any]:
    """What a map is of: its target and what that is set against, as people name them, and where on the photo it is."""
    from vitscope.views.marks import mark_of

    index, against = one.meta.get("target_index"), one.meta.get("target_against")
    whole = one.target[0] if one.target else None
    return {
        "target": labels[index] if isinstance(index, int) else whole,
        "against": labels[against] if isinstance(against, int) else None,
        "mark": mark_of(one),
    }


def _scores(trace: Trace, one: TokenMap) -> list[float]:
    """A two-tower model's own score of what a map explains, and of what that is set against; [] of other models and maps."""
    from vitscope.scoring import columns

    if trace.words is None or one.aim is None:
        return []
    read = columns(trace.whole, one.aim)[0]
    return [float(read[index]) for index in (*one.aim.index, *one.aim.against)]


def _aim(asked: Mapping[str, Any]) -> Any:
    """The target as :meth:`vitscope.trace.Trace.resolve` takes it."""
    target, against = asked.get("target"), asked.get("against")
    return target if against is None else (target, against)


def _stoppable(rerun: Again, stop: Stop) -> Again:
    def checked(needs: Any, target: Any, inputs: Any) -> Trace:
        if stop():
            raise _Stopped
        return rerun(needs, target, inputs)

    return checked


def _read(raw: bytes, name: str, pixels: int) -> Sample:
    """A sample from the bytes of a file, read as any other file is."""
    from vitscope.inputs.images import read_sample

    plain = _plain_name(name)
    with _as_file(raw, name) as path:
        try:
            sample = read_sample(path, id=Path(plain).stem or "photo", max_pixels=pixels)
        except PhotoError as error:  # about the file people know, not about our copy of it
            raise PhotoError(error.got, expected=error.expected, where=plain, todo=error.todo) from error
    return replace(sample, path=plain)


def _audited(raw: bytes, name: str, model: LoadedModel) -> Audit:
    """What a model is fed of a file, looked at as a file: what it says of itself counts too."""
    from vitscope.api.auditing import audit

    with _as_file(raw, name) as path:
        return audit(model, path)


@contextmanager
def _as_file(raw: bytes, name: str) -> Iterator[Path]:
    """The bytes as a file, under the name people know, as long as the block lasts."""
    with TemporaryDirectory(prefix="vitscope-") as room:
        path = Path(room) / _plain_name(name)
        path.write_bytes(raw)
        yield path


def _plain_name(name: str) -> str:
    return Path(name.replace("\\", "/")).name or "photo"


def _packed(arrays: Mapping[str, NDArray[np.generic]], meta: Mapping[str, Any]) -> bytes:
    from vitscope.views.view import block, pack

    return pack(block(arrays, meta))
