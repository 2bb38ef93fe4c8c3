"""The faults people make when they prepare a photo, planted one by one with PIL and numpy, for a model of
resize-248-bicubic, centre crop 224, mean = std = 0.5. Each case gives what is handed to the audit besides the model.
"""

import io

import numpy as np
from PIL import Image, ImageOps

SIDE, SHORT = 224, 248
BICUBIC, BILINEAR, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST


def opened(path):
    """As displayed, RGB, transparency on white."""
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def resized(picture, kernel=BICUBIC):
    w, h = picture.size
    short = min(w, h)
    size = tuple(SHORT if side == short else int(SHORT * side / short) for side in (w, h))
    return picture.resize(size, kernel)


def centre(picture, shift=0):
    w, h = picture.size
    left, top = round((w - SIDE) / 2) + shift, round((h - SIDE) / 2) + shift
    return picture.crop((left, top, left + SIDE, top + SIDE))


def scaled(picture):
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255


def normalised(values, mean=(0.5,) * 3, std=(0.5,) * 3):
    return (values - np.reshape(mean, (3, 1, 1)).astype(np.float32)) / np.reshape(std, (3, 1, 1)).astype(np.float32)


def good(picture):
    return normalised(scaled(centre(resized(picture))))


def small_and_enlarged(picture, how=BICUBIC):
    w, h = picture.size
    small = picture.resize((round(w * 64 / min(w, h)), round(h * 64 / min(w, h))), BICUBIC)
    return small, small.resize((w, h), how)


def jpeg(picture, quality, **options):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, **options)
    return out


def wrong_mean_std(path, _):
    return {"photo": path, "tensor": normalised(scaled(centre(resized(opened(path)))), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


def not_divided(path, _):
    return {"photo": path, "tensor": normalised(scaled(centre(resized(opened(path)))) * 255)}


def bgr(path, _):
    return {"photo": path, "tensor": good(opened(path))[::-1].copy()}


def twice(path, _):
    return {"photo": path, "tensor": normalised(good(opened(path)))}


def no_normalisation(path, _):
    return {"photo": path, "tensor": scaled(centre(resized(opened(path))))}


def squashed(path, _):
    return {"photo": path, "tensor": normalised(scaled(opened(path).resize((SIDE, SIDE), BICUBIC)))}


def shifted(path, _):
    return {"photo": path, "tensor": normalised(scaled(centre(resized(opened(path)), shift=8)))}


def exif_ignored(path, folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = folder / "turned.jpg"
    stored.write_bytes(jpeg(opened(path).transpose(Image.Transpose.ROTATE_90), 95, exif=exif).getvalue())
    return {"photo": stored, "tensor": good(Image.open(stored).convert("RGB"))}


def object_cut(path, _):
    w, h = opened(path).size
    return {"photo": path, "box": (0, 0, w * 0.3, h * 0.3)}


def nearest(path, _):
    return {"photo": path, "tensor": normalised(scaled(centre(resized(opened(path), NEAREST))))}


def upscaled(path, folder):
    enlarged = folder / "enlarged.png"
    small_and_enlarged(opened(path))[1].save(enlarged)
    return {"photo": enlarged}


def jpeg_5(path, folder):
    coded = folder / "coded.jpg"
    coded.write_bytes(jpeg(opened(path), 5).getvalue())
    return {"photo": coded}


def near_constant(path, folder):
    flat = folder / "flat.png"
    Image.fromarray((np.asarray(opened(path)) / 255.0 * 6 + 120).astype(np.uint8)).save(flat)
    return {"photo": flat}


#: finding -> how it is planted
FAULTS = {
    "wrong-mean-std": wrong_mean_std,
    "not-divided-by-255": not_divided,
    "channels-swapped": bgr,
    "normalised-twice": twice,
    "not-normalised": no_normalisation,
    "aspect-squashed": squashed,
    "crop-shifted": shifted,
    "exif-turn-ignored": exif_ignored,
    "object-cut": object_cut,
    "nearest-resize": nearest,
    "upscaled": upscaled,
    "jpeg-blocks": jpeg_5,
    "near-constant": near_constant,
}


def _file(folder, name, data):
    path = folder / name
    path.write_bytes(data) if isinstance(data, bytes) else data.save(path)
    return path


#: the same faults met another way: (finding, how)
MORE = {
    "64 px file": ("upscaled", lambda p, f: {"photo": _file(f, "s.png", small_and_enlarged(opened(p))[0])}),
    "enlarged, saved as JPEG": (
        "upscaled",
        lambda p, f: {"photo": _file(f, "u.jpg", jpeg(small_and_enlarged(opened(p))[1], 85).getvalue())},
    ),
    "enlarged bilinearly": ("upscaled", lambda p, f: {"photo": np.asarray(small_and_enlarged(opened(p), BILINEAR)[1])}),
    "enlarged by repeating": ("upscaled", lambda p, f: {"photo": np.asarray(small_and_enlarged(opened(p), NEAREST)[1])}),
    "tensor of the 64 px copy": ("upscaled", lambda p, f: {"photo": p, "tensor": good(small_and_enlarged(opened(p))[0])}),
    "JPEG 5 as array": ("jpeg-blocks", lambda p, f: {"photo": np.asarray(Image.open(jpeg(opened(p), 5)).convert("RGB"))}),
    "tensor of the JPEG 5": ("jpeg-blocks", lambda p, f: {"photo": p, "tensor": good(Image.open(jpeg(opened(p), 5)))}),
    "raw 0 to 255": ("not-normalised", lambda p, f: {"photo": p, "tensor": scaled(centre(resized(opened(p)))) * 255}),
    "one grey": ("near-constant", lambda p, f: {"photo": np.full((300, 400, 3), 128, np.uint8)}),
    "mirrored": ("mirrored", lambda p, f: {"photo": p, "tensor": good(opened(p))[:, :, ::-1].copy()}),
    "rolled": ("crop-shifted", lambda p, f: {"photo": p, "tensor": np.roll(good(opened(p)), (8, 8), (1, 2))}),
}
