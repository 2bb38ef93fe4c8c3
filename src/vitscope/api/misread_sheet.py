"""A misread photo as a sheet: what the report, the figure and the folder show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitscope.auditing.misread import sentences
from vitscope.views.colour import limits_of
from vitscope.views.frame import Frame
from vitscope.views.plain import percent, short
from vitscope.views.sheet import Sheet, outlined

if TYPE_CHECKING:
    from vitscope.auditing.misread import Misread
    from vitscope.views.view import View


def misread_view(found: Misread) -> View:
    """The sentences, the maps for and against, the way through the blocks, and what changes the answer."""
    name = found.sample.path.replace("\\", "/").rsplit("/", 1)[-1] or found.sample.id
    made = found.provenance
    title = f"{name}: {_short(found.wrong)} or {_short(found.truth)}?"
    sheet = Sheet(title, answer=found.top[0], by=f"{made.model}, weights {made.weights}")
    sheet.section("What the numbers say", f"“{found.wrong}” is taken as the wrong label, “{found.truth}” as the right one.")
    for number, text in enumerate(sentences(found)):
        sheet.say(text, strong=number == 0)
    _evidence(sheet, found)
    _blocks(sheet, found)
    _changes(sheet, found)
    sheet.provenance(made.as_dict())
    return sheet.view()


def _short(label: str) -> str:
    return label.split(",", maxsplit=1)[0]


def _evidence(sheet: Sheet, found: Misread) -> None:
    wrong, right = _short(found.wrong), _short(found.truth)
    sheet.section("Where the evidence lies", "True patches over the photo in grey; dimmed: never seen.")
    frame, photo = Frame.of(found.placement, found.layout), found.sample.photo
    sheet.picture("The photo.", outlined(photo, found.placement.seen_mask()), f"The model saw {percent(found.placement.seen_share)} of it.")
    both = f"Orange speaks for {wrong}, blue for {right}: score points of the lead that go when a patch is hidden."
    limits = limits_of([found.occlusion], signed=True)
    sheet.map("Hidden, patch by patch.", found.occlusion, photo, frame, limits, unit="score points of the lead", caption=both)
    for title, grid in ((wrong, found.for_wrong), (right, found.for_right)):
        other = right if title == wrong else wrong
        same = limits_of([found.for_wrong, found.for_right], signed=False)
        caption = f"Through all layers: for {title} rather than {other}. One scale for both."
        sheet.map(f"Relevance for {title}.", grid, photo, frame, same, unit="relevance (gradient × attention)", caption=caption)
    seen = limits_of([np.asarray(found.attention)], signed=False)
    caption = "What the last block reads; it knows nothing of labels."
    sheet.map("Attention, last block.", found.attention, photo, frame, seen, unit="attention weight", caption=caption)
    square = found.hidden.covered[int(np.argmax(found.hidden.drops))].astype(np.float64)
    caption = f"Hiding these leaves {wrong} a lead of {short(found.hidden.wrong.lead)}; the answer is {_short(found.hidden.wrong.top[0])}."
    sheet.map(f"The square most for {wrong}.", square, photo, frame, limits_of([square], signed=False), unit="hidden", caption=caption)


def _blocks(sheet: Sheet, found: Misread) -> None:
    if not len(found.layers):
        return
    wrong, right = _short(found.wrong), _short(found.truth)
    sheet.section("Block by block", "The model’s own head put on each block’s tokens. It was trained on the last block’s alone.")
    caption = f"Above the line {wrong} leads, below it {right}."
    sheet.curve(f"Lead of {wrong} over {right}", [("lead", list(found.layers))], x="block", y="score points", caption=caption)


def _changes(sheet: Sheet, found: Misread) -> None:
    sheet.section("What changes the answer, and what does not")
    rows = [("as it is", *_came(found, found.top[0], found.lead))]
    rows += [(one.text, *_came(found, one.top, one.lead)) for one in found.outcomes]
    head = ("Fed this way", "answer", "probability", "lead of the wrong label", "changed")
    sheet.table("The same photo fed in other ways", head, rows)
    rows = []
    for share, by_evidence, at_random in found.hidden.growing:
        for how, one in ((f"most for {_short(found.wrong)} first", by_evidence), ("at random", at_random)):
            rows.append((f"{share:.0%} of the patches, {how}", *_came(found, one.top, one.lead)))
    sheet.table("Patches hidden", ("Hidden", *head[1:]), rows)


def _came(found: Misread, top: tuple[str, float], lead: float) -> tuple[str, str, str, str]:
    return _short(top[0]), percent(top[1]), short(lead), "yes" if top[0] != found.top[0][0] else "no"
