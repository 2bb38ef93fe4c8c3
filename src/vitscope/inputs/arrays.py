"""A numpy array as a picture: which shapes and values are taken, and a clear refusal of the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import PhotoError
from vitscope.inputs.colours import RGB, Notes, over_white, transparency_note

_TAKEN = "uint8 (or float from 0 to 1) of shape [H, W, 3], [H, W, 4] or [H, W]"


def from_array(array: NDArray[np.generic], where: str) -> tuple[RGB, Notes]:
    """An array to RGB, and what was done in plain words.

    Shapes:
        array: ``[H, W, 3]``, ``[H, W, 4]`` (the fourth is opacity, laid on white), ``[H, W]`` or ``[H, W, 1]`` (grey).
        returns uint8 ``[H, W, 3]``.

    Units:
        uint8 0..255, or float 0..1.

    Raises:
        PhotoError: another shape or type, no pixels, NaN, or values out of range.
    """
    _check_shape(array, where)
    eight, notes = _eight_bit(array, where)
    if eight.ndim == 2:
        eight = eight[..., None]
    if eight.shape[2] == 1:
        return np.repeat(eight, 3, axis=2), (*notes, "grey array shown as RGB")
    if eight.shape[2] == 3:
        return np.array(eight, dtype=np.uint8, order="C"), notes
    alpha = eight[..., 3:]
    note = transparency_note("array with a fourth channel", float((alpha < 255).mean()))
    return over_white(eight[..., :3], alpha), (*notes, note)


def _check_shape(array: NDArray[np.generic], where: str) -> None:
    shape = "[" + ", ".join(map(str, array.shape)) + "]"
    if array.size == 0:
        raise PhotoError(f"an array of shape {shape}, without a single pixel", expected=_TAKEN, where=where)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4)):
        return
    todo = ""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        todo = "channels come first here: array.transpose(1, 2, 0)"
    elif array.ndim == 4:
        todo = "a batch: give a list of arrays"
    raise PhotoError(f"an array of shape {shape}", expected=_TAKEN, where=where, todo=todo)


def _eight_bit(array: NDArray[np.generic], where: str) -> tuple[RGB, Notes]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8), ()
    if not np.issubdtype(array.dtype, np.floating):
        todo = "scale it to 0..1 as float" if np.issubdtype(array.dtype, np.number) else "array.astype('uint8') * 255"
        raise PhotoError(f"an array of {array.dtype}", expected=_TAKEN, where=where, todo=todo)
    values = array.astype(np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise PhotoError(f"{bad} of {values.size} values are NaN or infinite", expected="finite values from 0 to 1", where=where)
    low, high = float(values.min()), float(values.max())
    if low < 0.0 or high > 1.0:
        todo = "divide by 255" if low >= 0.0 and high <= 255.0 else "scale it first (undo any mean and std)"
        raise PhotoError(f"float values from {low:g} to {high:g}", expected="0 to 1", where=where, todo=todo)
    return np.rint(values * 255.0).astype(np.uint8), ("float values 0 to 1 rounded to 8 bit",)
