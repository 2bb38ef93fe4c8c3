"""``photos.html``: the points of one run of ``vitscope embed`` with pictures and attention of as many photos as a file can carry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vitscope.api.cloud import attention_facts, flat
from vitscope.api.live_cloud import Photos, photos_of
from vitscope.api.write import written_state
from vitscope.errors import ArgumentError, PhotoError, VitscopeError
from vitscope.projection.table import Cloud
from vitscope.views.carried_cloud import Carriage, CarriedCloud, carried_cloud, joined, nothing, sampled, to_look_at_first
from vitscope.views.cloud import Column, columns_of
from vitscope.views.points_state import beyond
from vitscope.views.state import State

if TYPE_CHECKING:
    from vitscope.core.maps import TokenMap
    from vitscope.models.loaded import LoadedModel

#: Bytes of all small pictures together, pixels of the longer side of each, and photos whose attention is carried.
PICTURE_BYTES, LONGEST, ATTENDED = 6_000_000, 96, 60
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Page:
    """What a page of points is made of.

    Attributes:
        cloud: every point, as the Parquet file has it.
        confidence: of the prediction, by point.
        model: made the points; it is asked for the attention of a few photos.
        seed: for the draw where there are too many points.
    """

    cloud: Cloud
    confidence: NDArray[np.float32]
    model: LoadedModel
    seed: int = 0
    state: State | None = None


def named_by_folder(cloud: Cloud) -> Cloud:
    """The points called by their folder: what a page says does not depend on the name of its file."""
    folders = [PurePath(str(cloud.made[key])).name for key in ("folder", "placed_folder") if cloud.made.get(key)]
    return replace(cloud, name=" and ".join(name for name in folders if name) or "photos")


def check_state(text: str, maps: int, columns: Collection[str], count: int) -> None:
    """Refuse a state that a page is asked to begin with, where it says what cannot be there.

    Args:
        text: JSON, or the name of a file with it; "" for none.
        maps: how many the page will have.
        columns: the ones it may have.
        count: of points, at most.

    Raises:
        ArgumentError: not a state, or a map, a column or a point that cannot be there.
    """
    lacking = beyond(written_state(text).points, maps, columns, count) if text else ""
    if lacking:
        raise ArgumentError(f"points: {lacking}", where="state")


def write_page(page: Page, out: Path, tell: Tell | None = None) -> Path | None:
    """Write the page; None where the front end was not built, without which it would show nothing.

    Raises:
        OutputError: it cannot be written.
    """
    from vitscope.web.built import built
    from vitscope.web.points import write_points

    if not built():
        return None
    return write_points(carried(page, tell or (lambda _: None)), page.cloud.quality, page.cloud.made, out, page.state)


def carried(page: Page, tell: Tell) -> CarriedCloud:
    """What the page carries."""
    cloud, columns, left_out = sampled(page.cloud, columns_of(page.cloud, page.confidence), seed=page.seed)
    tell("pictures for the page")
    photos = photos_of(cloud, None, None)
    pictures = _pictures(cloud, columns, photos)
    tell("attention of some photos for the page")
    attention = _attention(page.model, cloud, columns, photos, pictures.rows)
    return carried_cloud(cloud, columns, pictures=pictures, attention=attention, left_out=left_out)


def _pictures(cloud: Cloud, columns: dict[str, Column], photos: Photos) -> Carriage:
    """Small pictures of as many photos as fit, in an order that shows what should be looked at, and all of the rest evenly."""
    from vitscope.web.encode import thumbnail

    urgent, wrong, others = to_look_at_first(columns)
    order = [*urgent.tolist(), *_in_turn(wrong.tolist(), others.tolist())]
    rows, files, taken, failed = [], [], 0, 0
    for row in order:
        path = cloud.text("path", row)
        try:
            file = thumbnail(photos.of(row).small(path, LONGEST))
        except PhotoError:
            failed += 1
            continue
        if taken + len(file) > PICTURE_BYTES:
            break
        rows.append(row)
        files.append(file)
        taken += len(file)
    if not rows:
        return nothing(f"no picture is carried: {photos.why}")
    why = f"{len(rows):,} of {len(cloud):,} points have their picture in this file ({LONGEST} px)"
    if len(rows) + failed < len(cloud):
        why += ": label suspects and near-duplicates first, then wrong and right answers in turn, evenly spread"
    if failed:
        why += f"; {failed:,} could not be read"
    by_row = np.argsort(rows)
    return Carriage(tuple(rows[i] for i in by_row), why, joined("thumbs", [files[i] for i in by_row]), {})


def _in_turn(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """One of each in turn, then what is left of the longer."""
    both = min(len(one), len(other))
    paired = [row for pair in zip(one[:both], other[:both], strict=True) for row in pair]
    return [*paired, *one[both:], *other[both:]]


def _attention(model: LoadedModel, cloud: Cloud, columns: dict[str, Column], photos: Photos, shown: Sequence[int]) -> Carriage:
    """Where the head's read-out looked, of some of the photos shown: those to look at first."""
    if not shown:
        return nothing("no picture is carried to lay it on")
    among = set(shown)
    order = [row for part in to_look_at_first(columns) for row in part.tolist() if row in among]
    chosen = sorted(order[:ATTENDED])
    maps: list[TokenMap] = []
    rows: list[int] = []
    for row in chosen:
        try:
            one = _looked_at(model, cloud, photos, row)
        except PhotoError:
            continue
        except VitscopeError as error:  # not of this photo: this model has no such rows
            return nothing(str(error))
        if not maps or one.layout.grid == maps[0].layout.grid:
            maps.append(one)
            rows.append(row)
    if not maps:
        return nothing("none of the photos could be read")
    why = f"{len(rows):,} of {len(cloud):,} points have their attention in this file"
    if len(rows) < len(cloud):
        why += ": label suspects and near-duplicates first, then wrong answers, then evenly spread"
    return Carriage(tuple(rows), why, {"attention": flat(maps).astype(np.float16)}, {"attention": attention_facts(maps)})


def _looked_at(model: LoadedModel, cloud: Cloud, photos: Photos, row: int) -> TokenMap:
    from vitscope.methods.attention import attention

    sample = photos.of(row).read(cloud.text("path", row), cloud.text("id", row))
    return attention(model.trace(sample))[0]
