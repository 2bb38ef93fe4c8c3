"""The view in a notebook, an anywidget: Jupyter, VS Code, Colab, marimo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitscope.errors import MissingExtra
from vitscope.views.carried_cloud import CarriedCloud
from vitscope.views.explore import Carried
from vitscope.views.state import from_dict
from vitscope.views.view import pack
from vitscope.web.built import built_file
from vitscope.web.compute import Compute
from vitscope.web.messages import Messages

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise MissingExtra("anywidget", "notebook", purpose="the view in a notebook") from error


class Widget(anywidget.AnyWidget):
    """Point at any patch: every head of every layer answers.

    Attributes:
        state: what is shown, plain JSON (see :mod:`vitscope.views.state`); assign to it and the page follows, and the other way round.
        catalogue: what there is to look at.
        blocks: packed blocks: what a notebook that is opened without its kernel still shows.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    catalogue = traitlets.Dict().tag(sync=True)
    blocks = traitlets.List(trait=traitlets.Bytes()).tag(sync=True)

    def __init__(
        self,
        compute: Compute,
        *,
        state: Mapping[str, Any] | None = None,
        carried: Sequence[Carried] = (),
        clouds: Sequence[CarriedCloud | None] = (),
    ) -> None:
        """Show what ``compute`` answers.

        Args:
            compute: the way to the numbers.
            state: what to show first; the default where None.
            carried: what the notebook itself keeps of each source, in the catalogue's order.
            clouds: the same of each cloud of points; None where it keeps nothing.

        Raises:
            ArgumentError: a state that cannot be.
            WorkError: the front end was not built.
        """
        self._compute, self._carried, self._clouds = compute, tuple(carried), tuple(clouds)
        self._messages = Messages(compute, self.send, self._added)
        super().__init__(
            _esm=built_file("widget.js"),
            _css=built_file("widget.css"),
            state=dict(state or {}),
            catalogue=self._described(),
            blocks=[*(pack(one.block()) for one in self._carried), *(pack(one.block()) for one in self._clouds if one is not None)],
        )
        self.on_msg(lambda _, message, buffers: self._messages.take(message, buffers))

    def close(self) -> None:
        """Stop all work and take the view out of the notebook."""
        self._messages.close()
        super().close()

    def _added(self) -> None:
        """A photo was taken in: what is saved with the notebook lists it too."""
        self.catalogue = self._described()

    def _described(self) -> dict[str, Any]:
        """The catalogue, saying which block has what the notebook keeps of a source or a cloud."""
        catalogue = self._compute.catalogue()
        for number, one in enumerate(self._carried):
            catalogue["sources"][number]["stored"] = {"block": number, **one.source["stored"]}
        kept = [number for number, one in enumerate(self._clouds) if one is not None]
        for block, number in enumerate(kept, start=len(self._carried)):
            catalogue["clouds"][number] = {**catalogue["clouds"][number], "block": block}
        return catalogue

    @traitlets.validate("state")
    def _checked(self, proposal: Mapping[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = proposal["value"]
        from_dict(value)
        return value
