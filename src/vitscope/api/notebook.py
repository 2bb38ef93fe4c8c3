"""The interactive view of traces in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace
    from vitscope.web.widget import Widget

#: Bytes of attention rows saved with the notebook, so that it shows something where no kernel runs.
SAVED_BYTES = 1_500_000


def view(*traces: Trace, state: Mapping[str, Any] | None = None, models: Sequence[LoadedModel] = ()) -> Widget:
    """Point at any patch of the photos: every head of every layer answers, in the notebook.

    Args:
        traces: one or several, of one model or of several; each of their photos can be chosen and compared.
        state: what is shown first (``widget.state`` of another, or part of one); the default view where None.
        models: loaded models that a photo dropped on the view may go through.

    Raises:
        ArgumentError: no trace, or a state that cannot be.
        MissingExtra: anywidget is not installed.
        WorkError: the front end was not built.
    """
    from vitscope.api.carry import carry
    from vitscope.api.explorer import Explorer
    from vitscope.errors import ArgumentError
    from vitscope.web.widget import Widget

    if not traces:
        raise ArgumentError("no trace", expected="at least one: model.trace(photo)", where="view")
    explorer = Explorer(traces, {model.ref: model for model in models})
    return Widget(explorer, state=state, carried=carry([(trace, ()) for trace in traces], SAVED_BYTES))
