"""From what people want explained to a Target: a label, or a feature, an axis, a likeness, a pixel, a region, a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.core.layout import Kind, TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.readings import (
    Axis,
    Box,
    BoxXY,
    Detected,
    Directions,
    Feature,
    Features,
    Mark,
    Noun,
    Pixel,
    Places,
    Reading,
    Region,
    SimilarTo,
    Text,
    Values,
    outline_of,
    pixel_weights,
    region_weights,
)
from vitscope.core.spoken import noun_of
from vitscope.core.targets import Target, find_label, resolve
from vitscope.errors import ArgumentError, MethodError
from vitscope.scoring import Made, columns

#: From texts to how a two-tower model scores a picture for each.
ReadTexts = Callable[[Sequence[str]], Directions]


@dataclass(frozen=True)
class Scene:
    """What a target is resolved against: one pass, and where its pictures lie.

    Attributes:
        labels: names of the classes it scores.
        model: what to call it in an error.
        words: how it scores texts.
    """

    made: Made
    labels: tuple[str, ...]
    layout: TokenLayout
    placements: tuple[Placement, ...]
    model: str = "the model"
    words: ReadTexts | None = None


def aim(target: object, scene: Scene) -> Target:
    """What people write to a :class:`~vitscope.core.targets.Target` for every picture of the batch.

    Args:
        target: a label, an index, a pair (this, rather than that), a Target, None (the top prediction; of a detector its likeliest box,
            of a dense head its class with the highest mean score over the whole photo), or one of the nouns of
            :mod:`vitscope.core.readings`, also as text (``"pixel:120,340"``).
        scene: what it is resolved against.

    Raises:
        ArgumentError: no such label, feature, pixel or box.
        MethodError: the model makes nothing that this can be read off.
    """
    wanted, against = target if isinstance(target, (tuple, list)) and len(target) == 2 else (target, None)
    noun = _noun(wanted, scene)
    if noun is not None:
        return _join([_one(noun, against, scene, i) for i in range(len(scene.placements))])
    if isinstance(target, Target) and target.at:
        if len(target.index) != len(scene.placements):
            raise ArgumentError(f"a target for {len(target.index)} pictures", expected=f"{len(scene.placements)}", where="target")
        return target
    if scene.made.scores is None:
        raise MethodError(
            "this model has no class scores",
            expected=_instead(scene),
            where=scene.model,
            todo="" if scene.made.features is not None or scene.made.places is not None else "use attention or rollout",
        )
    return resolve(target, scene.labels, scene.made.scores.argmax(dim=-1).tolist())


def _noun(wanted: object, scene: Scene) -> Noun | None:
    """What is wanted, where it is no class score of the whole picture."""
    if isinstance(wanted, Noun):
        return wanted
    named = noun_of(wanted) if isinstance(wanted, str) and wanted not in scene.labels else None
    if named is not None or scene.made.places is None or scene.made.scores is not None or isinstance(wanted, Target):
        return named
    label = wanted if isinstance(wanted, (str, int)) else None  # a label alone: its likeliest box, or the whole photo
    if scene.made.boxes is None:
        return Region(label=label, name="the whole photo")
    return Box() if label is None else Box(str(label))


def _instead(scene: Scene) -> str:
    made = scene.made
    if made.scores is not None:
        return "a label, or a class by its number"
    if made.boxes is not None:
        return "a box: box:NUMBER, box:LABEL or box:X,Y"
    if made.places is not None:
        return "a place: pixel:ROW,COLUMN or region:X0,Y0,X1,Y1"
    if made.features is not None:
        texts = "a text (text:WORDS), " if scene.words is not None else ""
        return texts + "a feature (feature:12), a likeness (similar-to:PHOTO) or an axis (axis:0@FILE.vectors)"
    return "a classification head"


def _join(each: Sequence[Target]) -> Target:
    """The pictures' targets as one."""
    parts = {name: tuple(part for one in each for part in getattr(one, name)) for name in vars(each[0])}
    return Target(**parts)


def _one(noun: Noun, against: object, scene: Scene, picture: int) -> Target:
    """One picture's target."""
    if isinstance(noun, (Pixel, Region, Box)):
        return _at_place(noun, against, scene, picture)
    if scene.made.features is None and not (isinstance(noun, Axis) and noun.block is not None):
        raise MethodError("this model gives no one vector of features", expected=_instead(scene), where=scene.model)
    if isinstance(noun, Feature):
        return _feature(noun, against, scene)
    if isinstance(noun, SimilarTo):
        return _likeness(noun, against)
    if isinstance(noun, Text):
        return _text(noun, against, scene)
    if against is not None:
        raise ArgumentError("an axis against something", expected="an axis alone", where="target")
    return Target((0,), (), (noun.name,), (_axis(noun, scene),))


def _feature(noun: Feature, against: object, scene: Scene) -> Target:
    assert scene.made.features is not None
    width = int(scene.made.features.shape[1])
    other = noun_of(against) if isinstance(against, str) else against
    for one in (noun, *((other,) if against is not None else ())):
        if not isinstance(one, Feature):
            raise ArgumentError(f"a feature against {against!r}", expected="another feature", where="target")
        if not 0 <= one.index < width:
            raise ArgumentError(f"feature {one.index}", expected=f"0 to {width - 1}", where="target")
    if not isinstance(other, Feature):
        return Target((noun.index,), (), (f"feature {noun.index}",), (Features(),))
    return Target((noun.index,), (other.index,), (f"feature {noun.index} rather than {other.index}",), (Features(),))


def _likeness(noun: SimilarTo, against: object) -> Target:
    name = f"similarity to {noun.name}"
    if against is None:
        return Target((0,), (), (name,), (Directions(Values.of(np.stack([noun.vector])), cosine=True),))
    if not isinstance(against, SimilarTo):
        raise ArgumentError(f"a likeness against {against!r}", expected="another likeness", where="target")
    rows = Values.of(np.stack([noun.vector, against.vector]))
    return Target((0,), (1,), (f"{name} rather than to {against.name}",), (Directions(rows, cosine=True),))


def _text(noun: Text, against: object, scene: Scene) -> Target:
    """The model's own score of a text, or of one text rather than another."""
    other = (noun_of(against) or Text(against)) if isinstance(against, str) else against
    if against is not None and not isinstance(other, Text):
        raise ArgumentError(f"a text against {against!r}", expected="another text", where="target")
    if scene.words is None:
        raise MethodError("this model has no text tower", expected=_instead(scene), where=scene.model)
    if not isinstance(other, Text):
        return Target((0,), (), (f"“{noun.text}”",), (scene.words((noun.text,)),))
    if other == noun:
        raise ArgumentError(f"{noun.text!r} against itself", expected="two different texts", where="target")
    name = f"“{noun.text}” rather than “{other.text}”"
    return Target((0,), (1,), (name,), (scene.words((noun.text, other.text)),))


def _axis(noun: Axis, scene: Scene) -> Directions:
    origin = None if noun.origin is None else Values.of(noun.origin)
    tokens = None if noun.block is None else Values.of(_read_tokens(noun, scene))
    return Directions(Values.of([noun.direction]), origin, block=noun.block, tokens=tokens)


def _read_tokens(noun: Axis, scene: Scene) -> NDArray[np.float64]:
    """``[r, n]``: what of a block's tokens is read, as ``vitscope embed`` reads it."""
    layout = scene.layout
    named = {"cls": Kind.CLS, "patch-mean": Kind.PATCH}
    if noun.kind in named:
        which = layout.kinds == named[noun.kind]
        rows = [which / max(1, which.sum())] if which.any() else []
    else:
        rows = [readout.weights for readout in layout.readouts if readout.weights is not None]
        rows = rows if len(rows) == len(layout.readouts) else []
    if not rows:
        raise MethodError(
            f"{noun.kind} vectors of this model are not fixed weights of its tokens",
            expected="a model that reads its CLS token or the mean of its patches",
            where=scene.model,
            todo="embed with --vectors patch-mean, and take an axis of those",
        )
    return np.stack(rows)


# places: pixels, regions, boxes


def _at_place(noun: Pixel | Region | Box, against: object, scene: Scene, picture: int) -> Target:
    """The class asked for there, or the likeliest."""
    reading, name = _place(noun, scene, picture)
    target = Target((0,), (), ("",), (reading,))
    found = columns(scene.made.one(slice(picture, picture + 1)), target)[0]
    found = found[: scene.made.columns]
    index = int(found.argmax()) if noun.label is None else find_label(noun.label, scene.labels)
    label = scene.labels[index]
    if against is None:
        return replace(target, index=(index,), names=(f"{label} at {name}",))
    other = find_label(against if isinstance(against, (str, int)) else repr(against), scene.labels)
    if other == index:
        raise ArgumentError(f"{label!r} against itself", expected="two different classes", where="target")
    return replace(target, index=(index,), against=(other,), names=(f"{label} rather than {scene.labels[other]} at {name}",))


def _place(noun: Pixel | Region | Box, scene: Scene, picture: int) -> tuple[Reading, str]:
    made, placement = scene.made, scene.placements[picture]
    if isinstance(noun, Box):
        if made.boxes is None or made.places is None:
            raise MethodError("this model gives no boxes", expected=_instead(scene), where=scene.model)
        which = _which(noun.which, scene, picture)
        corners = photo_boxes(made, placement, picture)[which].tolist()
        return Places(Values.of(np.eye(made.places.shape[2])[which]), Mark("box", (*corners,), which)), f"box {which}"
    if made.grid is None:
        raise MethodError("this model scores no pixels", expected=_instead(scene), where=scene.model)
    if isinstance(noun, Pixel):
        mark = Mark("pixel", (noun.x, noun.y, noun.x + 1, noun.y + 1))
        return Places(Values.of(pixel_weights(placement, made.grid, noun.y, noun.x)), mark), f"pixel ({noun.y}, {noun.x})"
    mask, name = _mask(noun, placement)
    weights, share = region_weights(placement, made.grid, mask)
    lost = "" if share > 1 - 1e-9 else f", of which {share:.0%} reached the model"
    return Places(Values.of(weights), _region_mark(noun, mask)), name + lost


def _region_mark(noun: Region, mask: NDArray[np.bool_]) -> Mark | None:
    """A region's border; of a mask every turn of it; None for the whole photo, whose border says nothing."""
    if mask.all():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    bounds = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Mark("region", bounds, outline=outline_of(mask) if noun.mask is not None else ())


def _mask(noun: Region, placement: Placement) -> tuple[NDArray[np.bool_], str]:
    """Bool ``[H, W]`` of a region, and what to call it.

    Raises:
        ArgumentError: an empty box or mask, one that leaves the photo, or a mask of another size.
    """
    height, width = placement.photo_size
    if noun.mask is not None:
        if noun.mask.shape != (height, width) or not noun.mask.any():
            got = f"a mask {noun.mask.shape} with {int(noun.mask.sum())} pixels set"
            raise ArgumentError(got, expected=f"({height}, {width}), the photo as displayed, with the region set", where="target")
        return np.asarray(noun.mask, dtype=bool), noun.name or "the region of a mask"
    mask = np.zeros((height, width), dtype=bool)
    x0, y0, x1, y1 = _box(noun.box, (height, width)) if noun.box is not None else (0, 0, width, height)
    mask[y0:y1, x0:x1] = True
    return mask, noun.name or f"region ({x0}, {y0}) to ({x1}, {y1})"


def _box(box: BoxXY, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box of whole pixels, rounded outwards."""
    x0, y0, x1, y1 = (float(v) for v in box)
    if x0 < 0 or y0 < 0 or x1 > size[1] or y1 > size[0] or x1 <= x0 or y1 <= y0:
        raise ArgumentError(
            f"a region from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g})",
            expected=f"x0 < x1 and y0 < y1 inside {size[1]}×{size[0]} px",
            where="target",
        )
    return int(np.floor(x0)), int(np.floor(y0)), int(np.ceil(x1)), int(np.ceil(y1))


def likelihoods(made: Made) -> Tensor:
    """Probabilities ``[b, m, c]`` of a detector's boxes: by softmax where a column stands for "no object", else by sigmoid."""
    assert made.places is not None
    logits = made.places.float().transpose(1, 2)
    return logits.softmax(dim=-1)[..., :-1] if made.nothing else logits.sigmoid()


def photo_boxes(made: Made, placement: Placement, picture: int) -> NDArray[np.float64]:
    """A picture's boxes ``[m, 4]`` as ``(x0, y0, x1, y1)`` in pixels of the photo."""
    assert made.boxes is not None
    h, w = placement.input_size
    x, y, wide, high = made.boxes[picture].double().cpu().numpy().T
    y0, x0 = placement.to_photo(((y - high / 2) * h, (x - wide / 2) * w))
    y1, x1 = placement.to_photo(((y + high / 2) * h, (x + wide / 2) * w))
    return np.stack([x0, y0, x1, y1], axis=1)


def found_boxes(scene: Scene, picture: int = 0, at_least: float = 0.0) -> list[Detected]:
    """A detector's boxes of one picture, likeliest first, from this probability on.

    Raises:
        MethodError: a model that gives none.
    """
    if scene.made.boxes is None:
        raise MethodError("this model gives no boxes", expected=_instead(scene), where=scene.model)
    best, which = likelihoods(scene.made)[picture].max(dim=-1)
    corners = photo_boxes(scene.made, scene.placements[picture], picture).tolist()
    order = [i for i in best.argsort(descending=True, stable=True).tolist() if float(best[i]) >= at_least]
    return [Detected(i, scene.labels[int(which[i])], float(best[i]), (*corners[i],)) for i in order]


def top_places(scene: Scene, k: int, picture: int) -> list[tuple[str, float]]:
    """The likeliest boxes with their probabilities; or the labels likeliest at most of a dense head's cells, with their share of them."""
    if scene.made.boxes is not None:
        return [(f"{one.label} (box {one.number})", one.probability) for one in found_boxes(scene, picture)[:k]]
    assert scene.made.places is not None
    won = scene.made.places[picture].argmax(dim=0)
    shares = torch.bincount(won, minlength=len(scene.labels)).double() / len(won)
    values, index = shares.topk(min(k, len(shares)))
    return [(scene.labels[i], share) for i, share in zip(index.tolist(), values.tolist(), strict=True) if share > 0]


def _which(which: int | str | tuple[float, float] | None, scene: Scene, picture: int) -> int:
    """The number of a box; the likeliest where none is said.

    Raises:
        ArgumentError: no such box, or none around that point.
    """
    made = scene.made
    assert made.boxes is not None
    count = int(made.boxes.shape[1])
    if which is None or isinstance(which, str):
        return _likeliest(scene, picture, None if which is None else find_label(which, scene.labels))
    if isinstance(which, tuple):
        x, y = which
        boxes = photo_boxes(made, scene.placements[picture], picture)
        around = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        if not around.any():
            raise ArgumentError(f"no box around ({x:g}, {y:g})", expected=f"a point inside one of {count} boxes", where="target")
        return _likeliest(scene, picture, None, torch.as_tensor(around))
    if isinstance(which, bool) or not 0 <= which < count:
        raise ArgumentError(f"box {which}", expected=f"0 to {count - 1}", where="target")
    return which


def _likeliest(scene: Scene, picture: int, label: int | None, among: Tensor | None = None) -> int:
    chances = likelihoods(scene.made)[picture].cpu()
    best = chances.amax(dim=-1) if label is None else chances[:, label]
    return int((best if among is None else best.masked_fill(~among, -1.0)).argmax())
