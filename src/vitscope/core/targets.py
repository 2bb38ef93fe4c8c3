"""Target: which score is explained — one class, or one class rather than another — resolved from what people write."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

from vitscope.core.readings import Directions, Places, Reading
from vitscope.errors import ArgumentError

TargetLike = "str | int | tuple[str | int, str | int] | Target | None"


@dataclass(frozen=True)
class Target:
    """Class indices, one for each picture of the batch: the score is ``logit[index]``, minus ``logit[against]`` where given.

    Attributes:
        index: class explained, per picture.
        against: class it is set against, per picture; empty for a plain logit.
        names: what to call it, per picture.
        at: where the columns are read that ``index`` counts, per picture; empty: they are the class scores.
    """

    index: tuple[int, ...]
    against: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    at: tuple[Reading, ...] = ()

    def of(self, pictures: Sequence[int]) -> Target:
        """The target of these pictures of the batch, in this order (a picture may come more than once)."""
        cut = {name: tuple(column[i] for i in pictures) for name, column in vars(self).items() if column}
        return Target(**cut)

    @property
    def blocks(self) -> bool:
        """Whether it is read off a block's tokens."""
        return any(isinstance(reading, Directions) and reading.block is not None for reading in self.at)

    @property
    def placed(self) -> bool:
        """Whether it is a score at places of the picture (pixels, boxes) rather than one of the whole."""
        return any(isinstance(reading, Places) for reading in self.at)


def find_label(wanted: str | int, labels: Sequence[str]) -> int:
    """Index of a label given by number, by its whole text, or by one of its comma-separated synonyms.

    Case, underscores and doubled spaces do not matter. A text of digits is a number, unless it is itself the name of a class.

    Raises:
        ArgumentError: no such label (the nearest names are offered), or a name that several classes share.
    """
    folded = _folded(str(wanted))
    by_name = isinstance(wanted, str)
    synonyms = [i for i, name in enumerate(labels) if by_name and folded in {_folded(part) for part in name.split(",")}]
    found = synonyms or [i for i, name in enumerate(labels) if by_name and _folded(name) == folded]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(f"{i} ({labels[i]!r})" for i in found)
        raise ArgumentError(f"{wanted!r} names {len(found)} classes: {several}", expected="one", where="target", todo="give its number")
    if folded.removeprefix("-").isdecimal():
        return _in_range(int(folded), labels)
    raise ArgumentError(f"unknown label {str(wanted)!r}", where="target", todo=f"nearest: {_nearest(folded, labels)}")


def _in_range(number: int, labels: Sequence[str]) -> int:
    if 0 <= number < len(labels):
        return number
    raise ArgumentError(f"class {number}", expected=f"0 to {len(labels) - 1}", where="target")


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


def _nearest(folded: str, labels: Sequence[str]) -> str:
    by_name = {_folded(part): name for name in labels for part in name.split(",")}
    close = difflib.get_close_matches(folded, list(by_name), n=4, cutoff=0.4)
    close += [part for part in by_name if folded in part and part not in close][: 4 - len(close)]
    names = list(dict.fromkeys(by_name[part] for part in close)) or list(labels[:4])
    return ", ".join(repr(name) for name in names)


def resolve(target: object, labels: Sequence[str], top: Sequence[int]) -> Target:
    """What people write to a :class:`Target`.

    Args:
        target: None (each picture's top prediction), a label, an index, a pair (this, rather than that), or a Target.
            A pair's first part may be None: the top prediction.
        labels: class names by index.
        top: each picture's predicted class.

    Raises:
        ArgumentError: unknown label, index out of range, one class against itself, or a Target for another batch size.
    """
    if isinstance(target, Target):
        if len(target.index) != len(top) or len(target.against) not in (0, len(top)):
            raise ArgumentError(f"a target for {len(target.index)} pictures", expected=f"{len(top)}", where="target")
        for number in (*target.index, *target.against) if labels and not target.at else ():
            _in_range(number, labels)
        return target
    if isinstance(target, (tuple, list)):
        return _one_against_another(target, labels, top)
    if target is None:
        index = tuple(int(i) for i in top)
    elif isinstance(target, (str, Integral)) and not isinstance(target, bool):
        index = (find_label(target if isinstance(target, str) else int(target), labels),) * len(top)
    else:
        raise ArgumentError(f"a target of type {type(target).__name__}", expected="a label, an index, or a pair of them", where="target")
    return Target(index, (), tuple(labels[i] for i in index))


def _one_against_another(pair: Sequence[object], labels: Sequence[str], top: Sequence[int]) -> Target:
    if len(pair) != 2:
        raise ArgumentError(f"a target of {len(pair)} parts", expected="(this, rather than that)", where="target")
    one, other = (resolve(part, labels, top) for part in pair)
    if one.against or other.against:
        raise ArgumentError("a pair within a pair", expected="(this, rather than that)", where="target")
    same = [i for i, (a, b) in enumerate(zip(one.index, other.index, strict=True)) if a == b]
    if same:
        name = labels[one.index[same[0]]]
        raise ArgumentError(f"{name!r} against itself (picture {same[0]})", expected="two different classes", where="target")
    names = tuple(f"{labels[a]} rather than {labels[b]}" for a, b in zip(one.index, other.index, strict=True))
    return Target(one.index, other.index, names)
