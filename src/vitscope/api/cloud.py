"""The explorer with clouds of points beside its photos: what is asked of a cloud is answered by it, all else by the explorer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.api.asked import read
from vitscope.api.explorer import PHOTO_BYTES, Explorer
from vitscope.api.live_cloud import Answer, LiveCloud
from vitscope.errors import ArgumentError, PhotoError
from vitscope.views.view import block, pack
from vitscope.web.compute import CLOUD_OPS, Stop, never

if TYPE_CHECKING:
    from vitscope.core.maps import TokenMap

#: Neighbours, and pixels of a thumbnail, where nobody says.
NEAR, SIZE = 10, 96

#: About what the facts beside one photo's attention take.
FACTS_BYTES = 2000

#: What each question may say besides the cloud.
ARGUMENTS = {
    "points": ("map",),
    "column": ("name",),
    "table": ("rows", "map"),
    "thumbs": ("rows", "size"),
    "attentions": ("rows",),
    "nearest": ("row", "k", "layer"),
    "open": ("row",),
}


class CloudExplorer:
    """What :class:`vitscope.web.compute.Compute` asks for, of photos and of clouds.

    Args:
        explorer: of photos, with the models.
        clouds: of points; their models are among the explorer's.
    """

    def __init__(self, explorer: Explorer, clouds: Sequence[LiveCloud]) -> None:
        self._explorer, self._clouds = explorer, tuple(clouds)
        self._opened: dict[tuple[int, int], int] = {}
        self._opening = Lock()
        self._held = 0

    def catalogue(self, *, inline: bool = True) -> dict[str, Any]:
        """What there is to look at; see :meth:`vitscope.web.compute.Compute.catalogue`."""
        return {**self._explorer.catalogue(inline=inline), "clouds": [cloud.facts for cloud in self._clouds]}

    def ready(self, source: int) -> bool:
        """See :meth:`vitscope.web.compute.Compute.ready`."""
        return self._explorer.ready(source)

    def picture(self, source: int) -> tuple[str, bytes]:
        """See :meth:`vitscope.web.compute.Compute.picture`."""
        return self._explorer.picture(source)

    def add(self, data: bytes, name: str, model: str) -> int:
        """See :meth:`vitscope.web.compute.Compute.add`."""
        return self._explorer.add(data, name, model)

    def open(self, cloud: int, row: int) -> int:
        """The photo of a point as a source; see :meth:`vitscope.web.compute.Compute.open`."""
        at = self._cloud(cloud)
        at.check([row], "open")
        if at.model is None:
            raise ArgumentError(at.why_no_model, where="open")
        with self._opening:
            found = self._opened.get((cloud, row))
            if found is not None:
                return found
            if self._held >= PHOTO_BYTES:
                raise ArgumentError(
                    f"{len(self._opened):,} photos are open", expected="fewer", where="open", todo="start anew to open more of them"
                )
            number = self._explorer.add_sample(lambda: at.sample(row), at.cloud.text("path", row), at.model[0])
            self._opened[(cloud, row)] = number
            self._held += len(self._explorer.picture(number)[1])
            return number

    def answer(self, op: str, args: Mapping[str, Any], stop: Stop = never) -> Iterator[bytes]:
        """Packed blocks; see :meth:`vitscope.web.compute.Compute.answer`."""
        if op not in CLOUD_OPS:
            yield from self._explorer.answer(op, args, stop)
            return
        asked = read(args, ("cloud", *ARGUMENTS[op]), op)
        number = asked.pop("cloud", 0)
        cloud = self._cloud(number)
        if stop():
            return
        if op == "attentions":
            yield from self._attentions(number, _needed(asked, "rows", op), stop)
        elif op == "open":
            source = self.open(number, _needed(asked, "row", op))
            yield _packed(({}, {"source": source, "catalogue": self.catalogue()}))
        else:
            yield _packed(self._plain(op, number, cloud, asked))

    def _plain(self, op: str, number: int, cloud: LiveCloud, asked: Mapping[str, Any]) -> Answer:
        """What needs no model."""
        if op == "points":
            return cloud.points(asked.get("map", 0))
        if op == "column":
            return cloud.column(_needed(asked, "name", op))
        if op == "table":
            return cloud.table(_needed(asked, "rows", op), asked.get("map", 0))
        if op == "nearest":
            return cloud.nearest(_needed(asked, "row", op), asked.get("k", NEAR), asked.get("layer"))
        size = asked.get("size", SIZE)
        return cloud.thumbs(_needed(asked, "rows", op), size, lambda row, make: self._kept(("thumb", number, row, size), make))

    def _attentions(self, number: int, rows: Sequence[int], stop: Stop) -> Iterator[bytes]:
        """One block for each photo, as it is ready; the last one says so."""
        cloud = self._cloud(number)
        cloud.check(rows, "attentions")
        for row in rows:
            if stop():
                return
            arrays, meta = self._attention(number, cloud, row)
            yield _packed((arrays, {"rows": [row], "progress": {"done": row == rows[-1]}, **meta}))

    def _attention(self, number: int, cloud: LiveCloud, row: int) -> Answer:
        key = ("cloud attention", number, row)
        found: Answer | None = self._explorer.cache.get(key)
        if found is not None:
            return found
        if cloud.model is None:
            raise ArgumentError(cloud.why_no_model, where="attentions")
        try:
            with self._explorer.passing(cloud.model[1].ref):
                one = cloud.attention(row)
        except PhotoError as error:
            return {}, {"failed": {str(row): str(error)}}
        answer: Answer = {"attention": flat([one])}, {"failed": {}, "attention": attention_facts([one])}
        self._explorer.cache.put(key, answer, answer[0]["attention"].nbytes + FACTS_BYTES)
        return answer

    def _kept(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        found: bytes | None = self._explorer.cache.get(key)
        if found is None:
            found = make()
            self._explorer.cache.put(key, found, len(found))
        return found

    def _cloud(self, number: int) -> LiveCloud:
        if not 0 <= number < len(self._clouds):
            raise ArgumentError(f"cloud {number}", expected=f"0 to {len(self._clouds) - 1}", where="request")
        return self._clouds[number]


def flat(maps: Sequence[TokenMap]) -> NDArray[np.float32]:
    """Patch values of maps on one grid, float32 ``[k, gh * gw]``."""
    return np.stack([np.asarray(one.grid, dtype=np.float32).reshape(-1) for one in maps])


def attention_facts(maps: Sequence[TokenMap]) -> dict[str, Any]:
    """What the rows of an array of attention are: of photos on one patch grid."""
    from vitscope.views.frame import Frame

    first = maps[0]
    return {
        "grid": list(first.layout.grid),
        "frames": [Frame.of(one.placement, one.layout).as_facts() for one in maps],
        "method": first.method,
        "query": first.query,
        "layer": first.layer,
        "head": first.head,
        "unit": first.unit,
    }


def _needed(asked: Mapping[str, Any], name: str, op: str) -> Any:
    if name not in asked:
        raise ArgumentError(f"no {name}", expected=f"{name}=…", where=op)
    return asked[name]


def _packed(answer: Answer) -> bytes:
    return pack(block(*answer))
