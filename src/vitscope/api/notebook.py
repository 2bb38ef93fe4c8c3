"""The interactive view of traces, and of files of points, in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.api.live_cloud import LiveCloud
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace
    from vitscope.views.carried_cloud import CarriedCloud
    from vitscope.web.widget import Widget

#: Bytes of attention rows saved with the notebook, so that it shows something where no kernel runs.
SAVED_BYTES = 1_500_000


#: The same for points, which are saved all or not at all; photos and their attention need the kernel.
SAVED_POINTS = 20_000


def view(
    *shown: Trace | str | Path, state: Mapping[str, Any] | None = None, models: Sequence[LoadedModel] = (), photos: str | Path | None = None
) -> Widget:
    """Point at any patch of the photos, or at any photo among thousands: every head of every layer answers, in the notebook.

    Args:
        shown: traces, of one model or of several: each of their photos can be chosen and compared; and files of ``vitscope embed``.
        state: what is shown first (``widget.state`` of another, or part of one); the default view where None.
        models: loaded models that a photo dropped on the view may go through. The one that made a file's points shows attention of its
            photos and opens them.
        photos: where the photos of those files are now; the folder each file names where None.

    Raises:
        ArgumentError: nothing to show, a file that cannot be read or that none of the models made, or a state that cannot be.
        MissingExtra: anywidget, or for files pyarrow, is not installed.
        WorkError: the front end was not built.
    """
    from vitscope.api.carry import carry
    from vitscope.api.cloud import CloudExplorer
    from vitscope.api.explorer import Explorer
    from vitscope.api.live_cloud import live_cloud
    from vitscope.errors import ArgumentError
    from vitscope.web.widget import Widget

    if not shown:
        raise ArgumentError("no trace", expected="at least one: model.trace(photo), or a .parquet of vitscope embed", where="view")
    by_ref = {model.ref: model for model in models}
    where = None if photos is None else Path(photos)
    clouds = [live_cloud(one, by_ref, photos=where) for one in shown if isinstance(one, (str, Path))]
    traces = [one for one in shown if not isinstance(one, (str, Path))]
    carried = carry([(trace, ()) for trace in traces], SAVED_BYTES) if traces else []
    explorer = Explorer(traces, by_ref)
    return Widget(
        CloudExplorer(explorer, clouds) if clouds else explorer, state=state, carried=carried, clouds=[_saved(one) for one in clouds]
    )


def _saved(live: LiveCloud) -> CarriedCloud | None:
    """What is saved of a cloud with the notebook: every point without its photo; None where they are too many."""
    from vitscope.views.carried_cloud import carried_cloud, nothing

    without = nothing("the kernel does not run")
    if len(live) > SAVED_POINTS:
        return None
    saved = carried_cloud(live.cloud, live.columns, pictures=without, attention=without)
    return saved if sum(array.nbytes for array in saved.arrays.values()) <= SAVED_BYTES else None
