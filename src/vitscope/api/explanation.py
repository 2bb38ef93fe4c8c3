"""The main job: photos through a model, the asked-for maps, and how far to trust them — one forward and at most one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vitscope.api.progress import silent
from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

#: Shown where nobody chose: two that say where the model looked, two that say what spoke for the answer.
DEFAULT_METHODS = ("attention", "rollout", "relevance", "grad-cam")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What can be chosen; each method takes what concerns it. None is "not chosen": the method's own default.

    Attributes:
        layer: block number (−1 = last).
        head: number, mean, max or min.
        query: pooled, cls, or "row,column".
        target, against: a label or index; None is the top prediction, and nothing to set it against.
        fuse, residual, discard: of rollout and its relatives.
        check: add trust figures to every map.
        audit: look at what the model was fed, too.
    """

    layer: int | None = None
    head: int | str | None = None
    query: str | None = None
    target: str | int | None = None
    against: str | int | None = None
    fuse: str | None = None
    residual: float | None = None
    discard: float | None = None
    check: bool = False
    seed: int = 0
    audit: bool = False

    @property
    def aim(self) -> object:
        """The target as :meth:`vitscope.trace.Trace.resolve` takes it, but for what needs another photo or a file."""
        return self.target if self.against is None else (self.target, self.against)

    def aim_for(self, model: LoadedModel) -> object:
        """The target as :meth:`vitscope.trace.Trace.resolve` takes it."""
        from vitscope.api.aims import read_aim

        target = read_aim(self.target, model)
        return target if self.against is None else (target, read_aim(self.against, model))

    @property
    def chosen(self) -> dict[str, object]:
        """The methods' settings that were chosen."""
        own = ("layer", "head", "query", "fuse", "residual", "discard")
        return {name: getattr(self, name) for name in own if getattr(self, name) is not None}

    def of(self, names: Collection[str]) -> dict[str, object]:
        """Those chosen settings that a method names."""
        return {name: value for name, value in self.chosen.items() if name in names}


@dataclass(frozen=True)
class Explanation:
    """One batch of photos: its trace, a map (over the whole batch) for each method, and where asked for an audit of each photo."""

    trace: Trace
    maps: tuple[TokenMap, ...] = field(default=())
    audits: tuple[Audit, ...] = ()


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
        ArgumentError: unknown method, label, layer, head or query, or a setting that none of the methods takes.
    """
    from vitscope.methods.registry import find_method, needs_of

    chosen = options or Options()
    say = tell or silent
    names = [find_method(name).name for name in methods] or default_methods(model, aimed=chosen.aim is not None)
    _refuse_unused(names, chosen)
    class_specific = any(find_method(name).class_specific for name in names)
    aim = chosen.aim_for(model)
    trace = model.trace(photos, needs=needs_of(names), target=aim if class_specific else None, tell=None if say is silent else say)
    if aim is not None:
        trace.resolve(aim)  # a wrong label is refused even where no method asks for one
    maps: list[TokenMap] = []
    for name in names:
        say(name)
        maps += _maps_of(trace, name, chosen, aim)
    checked = _checked(trace, maps, aim, chosen.seed, say) if chosen.check else maps
    return Explanation(trace, tuple(checked), tuple(_audited(model, trace, say)) if chosen.audit else ())


def default_methods(model: LoadedModel, *, aimed: bool = False) -> list[str]:
    """The default methods that a model allows; without scores or a target of its own, only those that need none."""
    from vitscope.methods import METHODS

    available = {method["name"] for method in model.describe()["methods"] if method["available"]}
    features = {name for name in METHODS if METHODS[name].class_specific} if aimed and model.facts().features else set()
    return [name for name in DEFAULT_METHODS if name in available | features]


def _refuse_unused(names: Sequence[str], options: Options) -> None:
    """Refuse a setting that would change nothing.

    Raises:
        ArgumentError: none of the methods takes it; says which would.
    """
    from vitscope.methods import METHODS

    for setting, value in options.chosen.items():
        if not any(setting in METHODS[name].options for name in names):
            takers = ", ".join(name for name, method in METHODS.items() if setting in method.options)
            raise ArgumentError(
                f"{value!r}, but {', '.join(names)} takes no {setting}",
                expected=f"with one of: {takers}",
                where=setting,
                todo="leave it out",
            )


def _maps_of(trace: Trace, name: str, options: Options, aim: object) -> list[TokenMap]:
    """One map, or one for each start where the head reads in several ways."""
    from vitscope.methods.registry import explain as one_map
    from vitscope.methods.registry import find_method

    taken = find_method(name).options
    given = options.of(taken)
    pooled = "query" not in taken or options.query in (None, "pooled")
    starts = max(1, len(trace.layout.readouts)) if "start" in taken and pooled else 1
    return [one_map(trace, name, aim, **given, **({"start": i} if starts > 1 else {})) for i in range(starts)]


def _audited(model: LoadedModel, trace: Trace, say: Tell) -> Iterator[Audit]:
    """Of each photo, what the model was fed."""
    from vitscope.api.audit_panel import audit_sample

    for sample in trace.samples:
        say(f"what the model was fed of {sample.id}")
        yield audit_sample(model, sample)


def _checked(trace: Trace, maps: Sequence[TokenMap], aim: object, seed: int, say: Tell) -> list[TokenMap]:
    """The same maps with their trust figures."""
    from vitscope.trust import check

    done = []
    for one in maps:
        say(f"how far to trust {one.method}")
        done.append(check(trace, one, target=aim, seed=seed))
    return done
