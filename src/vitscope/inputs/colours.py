"""Any colour mode to RGB of 8 bits, as the model libraries do it; every difference from ``convert("RGB")`` is noted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitscope.errors import PhotoError

RGB = NDArray[np.uint8]
Notes = tuple[str, ...]

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_ORDINARY = ("1", "L", "P", "RGB", "RGBX")


def to_rgb(picture: Image.Image, where: str) -> tuple[RGB, Notes]:
    """A decoded picture to RGB, and what was done in plain words.

    Shapes:
        returns uint8 ``[H, W, 3]``.

    Raises:
        PhotoError: a colour mode that cannot be converted, or a grey picture without a single finite value.
    """
    if picture.mode in (*_SIXTEEN_BIT, "I", "F"):
        return _scaled(picture, where)
    if picture.has_transparency_data:
        return _on_white(picture, where)
    if picture.mode == "LAB":
        return _from_lab(picture, where), ("Lab colours converted to sRGB",)
    notes: Notes = ()
    if picture.mode == "CMYK":
        profile = " (the colour profile in the file was not used)" if picture.info.get("icc_profile") else ""
        notes = (f"CMYK converted to RGB as the model libraries do{profile}",)
    elif picture.mode not in _ORDINARY:
        notes = (f"{picture.mode} colours converted to RGB",)
    return _converted(picture, "RGB", where), notes


def stored_deep(picture: Image.Image) -> Notes:
    """Before decoding: whether colours are stored with 16 bits a channel, of which PIL keeps the upper 8."""
    deep = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))
    return ("16 bits a channel: the upper 8 kept, as the model libraries do",) if deep and picture.mode not in _SIXTEEN_BIT else ()


def _converted(picture: Image.Image, mode: str, where: str) -> RGB:
    try:
        return np.array(picture.convert(mode), dtype=np.uint8)
    except ValueError as error:
        raise PhotoError(
            f"colour mode {picture.mode} ({error})", expected="grey, RGB or CMYK", where=where, todo="save it as PNG"
        ) from None


def _on_white(picture: Image.Image, where: str) -> tuple[RGB, Notes]:
    """Lay a picture with transparency over white; where nothing is transparent this is ``convert("RGB")`` to the bit."""
    rgba = _converted(picture, "RGBA", where)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    clear = float((alpha < 255).mean())
    kind = "palette with transparency" if picture.mode in ("P", "PA") else f"{picture.mode} with transparency"
    return over_white(colour, alpha), (transparency_note(kind, clear),)


def over_white(colour: RGB, alpha: RGB) -> RGB:
    """``colour · α + white · (1 − α)``, rounded; colour ``[H, W, 3]``, alpha ``[H, W, 1]``."""
    a = alpha.astype(np.uint32)
    return np.asarray((colour.astype(np.uint32) * a + 255 * (255 - a) + 127) // 255, dtype=np.uint8)


def transparency_note(kind: str, share: float) -> str:
    """What to say of a picture with opacity, this share of which is not fully opaque."""
    if share == 0.0:
        return f"{kind}: opaque throughout, so nothing changed"
    percent = f"{share:.0%}" if share >= 0.01 else "less than 1%"
    return f"{kind}: transparent areas ({percent} of the picture) shown on white"


def _scaled(picture: Image.Image, where: str) -> tuple[RGB, Notes]:
    """Deep grey to 8 bit by the range found in the file: ``convert("RGB")`` would cut everything above 255 to white."""
    values = np.asarray(picture).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        raise PhotoError("no finite value in a grey picture", expected="numbers", where=where)
    low, high = float(values[finite].min()), float(values[finite].max())
    name = "16-bit grey" if picture.mode in _SIXTEEN_BIT else "32-bit grey" if picture.mode == "I" else "floating-point grey"
    if high > low:
        note = f"{name} scaled to 8 bit: values {low:g} to {high:g} became 0 to 255"
        grey = (values - low) / (high - low) * 255.0
    else:
        note = f"{name} with the single value {low:g}: shown as mid-grey"
        grey = np.full(values.shape, 128.0)
    notes: Notes = (note,)
    if not finite.all():
        notes = (*notes, f"{int((~finite).sum())} pixels without a value (NaN or infinite) shown black")
        grey = np.where(finite, grey, 0.0)
    eight = np.rint(grey).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=2), notes


def _from_lab(picture: Image.Image, where: str) -> RGB:
    """Lab to sRGB through the colour library that comes with PIL."""
    try:
        from PIL import ImageCms

        turn = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(picture, turn)
    except (ImportError, OSError) as error:
        raise PhotoError(f"Lab colours ({error})", expected="grey, RGB or CMYK", where=where, todo="save it as PNG in RGB") from None
    return np.array(converted, dtype=np.uint8)
