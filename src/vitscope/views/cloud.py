"""What the interactive view is told of a cloud of points (its catalogue entry), and its arrays: places, codes and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.projection.store import arrow
from vitscope.projection.table import Cloud, Map
from vitscope.views.points import map_title, quality_words

#: Places run over so many steps; a category's code is below, and this stands for none.
STEPS = 65_535
NONE = 65_535
#: A text column of more different texts than this is not for colours.
MOST_CATEGORIES = 30_000
RIGHT, WRONG = "right", "wrong"
#: Columns that every row has in the table, and that no colours are made of.
UNCOLOURED = ("id", "path")
#: What any points of photos may have to be coloured by.
USUAL = ("label", "predicted", "error", "confidence", "suspect", "duplicate")


@dataclass(frozen=True)
class Column:
    """What points can be coloured by.

    Attributes:
        values: uint16 codes ``[m]`` of the categories, or float32 numbers ``[m]``, NaN where there is none.
        categories: of codes, commonest first; none for numbers.
    """

    name: str
    values: NDArray[np.generic]
    categories: tuple[str, ...] | None = None

    def as_facts(self) -> dict[str, Any]:
        """Its entry in the catalogue."""
        if self.categories is not None:
            return {"name": self.name, "kind": "category", "categories": list(self.categories)}
        finite = self.values[np.isfinite(self.values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        return {"name": self.name, "kind": "number", "low": low, "high": high}


def places(one: Map) -> tuple[NDArray[np.uint16], dict[str, list[float]]]:
    """Positions 0..65535 of a map's points, and the square (or cube) they run over.

    Formula:
        ``round(65535 · (p − low) / side)`` with one ``side`` for all axes, so that distances stay true; each axis lies in its middle.

    Shapes:
        returns uint16 ``[m, 2 or 3]``, and ``{"low": [..], "high": [..]}``.
    """
    points = one.points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max()) or 1.0
    start = (low + high - side) / 2
    coded = np.rint(np.clip((points - start) / side, 0.0, 1.0) * STEPS).astype(np.uint16)
    return coded, {"low": start.tolist(), "high": (start + side).tolist()}


def columns_of(cloud: Cloud, confidence: NDArray[np.float32] | None = None) -> dict[str, Column]:
    """Everything the points of a cloud can be coloured by, in the order it is offered in.

    Args:
        cloud: the points.
        confidence: of the prediction, by point, where it is known; a column of the file of that name comes first.
    """
    found = [column for column in ("label", "predicted") if column in cloud.columns]
    made = [*(_own(cloud, name) for name in found), _error(cloud)]
    if confidence is not None and "confidence" not in cloud.columns:
        made.append(Column("confidence", confidence))
    made += _to_look_at(cloud)
    made += [_own(cloud, name) for name in cloud.columns if name not in (*found, *UNCOLOURED)]
    taken: dict[str, Column] = {}
    for column in made:
        if column is not None:
            taken.setdefault(column.name, column)
    return taken


def _own(cloud: Cloud, name: str) -> Column | None:
    """A column of the file; None where it differs from map to map, or is nothing to colour by."""
    pa, _ = arrow()
    if not cloud.shared(name):
        return None
    array = cloud.column(name)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.string())
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            single = numbers.astype(np.float32)
        return Column(name, np.where(np.isfinite(single), single, np.float32("nan")))
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _categories(name, array)
    return None


def _categories(name: str, texts: Any) -> Column | None:
    """Codes of an Arrow array of texts; an empty one is none."""
    encoded = texts.dictionary_encode()
    if len(encoded.dictionary) > MOST_CATEGORIES:
        return None
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    count = np.bincount(codes, minlength=len(names) + 1)
    order = sorted((i for i, text in enumerate(names) if text), key=lambda i: (-count[i], names[i]))
    code = np.full(len(names) + 1, NONE, dtype=np.uint16)
    code[order] = np.arange(len(order), dtype=np.uint16)
    return Column(name, code[codes], tuple(names[i] for i in order))


def _error(cloud: Cloud) -> Column | None:
    """Whether the model named a photo rightly; only where its label is one of the model's names."""
    known: Mapping[str, str] = cloud.made.get("label_names") or {}
    label, predicted = (_own(cloud, name) if name in cloud.columns else None for name in ("label", "predicted"))
    if not known or label is None or predicted is None or label.categories is None or predicted.categories is None:
        return None
    number = {name: i for i, name in enumerate(predicted.categories)}
    asked = [known.get(name) for name in label.categories]
    wanted = np.array([NONE if name is None else number.get(name, NONE - 1) for name in asked] + [NONE], dtype=np.int64)
    wanted = wanted[np.minimum(label.values.astype(np.int64), len(asked))]
    answered = predicted.values.astype(np.int64)
    codes = np.where((wanted == NONE) | (answered == NONE), NONE, np.where(wanted == answered, 0, 1)).astype(np.uint16)
    return None if (codes == NONE).all() else Column("error", codes, (RIGHT, WRONG))


def _to_look_at(cloud: Cloud) -> list[Column]:
    """Label suspects and near-duplicates, where the file lists some."""
    suspects = [str(one["id"]) for one in cloud.quality.get("label_suspects", [])]
    pairs = [str(one[end]) for one in cloud.quality.get("near_duplicates", []) for end in ("one", "other")]
    made = []
    for name, word, ids in (("suspect", "label suspect", suspects), ("duplicate", "near-duplicate", pairs)):
        if ids:
            kind = "label_suspects" if name == "suspect" else "near_duplicates"
            listed, all_of = len(cloud.quality[kind]), int(cloud.quality.get(f"{kind}_found", 0))
            worst = f" (the first {listed} of {all_of:,})" if all_of > listed else ""
            made.append(Column(name, np.where(_among(cloud, ids), 0, NONE).astype(np.uint16), (word + worst,)))
    return made


def _among(cloud: Cloud, ids: Sequence[str]) -> NDArray[np.bool_]:
    pa, _ = arrow()
    import pyarrow.compute as pc

    return np.asarray(pc.is_in(cloud.column("id"), value_set=pa.array(ids)).to_numpy(zero_copy_only=False), dtype=bool)


@dataclass(frozen=True)
class Ways:
    """How photos, or their attention, are had: computed on demand, carried, or not at all.

    Attributes:
        how: "live", "carried" or "none".
        why: one line for people.
        rows: which points have it, where it is carried.
    """

    how: str
    why: str = ""
    rows: tuple[int, ...] | None = None

    def as_facts(self) -> dict[str, Any]:
        """Plain JSON."""
        facts: dict[str, Any] = {"how": self.how, "why": self.why}
        return facts if self.rows is None else {**facts, "rows": list(self.rows)}


def cloud_facts(cloud: Cloud, columns: Mapping[str, Column], pictures: Ways, attention: Ways, *, can_open: bool = False) -> dict[str, Any]:
    """The catalogue entry of a cloud, plain JSON."""
    curve = [{"layer": int(one["layer"]), "knn_accuracy": float(one["knn_accuracy"])} for one in cloud.quality.get("layers", [])]
    return {
        "title": cloud.name,
        "count": len(cloud),
        "maps": [_map_facts(one) for one in cloud.maps],
        "opens": opens(cloud),
        "columns": [column.as_facts() for column in columns.values()],
        "curve": curve,
        "accuracy": cloud.quality.get("model_accuracy"),
        "layers_note": layers_note(cloud),
        "pictures": pictures.as_facts(),
        "attention": attention.as_facts(),
        "open": can_open,
    }


def opens(cloud: Cloud) -> int:
    """The map that is shown where nobody chose one: the first of the last layer."""
    layers = [one.layer for one in cloud.maps]
    return layers.index(max(layers))


def _map_facts(one: Map) -> dict[str, Any]:
    said = quality_words(one.quality) if one.quality else ["how far to trust this map was not measured"]
    return {
        "layer": one.layer,
        "method": one.method,
        "dims": int(one.points.shape[1]),
        "title": map_title(one.method, one.layer),
        "quality": said,
    }


def layers_note(cloud: Cloud) -> str:
    """One line: how many photos, of how many labels, through which model, how many left out, and what else a reader should know."""
    made = cloud.made
    labels = cloud.columns["label"][0] if "label" in cloud.columns else None
    count = len([text for text in labels.unique().to_pylist() if text]) if labels is not None else 0
    parts = [
        f"{made['photos']:,} photos ({made['understood_as']})"
        if "photos" in made and "understood_as" in made
        else f"{len(cloud):,} points",
        f"{count:,} labels" if count else "no labels",
        f"model {made['model']}",
    ]
    if made.get("left_out_found"):
        parts.append(f"left out: {made['left_out_found']:,}")
    return "; ".join([", ".join(parts), *map(str, made.get("notes") or ())])


#: How each kind of array is named in a block.
MAP: Callable[[int], str] = "map/{}".format
COLUMN: Callable[[str], str] = "column/{}".format
