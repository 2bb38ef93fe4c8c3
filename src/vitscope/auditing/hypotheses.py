"""What may have been done to a tensor instead of the model's own preparation: each a recipe that says how it would look if so.

A hypothesis changes one choice of the recipe (its aspect) and leaves the others; the search below exchanges them one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.kernels import KERNELS
from vitscope.auditing.recipe import Move, Recipe, Source, Values

Size = tuple[int, int]

#: Normalisations in wide use.
KNOWN = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "0.5": ((0.5,) * 3, (0.5,) * 3),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
QUALITIES = (5, 10, 20, 35)
SIDES = (16, 24, 32, 48, 64, 80, 96, 112, 128)
ENLARGERS = ("bicubic", "bilinear", "nearest", "lanczos")


def turns(recipe: Recipe) -> Iterator[Recipe]:
    """Taken as displayed, or in one of the seven other orientations."""
    for turn in range(1, 9):
        yield replace(recipe, turn=turn)


def frames(recipe: Recipe, photo: Size, target: Size) -> Iterator[Recipe]:
    """Other ways from the photo's rectangle to the model's: squashed, resized otherwise before the crop, padded, not resized at all."""
    own = recipe.moves
    seen = {own}
    for name, moves in _frames(photo, target):
        if moves not in seen:
            seen.add(moves)
            yield replace(recipe, frame=name, moves=moves)


def _frames(photo: Size, target: Size) -> Iterator[tuple[str, tuple[Move, ...]]]:
    yield "squashed", (Move("resize", target),)
    for share in (1.0, 0.95, 0.9, 0.875):
        wide = scaled(photo, max(target[0] / share / photo[0], target[1] / share / photo[1]), target)
        yield "resized", (Move("resize", wide), centred(wide, target))
    inner = scaled(photo, min(target[0] / photo[0], target[1] / photo[1]), (1, 1))
    yield "padded", (Move("resize", inner), centred(inner, target))
    yield "padded", (Move("resize", inner), Move("crop", target))
    yield "not resized", (centred(photo, target),)


def scaled(photo: Size, factor: float, least: Size) -> Size:
    """A size scaled as the libraries do: the shorter side rounded, the longer one cut."""
    h, w = photo
    short = round(min(h, w) * factor)
    long = int(short * max(h, w) / min(h, w))
    made = (short, long) if h <= w else (long, short)
    return max(made[0], least[0]), max(made[1], least[1])


def centred(size: Size, target: Size) -> Move:
    """A centre crop (or border) of ``target``."""
    return Move("crop", target, (round((size[0] - target[0]) / 2), round((size[1] - target[1]) / 2)))


def shifted(recipe: Recipe, corner: tuple[int, int], target: Size) -> Recipe:
    """The crop taken from another corner of the same resized picture."""
    before = recipe.moves[:-1] if recipe.moves and recipe.moves[-1].name == "crop" else recipe.moves
    return replace(recipe, frame="shifted", moves=(*before, Move("crop", target, corner)))


def resamplings(recipe: Recipe) -> Iterator[Recipe]:
    """Every other way to resize."""
    for kernel in KERNELS:
        if kernel != recipe.kernel:
            yield replace(recipe, kernel=kernel)


def sources(recipe: Recipe) -> Iterator[Recipe]:
    """The photo coded as JPEG of low quality, or made from a small picture."""
    for quality in QUALITIES:
        yield replace(recipe, source=Source(quality=quality))
    for side in SIDES:
        for how in ENLARGERS:
            yield replace(recipe, source=Source(through=side, enlarged_by=how))


def scalings(own: Values, mean: tuple[float, ...], std: tuple[float, ...], picture: NDArray[np.floating]) -> Iterator[Values]:
    """Ways the values may have been scaled, the model's own first.

    Args:
        own: the model's own.
        mean: what the model's own subtracts.
        std: what it divides by.
        picture: ``[m, 3]`` the picture's pixels 0..1, for normalisations by the picture's own figures.
    """
    one, none = (1.0,) * 3, (0.0,) * 3
    yield own
    others = {name: known for name, known in KNOWN.items() if not np.allclose(known, (mean, std), atol=2e-3)}
    for name, (m, s) in others.items():
        yield Values.normalised(m, s, kind="wrong-mean-std", text=f"mean and std of {name}")
    yield Values("not-normalised", "values 0 to 1, mean and std not applied", one, none)
    yield Values("not-normalised", "values 0 to 255, neither divided by 255 nor normalised", (255.0,) * 3, none)
    if not np.allclose((own.gain, own.offset), ((2.0,) * 3, (-1.0,) * 3)):
        yield Values("wrong-mean-std", "values −1 to 1", (2.0,) * 3, (-1.0,) * 3)
    yield Values.normalised(mean, std, kind="not-divided-by-255", text="normalised, but not divided by 255 before", white=255.0)
    yield Values.normalised(mean, std, kind="divided-by-255-twice", text="divided by 255 twice, then normalised", white=1 / 255.0)
    yield Values("divided-by-255-twice", "divided by 255 twice, not normalised", (1 / 255.0,) * 3, none)
    yield own.then(mean, std, kind="normalised-twice", text="normalised twice with the model’s own mean and std")
    for name, (m, s) in others.items():
        yield Values.normalised(m, s, kind="not-divided-by-255", text=f"mean and std of {name}, not divided by 255 before", white=255.0)
        yield Values.normalised(m, s).then(mean, std, kind="normalised-twice", text=f"normalised with {name}’s figures and again")
        yield own.then(m, s, kind="normalised-twice", text=f"normalised, and again with {name}’s figures")
    # a sigma below a hundredth is a flat picture, which no figures of its own describe
    if len(picture) and picture.std(axis=0).min() > 0.01:
        mine, spread = (tuple(float(v) for v in f(axis=0)) for f in (picture.mean, picture.std))
        yield Values.normalised(mine, spread, kind="wrong-mean-std", text="each picture’s own mean and std")
