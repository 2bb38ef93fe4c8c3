"""Plain JSON values and short numbers for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

TIED = "\u00a0"
"""A space that no line breaks at."""


def plain(value: object) -> object:
    """The same thing in what JSON knows: numpy scalars and arrays, tuples and odd keys become plain; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def short(value: float | None, digits: int = 3) -> str:
    """A number for people: so many significant digits, no trailing zeros, a true minus sign, powers of ten only when needed."""
    if value is None or not math.isfinite(value):
        return "undefined" if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}" if abs(int(exponent)) > 4 or int(exponent) < 0 else f"{float(text):.0f}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    """A share as a percentage; tiny is not shown as none, nor almost all as all."""
    value = 100 * share
    if value == 0:
        return f"0{TIED}%"
    if 0 < value < 0.1:
        return f"< 0.1{TIED}%"
    if 99.9 < value < 100:
        return f"> 99.9{TIED}%"
    return f"{value:.1f}{TIED}%" if value < 99.95 else f"100{TIED}%"
