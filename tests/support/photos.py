"""Makers of picture files that programs stumble over: one function a case, each writing one file into a folder and returning its path.

``REFUSED`` and ``TAKEN`` name them all, so that a test of the reader and a test of the command line walk the same list.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def scene(height=48, width=64, seed=0):
    """A smooth colour picture without symmetry: uint8 ``[H, W, 3]``."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def store_turned(shown, orientation):
    """The pixels a camera stores so that a viewer, following the EXIF orientation, shows ``shown`` (written out case by case)."""
    turns = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),  # stored a quarter turn against the clock, shown with the clock
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(turns[orientation](shown))


def exif_turned(folder, orientation, shown=None, suffix="png"):
    """A file stored turned, with a real EXIF tag; shown as displayed it is ``shown``."""
    shown = scene() if shown is None else shown
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = Path(folder) / f"turned{orientation}.{suffix}"
    Image.fromarray(store_turned(shown, orientation)).save(
        path, exif=exif, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {})
    )
    return path


def ordinary_jpeg(folder):
    path = Path(folder) / "ordinary.jpg"
    Image.fromarray(scene(240, 320)).save(path, quality=90)
    return path


# what is refused


def missing(folder):
    return Path(folder) / "missing.jpg"


def empty(folder):
    path = Path(folder) / "empty.jpg"
    path.write_bytes(b"")
    return path


def text_as_jpeg(folder):
    path = Path(folder) / "text.jpg"
    path.write_text("This is a letter, not a photo.\n" * 20)
    return path


def truncated_jpeg(folder):
    path = Path(folder) / "truncated.jpg"
    whole = ordinary_jpeg(folder).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def truncated_png(folder):
    path = Path(folder) / "truncated.png"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def bomb(folder):
    """A PNG of a few hundred bytes whose header says 60,000×60,000 px."""
    path = Path(folder) / "bomb.png"
    path.write_bytes(png(60_000, 60_000, 8, 2, zlib.compress(b"\0" * 100_000)))
    return path


# what is taken, and said so


def one_pixel(folder):
    path = Path(folder) / "one_pixel.png"
    Image.new("RGB", (1, 1), (200, 30, 60)).save(path)
    return path


def cmyk_jpeg(folder):
    path = Path(folder) / "cmyk.jpg"
    Image.fromarray(scene()).convert("CMYK").save(path, quality=95)
    return path


def grey16_png(folder):
    """16-bit grey, values 1000 to 61000 from left to right."""
    path = Path(folder) / "grey16.png"
    ramp = np.linspace(1000, 61000, 64).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (48, 1))).save(path)
    return path


def palette_alpha_png(folder):
    """A palette whose first colour is transparent: the left half of the picture."""
    path = Path(folder) / "palette_alpha.png"
    index = np.ones((48, 64), dtype=np.uint8)
    index[:, :32] = 0
    picture = Image.fromarray(index).convert("P")
    picture.putpalette([10, 200, 30, 200, 40, 60] + [0] * 750)
    picture.save(path, transparency=0)
    return path


def rgba_png(folder):
    """Opaque on the right, half-transparent in the middle, clear on the left."""
    path = Path(folder) / "rgba.png"
    alpha = np.repeat(np.array([0] * 20 + [128] * 24 + [255] * 20, dtype=np.uint8)[None], 48, axis=0)
    Image.fromarray(np.dstack([scene(), alpha])).save(path)
    return path


def animated_gif(folder):
    """Twelve frames, the first one red, the others blue."""
    path = Path(folder) / "animated.gif"
    frames = [Image.new("RGB", (64, 48), (200, 0, 0) if i == 0 else (0, 0, 100 + i)) for i in range(12)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, loop=0)
    return path


def long_strip(folder):
    path = Path(folder) / "strip.png"
    Image.fromarray(scene(20, 1500)).save(path)
    return path


REFUSED = {
    "missing": missing,
    "empty": empty,
    "text renamed .jpg": text_as_jpeg,
    "truncated JPEG": truncated_jpeg,
    "truncated PNG": truncated_png,
    "60,000×60,000 px": bomb,
}

TAKEN = {
    "1×1": one_pixel,
    "CMYK": cmyk_jpeg,
    "16-bit grey": grey16_png,
    "palette with alpha": palette_alpha_png,
    "RGBA": rgba_png,
    "animated GIF": animated_gif,
    "1500×20": long_strip,
}


def png(width, height, bits, colour_type, compressed):
    """The bytes of a PNG file from its header's numbers and its compressed rows."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def png16_rgb(folder, values):
    """A PNG with 16 bits a channel; values uint16 ``[H, W, 3]``."""
    path = Path(folder) / "rgb16.png"
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(png(values.shape[1], values.shape[0], 16, 2, zlib.compress(rows)))
    return path
