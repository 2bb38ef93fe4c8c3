"""A bright square planted on a plain photo, and the ways a photo reaches a model's input: written with PIL and numpy alone."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from support import photos
from vitscope.core.placement import Placement

BACKGROUND, BRIGHT = 40, 240


def photo_with_square(size, centre, side):
    """uint8 ``[H, W, 3]``: a dark photo of ``(H, W)`` pixels with a bright square around ``centre`` (y, x)."""
    out = np.full((*size, 3), BACKGROUND, dtype=np.uint8)
    y, x = (round(c - s / 2) for c, s in zip(centre, side, strict=True))
    out[max(y, 0) : y + round(side[0]), max(x, 0) : x + round(side[1])] = BRIGHT
    return out


def centroid(weights):
    """Centre of mass (y, x) in photo coordinates, where pixel ``i`` has its centre at ``i + 0.5``; NaN weighs nothing."""
    w = np.nan_to_num(np.asarray(weights, dtype=np.float64))
    rows, columns = np.indices(w.shape) + 0.5
    return float((w * rows).sum() / w.sum()), float((w * columns).sum() / w.sum())


@dataclass(frozen=True)
class Pipeline:
    """How a photo becomes a model input: done to the pixels with PIL, and to the placement step by step."""

    name: str
    size: tuple[int, int] = (224, 224)
    resize: int = 0  # shortest edge; 0: no such step
    squash: bool = False
    letterbox: bool = False
    border: int = 0  # padded all round before the crop

    def __call__(self, photo, exif=1):
        picture, place = Image.fromarray(photo), Placement.of_photo(photo.shape[:2], exif=exif)
        if self.resize:
            factor = self.resize / min(place.input_size)
            picture, place = resized(picture, place, tuple(round(s * factor) for s in place.input_size))
        if self.squash:
            picture, place = resized(picture, place, self.size)
        if self.letterbox:
            factor = min(s / p for s, p in zip(self.size, place.input_size, strict=True))
            picture, place = resized(picture, place, tuple(max(round(p * factor), 1) for p in place.input_size))
        if self.border:
            picture, place = bordered(picture, place, (self.border,) * 4)
        gap = [(s - p) // 2 for s, p in zip(self.size, place.input_size, strict=True)]
        if min(gap) < 0:
            top, left = (max(-g, 0) for g in gap)
            keep = tuple(min(s, p) for s, p in zip(self.size, place.input_size, strict=True))
            picture, place = picture.crop((left, top, left + keep[1], top + keep[0])), place.crop(top, left, keep)
        if place.input_size != self.size:
            top, left = ((s - p) // 2 for s, p in zip(self.size, place.input_size, strict=True))
            rest = [s - p - g for s, p, g in zip(self.size, place.input_size, (top, left), strict=True)]
            picture, place = bordered(picture, place, (top, left, *rest))
        return np.asarray(picture), place


def resized(picture, place, size):
    return picture.resize(size[::-1], Image.Resampling.BICUBIC), place.resize(size)


def bordered(picture, place, sides):
    top, left, bottom, right = sides
    out = Image.new("RGB", (picture.width + left + right, picture.height + top + bottom), (BACKGROUND,) * 3)
    out.paste(picture, (left, top))
    return out, place.pad(*sides)


PIPELINES = {
    "640×480, resize and centre crop": ((480, 640), Pipeline("crop", resize=256)),
    "portrait": ((640, 480), Pipeline("crop", resize=256)),
    "panorama 5:1, cropped": ((200, 1000), Pipeline("crop", resize=256)),
    "panorama 5:1, squeezed": ((200, 1000), Pipeline("squash", squash=True)),
    "panorama 1:5, padded": ((1000, 200), Pipeline("letterbox", letterbox=True)),
    "640×480, padded": ((480, 640), Pipeline("letterbox", letterbox=True)),
    "bordered, then cropped": ((480, 640), Pipeline("border", resize=224, border=16)),
    "wide input": ((480, 640), Pipeline("wide", size=(128, 320), resize=256)),
}


def spots(place, patch, count=7, seed=0):
    """Centres (y, x) in the photo, spread over what the model saw: the middle, near each corner, and at random."""
    y0, x0, y1, x1 = place.seen
    margin = [0.8 * p / s for p, s in zip(patch, place.scale, strict=True)]
    low, high = (y0 + margin[0], x0 + margin[1]), (y1 - margin[0], x1 - margin[1])
    rng = np.random.default_rng(seed)
    shares = [(0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1), *rng.random((count - 5, 2))]
    return [tuple(a + s * (b - a) for a, b, s in zip(low, high, share, strict=True)) for share in shares]


def planted_file(folder, size, centre, side, orientation):
    """A JPEG stored turned, with its EXIF tag, that shows the planted photo."""
    return photos.exif_turned(folder, orientation, photo_with_square(size, centre, side), "jpg")
