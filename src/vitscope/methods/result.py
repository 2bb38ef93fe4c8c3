"""From tensors to a TokenMap: one place that checks what leaves the methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.core.layout import TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.targets import Target
from vitscope.errors import MethodError
from vitscope.trace import Trace


@dataclass(frozen=True)
class Said:
    """What a map says about itself; the fields of :class:`~vitscope.core.maps.TokenMap` that only the method knows."""

    method: str
    unit: str
    parameters: dict[str, object] = field(default_factory=dict)
    layer: int | None = None
    head: str = ""
    query: str = ""
    target: Target | None = None
    signed: bool = False
    notes: tuple[str, ...] = ()
    picture_notes: tuple[tuple[str, ...], ...] = ()
    meta: dict[str, object] = field(default_factory=dict)


def to_array(values: Tensor) -> NDArray[np.floating]:
    """A tensor as a float32 (float64 stays) array."""
    wide = values if values.dtype == torch.float64 else values.float()
    return np.asarray(wide.detach().cpu().numpy())


def per_picture(values: Sequence[object]) -> object:
    """Values of a batch as a map's ``meta`` holds them: a tuple with one for each picture, or the one picture's own."""
    return tuple(values) if len(values) != 1 else values[0]


def on_patches(trace: Trace, values: NDArray[np.floating], layout: TokenLayout | None = None) -> NDArray[np.floating]:
    """Patch values ``[b, P]`` in raster order to token values ``[b, n]``; NaN on every other token."""
    layout = layout or trace.layout
    out = np.full((len(trace), layout.n), np.nan, dtype=values.dtype)
    out[:, layout.patches] = values
    return out


def token_map(trace: Trace, values: NDArray[np.floating], said: Said, layout: TokenLayout | None = None) -> TokenMap:
    """The map, after one last look; on another layout than the trace's own where given (one stage's grid).

    Raises:
        MethodError: a patch value that is not a finite number.
    """
    layout = layout or trace.layout
    patches = values[..., layout.patches]
    bad = ~np.isfinite(patches)
    if bad.any():
        raise MethodError(
            f"{int(bad.sum())} of {bad.size} patch values are not finite numbers",
            expected="finite values",
            where=said.method,
            todo="check the model's weights, or run it in float32",
        )
    known = vars(said) | {"target": said.target.names if said.target else (), "aim": said.target, "meta": said.meta | _aim(said.target)}
    return TokenMap(values=values, layout=layout, placements=trace.placements, provenance=trace.provenance, **known)


def _aim(target: Target | None) -> dict[str, object]:
    """What a program needs to explain the same target again."""
    if target is None or target.at:
        return {}
    against = {"target_against": per_picture(target.against)} if target.against else {}
    return {"target_index": per_picture(target.index), **against}
