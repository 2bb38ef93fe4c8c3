"""The main job: photos through a model, the asked-for maps, and how far to trust them — one forward and at most one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vitscope.core.maps import TokenMap

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

    def of(self, names: Collection[str]) -> dict[str, object]:
        """Those settings a method names, without those left to its own default."""
        own = ("layer", "head", "query", "fuse", "residual", "discard")
        return {name: getattr(self, name) for name in own if name in names and not (name == "layer" and self.layer is None)}


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
    from vitscope.methods.registry import find_method, needs_of

    chosen = options or Options()
    say = tell or (lambda _: None)
    names = [find_method(name).name for name in methods] or default_methods(model)
    class_specific = any(find_method(name).class_specific for name in names)
    say("one pass through the model")
    trace = model.trace(photos, needs=needs_of(names), target=chosen.aim if class_specific else None)
    maps: list[TokenMap] = []
    for name in names:
        say(name)
        maps += _maps_of(trace, name, chosen)
    return Explanation(trace, tuple(_checked(trace, maps, chosen, say) if chosen.check else maps))


def default_methods(model: LoadedModel) -> list[str]:
    """The default methods that a model allows: without class scores, only those that need none."""
    from vitscope.methods import METHODS

    return [name for name in DEFAULT_METHODS if model.labels or not METHODS[name].class_specific]


def _maps_of(trace: Trace, name: str, options: Options) -> list[TokenMap]:
    """One map, or one for each start where the head reads in several ways."""
    from vitscope.methods.registry import explain as one_map
    from vitscope.methods.registry import find_method

    taken = find_method(name).options
    given = options.of(taken)
    pooled = "query" not in taken or options.query == "pooled"
    starts = len(trace.layout.readouts) if "start" in taken and pooled else 1
    return [one_map(trace, name, options.aim, **given, **({"start": i} if starts > 1 else {})) for i in range(starts)]


def _checked(trace: Trace, maps: Sequence[TokenMap], options: Options, say: Tell) -> list[TokenMap]:
    """The same maps with their trust figures."""
    from vitscope.trust import check

    done = []
    for one in maps:
        say(f"how far to trust {one.method}")
        done.append(check(trace, one, seed=options.seed))
    return done
