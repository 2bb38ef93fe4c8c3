"""The recipe that explains a tensor best: choices are exchanged one after the other, and each is kept only where it explains more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.auditing import hypotheses
from vitscope.auditing.fit import Fit, coarse, distance, fit, registered
from vitscope.auditing.kernels import KERNELS
from vitscope.auditing.recipe import Own, Photo, Recipe, Source, Values, moves_of
from vitscope.core.placement import Placement
from vitscope.inputs.images import turned

#: A choice is exchanged only where that leaves over less than this much of what was left, and this much less in all.
GAIN, STEP = 0.8, 0.01
#: What is left over below this is rounding.
SAME = 0.012


@dataclass(frozen=True)
class Tried:
    """One hypothesis: its aspect, what it says, and the share of the tensor's variation it leaves unexplained."""

    aspect: str
    text: str
    residual: float


@dataclass(frozen=True)
class Explained:
    """A tensor explained.

    Attributes:
        own: the model's own recipe.
        best: the recipe that explains the tensor best.
        residual: what it leaves over, 0..1.
        without: for each choice in which the two differ: what is left over with the model's own choice there.
        tried: every hypothesis with its residual, best first within each aspect.
        fitted: gain, offset and colour order by least squares on the best picture.
        off: how far the tensor is from the best recipe with its values as they are, without any fitting.
    """

    own: Recipe
    best: Recipe
    residual: float
    without: dict[str, float]
    tried: tuple[Tried, ...]
    fitted: Fit
    off: float


@dataclass(frozen=True)
class OwnWay:
    """The model's own preparation of one photo.

    Attributes:
        tensor: float32 ``[3, h, w]``, as its library made it.
        placement: where that lies in the photo.
        recipe: the same as a recipe, the kernel found by trying all.
        off: how far the recipe's picture is from the tensor (0: to the bit).
    """

    tensor: NDArray[np.float32]
    placement: Placement
    recipe: Recipe
    off: float


def own_way(own: Own, photo: Photo) -> OwnWay:
    """Prepare a photo as the model does, and find the recipe behind it."""
    tensor, placement = own.prepare(photo)
    start = Recipe(moves_of(placement), Values.normalised(own.mean, own.std))
    recipes = [replace(start, kernel=kernel) for kernel in KERNELS]
    scored = [(_fit(tensor, *recipe.picture(photo)).residual, number) for number, recipe in enumerate(recipes)]
    off, number = min(scored)
    return OwnWay(tensor, placement, recipes[number], off)


def explain(tensor: NDArray[np.float32], own: Own, photo: Photo, recipe: Recipe) -> Explained:
    """The recipe behind a tensor ``[3, h, w]`` of this photo; ``recipe``: the model's own (see :func:`own_way`)."""
    search = _Search(tensor, photo)
    start = search.residual(recipe)
    best = recipe if start < SAME else search.walk(recipe, own)
    picture, shown = best.picture(photo)
    found = _fit(tensor, picture, shown)
    best = replace(best, order=found.order)
    best, off = search.scaled(best, own, picture, shown, found)
    without = {}
    for aspect in ("turn", "source", "frame", "kernel"):
        if getattr(best, aspect) != getattr(recipe, aspect):
            given = {"frame": recipe.frame, "moves": recipe.moves} if aspect == "frame" else {aspect: getattr(recipe, aspect)}
            without[aspect] = search.residual(replace(best, **given))
    return Explained(recipe, best, found.residual, without, tuple(search.tried), found, off)


def _fit(tensor: NDArray[np.floating], picture: NDArray[np.floating], shown: NDArray[np.bool_]) -> Fit:
    # half the tensor must show photo: a hypothesis that compares only a corner explains nothing
    if shown.mean() < 0.3:
        return Fit(1.0, (0, 1, 2), (0.0,) * 3, (0.0,) * 3)
    return fit(tensor, picture, shown)


class _Search:
    """One tensor and its photo, and what has been tried."""

    def __init__(self, tensor: NDArray[np.float32], photo: Photo) -> None:
        self.tensor, self.photo = tensor, photo
        self.coarse = coarse(tensor)
        self.tried: list[Tried] = []
        self.known: dict[Recipe, float] = {}

    @property
    def target(self) -> tuple[int, int]:
        return int(self.tensor.shape[1]), int(self.tensor.shape[2])

    def residual(self, recipe: Recipe, photo: Photo | None = None, *, roughly: bool = False) -> float:
        """What a recipe's picture leaves over of the tensor; roughly: at half the size, where kernels hardly matter."""
        if not roughly:
            if recipe not in self.known:
                self.known[recipe] = _fit(self.tensor, *recipe.picture(self.photo)).residual
            return self.known[recipe]
        picture, shown = recipe.picture(self.photo if photo is None else photo)
        small = coarse(picture.transpose(2, 0, 1)).transpose(1, 2, 0)
        return _fit(self.coarse, small, coarse(shown.astype(np.float32)) > 0.99).residual

    def walk(self, own: Recipe, model: Own) -> Recipe:
        """How it was resized, then where it lies, then what the photo went through; the first that leaves only rounding ends it."""
        best = self.better(own, hypotheses.resamplings(own))
        if self.residual(best) < SAME:
            return best
        placed = self.placed(own, model)
        if placed != own:
            placed = self.better(placed, hypotheses.resamplings(placed))
            best = placed if self.clearly(placed, best) else best
        if self.residual(best) < SAME:
            return best
        start = replace(best, kernel=own.kernel)
        sourced = self.better(start, hypotheses.sources(start))
        return sourced if self.clearly(sourced, best) else best

    def clearly(self, one: Recipe, other: Recipe) -> bool:
        """Whether the one explains clearly more than the other."""
        return self.residual(one) < GAIN * self.residual(other) - STEP / 2

    def placed(self, own: Recipe, model: Own) -> Recipe:
        """Turn and frame."""
        small = _reduced(self.photo, max(max(move.size) for move in own.moves) if own.moves else 0)
        scored: list[tuple[float, Recipe]] = []
        for start in hypotheses.turns(own):
            displayed = turned(self.photo, start.turn)
            # another shape of photo is cut otherwise: the model's own preparation says how
            moves = own.moves if displayed.shape == self.photo.shape else moves_of(model.prepare(displayed)[1])
            first = replace(start, moves=moves)
            size = (displayed.shape[0], displayed.shape[1])
            for recipe in [first, *hypotheses.frames(first, size, self.target)]:
                photo = self.photo if recipe.frame == "not resized" else small
                scored.append((self.residual(recipe, photo, roughly=True), recipe))
        scored.append(self.registered(own, small))
        for residual, recipe in scored:
            self.tried.append(Tried("place", text_of_place(recipe), residual))
        start_residual = scored[0][0]
        residual, best = min(scored, key=lambda pair: pair[0])
        if residual >= GAIN * start_residual - STEP:
            return own
        if best.frame == "own" and best.turn in (2, 3, 4) and residual > SAME:
            # mirrored by somebody else, an odd margin is cut a pixel further on
            nearer = self.registered(best, small)
            best = nearer[1] if nearer[0] < GAIN * residual - STEP else best
        return best

    def registered(self, own: Recipe, photo: Photo) -> tuple[float, Recipe]:
        """The crop moved to where the tensor lies in the resized picture."""
        wide = hypotheses.shifted(own, (0, 0), self.target)
        picture = replace(wide, moves=wide.moves[:-1]).picture(photo)[0]
        top, left, _ = registered(self.tensor, picture)
        recipe = hypotheses.shifted(own, (top, left), self.target)
        return self.residual(recipe, photo, roughly=True), recipe

    def better(self, start: Recipe, candidates: Iterable[Recipe]) -> Recipe:
        """The candidate that explains most, where it explains clearly more than the start."""
        best, least = start, self.residual(start)
        first = least
        self.tried.append(Tried("resize", start.kernel.text, first))
        for recipe in candidates:
            residual = self.residual(recipe)
            text = text_of_source(recipe.source) or f"{recipe.kernel.text} ({recipe.kernel.made_by})"
            self.tried.append(Tried("source" if recipe.source != Source() else "resize", text, residual))
            if residual < least:
                best, least = recipe, residual
        return best if least < GAIN * first - STEP / 2 else start

    def scaled(self, best: Recipe, own: Own, picture: NDArray[np.floating], shown: NDArray[np.bool_], found: Fit) -> tuple[Recipe, float]:
        """The recipe with its values as named by the scaling that comes nearest, else as fitted."""
        ordered = np.stack([picture[..., c] for c in found.order])
        scored = []
        for values in hypotheses.scalings(best.values, own.mean, own.std, picture[shown]):
            # values may have been scaled before or after the channels were swapped
            for turn in {(0, 1, 2), found.order}:
                one = replace(values, gain=tuple(values.gain[c] for c in turn), offset=tuple(values.offset[c] for c in turn))
                predicted = np.stack([g * x + o for x, g, o in zip(ordered, one.gain, one.offset, strict=True)])
                off = distance(self.tensor, predicted, shown)
                scored.append((off, one))
                self.tried.append(Tried("values", values.text or "the model’s own mean and std", off))
        off, values = min(scored, key=lambda pair: pair[0])
        own_off = min(entry[0] for entry in scored if not entry[1].kind)
        if own_off < 1.2 * found.residual + 0.02:
            return best, own_off
        if off < 1.5 * found.residual + 0.06:
            return replace(best, values=values), off
        return replace(best, values=Values("wrong-mean-std", "", found.gain, found.offset)), found.residual


def _reduced(photo: Photo, side: int) -> Photo:
    """A large photo by a whole factor smaller, still twice the size wanted."""
    factor = min(photo.shape[:2]) // max(2 * side, 1)
    return np.asarray(Image.fromarray(photo).reduce(factor)) if factor > 1 else photo


def text_of_place(recipe: Recipe) -> str:
    """Turn and frame in words."""
    frame = {
        "own": "as the model’s own preparation",
        "squashed": "squashed to the input size",
        "padded": "fitted in and padded",
        "not resized": "cropped without resizing",
        "shifted": "the crop moved",
        "resized": "cropped after another resize",
    }[recipe.frame]
    sizes = [f"{move.size[1]}×{move.size[0]}" for move in recipe.moves if move.name == "resize"]
    frame += f" (to {sizes[-1]})" if sizes and recipe.frame in ("resized", "padded") else ""
    return frame if recipe.turn == 1 else f"{frame}, photo in EXIF orientation {recipe.turn}"


def text_of_source(source: Source) -> str:
    """What the photo went through, in words; nothing for nothing."""
    if source.quality:
        return f"photo coded as JPEG of quality {source.quality}"
    return f"photo made from {source.through} px on its shorter side ({source.enlarged_by})" if source.through else ""
