"""The audit of one photo: how it became the model's tensor, whether the patches cover it, what was lost, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitscope.auditing.cut import Cut, put_back_error
from vitscope.auditing.faults import Given, broken, tensor_findings
from vitscope.auditing.finding import Finding, ranked
from vitscope.auditing.lost import lost, undone
from vitscope.auditing.objects import Seen, object_findings, seen_object
from vitscope.auditing.photo import photo_findings, quality
from vitscope.auditing.recipe import Own, Photo, Recipe
from vitscope.auditing.search import Explained, OwnWay, explain, own_way
from vitscope.auditing.steps import AuditStep, steps_of
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample
from vitscope.inputs.stored import Stored

#: Prepared pixels ``[b, 3, h, w]`` to class scores (logits) ``[b, c]``.
Answer = Callable[[NDArray[np.float32]], NDArray[np.float64]]
Top = tuple[tuple[str, float], ...]
#: The log of the summed exponentials must rise by so much with red and blue exchanged before a photo is suspected.
SUSPECT = 0.9


@dataclass(frozen=True)
class Audited:
    """The model as the audit needs it.

    Attributes:
        own: its own preparation.
        cut: from an input size to how its embedding cuts that, and how far the model's own
            embedding is from these patches (None: not heard).
        answer: runs it; None for a model without class scores.
        labels: class names.
        provenance: what made the result.
    """

    own: Own
    cut: Callable[[NDArray[np.float32]], tuple[Cut, float | None]]
    answer: Answer | None
    labels: tuple[str, ...]
    provenance: Provenance

    def tops(self, *tensors: NDArray[np.float32], k: int = 3) -> list[Top]:
        """The likeliest labels of each tensor; empty without class scores."""
        if self.answer is None:
            return [() for _ in tensors]
        rows = _softmax(self.answer(np.stack(tensors)))
        return [tuple((self.labels[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:k]) for row in rows]


@dataclass(frozen=True)
class Audit:
    """What a model was really fed for one photo.

    Shapes:
        tensor: float32 ``[3, h, w]`` the audited tensor (the given one, else the model's own); own_tensor: the model's own.

    Attributes:
        findings: worst first.
        steps: of the model's own preparation.
        cut: how the embedding cuts the input.
        proof: "put_back": how far the input put together from its patches is from the input; "embedding": how far the model's own
            embedding is from these patches (None where it could not be heard).
        lost: plain numbers, see :func:`vitscope.auditing.lost.lost`.
        explained: the hypotheses and how well each explains a given tensor; None where none was given.
        answers: the model's likeliest labels for its own tensor, and for the given one where there is one.
        seen: the object, where a box or mask was given.
    """

    sample: Sample
    findings: tuple[Finding, ...]
    steps: tuple[AuditStep, ...]
    placement: Placement
    cut: Cut
    proof: dict[str, float | None]
    lost: dict[str, Any]
    tensor: NDArray[np.float32]
    own_tensor: NDArray[np.float32]
    own: Own
    provenance: Provenance
    explained: Explained | None = None
    answers: tuple[Top, ...] = ()
    seen: Seen | None = None
    mask: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def seen_share(self) -> float:
        """Share of the photo that reached the model, 0..1."""
        return self.placement.seen_share

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches down and across."""
        return self.cut.grid

    @property
    def patches(self) -> NDArray[np.float32]:
        """Every patch as the embedding cuts it, ``[gh, gw, 3, ph, pw]``, normalised as fed."""
        return np.asarray(self.cut.patches(self.tensor), dtype=np.float32)

    def picture(self, tensor: NDArray[np.floating] | None = None) -> NDArray[np.uint8]:
        """A tensor (the audited one) as a picture uint8 ``[h, w, 3]``, the model's normalisation undone."""
        shown = undone(self.tensor if tensor is None else tensor, self.own)
        return np.asarray(np.rint(np.clip(np.nan_to_num(shown), 0, 1) * 255), dtype=np.uint8)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What other programs may want: the tensors, the patches as fed, how many patches lie over each pixel, the object's shares."""
        found: dict[str, NDArray[Any]] = {"tensor": self.tensor, "own_tensor": self.own_tensor, "times": self.cut.times}
        if self.tensor.shape[1:] == self.cut.size:
            found["patches"] = self.patches
        return {**found, **({"object_shares": self.seen.shares} if self.seen else {})}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``vitscope patches --json``."""
        tried = self.explained.tried if self.explained else ()
        return {
            "photo": {"id": self.sample.id, "size": list(self.sample.size), "sha256": self.sample.digest, "exif": self.sample.exif},
            "preprocessing": self.own.text,
            "findings": [one.as_dict() for one in self.findings],
            "seen_share": self.seen_share,
            "grid": list(self.grid),
            "coverage": self.cut.facts(),
            "proof": dict(self.proof),
            "lost": dict(self.lost),
            "steps": [step.as_dict() for step in self.steps],
            "object": self.seen.as_dict() if self.seen else None,
            "hypotheses": [{"aspect": t.aspect, "text": t.text, "residual": t.residual} for t in tried],
            "unexplained": self.explained.residual if self.explained else None,
            "answers": [[[label, p] for label, p in top] for top in self.answers],
            "provenance": self.provenance.as_dict(),
        }


def audit(
    model: Audited, sample: Sample, file: Stored, *, tensor: NDArray[np.float32] | None = None, mask: NDArray[np.bool_] | None = None
) -> Audit:
    """Audit one photo against a model's own preparation.

    Args:
        model: its preparation, its cut and its answers.
        sample: the photo as displayed.
        file: what its file says.
        tensor: float32 ``[3, h, w]`` somebody else made of the photo; None: the model's own is audited.
        mask: bool ``[H, W]`` an object in the photo.
    """
    photo = sample.photo
    way = own_way(model.own, photo)
    measured = quality(photo)
    compared = _compared(model, sample, way, tensor)
    cut, embedding = model.cut(way.tensor)
    placement = compared.placement.only(_covered(cut))
    seen = None if mask is None else seen_object(mask, placement, cut)
    findings = [*compared.findings, *photo_findings(photo, measured, file, way.placement)]
    findings += [*(object_findings(seen, cut) if seen else []), *coverage_findings(cut)]
    if tensor is None:
        findings += [*_stretched(placement), *channel_findings(model, way.tensor)]
    fed = way.tensor if tensor is None else tensor
    return Audit(
        sample=sample,
        findings=ranked(findings),
        steps=steps_of(sample, file, model.own, way),
        placement=placement,
        cut=cut,
        proof={"put_back": put_back_error(cut, way.tensor), "embedding": embedding},
        lost=lost(fed, model.own, placement, measured),
        tensor=fed,
        own_tensor=way.tensor,
        own=model.own,
        provenance=replace(model.provenance, samples=(sample.digest or sample.id,)),
        explained=compared.explained,
        answers=compared.answers,
        seen=seen,
        mask=mask,
    )


@dataclass(frozen=True)
class _Compared:
    """A given tensor beside the model's own; where none was given, the model's own alone."""

    findings: list[Finding]
    placement: Placement
    answers: tuple[Top, ...]
    explained: Explained | None = None


def _compared(model: Audited, sample: Sample, way: OwnWay, tensor: NDArray[np.float32] | None) -> _Compared:
    if tensor is None:
        return _Compared([], way.placement, tuple(model.tops(way.tensor)))
    fault = broken(Given(tensor, way.tensor, sample.exif))
    if fault:
        return _Compared(fault, way.placement, tuple(model.tops(way.tensor)))
    answers = model.tops(way.tensor, tensor)
    explained = explain(tensor, model.own, sample.photo, way.recipe)
    findings = tensor_findings(Given(tensor, way.tensor, sample.exif, _change(answers)), explained, model.own)
    return _Compared(findings, _placed(sample.photo, explained.best, way.placement), tuple(answers), explained)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True))


def channel_findings(model: Audited, tensor: NDArray[np.float32]) -> list[Finding]:
    """Whether the photo itself looks like BGR: only a suspicion, from the model's own answer with red and blue exchanged.

    The log of the summed exponentials of the scores (the free energy of Liu et al., NeurIPS 2020) is higher on pictures like those a
    model was trained on; and photos are rarely bluer than red in the mean.
    """
    if model.answer is None or float(tensor[2].mean()) < float(tensor[0].mean()):
        return []
    scores = model.answer(np.stack([tensor, tensor[::-1]]))
    highest = scores.max(axis=1)
    energy = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    gain = float(energy[1] - energy[0])
    if gain < SUSPECT:
        return []
    (own, p), (other, q) = (top[0] for top in model.tops(tensor, tensor[::-1]))
    return [
        Finding(
            "channels-swapped",
            "warning",
            "Red and blue may be exchanged in the photo: the model knows it better with them exchanged.",
            f"Exchanged, the log of its summed scores rises by {gain:.2f} (of 19 photos, none rose by more than 0.74), and its answer goes "
            f"from {own} ({p:.1%}) to {other} ({q:.1%}); blue is brighter than red in the mean.",
            "If it was read with OpenCV, turn it to RGB: cv2.cvtColor(image, cv2.COLOR_BGR2RGB).",
            0.5,
        )
    ]


def _change(answers: list[Top]) -> str:
    """How the model's answer moves, in one sentence."""
    if not answers[0]:
        return ""
    (own, p), (given, q) = answers[0][0], answers[1][0]
    kept = dict(answers[1]).get(own)
    if own == given:
        return f" The model answers {own} to both ({p:.1%} with its own preparation, {q:.1%} with this tensor)."
    rest = f"; {own} falls to {kept:.1%}" if kept is not None else ""
    return f" The model answers {given} ({q:.1%}) to this tensor, {own} ({p:.1%}) to its own preparation{rest}."


def _covered(cut: Cut) -> tuple[float, float, float, float]:
    """The box from the first to the last pixel under a patch."""
    down, across = cut.axes[-2], cut.axes[-1]
    (top, _, bottom), (left, _, right) = down.left_over, across.left_over
    return float(top), float(left), float(down.size - bottom), float(across.size - right)


def _placed(photo: Photo, recipe: Recipe, own: Placement) -> Placement:
    """Where a given tensor lies in the photo; a turned one is placed as the model's own."""
    if recipe.turn != 1 or recipe.frame == "own":
        return own
    placement = Placement.of_photo((photo.shape[0], photo.shape[1]), exif=own.exif)
    for move in recipe.moves:
        placement = placement.resize(move.size) if move.name == "resize" else placement.crop(*move.corner, move.size)
    return placement


def coverage_findings(cut: Cut) -> list[Finding]:
    """Rows or columns under no patch, gaps between patches, patches of nothing but padding."""
    facts = cut.facts()
    out = []
    if facts["uncovered_share"] > 0:
        rows, columns = (facts["left_over_before"][i] + facts["gaps"][i] + facts["left_over_after"][i] for i in (-2, -1))
        text = f"{rows} rows and {columns} columns of {cut.size[-2]}×{cut.size[-1]} lie under no patch: {facts['uncovered_share']:.1%}."
        fix = f"Choose an input size that the patches fill: a multiple of {cut.axes[-2].stride}."
        severity = "warning" if facts["uncovered_share"] > 0.05 else "note"
        out.append(Finding("uncovered", severity, "The patches do not cover the input.", text, fix, 0.3))
    if facts["padding_only_patches"]:
        text = f"{facts['padding_only_patches']} of {int(np.prod(cut.grid))} patches hold no pixel of the input."
        fix = "Choose an input size that needs no padding."
        out.append(Finding("padding-only", "warning", "Some patches are padding only.", text, fix, 0.3))
    return out


def _stretched(placement: Placement) -> list[Finding]:
    """The model's own preparation squashes the photo: its way, and yet worth knowing."""
    stretch = placement.scale[1] / placement.scale[0]
    factor = max(stretch, 1 / stretch)
    if factor < 1.25:
        return []
    way = "narrower" if stretch < 1 else "flatter"
    return [
        Finding(
            "aspect-squashed",
            "warning" if factor >= 2 else "note",
            "The model’s own preparation squashes this photo.",
            f"Things look {factor:.2f} times {way} than they are.",
            "Nothing, if it was trained so; else crop or pad the photo to the input’s aspect first.",
            0.2,
        )
    ]
