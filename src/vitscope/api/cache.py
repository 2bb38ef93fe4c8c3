"""A cache that holds so many bytes and no more: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any


class ByteCache:
    """Values by key, of together at most ``limit`` bytes; safe to use from several threads.

    Attributes:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: Hashable) -> Any:
        """The value, which counts as used now; None where it is not held."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: Any, nbytes: int) -> None:
        """Hold a value of so many bytes and let go of older ones; one beyond the limit is not held at all."""
        with self._lock:
            self._drop(key)
            if nbytes > self.limit:
                return
            while self._bytes + nbytes > self.limit:
                self._drop(next(iter(self._held)))
            self._held[key] = (value, nbytes)
            self._bytes += nbytes

    def drop(self, key: Hashable) -> None:
        """Let go of a value, where it is held."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        if key in self._held:
            self._bytes -= self._held.pop(key)[1]
