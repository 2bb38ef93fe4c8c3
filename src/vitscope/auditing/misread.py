"""A misread photo: what speaks for the wrong label against the right one, and what would change the answer. Numbers and plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample


@dataclass(frozen=True)
class Outcome:
    """The photo fed another way.

    Attributes:
        kind, text: what was done.
        top: label and probability of the answer.
        lead: score points by which the wrong label leads the right one (below 0: the right one leads).
    """

    kind: str
    text: str
    top: tuple[str, float]
    lead: float

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"kind": self.kind, "text": self.text, "answer": self.top[0], "probability": self.top[1], "lead": self.lead}


@dataclass(frozen=True)
class Hidden:
    """Squares of patches taken away one at a time.

    Shapes:
        covered: bool ``[m, gh, gw]`` what each square hides; drops: float64 ``[m]`` how much of the lead goes with it.

    Attributes:
        side: of a square, in patches.
        wrong, right: the square that speaks most for the wrong label, and for the right one, taken away.
        growing: the share of patches taken away, most speaking for the wrong label first, and what came of it; then the same at random.
    """

    covered: NDArray[np.bool_]
    drops: NDArray[np.float64]
    side: int
    wrong: Outcome
    right: Outcome
    growing: tuple[tuple[float, Outcome, Outcome], ...]


@dataclass(frozen=True)
class Misread:
    """What speaks for one label against another on one photo.

    Shapes:
        occlusion, for_wrong, for_right, attention: ``[gh, gw]``. Occlusion is signed: score points of the wrong label's lead that go when
        a patch is hidden (below 0: the patch speaks for the right label). Relevance speaks for each label rather than the other.
        layers: the wrong label's lead after each block, read by the model's own head; empty where it cannot be read.

    Attributes:
        wrong, truth: the two labels.
        top: the model's likeliest labels with probabilities.
        chances: probability of the wrong and of the right label.
        lead: score points by which the wrong label leads.
        notes: what could not be done, and why.
    """

    sample: Sample
    placement: Placement
    layout: TokenLayout
    wrong: str
    truth: str
    top: tuple[tuple[str, float], ...]
    chances: tuple[float, float]
    lead: float
    occlusion: NDArray[np.float64]
    for_wrong: NDArray[np.floating]
    for_right: NDArray[np.floating]
    attention: NDArray[np.floating]
    layers: NDArray[np.float64]
    hidden: Hidden
    outcomes: tuple[Outcome, ...]
    provenance: Provenance
    picture: NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What other programs may want."""
        return {
            "occlusion": self.occlusion.astype(np.float32),
            "for_wrong": np.asarray(self.for_wrong, np.float32),
            "for_right": np.asarray(self.for_right, np.float32),
            "attention": np.asarray(self.attention, np.float32),
            "layers": self.layers.astype(np.float32),
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "photo": {"id": self.sample.id, "size": list(self.sample.size), "sha256": self.sample.digest},
            "wrong": self.wrong,
            "truth": self.truth,
            "misread": self.lead > 0,
            "answer": [[label, p] for label, p in self.top],
            "probabilities": {"wrong": self.chances[0], "truth": self.chances[1]},
            "lead": self.lead,
            "sentences": sentences(self),
            "layers": self.layers.tolist(),
            "occlusion": self.occlusion.tolist(),
            "hidden": {"side": self.hidden.side, "wrong": self.hidden.wrong.as_dict(), "right": self.hidden.right.as_dict()},
            "growing": [
                {"share": share, "by_evidence": first.as_dict(), "at_random": chance.as_dict()}
                for share, first, chance in self.hidden.growing
            ],
            "outcomes": [one.as_dict() for one in self.outcomes],
            "notes": list(self.notes),
            "provenance": self.provenance.as_dict(),
        }


def sentences(found: Misread) -> list[str]:
    """What the numbers say, in the order a reader needs it, what does not change the answer among it."""
    return [
        _answer(found),
        *_where(found),
        _square(found),
        _growing(found),
        *_layers(found),
        _attention(found),
        *_ways(found),
        *found.notes,
    ]


def _points(value: float) -> str:
    """Score points, with a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


def _answer(found: Misread) -> str:
    (label, p), (wrong, right) = found.top[0], found.chances
    said = f"The model answers {label} ({p:.1%}): {found.wrong} {wrong:.1%}, {found.truth} {right:.1%}"
    if found.lead <= 0:
        return f"{said}. It does not take {found.truth} for {found.wrong}: {found.truth} leads by {-found.lead:.2f} score points."
    return f"{said}; {found.wrong} leads {found.truth} by {found.lead:.2f} score points."


def _where(found: Misread) -> list[str]:
    """How much of the evidence lies where."""
    up, down = np.clip(found.occlusion, 0, None), np.clip(-found.occlusion, 0, None)
    count = found.occlusion.size
    for_wrong, for_right = int((found.occlusion > 0).sum()), int((found.occlusion < 0).sum())
    out = [
        f"Of {count} patches, hiding {for_wrong} lowers the lead of {found.wrong} (they speak for it) and hiding {for_right} raises it "
        f"(they speak for {found.truth})."
    ]
    if up.sum() > 0:
        tenth = max(round(count / 10), 1)
        held = float(np.sort(up.ravel())[::-1][:tenth].sum() / up.sum())
        how = "gathered in few places" if held > 0.4 else "spread over the photo"
        out.append(f"What speaks for {found.wrong} is {how}: the strongest tenth of the patches holds {held:.0%} of it.")
    if down.sum() > 0 and up.sum() > 0:
        out.append(f"All in all, what speaks for {found.wrong} outweighs what speaks for {found.truth} {up.sum() / down.sum():.2g} to 1.")
    return out


def _square(found: Misread) -> str:
    hidden = found.hidden
    mean, spread = float(hidden.drops.mean()), float(hidden.drops.std())
    what = f"the {hidden.side}×{hidden.side} patches that speak most for {found.wrong} ({place_of(found)})"
    came = _came(found, hidden.wrong)
    return (
        f"Hiding {what} takes the lead from {_points(found.lead)} to {_points(hidden.wrong.lead)} score points; a square anywhere takes "
        f"{_points(mean)} ± {spread:.2f} off it. {came}"
    )


def _came(found: Misread, outcome: Outcome) -> str:
    if outcome.top[0] == found.top[0][0]:
        return f"The answer stays {outcome.top[0]} ({outcome.top[1]:.1%})."
    return f"The answer becomes {outcome.top[0]} ({outcome.top[1]:.1%})."


def place_of(found: Misread) -> str:
    """Where in the photo the square lies that speaks most for the wrong label."""
    rows, columns = np.nonzero(found.hidden.covered[int(np.argmax(found.hidden.drops))])
    y0, x0, _, _ = found.layout.patch_box(int(rows.min()), int(columns.min()))
    _, _, y1, x1 = found.layout.patch_box(int(rows.max()), int(columns.max()))
    top, left = found.placement.to_photo((y0, x0))
    bottom, right = found.placement.to_photo((y1, x1))
    height, width = found.placement.photo_size
    box = (max(left, 0), max(top, 0), min(right, width), min(bottom, height))
    return f"photo columns {box[0]:.0f} to {box[2]:.0f}, rows {box[1]:.0f} to {box[3]:.0f}"


def _growing(found: Misread) -> str:
    turned = next((entry for entry in found.hidden.growing if entry[1].lead <= 0), None)
    if found.lead <= 0:
        return "As the right label leads already, hiding what speaks for the wrong one was not followed further."
    if turned is None:
        most = found.hidden.growing[-1]
        return (
            f"Even with the {most[0]:.0%} of the patches hidden that speak most for {found.wrong}, it still leads {found.truth} "
            f"({_points(most[1].lead)} score points): no small part of the photo decides this."
        )
    share, _, chance = turned
    random = "leads as well" if chance.lead <= 0 else f"stays behind by {_points(chance.lead)}"
    return (
        f"With the {share:.0%} of the patches hidden that speak most for {found.wrong}, {found.truth} leads; with as many hidden at random "
        f"it {random}."
    )


def _layers(found: Misread) -> list[str]:
    """Where along the blocks the wrong label takes the lead."""
    layers = found.layers
    if not len(layers):
        return []
    wrong, right = found.wrong, found.truth
    signs = layers > 0
    last = len(layers) - 1
    if signs.all() or not signs.any():
        return [f"Read after every block by the model’s own head, {wrong if signs.all() else right} leads all the way."]
    switches = np.flatnonzero(signs[1:] != signs[:-1]) + 1
    leader, other = (wrong, right) if signs[-1] else (right, wrong)
    before = f"before, {other} leads" if len(switches) == 1 else f"before, the lead changes sides {len(switches) - 1} times"
    where = f"from block {switches[-1]} on (of 0 to {last})" if switches[-1] < last else f"in the last block, {last}, alone"
    return [f"Read after every block by the model’s own head, {leader} leads for good {where}; {before}."]


def _attention(found: Misread) -> str:
    """Whether the last block looks more at what speaks for the wrong label than at the rest."""
    attention = np.asarray(found.attention, np.float64)
    share = attention / max(float(attention.sum()), 1e-12)
    up, down = found.occlusion > 0, found.occlusion < 0
    ratios = [float(share[part].sum() / part.mean()) if part.any() else float("nan") for part in (up, down)]
    if abs(ratios[0] - ratios[1]) < 0.1 or not np.isfinite(ratios).all():
        return "The last block’s attention does not tell the two apart: it looks as much at patches for the one as for the other."
    first, second = (found.wrong, found.truth) if ratios[0] > ratios[1] else (found.truth, found.wrong)
    return (
        f"The last block looks more at patches that speak for {first} ({max(ratios):.2f} times an even share) than at those for {second} "
        f"({min(ratios):.2f})."
    )


def _ways(found: Misread) -> list[str]:
    """Which other ways to feed the photo change the answer, and which do not."""
    answer = found.top[0][0]
    changed = [one for one in found.outcomes if one.top[0] != answer]
    kept = [one for one in found.outcomes if one.top[0] == answer]
    out = []
    if changed:
        listed = "; ".join(f"{one.text}: {one.top[0]} ({one.top[1]:.0%})" for one in changed)
        out.append(f"The answer changes under {len(changed)} of {len(found.outcomes)} other ways to feed the photo: {listed}.")
    if kept:
        leads = [one.lead for one in kept]
        kinds = {kind: [one.kind for one in found.outcomes].count(kind) for kind in dict.fromkeys(one.kind for one in kept)}
        of = {kind: [one.kind for one in kept].count(kind) for kind in kinds}
        listed = ", ".join(f"{kind}{f' {of[kind]} of {n} ways' if n > 1 else ''}" for kind, n in kinds.items())
        out.append(
            f"It does not change under {len(kept)} of {len(found.outcomes)} ({listed}): there the lead of "
            f"{found.wrong} lies between {_points(min(leads))} and {_points(max(leads))}."
        )
    return out
