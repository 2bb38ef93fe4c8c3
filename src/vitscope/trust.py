"""How far a map can be trusted: four checks, in numbers and one plain sentence, laid beside the map in ``meta["trust"]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.readings import Directions
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, MethodError
from vitscope.methods.dropping import full_scores, scores_without
from vitscope.methods.registry import find_method, remake
from vitscope.methods.result import per_picture
from vitscope.methods.uniformity import UNIFORM_BELOW, distance_from_uniform
from vitscope.methods.windows import on_first_grid
from vitscope.metrics.constancy import CONSTANT_BELOW, relative_spread
from vitscope.metrics.faithfulness import SHARES, Drops, compare, hide_hottest, hide_random
from vitscope.metrics.likeness import rank_correlation
from vitscope.metrics.row import Row
from vitscope.scoring import columns
from vitscope.trace import Inputs, Needs, Trace

#: From this rank correlation on, two maps are called much the same.
MUCH_THE_SAME = 0.9
#: From this rank correlation on, a map owes much to the picture or the architecture, whatever was learnt.
SURVIVES_REDRAW = 0.5
#: A map is called better than chance when it beats this share of the random draws.
CLEARLY = 0.95


@dataclass(frozen=True)
class Trust:
    """The figures of one picture; None where undefined.

    Attributes:
        sentence: what they mean, in plain words.
        uninformative: the map says nothing, whatever it looks like.
        redrawn_weights_similarity: rank correlation with the same map of the same architecture with re-drawn weights, mean over redraws.
        target_swap_similarity: rank correlation with the same map for another class; None for methods that have no class.
        target_swapped_to: that class.
        hottest_drop: score points lost when the hottest 10, 20 and 30 % of patches are hidden, mean of the three.
        random_drop: the same for random patches, mean over draws.
        random_drop_spread: its standard deviation over draws.
        draws_beaten: share of draws that lose less than the hottest patches do.
        random_draws: how many draws.
        relative_spread: standard deviation of the patches' values over their root mean square.
        attention_from_uniform: largest total variation between any attention row and the uniform one.
    """

    sentence: str
    uninformative: bool
    redrawn_weights_similarity: float | None
    target_swap_similarity: float | None
    target_swapped_to: str
    hottest_drop: float | None = None
    random_drop: float | None = None
    random_drop_spread: float | None = None
    draws_beaten: float | None = None
    random_draws: int = 0
    relative_spread: float = 0.0
    attention_from_uniform: float = 0.0

    def rows(self, sample: str) -> list[Row]:
        """The figures as plain rows."""
        better = {"redrawn_weights_similarity": False, "target_swap_similarity": False, "draws_beaten": True, "hottest_drop": True}
        known = ("random_drop", "random_drop_spread", "relative_spread", "attention_from_uniform", *better)
        draws = {"random_drop": self.random_draws, "random_drop_spread": self.random_draws, "draws_beaten": self.random_draws}
        found = [(name, getattr(self, name)) for name in known]
        return [
            Row(sample, f"trust {name.replace('_', ' ')}", value, better.get(name), draws.get(name, 1))
            if value is not None
            else Row(sample, f"trust {name.replace('_', ' ')}", float("nan"), better.get(name), 0, "undefined for this method or model")
            for name, value in found
        ]


def check(
    trace: Trace, one: TokenMap, *, target: object = None, seed: int = 0, draws: int = 10, redraws: int = 2, batch: int = 16
) -> TokenMap:
    """The map with its trust figures in ``meta["trust"]`` (a dict; for a batch a tuple of them), and a note where it is uninformative.

    Formula:
        likeness = Spearman's ρ over patches; drop = ``s(all) − s(without)`` with patch tokens dropped, mean over 10, 20 and 30 % of them.

    Args:
        trace: the pass the map was made from, the whole batch.
        one: the map, of the same batch.
        target: the score its patches are put to the test on, where the map itself is for none; the top prediction where not given.
        seed: of the re-drawn weights and the random patches.
        draws: random sets of patches.
        redraws: models with re-drawn weights.
        batch: pictures in one run.

    Raises:
        ArgumentError: a map of another batch than the trace.

    Source:
        Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018 (re-drawn weights); Samek et al., "Evaluating the visualization
        of what a deep neural network has learned", 2017 (hiding the hottest against random).
    """
    if len(one) != len(trace):
        raise ArgumentError(
            f"a map of {len(one)} pictures", expected=f"{len(trace)}, as the trace", where="check", todo="check before picking one"
        )
    figures = [asdict(figure) for figure in trust_of(trace, one, target=target, seed=seed, draws=draws, redraws=redraws, batch=batch)]
    doubts = tuple((str(f["sentence"]),) if f["uninformative"] else () for f in figures)
    notes = one.picture_notes or ((),) * len(one)
    joined = tuple((*known, *new) for known, new in zip(notes, doubts, strict=True))
    return replace(one, meta=one.meta | {"trust": per_picture(figures)}, picture_notes=joined)


def trust_of(
    trace: Trace, one: TokenMap, *, target: object = None, seed: int = 0, draws: int = 10, redraws: int = 2, batch: int = 16
) -> list[Trust]:
    """The figures of every picture; see :func:`check`."""
    method = find_method(one.method)
    aim = _aim(trace, one, target)
    patches = [np.asarray(values)[one.layout.patches] for values in one.values]
    swap_to = _other_class(trace, aim) if method.class_specific and aim else None
    swapped = _likeness(trace, one, patches, swap_to) if swap_to else [None] * len(one)
    redrawn = _redrawn(trace, one, patches, aim if method.class_specific else None, [seed + i for i in range(redraws)])
    uniform = distance_from_uniform(trace)
    out = []
    for i, values in enumerate(patches):
        drops = _drops(trace, one.layout, aim, i, values, seed, draws, batch) if aim else None
        spread = relative_spread(values)
        empty = _says_nothing(spread, uniform[i] if method.reads_attention else 1.0)
        name = swap_to.names[i] if swap_to else ""
        sentence = empty or _sentence(drops, swapped[i], name, redrawn[i], class_specific=method.class_specific)
        trust = Trust(sentence, bool(empty), redrawn[i], swapped[i], name, relative_spread=spread, attention_from_uniform=uniform[i])
        out.append(trust if drops is None else _with_drops(trust, drops))
    return out


def _with_drops(trust: Trust, drops: Drops) -> Trust:
    return replace(
        trust,
        hottest_drop=drops.hottest,
        random_drop=drops.random,
        random_drop_spread=drops.spread,
        draws_beaten=drops.beaten,
        random_draws=drops.draws,
    )


def _aim(trace: Trace, one: TokenMap, target: object) -> Target | None:
    """What the map explains; where that is nothing in particular what was asked for, or the top prediction; None where neither is there."""
    if one.aim is not None:
        return one.aim
    return trace.resolve(target) if trace.answers or target is not None else None


def _other_class(trace: Trace, aim: Target) -> Target | None:
    """The likeliest class (feature) that the target is not, at the same place; a pair is turned round; None where there is no other."""
    if aim.against:
        pairs = zip(aim.index, aim.against, strict=True)
        names = tuple(f"{_named(trace, aim, b)} rather than {_named(trace, aim, a)}" for a, b in pairs)
        if any(isinstance(reading, Directions) for reading in aim.at):
            names = tuple(f"{name}, the other way round" for name in aim.names)
        return Target(aim.against, aim.index, names, aim.at)
    scores = columns(trace.with_needs(Needs(), aim).whole, aim).clone()
    scores = scores[:, : trace.whole.columns or None]
    if scores.shape[1] < 2:
        return None
    for picture, index in enumerate(aim.index):
        scores[picture, index] = float("-inf")
    found = tuple(scores.argmax(dim=-1).tolist())
    return Target(found, (), tuple(_named(trace, aim, i) for i in found), aim.at)


def _named(trace: Trace, aim: Target, index: int) -> str:
    """A class, or a feature."""
    return trace.labels[index] if not aim.at or aim.placed else f"feature {index}"


def _likeness(trace: Trace, one: TokenMap, patches: Sequence[NDArray[np.floating]], aim: Target | None) -> list[float | None]:
    """Rank correlation with the same map made from this trace for this target, per picture; None where either is constant."""
    try:
        other = remake(trace, one, aim)
    except MethodError:  # e.g. no gradient at that block for that class: nothing to compare
        return [None] * len(one)
    found = (rank_correlation(mine, np.asarray(values)[other.layout.patches]) for mine, values in zip(patches, other.values, strict=True))
    return [None if np.isnan(value) else value for value in found]


def _redrawn(
    trace: Trace, one: TokenMap, patches: Sequence[NDArray[np.floating]], aim: Target | None, seeds: Sequence[int]
) -> list[float | None]:
    """Likeness with re-drawn weights, mean over redraws."""
    needs = find_method(one.method).needs
    try:
        found = [_likeness(trace.again(needs, aim, Inputs(redraw=seed)), one, patches, aim) for seed in seeds]
    except MethodError:  # quantised weights, or weights on disk: they cannot be re-drawn
        return [None] * len(one)
    columns = [[value for value in column if value is not None] for column in zip(*found, strict=True)]
    return [float(np.mean(column)) if column else None for column in columns]


def _drops(
    trace: Trace, layout: TokenLayout, aim: Target, picture: int, values: NDArray[np.floating], seed: int, draws: int, batch: int
) -> Drops:
    """What hiding the hottest patches costs, and hiding random ones, in one go: patches of the map's own grid, whole ones."""
    hot, random = hide_hottest(values, seed=seed), hide_random(len(values), draws, seed=seed)
    sets = np.concatenate([hot, random.reshape(-1, len(values))])
    hidden = np.zeros((len(sets), layout.n), dtype=bool)
    hidden[:, layout.patches] = sets
    if layout.grid != trace.layout.grid:  # one stage's map: all patches that its token covers
        hidden = on_first_grid(trace, layout, hidden.astype(np.float32)) == 1.0
    full = full_scores(trace.with_needs(Needs(), aim), aim)[picture]
    lost = full - scores_without(trace, aim, picture, hidden, batch=batch)
    return compare(lost[: len(SHARES)], lost[len(SHARES) :].reshape(draws, len(SHARES)))


def _says_nothing(spread: float, from_uniform: float) -> str:
    """Why a map is uninformative, or ""."""
    if spread < CONSTANT_BELOW:
        return f"Uninformative: the map is constant, its values differ by {spread:.1g} of their size."
    if from_uniform < UNIFORM_BELOW:
        return f"Uninformative: the model's attention is uniform, no row is further than {from_uniform:.1g} from an even spread."
    return ""


def _sentence(drops: Drops | None, swapped: float | None, other: str, redrawn: float | None, *, class_specific: bool) -> str:
    """One plain sentence that says no more than the numbers do."""
    but = []
    if not class_specific:
        but.append("it is the same map for every class")
    elif swapped is not None and swapped >= MUCH_THE_SAME:
        but.append(f"it hardly changes for {other} (rank correlation {swapped:.2f})")
    if redrawn is not None and redrawn >= SURVIVES_REDRAW:
        but.append(f"it looks alike with re-drawn weights (rank correlation {redrawn:.2f}), so it owes much to the picture itself")
    first = _first_part(drops)
    turn = "but" if drops is not None and drops.beats_random else "also"
    return f"{first}; {turn} {' and '.join(but)}." if but else f"{first}."


def _first_part(drops: Drops | None) -> str:
    if drops is None:
        return "This model has no class score, so what it marks cannot be put to the test without a target of its own"
    hottest, random, spread = map(_points, (drops.hottest, drops.random, drops.spread))
    numbers = f"Hiding its hottest patches costs {hottest} score points, random ones {random} ± {spread}"
    if not drops.beats_random:
        return f"{numbers}: no better than chance, do not read it as evidence"
    if drops.beaten < CLEARLY:
        return f"{numbers}: better than chance on average, not clearly ({drops.beaten:.0%} of the random sets cost less)"
    return f"{numbers}: what it marks matters to the score"


def _points(value: float) -> str:
    """Score points in two decimals; smaller ones in two digits, so that nothing that was measured reads as nothing."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
