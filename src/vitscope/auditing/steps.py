"""The way from the file to the tensor, step by step: at each a picture and a number."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.lost import expected_range, undone
from vitscope.auditing.recipe import UNDONE, Own, Photo, Recipe
from vitscope.auditing.search import OwnWay
from vitscope.core.placement import UNCOVERED, Placement
from vitscope.core.sample import Sample
from vitscope.inputs.images import turned
from vitscope.inputs.stored import Stored


@dataclass(frozen=True)
class AuditStep:
    """One step.

    Attributes:
        name: "decode", "turn", "colour", "resize", "crop", "pad", "scale", "normalise".
        detail: what it did.
        number: the figure to look at.
        picture: uint8 ``[h, w, 3]`` after it.
    """

    name: str
    detail: str
    number: str
    picture: NDArray[np.uint8]

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON, without the picture."""
        return {"name": self.name, "detail": self.detail, "number": self.number, "size": list(self.picture.shape[:2])}


def steps_of(sample: Sample, file: Stored, own: Own, way: OwnWay) -> tuple[AuditStep, ...]:
    """Every step of the model's own preparation of one photo; the pictures between are its recipe's."""
    photo = sample.photo
    first = [_decode(sample, file, photo), *_turn(sample, photo), _colour(sample, file, photo)]
    return (*first, *_moves(photo, way.recipe, way.placement, way.off), *_values(own, way.tensor))


def _decode(sample: Sample, file: Stored, photo: Photo) -> AuditStep:
    size = file.size if file.format else photo.shape[:2]
    kind = file.format or ("file" if sample.path else "array")
    quality = f", JPEG quality {file.quality}" if file.quality else ""
    length = f", {file.bytes / 1024:.0f} KB" if file.bytes else ""
    return AuditStep("decode", f"{kind}{quality}{length}", f"{size[1]}×{size[0]} px", turned(photo, UNDONE[sample.exif]))


def _turn(sample: Sample, photo: Photo) -> list[AuditStep]:
    if sample.exif == 1:
        return []
    number = f"{photo.shape[1]}×{photo.shape[0]} px"
    return [AuditStep("turn", f"EXIF orientation {sample.exif} applied", number, photo)]


def _colour(sample: Sample, file: Stored, photo: Photo) -> AuditStep:
    notes = "; ".join(note for note in sample.notes if "EXIF" not in note)
    mode = file.mode or "RGB"
    detail = notes or ("RGB as stored" if mode == "RGB" else f"{mode} converted to RGB")
    mean = photo.reshape(-1, 3).mean(axis=0)
    return AuditStep("colour", detail, "mean red {:.0f}, green {:.0f}, blue {:.0f} of 255".format(*mean), photo)


def _moves(photo: Photo, recipe: Recipe, placement: Placement, off: float) -> list[AuditStep]:
    out = []
    size = (photo.shape[0], photo.shape[1])
    said = [step for step in placement.steps if step.name not in ("decode", UNCOVERED)]
    for number, (move, step) in enumerate(zip(recipe.moves, said, strict=True), start=1):
        picture = replace(recipe, moves=recipe.moves[:number]).picture(photo)[0]
        detail, figure = step.detail, f"{move.size[1]}×{move.size[0]} px"
        if move.name == "resize":
            by = (move.size[1] / size[1], move.size[0] / size[0])
            detail += "" if recipe.kernel.name in detail else f", {recipe.kernel.text}"
            figure = f"{by[0]:.3f}× across, {by[1]:.3f}× down"
        elif step.name == "crop":
            kept = min(move.size[0], size[0]) * min(move.size[1], size[1]) / (size[0] * size[1])
            figure = f"{kept:.1%} kept"
        detail += f" (re-created; the model’s own differs by {off:.1%})" if off > 0.02 else ""
        out.append(AuditStep(step.name, detail, figure, _eight(picture)))
        size = move.size
    return out


def _values(own: Own, tensor: NDArray[np.float32]) -> list[AuditStep]:
    picture = undone(tensor, own)
    low, high = expected_range(own)
    scaled = f"{picture.min():.3f} to {picture.max():.3f}".replace("-", "−")
    found = f"{tensor.min():.3f} to {tensor.max():.3f} (black and white: {low:.3g} and {high:.3g})".replace("-", "−")
    from_mean = np.abs(tensor.transpose(1, 2, 0)) / max(float(np.abs(tensor).max()), 1e-9)
    mean = ", ".join(f"{v:.4g}" for v in dict.fromkeys(own.mean))
    std = ", ".join(f"{v:.4g}" for v in dict.fromkeys(own.std))
    return [
        AuditStep("scale", "divided by 255", scaled, _eight(picture)),
        AuditStep("normalise", f"mean {mean}, std {std} (shown: distance from the mean)", found, _eight(from_mean)),
    ]


def _eight(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(np.nan_to_num(picture), 0, 1) * 255), dtype=np.uint8)
