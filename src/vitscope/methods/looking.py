"""A detector's own starts: one of its boxes, or a cell of its feature map; in other layers than a model's blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vitscope.core.readings import Box
from vitscope.methods.boxes import box_calls, box_weights, cell_calls
from vitscope.methods.starts import Query, box_of, query_text, start_of
from vitscope.trace import AttentionCall, Trace


@dataclass(frozen=True)
class Look:
    """Who asks, and in which layers.

    Shapes:
        weights: ``[b, nq]`` on the queries of each of the calls.

    Attributes:
        calls: one a layer.
        query: what was asked for, as text ("box 3", "3,4").
        name: what it is ("box", "patch (3, 4)").
        boxes: each picture's box, where it is one.
    """

    calls: tuple[AttentionCall, ...]
    weights: Tensor
    query: str
    name: str
    boxes: tuple[int, ...] = ()


def look_of(trace: Trace, query: Query) -> Look | None:
    """Whose look a query names in a detector; None where the blocks of the model answer.

    "pooled" is the likeliest box where the head reads nothing but boxes that look from a decoder.

    Raises:
        ArgumentError: no such box or patch.
        MethodError: boxes whose attention is not over the picture's tokens.
    """
    decoder = bool(trace.unmapped) and trace.on_cells
    box = Box() if query == "pooled" and decoder else box_of(query)
    if box is not None:
        weights, numbers = box_weights(trace, box)
        one = query_text(Box(numbers[0]) if len(set(numbers)) == 1 else box)
        return Look(box_calls(trace), weights, one, "box", tuple(numbers))
    cells = cell_calls(trace)
    if not cells:
        return None
    begin = start_of(trace, query)
    assert begin.weights is not None
    return Look(cells, begin.weights, begin.query, begin.name)
