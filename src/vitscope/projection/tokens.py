"""Tokens of one photo or several as colours: their first three principal components, on axes that all photos share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.core.drawing import draw_on_photo
from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError
from vitscope.projection.pca import PCA, fit_pca

#: A colour channel runs from this share of all scores to one minus it; what lies beyond is shown as the end of the channel.
ENDS = 0.01
#: A patch is outlying where its vector is longer than so many medians: the first axis would show nothing but these.
OUTLYING = 3.0


@dataclass(frozen=True)
class TokenPictures:
    """Photos whose patches are coloured by what a layer made of them: like colours, like vectors, across the photos.

    Shapes:
        scores: for each photo float32 ``[gh, gw, 3]``: raw coordinates on the three axes; NaN for patches left out.
        low, high: ``[3]``, the range of scores that each channel shows, the same for all photos.

    Attributes:
        layer: block whose output it is.
        pca: the axes, fitted on all patches shown.
        photos: as displayed, uint8 ``[H, W, 3]``.
        foreground: whether the background was left out.
        outlying: for each photo, how many patches were left out for the length of their vectors.
    """

    scores: tuple[NDArray[np.float32], ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    layer: int
    pca: PCA
    ids: tuple[str, ...]
    layouts: tuple[TokenLayout, ...]
    placements: tuple[Placement, ...]
    photos: tuple[NDArray[np.uint8], ...]
    foreground: bool = False
    outlying: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def rgb(self, picture: int = 0) -> NDArray[np.float32]:
        """Colours 0..1 of one photo's patches, ``[gh, gw, 3]``; NaN for background."""
        return np.asarray(np.clip((self.scores[picture] - self.low) / (self.high - self.low), 0.0, 1.0), dtype=np.float32)

    def on_image(self, picture: int = 0, *, smooth: bool = True) -> NDArray[np.float32]:
        """The same on the photo as displayed, ``[H, W, 3]``; NaN where nothing was seen."""
        channels = np.moveaxis(self.rgb(picture), -1, 0)
        layout, placement = self.layouts[picture], self.placements[picture]
        return np.stack([draw_on_photo(channel, layout, placement, smooth=smooth) for channel in channels], axis=-1)


def colour_axes(
    tokens: Sequence[NDArray[np.floating]], *, foreground: bool = False
) -> tuple[PCA, tuple[NDArray[np.float32], ...], NDArray[np.float64], NDArray[np.float64]]:
    """Axes and scores of patch vectors of several photos together.

    Formula:
        the first three principal components of all patches but outlying ones, whose vectors are more than three times as long as the median
        (large models keep things of their own in a few patches that show little). With ``foreground`` first the patches on one side of the
        mean along the first component are kept, the side that holds fewer of the patches at the photos' borders (a guess: wrong where the
        subject fills a photo); then the three components of those alone.

    Args:
        tokens: for each photo ``[gh, gw, width]``.
        foreground: whether to leave the background out.

    Shapes:
        returns the axes, scores ``[gh, gw, 3]`` for each photo, and the range ``[3]``, ``[3]`` that colours run over.

    Raises:
        ArgumentError: fewer than four patches.

    Source:
        Oquab et al., DINOv2, 2023, fig. 1; there the side and the threshold are chosen by hand. Outlying patches: Darcet et al., 2024.
    """
    flat = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in tokens])
    if len(flat) < 4 or flat.shape[1] < 3:
        raise ArgumentError(f"{len(flat)} patches of {flat.shape[1]} values", expected="at least 4, of 3 values", where="token_pca")
    kept = ~outlying(flat)
    if foreground:
        kept[kept] = _foreground(flat[kept], np.concatenate([_border(grid) for grid in tokens])[kept])
    pca = fit_pca(flat[kept], 3)
    scores = pca.place(flat)
    low, high = np.quantile(scores[kept].astype(np.float64), [ENDS, 1.0 - ENDS], axis=0)
    scores[~kept] = np.nan
    ends = np.cumsum([grid.shape[0] * grid.shape[1] for grid in tokens])[:-1]
    parts = [part.reshape(*grid.shape[:2], 3) for part, grid in zip(np.split(scores, ends), tokens, strict=True)]
    return pca, tuple(parts), low, np.where(high > low, high, low + 1.0)


def outlying(flat: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which vectors ``[m, width]`` are more than three times as long as the median."""
    lengths = np.linalg.norm(flat.astype(np.float64), axis=1)
    return np.asarray(lengths > OUTLYING * np.median(lengths))


def _foreground(flat: NDArray[np.floating], border: NDArray[np.bool_]) -> NDArray[np.bool_]:
    above = fit_pca(flat, 1).place(flat)[:, 0] > 0
    side = above if above[border].mean() < (~above)[border].mean() else ~above
    if side.sum() < 4:
        raise ArgumentError(f"{int(side.sum())} patches of foreground", expected="at least 4", where="token_pca", todo="foreground=False")
    return np.asarray(side)


def _border(grid: NDArray[np.floating]) -> NDArray[np.bool_]:
    edge = np.ones(grid.shape[:2], dtype=bool)
    edge[1:-1, 1:-1] = False
    return edge.ravel()
