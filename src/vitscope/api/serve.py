"""`vitscope serve`: models and photos to an explorer, and the page over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vitscope.api.progress import progress
from vitscope.errors import ArgumentError, MissingExtra

if TYPE_CHECKING:
    from vitscope.web.compute import Compute
    from vitscope.web.server import Settings

#: The model where nobody names one.
DEFAULT = "builtin:photos"


@dataclass(frozen=True)
class Serving:
    """One ``vitscope serve``.

    Attributes:
        photos: to be there at once; each is run through every model.
        models: references; further photos go through the one chosen in the page. Where empty those that the clouds name.
        given: what :func:`vitscope.load` takes besides a reference.
        settings: names and values of :class:`vitscope.web.server.Settings`.
        clouds: files of ``vitscope embed``.
        cloud_photos: where their photos are now; the folder each file names where None.
    """

    photos: tuple[Path, ...]
    models: tuple[str, ...]
    given: dict[str, Any]
    settings: dict[str, Any]
    threads: int | None = None
    clouds: tuple[Path, ...] = ()
    cloud_photos: Path | None = None


def run(serving: Serving) -> None:
    """Serve until Ctrl-C; what is wrong with the address is said before any model is loaded."""
    server = _server()
    settings = server.Settings(**serving.settings)
    with server.listening(settings) as sock:
        with progress(quiet=settings.quiet) as tell:
            explorer = explorer_of(serving, settings, tell)
        server.serve(explorer, settings, sock)


def explorer_of(serving: Serving, settings: Settings, tell: Callable[[str], None]) -> Compute:
    """The clouds read, the models loaded, and the photos run through each of them.

    Raises:
        ArgumentError: one checkpoint or label file for several models; a cloud that none of the models made.
    """
    from vitscope.api import load
    from vitscope.api.cloud import CloudExplorer
    from vitscope.api.explorer import Explorer
    from vitscope.api.live_cloud import live_cloud
    from vitscope.inputs.images import read_samples
    from vitscope.projection.table import read_cloud

    if serving.cloud_photos is not None and len(serving.clouds) != 1:
        raise ArgumentError(f"--photos with {len(serving.clouds)} files of points", expected="one .parquet with it")
    clouds = []
    for path in serving.clouds:
        tell(f"reading {path.name}")
        clouds.append(read_cloud(path))
    refs = serving.models or tuple(dict.fromkeys(str(cloud.made["model"]) for cloud in clouds)) or (DEFAULT,)
    _refuse_shared(refs, serving.given)
    if serving.threads:
        import torch

        torch.set_num_threads(serving.threads)
    samples = read_samples(serving.photos, max_pixels=settings.pixels) if serving.photos else []
    models, traces = {}, []
    for ref in refs:
        tell(f"loading {ref}")
        models[ref] = load(ref, **serving.given)
    live = [live_cloud(cloud, models, photos=serving.cloud_photos, max_pixels=settings.pixels) for cloud in clouds]
    for ref, model in models.items():
        for sample in samples:
            tell(f"{sample.id} through {ref}")
            traces.append(model.trace(sample))
    explorer = Explorer(traces, models, cache_bytes=settings.cache_bytes, pixels=settings.pixels)
    return CloudExplorer(explorer, live) if live else explorer


def _refuse_shared(refs: Sequence[str], given: Mapping[str, Any]) -> None:
    twice = sorted({ref for ref in refs if refs.count(ref) > 1})
    if twice:
        raise ArgumentError(f"--model {twice[0]} twice", expected="each model once")
    shared = [name for name in ("weights", "labels") if given.get(name) is not None]
    if shared and len(refs) > 1:
        raise ArgumentError(f"--{shared[0]} for {len(refs)} models", expected="one --model with it")


def _server() -> ModuleType:
    """The server's package.

    Raises:
        MissingExtra: starlette or uvicorn is not installed.
    """
    try:
        from vitscope.web import server
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in ("starlette", "uvicorn", "h11"):
            raise
        raise MissingExtra(missing, "serve", purpose="the interactive page") from error
    return server
