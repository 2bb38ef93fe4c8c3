"""A map of one stage of a hierarchical model, as pictures of the whole model draw it: on the first grid's patches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vitscope.core.maps import TokenMap

if TYPE_CHECKING:
    from vitscope.trace import Trace


def on_patches_of(trace: Trace, one: TokenMap) -> TokenMap:
    """The same map with each token's value on every patch it covers, and NaN outside the windows that were asked; others as they are.

    Args:
        trace: it was made from.
        one: of the same pictures.
    """
    from vitscope.methods.starts import start_of
    from vitscope.methods.windows import on_first_grid, reach

    if trace.stages is None or one.layer is None:
        return one
    values = np.array(one.values)
    if one.method == "attention":
        weights = start_of(trace, one.query or "pooled", layer=one.layer).weights
        if weights is not None:
            values[..., ~reach(trace, one.layer, weights[0].cpu().numpy())] = np.nan
    rows, columns = one.layout.grid
    said = f"Drawn with this layer's own {rows} rows of {columns} tokens, each on the patches it covers."
    notes = one.notes if one.layout.grid == trace.layout.grid else (*one.notes, said)
    return replace(one, values=on_first_grid(trace, one.layout, values), layout=trace.layout, notes=notes)
