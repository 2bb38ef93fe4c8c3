"""The main job: photos through a model, the asked-for maps, and how far to trust them — one forward and at most one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

#: Shown where nobody chose: two that say where the model looked, two that say what spoke for the answer.
DEFAULT_METHODS = ("attention", "rollout", "relevance", "grad-cam")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What can be chosen; each method takes what concerns it.

    Attributes:
        layer: block number (−1 = last); None leaves each method its own default.
        head: number, mean, max or min.
        query: pooled, cls, or "row,column".
        target, against: a label or index; None is the top prediction, and nothing to set it against.
        check: add trust figures to every map.
    """

    layer: int | None = None
    head: int | str = "mean"
    query: str = "pooled"
    target: str | int | None = None
    against: str | int | None = None
    fuse: str = "mean"
    residual: float = 0.5
    discard: float = 0.0
    check: bool = False
    seed: int = 0

    @property
    def aim(self) -> object:
        """The target as :meth:`vitscope.trace.Trace.resolve` takes it."""
        return self.target if self.against is None else (self.target, self.against)

    def of(self, names: Sequence[str]) -> dict[str, object]:
        """Those options a method names, without those left to its default."""
        known = {
            "layer": self.layer, "head": self.head, "query": self.query, "target": self.aim,
            "fuse": self.fuse, "residual": self.residual, "discard": self.discard,
        }  # fmt: skip
        return {name: known[name] for name in names if name in known and not (name == "layer" and self.layer is None)}


@dataclass(frozen=True)
class Explanation:
    """One batch of photos: its trace, and a map (over the whole batch) for each method."""

    trace: Trace
    maps: tuple[TokenMap, ...] = field(default=())


def explain(
    photos: object, model: LoadedModel, methods: Sequence[str] = (), options: Options | None = None, *, tell: Tell | None = None
) -> Explanation:
    """Run photos through a model once and make every map from that one pass (and one backward pass, where methods need it).

    Args:
        photos: a path, PIL image, array, Sample, or a list of them.
        model: from :func:`vitscope.load`.
        methods: public method names; empty: the defaults that this model allows.
        options: layer, head, query, target …
        tell: called with a few words before each part, for progress.

    Raises:
        ArgumentError: unknown method, label, layer, head or query.
    """
    from vitscope.methods import METHODS, needs_of

    chosen = options or Options()
    say = tell or (lambda _: None)
    names = list(methods) or default_methods(model)
    for name in names:
        if name not in METHODS:
            raise ArgumentError(f"unknown method {name!r}", expected=", ".join(METHODS), where="method")
    say("one pass through the model")
    specific = any(METHODS[name].class_specific for name in names)
    trace = model.trace(photos, needs=needs_of(names), target=chosen.aim if specific else None)
    maps: list[TokenMap] = []
    for name in names:
        say(name)
        maps += _maps_of(trace, name, chosen)
    if chosen.check:
        from vitscope.trust import check

        for i, one in enumerate(maps):
            say(f"how far to trust {one.method}")
            maps[i] = check(trace, one, seed=chosen.seed)
    return Explanation(trace, tuple(maps))


def default_methods(model: LoadedModel) -> list[str]:
    """The default methods that a model allows: without class scores, only those that need none."""
    from vitscope.methods import METHODS

    return [name for name in DEFAULT_METHODS if model.labels or not METHODS[name].class_specific]


def _maps_of(trace: Trace, name: str, options: Options) -> list[TokenMap]:
    """One map, or one for each start where the head reads in several ways."""
    from vitscope.methods import METHODS

    method = METHODS[name]
    given = options.of(method.options)
    starts = len(trace.layout.readouts) if "start" in method.options and options.query == "pooled" else 1
    made = [method.run(trace, **given, **({"start": i} if starts > 1 else {})) for i in range(starts)]
    return [replace(one, notes=tuple(dict.fromkeys(one.notes))) for one in made]
