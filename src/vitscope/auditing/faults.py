"""From an explained tensor to findings: each choice in which it differs from the model's own preparation, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.finding import Finding
from vitscope.auditing.lost import SLACK, expected_range, outside_share
from vitscope.auditing.recipe import UNDONE, Own, Recipe
from vitscope.auditing.search import Explained, text_of_place, text_of_source

#: So much of a tensor left over by every hypothesis is said to be unexplained.
UNEXPLAINED = 0.25


@dataclass(frozen=True)
class Given:
    """A tensor somebody made, and what is known around it.

    Attributes:
        tensor: float32 ``[3, h, w]``.
        own_tensor: the model's own for the same photo.
        exif: the orientation that was applied to the photo.
        answers: what the model answers to its own tensor and to this one, in words; "" without class scores.
    """

    tensor: NDArray[np.float32]
    own_tensor: NDArray[np.float32]
    exif: int
    answers: str = ""


def tensor_findings(given: Given, found: Explained, own: Own) -> list[Finding]:
    """Every choice in which a tensor differs from the model's own preparation, with what is left over without it."""
    best = found.best
    out = []
    if found.best.order != (0, 1, 2):
        out.append(_swapped(given, found))
    if best.values.kind:
        out.append(_values(given, found, own))
    elif (share := outside_share(given.tensor, own)) > 0.01:
        out.append(_outside(given, own, share))
    for aspect, say in (("turn", _turn), ("frame", _frame), ("kernel", _kernel), ("source", _source)):
        if aspect in found.without:
            out.append(say(given, found))
    if found.residual > UNEXPLAINED:
        out.append(_unexplained(found))
    return out


def broken(given: Given) -> list[Finding]:
    """What makes a tensor impossible to compare: values that are no numbers, another size, one value only."""
    t, own = given.tensor, given.own_tensor
    bad = ~np.isfinite(t)
    if bad.any():
        text = f"{int(bad.sum())} of {t.size} values are NaN or infinite."
        return [
            Finding("not-finite", "fault", "The tensor holds values that are no numbers.", text, "Check the division (a std of 0?).", 1.0)
        ]
    if t.shape != own.shape:
        sizes = (f"{x.shape[2]}×{x.shape[1]}" for x in (t, own))
        text = "The tensor is {} px, the model’s own preparation gives {}.".format(*sizes)
        return [Finding("wrong-size", "fault", "The tensor is not of the model’s input size.", text, "Resize to the model’s size.", 1.0)]
    if float(t.std(axis=(1, 2)).max()) < 1e-3 * max(float(own.std()), 1e-9):
        text = f"Its values spread by {float(t.std()):.2g}, the model’s own by {float(own.std()):.2g}."
        return [Finding("constant-tensor", "fault", "The tensor shows no picture.", text, "Check the scaling: divided by 255 twice?", 1.0)]
    return []


def _left(found: Explained, aspect: str) -> str:
    return f"This leaves {found.residual:.1%} of the tensor’s variation unexplained, the model’s own way {found.without[aspect]:.1%}."


def _swapped(given: Given, found: Explained) -> Finding:
    names = "RGB"
    order = "".join(names[c] for c in found.best.order)
    straight = _straight_residual(given, found)
    return Finding(
        "channels-swapped",
        "fault",
        f"The colour channels are swapped: the tensor holds {order} where the model expects RGB.",
        f"In the order {order} the photo leaves {found.residual:.1%} of the tensor’s variation unexplained, as RGB {straight:.1%}."
        + given.answers,
        "Read with RGB order: cv2.cvtColor(image, cv2.COLOR_BGR2RGB), or tensor[[2, 1, 0]].",
        0.9,
    )


def _straight_residual(given: Given, found: Explained) -> float:
    """What is left over where each channel is explained by its own colour."""
    t = given.tensor.reshape(3, -1).astype(np.float64)
    # the colours as the tensor has them, put back into RGB order
    x = np.empty_like(t)
    for channel, colour in enumerate(found.best.order):
        x[colour] = t[channel]
    t, x = t - t.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    left = (t**2).sum(axis=1) - (t * x).sum(axis=1) ** 2 / np.maximum((x**2).sum(axis=1), 1e-12)
    return float(np.sqrt(max(left.sum(), 0.0) / max(float((t**2).sum()), 1e-12)))


_VALUE_WORDS = {
    "wrong-mean-std": ("The tensor is normalised with figures that are not the model’s own", 0.8),
    "not-normalised": ("The tensor is not normalised", 0.95),
    "not-divided-by-255": ("The pixels were not divided by 255 before they were normalised", 0.98),
    "divided-by-255-twice": ("The pixels were divided by 255 twice", 0.98),
    "normalised-twice": ("The tensor was normalised twice", 0.95),
}
_VALUE_FIXES = {
    "not-divided-by-255": "Scale to 0..1 first (ToTensor does), then Normalize(mean={mean}, std={std}).",
    "divided-by-255-twice": "ToTensor already divides by 255; leave the other division out.",
    "normalised-twice": "Leave one of the two normalisations out; the processor or the model’s own transform has one.",
}


def _values(given: Given, found: Explained, own: Own) -> Finding:
    values = found.best.values
    what, weight = _VALUE_WORDS[values.kind]
    mean, std = _numbers(own.mean), _numbers(own.std)
    low, high = expected_range(own)
    fitted = "" if values.text else f"Fitted: mean {_fitted(found, 'mean')}, std {_fitted(found, 'std')}. "
    return Finding(
        values.kind,
        "fault",
        f"{what}{': ' + values.text if values.text else ''}.",
        f"Values lie from {given.tensor.min():.3g} to {given.tensor.max():.3g}; black and white should become {low:.3g} and {high:.3g}. "
        f"{fitted}That explains the tensor to within {found.off:.1%} of its variation.{given.answers}",
        _VALUE_FIXES.get(values.kind, "Use the model’s own figures: Normalize(mean={mean}, std={std}).").format(mean=mean, std=std),
        weight,
    )


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"


def _fitted(found: Explained, which: str) -> str:
    gain, offset = found.best.values.gain, found.best.values.offset
    safe = [g if abs(g) > 1e-9 else 1e-9 for g in gain]
    return _numbers(tuple((-o / g if which == "mean" else 1 / g) for g, o in zip(safe, offset, strict=True)))


def _outside(given: Given, own: Own, share: float) -> Finding:
    low, high = expected_range(own)
    return Finding(
        "range",
        "warning",
        "Values lie outside what the model was trained on.",
        f"{share:.1%} of the values lie more than {SLACK:.0%} outside; they reach from {given.tensor.min():.3g} to "
        f"{given.tensor.max():.3g}, "
        f"black and white become {low:.3g} and {high:.3g}.",
        "Clip to the picture’s range after resizing, and check the scaling.",
    )


def _turn(given: Given, found: Explained) -> Finding:
    turn = found.best.turn
    ignored = given.exif != 1 and turn == UNDONE[given.exif]
    mirrored = turn == 2
    if ignored:
        what = f"The photo’s EXIF turn was ignored: the tensor shows it as stored, orientation {given.exif} not applied."
        fix = "Load with PIL.ImageOps.exif_transpose(Image.open(path)) before anything else."
    else:
        what = (
            "The tensor shows the photo mirrored." if mirrored else f"The tensor shows the photo turned or mirrored (orientation {turn})."
        )
        fix = "Check the loader and the transform for flips and transposes (swapped height and width?)."
    kind = "exif-turn-ignored" if ignored else "mirrored" if mirrored else "turned"
    return Finding(kind, "fault", what, _left(found, "turn") + given.answers, fix, 0.92)


def _frame(given: Given, found: Explained) -> Finding:
    say = {"squashed": _squashed, "shifted": _shifted}.get(found.best.frame, _other_frame)
    return say(given, found)


def _squashed(given: Given, found: Explained) -> Finding:
    before, after = (recipe.moves[0].size for recipe in (found.own, found.best))
    if abs(before[0] / before[1] * after[1] / after[0] - 1) < 0.03:  # a photo of the input's own aspect: nothing is squashed
        what, fix = "The whole photo was resized to the input size, nothing cropped.", f"The model’s own: {_sizes(found.own)}."
        return Finding("resized-differently", "warning", what, _left(found, "frame") + given.answers, fix, 0.7)
    return Finding(
        "aspect-squashed",
        "fault",
        "The photo was squashed to the input size: its aspect is not kept.",
        _left(found, "frame") + given.answers,
        f"Resize the shorter side and crop, as the model’s own preparation does ({_sizes(found.own)}).",
        0.85,
    )


def _shifted(given: Given, found: Explained) -> Finding:
    before, after = found.own.moves[-1].corner, found.best.moves[-1].corner
    down, right = after[0] - before[0], after[1] - before[1]
    little = max(abs(down), abs(right)) <= 1
    return Finding(
        "crop-shifted",
        "note" if little else "fault",
        f"The crop is shifted by {down:+d} rows and {right:+d} columns against the model’s own.",
        f"It begins at row {after[0]}, column {after[1]}, where the model’s own begins at {before[0]}, {before[1]}. "
        + _left(found, "frame")
        + given.answers,
        "Crop at the centre, as the model’s own preparation does; for patches half a patch of shift is the worst case.",
        0.75,
    )


def _other_frame(given: Given, found: Explained) -> Finding:
    words = {
        "padded": ("padded-not-cropped", "The photo was fitted in and padded, where the model’s own preparation crops.", "warning"),
        "not resized": ("not-resized", "The photo was cropped without being resized first.", "fault"),
        "resized": ("resized-differently", f"The photo was {text_of_place(found.best)}.", "warning"),
    }
    kind, what, severity = words[found.best.frame]
    return Finding(kind, severity, what, _left(found, "frame") + given.answers, f"The model’s own: {_sizes(found.own)}.", 0.7)


def _sizes(recipe: Recipe) -> str:
    return ", ".join(f"{move.name} {move.size[1]}×{move.size[0]}" for move in recipe.moves)


def _kernel(given: Given, found: Explained) -> Finding:
    own, used = found.own.kernel, found.best.kernel
    evidence = _left(found, "kernel") + given.answers
    fix = f"Resize with {own.text} interpolation, as the model’s own preparation does."
    if used.name == "nearest":
        return Finding("nearest-resize", "fault", "The photo was resized by nearest neighbour: edges are jagged.", evidence, fix, 0.7)
    if own.antialias and not used.antialias:
        what = f"The photo was resized without antialiasing ({used.text}): fine detail turned into false detail."
        return Finding("no-antialias", "warning", what, evidence, fix, 0.6)
    if used.name == own.name:
        what = f"The same kernel ({own.text}) in another library ({used.made_by}) resized the photo."
        return Finding("kernel-differs", "note", what, evidence, "Nothing, if the answer does not change.", 0.1)
    what = f"The photo was resized with {used.text} interpolation, the model’s own uses {own.text}."
    return Finding("kernel-differs", "note" if found.without["kernel"] < 0.06 else "warning", what, evidence, fix, 0.4)


def _source(given: Given, found: Explained) -> Finding:
    source = found.best.source
    kind, what = "upscaled", "The tensor was made from a small copy of the photo, enlarged again"
    if source.quality:
        kind, what = "jpeg-blocks", "The tensor was made from a copy of the photo coded as JPEG of low quality"
    fix = "Prepare the original photo; look for a thumbnail or a cache in the loader."
    return Finding(kind, "fault", f"{what}: {text_of_source(source)}.", _left(found, "source") + given.answers, fix, 0.7)


def _unexplained(found: Explained) -> Finding:
    return Finding(
        "unexplained",
        "warning" if len(found.without) else "fault",
        "No hypothesis explains the tensor: it may show another photo, or was changed in a way that is not known here.",
        f"The best one ({text_of_place(found.best)}, {found.best.kernel.text}) leaves {found.residual:.1%} of its variation unexplained; "
        f"{len(found.tried)} were tried.",
        "Look at both pictures in the report; augmentation left on (random crop, erasing, mixing)?",
        0.3,
    )
