"""The verb for a misread photo: one trace, its maps for and against, and the same photo fed in other ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitscope.errors import ArgumentError, MethodError, WorkError

if TYPE_CHECKING:
    from vitscope.auditing.misread import Hidden, Misread, Outcome
    from vitscope.core.targets import Target
    from vitscope.inputs.images import Source
    from vitscope.models.loaded import LoadedModel
    from vitscope.trace import Trace

#: Shares of the patches that are hidden, growing.
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
Tell = Callable[[str], None]


def misread(model: LoadedModel, photo: Source, wrong: str | int, truth: str | int, *, seed: int = 0, tell: Tell | None = None) -> Misread:
    """What of the input, the patches, the layers and the attention speaks for a wrong label against the right one.

    Args:
        model: from :func:`vitscope.load`, with class scores.
        photo: a path, PIL image, array or Sample.
        wrong: the label the model gives (or may give), by name or number.
        truth: the right one.
        seed: of the patches hidden at random.
        tell: called with a few words before each part.

    Raises:
        ArgumentError: an unknown label, or one label for both.
        MethodError: a model without class scores.
    """
    from vitscope.auditing.misread import Misread
    from vitscope.inputs.images import read_sample
    from vitscope.methods.attention import attention
    from vitscope.methods.relevance import relevance

    say = tell or (lambda _: None)
    sample = read_sample(photo)
    say("one pass through the model")
    trace = model.trace(sample)
    if trace.logits is None:
        raise MethodError("this model has no class scores", expected="a classification head", where=model.ref)
    aim = trace.resolve((wrong, truth))
    pair = (aim.index[0], aim.against[0])
    say("relevance for and against")
    maps = [relevance(trace, target=target)[0] for target in (pair, pair[::-1])]
    say("hiding squares of patches")
    occluded, hidden = _hidden(trace, aim, seed)
    say("block by block")
    layers, notes = _layers(trace, aim)
    say("feeding the photo in other ways")
    return Misread(
        sample=trace.samples[0],
        placement=trace.placements[0],
        layout=trace.layout,
        wrong=trace.labels[pair[0]],
        truth=trace.labels[pair[1]],
        top=tuple(trace.top(5)),
        chances=_chances(trace, aim),
        lead=float(_leads(trace, aim)[0]),
        occlusion=occluded,
        for_wrong=maps[0].grid,
        for_right=maps[1].grid,
        attention=attention(trace)[0].grid,
        layers=layers,
        hidden=hidden,
        outcomes=_outcomes(model, trace, aim),
        provenance=trace.provenance,
        picture=_shown(trace),
        notes=notes,
    )


def _leads(trace: Trace, aim: Target) -> NDArray[np.float64]:
    logits = trace.scores().double().cpu().numpy()
    return np.asarray(logits[:, aim.index[0]] - logits[:, aim.against[0]])


def _chances(trace: Trace, aim: Target) -> tuple[float, float]:
    chances = np.asarray(trace.scores().double().softmax(dim=-1)[0].cpu().numpy())
    return float(chances[aim.index[0]]), float(chances[aim.against[0]])


def _shown(trace: Trace) -> NDArray[np.uint8]:
    pixels = trace.pixels[0].float().cpu().numpy().transpose(1, 2, 0)
    return np.asarray(np.rint(np.clip(pixels * np.asarray(trace.std) + np.asarray(trace.mean), 0, 1) * 255), np.uint8)


def _outcome(trace: Trace, aim: Target, i: int, kind: str, text: str) -> Outcome:
    from vitscope.auditing.misread import Outcome

    return Outcome(kind, text, trace.top(1, i)[0], float(_leads(trace, aim)[i]))


def _hidden(trace: Trace, aim: Target, seed: int) -> tuple[NDArray[np.float64], Hidden]:
    """Every square of patches taken away, then the ones that matter, then more and more patches."""
    from vitscope.auditing.misread import Hidden
    from vitscope.methods.dropping import full_scores, scores_without
    from vitscope.methods.occlusion import squares

    gh, gw = trace.layout.grid
    if min(gh, gw) < 2:
        raise ArgumentError(f"a grid of {gh}×{gw} patches", expected="at least 2×2 to hide a part", where="misread")
    side = max(1, round(min(gh, gw) / 5))
    covered = squares((gh, gw), side, max(1, side // 2))
    drops = full_scores(trace, aim)[0] - scores_without(trace, aim, 0, _on_tokens(trace, covered))
    occluded = np.asarray((drops @ covered / covered.sum(axis=0)).reshape(gh, gw), dtype=np.float64)
    best, worst = int(np.argmax(drops)), int(np.argmin(drops))
    order = np.argsort(-occluded.ravel(), kind="stable")
    chance = np.random.default_rng(seed).permutation(gh * gw)
    counts = [max(1, round(share * gh * gw)) for share in SHARES]
    wrong, right = (_without(trace, aim, covered[i], "hidden", f"a {side}×{side} square hidden") for i in (best, worst))
    growing = tuple(
        (
            count / (gh * gw),
            _without(trace, aim, _first(order, count), "hidden", f"{count} patches hidden, most speaking first"),
            _without(trace, aim, _first(chance, count), "hidden", f"{count} patches hidden at random"),
        )
        for count in counts
    )
    return occluded, Hidden(covered.reshape(-1, gh, gw), np.asarray(drops), side, wrong, right, growing)


def _first(order: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:count]] = True
    return chosen


def _on_tokens(trace: Trace, patches: NDArray[np.bool_]) -> NDArray[np.bool_]:
    hidden = np.zeros((*patches.shape[:-1], trace.layout.n), dtype=bool)
    hidden[..., trace.layout.patches] = patches
    return hidden


def _without(trace: Trace, aim: Target, patches: NDArray[np.bool_], kind: str, text: str) -> Outcome:
    import torch

    from vitscope.trace import Inputs, Needs

    keep = torch.as_tensor(~_on_tokens(trace, patches[None]), device=trace.pixels.device)
    return _outcome(trace.again(Needs(), None, Inputs(keep=keep)), aim, 0, kind, text)


def _layers(trace: Trace, aim: Target) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The wrong label's lead after each block; nothing, and why, where the model's head cannot be put there."""
    from vitscope.trace import Needs

    try:
        seen = trace.with_needs(Needs(layer_scores=True), aim)
    except WorkError as error:
        return np.zeros(0), (f"Block by block the answer could not be read: {error}.",)
    leads = [float(z[0, aim.index[0]] - z[0, aim.against[0]]) for z in seen.layer_logits]
    return np.asarray(leads, dtype=np.float64), ()


def _outcomes(model: LoadedModel, trace: Trace, aim: Target) -> tuple[Outcome, ...]:
    """The photo fed in other ways, one plain pass each."""
    import torch

    from vitscope.api.auditing import cut_of, own_of
    from vitscope.auditing.misread import Outcome
    from vitscope.auditing.search import own_way
    from vitscope.auditing.variants import variants

    own, photo = own_of(model), trace.samples[0].photo
    way = own_way(own, photo)
    out = []
    for one in variants(own, way, photo, cut_of(model, way.tensor)[0]):
        scores: Any = model.answer(torch.from_numpy(np.ascontiguousarray(one.tensor))[None])
        logits = scores[0].double().cpu()
        best = int(logits.argmax())
        chance = float(torch.softmax(logits, dim=-1)[best])
        lead = float(logits[aim.index[0]] - logits[aim.against[0]])
        out.append(Outcome(one.kind, one.text, (trace.labels[best], chance), lead))
    return tuple(out)
