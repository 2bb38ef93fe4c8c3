"""Amounts of memory, from words and in words: decimal units, as in ``2GB`` = 2,000,000,000 bytes."""

from __future__ import annotations

import re

from vitscope.errors import ArgumentError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def bytes_of(amount: str | int) -> int:
    """Bytes of a number, or of a text such as "2GB", "500 MB", "1.5GiB".

    Raises:
        ArgumentError: anything else, or nothing at all.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B)?\s*", str(amount).upper())
    count = round(float(found[1]) * _UNITS[found[2] or "B"]) if found and not isinstance(amount, bool) else 0
    if count <= 0:
        raise ArgumentError(f"memory {amount!r}", expected="a number of bytes, or 500MB, 2GB, 1.5GiB", where="memory")
    return count


def in_words(count: float) -> str:
    """Bytes in words, two digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
