"""An audit as a sheet: what the report, the figure and the folder show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vitscope.views.colour import Limits
from vitscope.views.frame import Frame
from vitscope.views.plain import percent, short
from vitscope.views.sheet import Sheet, borders, outlined, spread

if TYPE_CHECKING:
    from vitscope.auditing.audit import Audit
    from vitscope.views.view import View

#: Hypotheses shown of each aspect.
SHOWN = 4
ASPECTS = ("place", "resize", "source", "values")


def audit_view(audit: Audit) -> View:
    """Findings, every step with its picture, the patches, what was lost and, where a tensor was given, what explains it."""
    name = audit.sample.path.replace("\\", "/").rsplit("/", 1)[-1] or audit.sample.id
    top = audit.answers[0][0] if audit.answers and audit.answers[0] else None
    made = audit.provenance
    sheet = Sheet(f"What the model was fed: {name}", answer=top, by=f"{made.model}, weights {made.weights}")
    _findings(sheet, audit)
    if audit.explained is not None:
        _given(sheet, audit)
    _steps(sheet, audit)
    _patches(sheet, audit)
    if audit.seen is not None and audit.mask is not None:
        _object(sheet, audit)
    _lost(sheet, audit)
    sheet.provenance(made.as_dict())
    return sheet.view()


def verdict(audit: Audit) -> str:
    """One sentence on the whole."""
    counts = {severity: sum(one.severity == severity for one in audit.findings) for severity in ("fault", "warning", "note")}
    said = [f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts.items() if n]
    seen = f"The model saw {percent(audit.seen_share)} of the photo in {audit.grid[-2]} rows of {audit.grid[-1]} patches"
    if not said:
        whose = "your tensor agrees with the model’s own preparation" if audit.explained else "the model’s own preparation was looked at"
        return f"Nothing wrong was found: {whose}. {seen}."
    return f"{', '.join(said)}. {seen}."


def _findings(sheet: Sheet, audit: Audit) -> None:
    sheet.section("Findings", "Worst first. A fault: not what the model was trained on. A warning: the photo cannot show all it should.")
    sheet.say(verdict(audit), strong=True)
    for one in audit.findings:
        sheet.finding(one.as_dict())


def _given(sheet: Sheet, audit: Audit) -> None:
    assert audit.explained is not None
    sheet.section("Your tensor beside the model’s own", "Both with the model’s own normalisation undone; beyond black and white is cut.")
    own, given = audit.picture(audit.own_tensor), audit.picture()
    low, high = float(audit.tensor.min()), float(audit.tensor.max())
    sheet.picture("Yours.", given, f"Values {short(low)} to {short(high)}.")
    sheet.picture("The model’s own.", own, f"Values {short(float(audit.own_tensor.min()))} to {short(float(audit.own_tensor.max()))}.")
    gap = np.abs(audit.tensor - audit.own_tensor).max(axis=0)
    shown = np.asarray(np.rint(255 * np.clip(gap / max(float(gap.max()), 1e-9), 0, 1)), np.uint8)
    sheet.picture("Where they differ.", np.repeat(shown[..., None], 3, axis=2), f"Largest difference {short(float(gap.max()))}.")
    rows: list[tuple[object, ...]] = []
    for aspect in ASPECTS:
        tried = sorted((one for one in audit.explained.tried if one.aspect == aspect), key=lambda one: one.residual)
        kept = list({one.text: one for one in reversed(tried)}.values())
        rows += [(one.text, aspect, one.residual) for one in sorted(kept, key=lambda one: one.residual)[:SHOWN]]
    head = ("If this was done", "to the", "left unexplained")
    sheet.table("What explains the tensor (least left over first; 0 explains all)", head, rows, bars=2)


def _steps(sheet: Sheet, audit: Audit) -> None:
    sheet.section("From the file to the tensor", f"The model’s own preparation: {audit.own.text}.")
    for number, step in enumerate(audit.steps, start=1):
        sheet.picture(f"{number}. {step.name}.", step.picture, f"{step.detail}: {step.number}.")


def _patches(sheet: Sheet, audit: Audit) -> None:
    facts = audit.cut.facts()
    down, across = audit.cut.axes[-2], audit.cut.axes[-1]
    sheet.section("The patches", "Cut as the model’s own embedding cuts them, with every pixel true.")
    lines = borders(
        (down.count, across.count),
        (down.kernel, across.kernel),
        (down.stride, across.stride),
        (down.padding, across.padding),
        (down.size, across.size),
    )
    overlap = "" if facts["overlapping_share"] == 0 else "; they overlap, and only those apart from each other are outlined"
    sheet.picture("On the input.", audit.picture(), f"{down.count} rows of {across.count} patches{overlap}.", lines=lines, wide=True)
    cut = np.asarray(audit.cut.patches(audit.picture().transpose(2, 0, 1)), np.uint8)
    if cut.ndim == 5:
        apart = spread(cut.transpose(0, 1, 3, 4, 2))
        sheet.picture("Apart.", apart, f"{across.kernel}×{down.kernel} px each, one every {across.stride}×{down.stride} px.", wide=True)
    _coverage_table(sheet, audit, facts)


def _coverage_table(sheet: Sheet, audit: Audit, facts: dict[str, Any]) -> None:
    back, embedding = audit.proof["put_back"], audit.proof["embedding"]
    rows: list[tuple[object, object]] = [
        ("patches put back together", "equal the input exactly" if back == 0 else f"differ from the input by up to {short(back)}"),
        ("through the model’s own weights", "not heard" if embedding is None else f"within {short(embedding)} of its own embedding"),
        ("pixels under no patch", percent(facts["uncovered_share"])),
        ("rows and columns left over at the end", " and ".join(str(v) for v in facts["left_over_after"])),
        ("pixels under several patches", percent(facts["overlapping_share"])),
        ("most patches over one pixel", facts["most_patches_over_a_pixel"]),
        ("share of the patches that is padding", percent(facts["padding_share_of_patches"])),
        ("patches of padding only", facts["padding_only_patches"]),
    ]
    sheet.table("Does the grid cover the input?", (), rows)


def _object(sheet: Sheet, audit: Audit) -> None:
    seen, mask = audit.seen, audit.mask
    assert seen is not None
    assert mask is not None
    sheet.section("The object")
    sheet.picture("In the photo.", outlined(audit.sample.photo, mask), f"{percent(seen.lost)} of it never reached the model.")
    if seen.shares.any():
        from vitscope.core.layout import TokenLayout

        down, across = audit.cut.axes[-2], audit.cut.axes[-1]
        layout = TokenLayout.plain(
            (),
            (down.count, across.count),
            (down.kernel, across.kernel),
            (down.size, across.size),
            stride=(down.stride, across.stride),
            origin=(-float(down.padding), -float(across.padding)),
        )
        caption = f"On {seen.patches} patches; the fullest holds {percent(float(seen.shares.max()))}."
        limits = Limits(0.0, float(seen.shares.max()))
        frame = Frame(audit.placement, layout)
        sheet.map("Across the patches.", seen.shares, audit.sample.photo, frame, limits, unit="share of the object", caption=caption)


def _lost(sheet: Sheet, audit: Audit) -> None:
    facts = audit.lost
    down, across = facts["photo_pixels_per_input_pixel"]
    detail_down, detail_across = facts["smallest_detail_photo_pixels"]
    (low, high), (least, most) = facts["range_expected"], facts["range_found"]
    sheet.section("What was lost")
    rows = [
        ("of the photo, never seen", percent(facts["never_seen_share"])),
        ("photo pixels in one input pixel", f"{short(across)} across, {short(down)} down"),
        ("smallest detail that survives, in photo pixels", f"{short(detail_across)} across, {short(detail_down)} down"),
        ("aspect: across against down", f"× {short(facts['aspect_stretch'], 4)}"),
        ("normalisation undone and rounded to 8 bit", f"off by up to {short(facts['round_trip_error_levels'])} grey levels"),
        ("values beyond black and white", percent(facts["values_clipped_share"])),
        ("photo values at 0 or 255", percent(facts["photo_saturated_share"])),
        ("range of the tensor", f"{short(least)} to {short(most)}; black and white: {short(low)} and {short(high)}"),
    ]
    sheet.table("In numbers", (), rows)
