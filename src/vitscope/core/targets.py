"""Target: which score is explained — one class, or one class rather than another — resolved from what people write."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from vitscope.errors import ArgumentError

TargetLike = "str | int | tuple[str | int, str | int] | Target | None"


@dataclass(frozen=True)
class Target:
    """Class indices, one for each picture of the batch: the score is ``logit[index]``, minus ``logit[against]`` where given.

    Attributes:
        index: class explained, per picture.
        against: class it is set against, per picture; empty for a plain logit.
        names: what to call it, per picture.
    """

    index: tuple[int, ...]
    against: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


def find_label(wanted: str | int, labels: Sequence[str]) -> int:
    """Index of a label given by number, by exact name, or by one of its comma-separated synonyms (case does not matter).

    Raises:
        ArgumentError: no such label (the nearest names are offered), or a name that several classes share.
    """
    count = len(labels)
    text = str(wanted).strip()
    if text.lstrip("-").isdigit():
        number = int(text)
        if 0 <= number < count:
            return number
        raise ArgumentError(f"class {number}", expected=f"0 to {count - 1}", where="target")
    folded = text.casefold()
    exact = [i for i, name in enumerate(labels) if name.casefold() == folded]
    synonyms = [i for i, name in enumerate(labels) if folded in {part.strip().casefold() for part in name.split(",")}]
    found = exact or synonyms
    if len(found) == 1:
        return found[0]
    if found:
        raise ArgumentError(
            f"label {text!r} names classes {', '.join(map(str, found))}", expected="one class", where="target", todo="give its number"
        )
    raise ArgumentError(f"unknown label {text!r}", where="target", todo=f"nearest: {_nearest(folded, labels)}")


def _nearest(folded: str, labels: Sequence[str]) -> str:
    by_name = {part.strip().casefold(): name for name in labels for part in name.split(",")}
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
        if len(target.index) != len(top):
            raise ArgumentError(f"a target for {len(target.index)} pictures", expected=f"{len(top)}", where="target")
        return target
    if isinstance(target, (tuple, list)):
        if len(target) != 2:
            raise ArgumentError(f"a target of {len(target)} parts", expected="(this, rather than that)", where="target")
        one = resolve(target[0], labels, top)
        other = resolve(target[1], labels, top)
        same = [i for i, (a, b) in enumerate(zip(one.index, other.index, strict=True)) if a == b]
        if same:
            raise ArgumentError(
                f"{one.names[same[0]]!r} against itself (picture {same[0]})", expected="two different classes", where="target"
            )
        names = tuple(f"{a} rather than {b}" for a, b in zip(one.names, other.names, strict=True))
        return Target(one.index, other.index, names)
    if target is None:
        index = tuple(int(i) for i in top)
    elif isinstance(target, (str, int)) and not isinstance(target, bool):
        index = (find_label(target, labels),) * len(top)
    else:
        raise ArgumentError(f"a target of type {type(target).__name__}", expected="a label, an index, or a pair of them", where="target")
    return Target(index, (), tuple(labels[i] for i in index))
