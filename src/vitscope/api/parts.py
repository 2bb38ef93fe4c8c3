"""What patches are made with and what becomes of them: token colours, patch filters, position embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.models.loaded import LoadedModel
    from vitscope.projection.tokens import TokenPictures
    from vitscope.trace import Trace


def token_pca(traces: Trace | Sequence[Trace], layer: int = -1, *, foreground: bool = False) -> TokenPictures:
    """Patches of one photo or several as colours, on axes shared by all; see :func:`vitscope.projection.tokens.colour_axes`.

    Args:
        traces: of one model.
        layer: block number, −1 is the last.
        foreground: leave the background out: patches on one side of the first component.

    Raises:
        ArgumentError: no such layer, or traces of different models.
    """
    from vitscope.api.vectors import vectors_of
    from vitscope.projection.tokens import TokenPictures, colour_axes, outlying
    from vitscope.trace import Trace

    given = [traces] if isinstance(traces, Trace) else list(traces)
    made = {(trace.provenance.model, trace.provenance.weights) for trace in given}
    if len(made) != 1:
        raise ArgumentError(f"traces of {len(made)} models", expected="one model", where="token_pca")
    count = len(given[0].blocks)
    if not -count <= layer < count:
        raise ArgumentError(f"layer {layer}", expected=f"0 to {count - 1}, or −{count} to −1", where="layer")
    number = layer % count
    grids, layouts, placements, photos, ids = [], [], [], [], []
    for trace in given:
        tokens, layout = vectors_of(trace, "tokens", [number])[number], trace.layout_of(number)
        if tokens.shape[1] != layout.n:
            raise ArgumentError(f"block {number} has {tokens.shape[1]} tokens", expected=f"{layout.n}", where="token_pca")
        for i, sample in enumerate(trace.samples):
            grids.append(tokens[i, layout.patches].reshape(*layout.grid, -1))
            layouts.append(layout)
            placements.append(trace.placements[i])
            photos.append(sample.photo)
            ids.append(sample.id)
    pca, scores, low, high = colour_axes(grids, foreground=foreground)
    far = np.split(outlying(np.concatenate([g.reshape(-1, g.shape[-1]) for g in grids])), np.cumsum([g[..., 0].size for g in grids])[:-1])
    left = tuple(int(some.sum()) for some in far)
    return TokenPictures(scores, low, high, number, pca, tuple(ids), tuple(layouts), tuple(placements), tuple(photos), foreground, left)


def token_figure(pictures: TokenPictures, path: str | Path) -> Path:
    """Write one PNG: each photo, and its patches' colours laid over it.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    from vitscope.figures.tokens import write_tokens

    return write_tokens(pictures, path)


def patch_filters(model: LoadedModel, path: str | Path | None = None) -> NDArray[np.float32]:
    """The filters that turn a patch into a vector, ``[width, 3, ph, pw]``; with a path also a PNG of their principal components.

    Raises:
        MethodError: this model has none, with the reason.
    """
    from vitscope.models.parts import patch_filters as find

    filters = find(model)
    if path is not None:
        from vitscope.figures.tokens import write_filters

        write_filters(filters, path)
    return filters


def position_similarity(model: LoadedModel, path: str | Path | None = None) -> NDArray[np.float32]:
    """Cosine of each patch's position embedding with every other's, ``[gh, gw, gh, gw]``; with a path also a PNG.

    Raises:
        MethodError: this model has none, with the reason.
    """
    from vitscope.models.parts import position_embeddings

    positions = position_embeddings(model).astype(np.float64)
    unit = positions / np.maximum(np.linalg.norm(positions, axis=-1, keepdims=True), 1e-12)
    likeness: NDArray[np.float32] = np.einsum("abw,cdw->abcd", unit, unit).astype(np.float32)
    if path is not None:
        from vitscope.figures.tokens import write_positions

        write_positions(likeness, path)
    return likeness
