"""Where a detector looked: its boxes' queries and the cells of its feature map, which attention is theirs, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor

from vitscope.core.layout import Kind
from vitscope.core.readings import Box, Places
from vitscope.errors import MethodError
from vitscope.methods.fusion import require_global, require_place
from vitscope.trace import AttentionCall, Trace


def box_calls(trace: Trace) -> tuple[AttentionCall, ...]:
    """The attention calls in which boxes look at the picture, first layer first.

    A decoder's cross-attention on the encoder's tokens, which are the cells of a feature map (measured); or, where boxes are tokens
    among the patches (YOLOS), the blocks themselves.

    Raises:
        MethodError: no boxes, or boxes that sample the picture (deformable attention) instead of weighing its tokens.
    """
    count = 0 if trace.made.boxes is None else int(trace.made.boxes.shape[1])
    if not count:
        raise MethodError("this model gives no boxes", expected="a detector", where=trace.provenance.model)
    if len(trace.layout.where(Kind.QUERY)) == count:
        require_place(trace)
        return trace.blocks
    found = tuple(call for call in trace.calls if (call.queries, call.keys) == (count, trace.layout.n)) if trace.on_cells else ()
    if found and count == trace.layout.n:
        raise MethodError(
            f"{count} boxes and {count} cells of the picture: which attention is the boxes' cannot be told by its size",
            expected="another number of cells than of boxes",
            where=trace.provenance.model,
            todo="load it with another input_size",
        )
    if not found:
        raise MethodError(
            "its boxes do not weigh the picture's tokens",
            expected="cross-attention of boxes on an encoder's tokens that are cells of the picture, or boxes among the patches",
            where=trace.provenance.model,
            todo="use grad-cam, integrated-gradients or occlusion with a box as the target",
        )
    return found


def cell_calls(trace: Trace) -> tuple[AttentionCall, ...]:
    """The attention calls in which the cells of a detector's feature map look at each other: its encoder's; () where there are none.

    That the first one's tokens are the cells, in raster order, is measured; the encoder's further layers hand the same tokens on.
    """
    count = 0 if trace.made.boxes is None else int(trace.made.boxes.shape[1])
    n = trace.layout.n
    if not (trace.unmapped and trace.on_cells and trace.calls) or count in (0, n):
        return ()
    same = _numberless(trace.calls[0].path)
    return tuple(call for call in trace.calls if (call.queries, call.keys) == (n, n) and _numberless(call.path) == same)


def _numberless(path: str) -> str:
    """A module path that is the same for each layer of a stack."""
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def asking(trace: Trace) -> tuple[AttentionCall, ...]:
    """The layers in which patches ask all tokens: the blocks, or a detector's encoder.

    Raises:
        MethodError: see :func:`vitscope.methods.fusion.require_global`.
    """
    cells = cell_calls(trace)
    if not cells:
        require_global(trace, trace.blocks)
    return cells or trace.blocks


def box_weights(trace: Trace, box: Box) -> tuple[Tensor, list[int]]:
    """A box as weights on the queries of :func:`box_calls`, ``[b, nq]``, and its number in each picture."""
    aim = trace.resolve(box)
    chosen = torch.stack([torch.as_tensor(r.weights.array.copy()) for r in aim.at if isinstance(r, Places)])
    among = trace.layout.where(Kind.QUERY)
    call = box_calls(trace)[0]
    numbers = chosen.argmax(dim=1).tolist()
    weights = chosen
    if len(among):
        weights = chosen.new_zeros(len(chosen), trace.layout.n)
        weights[:, torch.as_tensor(among)] = chosen
    return weights.to(device=call.out.device, dtype=call.dtype), numbers
