"""The same photo fed another way: the crop moved, padded, squashed, mirrored. Does the answer hold?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing import hypotheses
from vitscope.auditing.cut import Cut
from vitscope.auditing.recipe import Own, Photo, Recipe
from vitscope.auditing.search import OwnWay
from vitscope.inputs.images import turned


@dataclass(frozen=True)
class Variant:
    """One other way to feed a photo.

    Attributes:
        kind: "crop moved", "grid moved", "padded", "squashed", "other crop", "mirrored".
        text: what was done, in words.
        tensor: float32 ``[3, h, w]``.
    """

    kind: str
    text: str
    tensor: NDArray[np.float32]


def variants(own: Own, way: OwnWay, photo: Photo, cut: Cut) -> Iterator[Variant]:
    """Every variant that differs from the model's own preparation of this photo."""
    yield from _moved(way, photo, cut)
    target = (int(way.tensor.shape[1]), int(way.tensor.shape[2]))
    names = {
        "squashed": ("squashed", "the whole photo squashed to the input size"),
        "padded": ("padded", "the whole photo fitted in, the rest padded"),
    }
    done: set[str] = set()
    for recipe in hypotheses.frames(way.recipe, (photo.shape[0], photo.shape[1]), target):
        if recipe.frame in names and recipe.frame not in done:
            done.add(recipe.frame)
            yield Variant(*names[recipe.frame], _padded_grey(recipe, photo))
    yield Variant("mirrored", "left and right exchanged", own.prepare(turned(photo, 2))[0])


def _moved(way: OwnWay, photo: Photo, cut: Cut) -> Iterator[Variant]:
    """The crop moved by half a patch and by a whole one; beyond the resized photo its edge is repeated."""
    down, across = cut.axes[-2].stride, cut.axes[-1].stride
    half = (max(down // 2, 1), max(across // 2, 1))
    moves = way.recipe.moves
    corner = moves[-1].corner if moves and moves[-1].name == "crop" else (0, 0)
    wide = replace(way.recipe, moves=moves[:-1] if moves and moves[-1].name == "crop" else moves).picture(photo)[0]
    size = (int(way.tensor.shape[1]), int(way.tensor.shape[2]))
    yield Variant("grid moved", "the patch grid moved by half a patch both ways", _window(way.recipe, wide, corner, half, size))
    ways = (("up", -1, 0), ("down", 1, 0), ("left", 0, -1), ("right", 0, 1))
    for steps, name in ((half, "half a patch"), ((down, across), "one patch")):
        for word, dy, dx in ways:
            made = _window(way.recipe, wide, corner, (dy * steps[0], dx * steps[1]), size)
            yield Variant("crop moved", f"the crop moved {word} by {name}", made)


def _window(
    recipe: Recipe, wide: NDArray[np.float32], corner: tuple[int, int], by: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    rows = np.clip(np.arange(size[0]) + corner[0] + by[0], 0, wide.shape[0] - 1)
    columns = np.clip(np.arange(size[1]) + corner[1] + by[1], 0, wide.shape[1] - 1)
    return _scaled(recipe, wide[np.ix_(rows, columns)])


def _padded_grey(recipe: Recipe, photo: Photo) -> NDArray[np.float32]:
    """What shows no photo is mid-grey after normalisation: zero."""
    picture, shown = recipe.picture(photo)
    return np.where(shown, _scaled(recipe, picture), np.float32(0.0))


def _scaled(recipe: Recipe, picture: NDArray[np.floating]) -> NDArray[np.float32]:
    gain, offset = (np.asarray(v, np.float32)[:, None, None] for v in (recipe.values.gain, recipe.values.offset))
    return np.asarray(picture.transpose(2, 0, 1) * gain + offset, dtype=np.float32)
