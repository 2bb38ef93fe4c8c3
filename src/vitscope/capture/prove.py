"""The proofs a capture owes: complete, shape, rows, reconstruction, effect. Measured on the model itself, at its first use.

All but shape are about calls, and hold for windows, reduced keys and decoders too; shape is about the one layout a plain ViT has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope.capture import guards
from vitscope.capture.blocks import Blocks, number_blocks
from vitscope.capture.hidden import hearing_blocks
from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary, ordinary_mode
from vitscope.capture.probe import probe
from vitscope.capture.scores import ROW_TOLERANCE
from vitscope.errors import CaptureError, ProofError
from vitscope.trace import AttentionCall

#: Rows looked at in each call, spread over the queries.
ROWS = 16
#: An effect counts where it is this many times what rounding alone does to the output.
ABOVE_ROUNDING = 10
#: Largest allowed distance of A·V from the output (relative), by the type the model works in.
OUT_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 2e-2}
IDLE = "the answer does not depend on attention: untrained weights (zero head, tiny layer scales)? load trained ones"


#: Gives what must move when attention changes; None where only the last block's tokens do.
Watched = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class Check:
    """One proof: what was measured, what is allowed, and whether that holds."""

    passed: bool
    measured: float
    tolerance: float
    text: str

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"passed": self.passed, "measured": self.measured, "tolerance": self.tolerance, "text": self.text}


@dataclass(frozen=True)
class Proof:
    """The proofs of one model at one input size.

    Attributes:
        complete: every attention counted by an independent probe was captured; measured: how many were not.
        shape: every block's call has the layout's number of queries and keys; measured: calls that have not.
        rows: attention rows sum to one; measured: the largest distance from one.
        reconstruction: ``A V`` is the call's own output; measured: the largest difference over the output's largest value.
        effect: another attention gives other logits; measured: the smallest relative change over the kinds of call,
            which must be ten times what moving every pixel by one rounding step does.
    """

    complete: Check
    shape: Check
    rows: Check
    reconstruction: Check
    effect: Check

    def as_dict(self) -> dict[str, object]:
        """Plain values for ``vitscope inspect --json``."""
        return {name: getattr(self, name).as_dict() for name in self.__dataclass_fields__}

    def require(self, where: str = "") -> Proof:
        """This proof, if all of it holds.

        Raises:
            ProofError: with the numbers of the first that does not.
        """
        for name in self.__dataclass_fields__:
            check: Check = getattr(self, name)
            if not check.passed:
                raise ProofError(
                    f"proof of {name} failed: {check.text} (measured {check.measured:.3g})",
                    expected=f"within {check.tolerance:g}" if name != "effect" else f"more than {check.tolerance:g}",
                    where=where,
                    todo=IDLE
                    if name == "effect"
                    else "nothing drawn from this capture could be trusted; please report the model (docs/errors/proof.md)",
                )
        return self


def prove(
    module: nn.Module,
    forward: Watched,
    pixels: Tensor,
    *,
    tokens: int | None = None,
    heads: int | None = None,
    blocks: Blocks | None = None,
) -> Proof:
    """All proofs on one input: a handful of forward passes, no gradient.

    Args:
        module: the model.
        forward: how it is called.
        pixels: ``[b, 3, h, w]``; a picture with detail (noise does well).
        tokens: tokens the layout has; None: as many as block 0.
        heads: heads the configuration states; None: not checked.
        blocks: from :func:`find_blocks`.

    Raises:
        CaptureError: the model cannot be captured at all.
        ProofError: a proof failed; the message has the measured numbers.
    """
    calls = _heard(module, forward, pixels)
    blocks = blocks or number_blocks(module, [call.path for call in calls])
    inside = [call for call in calls if blocks.number(call.path) is not None]
    return _proof(module, forward, pixels, calls, blocks, prove_shape(inside, tokens, heads))


def prove_calls(module: nn.Module, forward: Watched, pixels: Tensor) -> Proof:
    """The proofs that need no layout: for windows, reduced keys, decoders, two towers; whatever calls there are.

    Args:
        module: the model.
        forward: gives one tensor that everything in question ends in.
        pixels: what it is called on.

    Raises:
        CaptureError: the model cannot be captured at all.
        ProofError: a proof failed; the message has the measured numbers.
    """
    calls = _heard(module, forward, pixels)
    return _proof(module, forward, pixels, calls, None, _own_shapes(calls))


def _heard(module: nn.Module, forward: Watched, pixels: Tensor) -> tuple[AttentionCall, ...]:
    guards.check_module(module)
    with ordinary_mode(grad=False), intercept(module, batch=len(pixels)) as recorder:
        forward(ordinary(pixels))
    if not recorder.heard:
        raise guards.none_heard(module)
    return recorder.calls


def _proof(
    module: nn.Module, forward: Watched, pixels: Tensor, calls: Sequence[AttentionCall], blocks: Blocks | None, shape: Check
) -> Proof:
    with ordinary_mode(grad=False):
        pixels = ordinary(pixels)
        complete = prove_complete(module, forward, pixels, calls)
        effect = prove_effect(module, forward, pixels, calls, blocks)
        return Proof(complete, shape, prove_rows(calls), prove_reconstruction(calls), effect).require(type(module).__name__)


def prove_complete(module: nn.Module, forward: Watched, pixels: Tensor, calls: Sequence[AttentionCall]) -> Check:
    """Every attention that the probe counts, module by module, has been captured."""
    counted = Counter(path for path, _ in probe(module, forward, pixels).attention)
    missed = counted - Counter(call.path for call in calls)
    text = f"{len(calls)} of {counted.total()} attentions captured"
    where = next(iter(missed), "")
    return Check(not missed, missed.total(), 0, text + (f"; not those of {where or 'the model'}" if missed else ""))


def _own_shapes(calls: Sequence[AttentionCall]) -> Check:
    """Without one layout there is nothing to compare with: the shapes are stated."""
    shapes = list(dict.fromkeys(f"{call.queries} × {call.keys}" for call in calls))
    return Check(
        passed=True, measured=0, tolerance=0, text=f"{len(calls)} calls of {', '.join(shapes[:4])}{' …' if len(shapes) > 4 else ''}"
    )


def prove_shape(calls: Sequence[AttentionCall], tokens: int | None, heads: int | None) -> Check:
    """Queries, keys and heads of every block's call."""
    expected = tokens if tokens is not None else calls[0].queries
    wrong = [call for call in calls if (call.queries, call.keys) != (expected, expected) or heads not in (None, call.heads)]
    if wrong:
        first = wrong[0]
        text = f"{first.path} has {first.queries} queries, {first.keys} keys, {first.heads} heads; the layout has {expected} tokens"
        return Check(passed=False, measured=len(wrong), tolerance=0, text=text + (f", the configuration {heads} heads" if heads else ""))
    return Check(passed=True, measured=0, tolerance=0, text=f"{len(calls)} calls of {expected} queries × {expected} keys")


def prove_rows(calls: Sequence[AttentionCall]) -> Check:
    """Rows sum to one and hold nothing negative."""
    worst, tolerance, where = 0.0, ROW_TOLERANCE[torch.float32], ""
    for call in calls:
        rows = call.rows(_sampled(call))
        off = (rows.sum(dim=-1) - 1).abs().max()
        distance = _number(torch.maximum(off, -rows.min()))
        kept = call.weights.dtype if call.weights is not None else call.dtype
        allowed = ROW_TOLERANCE.get(kept, 0.0)
        if where == "" or distance / allowed > worst / tolerance:
            worst, tolerance, where = distance, allowed, call.path
    text = f"rows sum to one within {worst:.2g}, largest at {where or 'the model'}"
    return Check(passed=worst <= tolerance, measured=worst, tolerance=tolerance, text=text)


def prove_reconstruction(calls: Sequence[AttentionCall]) -> Check:
    """``A V`` against the call's own output; with talking heads, after the mix of heads that fits best."""
    worst, tolerance, where = -1.0, 1.0, ""
    for call in calls:
        missed = reconstruction_error(call)
        allowed = OUT_TOLERANCE.get(call.out.dtype, 0.0)
        if missed / allowed > worst / tolerance:
            worst, tolerance, where = missed, allowed, call.path + (" (heads mixed after the softmax)" if call.mixed else "")
    text = f"attention times values gives the call's own output within {worst:.2g} of its largest value, worst at {where or 'the model'}"
    return Check(passed=worst <= tolerance, measured=worst, tolerance=tolerance, text=text)


def reconstruction_error(call: AttentionCall) -> float:
    """Largest difference between ``A V`` and the output on the sampled rows, over the output's largest value."""
    at = _sampled(call)
    out = call.out[:, :, at].to(call.dtype)
    rows = call.rows(at)
    assert call.v is not None
    v = call.v.to(call.dtype)
    v = v if v.shape[1] == call.heads else v.repeat_interleave(call.heads // v.shape[1], dim=1)
    made = _remixed(rows, v, out) if call.mixed else rows @ v
    scale = out.abs().max().clamp_min(torch.finfo(call.dtype).tiny)
    return _number((made - out).abs().max() / scale)


def _remixed(rows: Tensor, v: Tensor, out: Tensor) -> Tensor:
    """The best ``Σ_h m[g, h] A_h v_g + c_g Σ_keys v_g``: talking heads mix linearly, so the fit must be exact.

    Shapes:
        rows ``[b, h, m, n]``, v ``[b, h, n, d]``, out ``[b, h, m, d]``; h + 1 unknowns a head, b·m·d equations.
    """
    made = torch.empty_like(out)
    for g in range(out.shape[1]):
        terms = [*(rows[:, h] @ v[:, g] for h in range(rows.shape[1])), v[:, g].sum(dim=1, keepdim=True).expand_as(out[:, g])]
        basis = torch.stack([term.flatten() for term in terms], dim=-1).double()
        fit = torch.linalg.lstsq(basis.cpu(), out[:, g].flatten().double().cpu()[:, None]).solution.to(basis.device)
        made[:, g] = (basis @ fit).view_as(out[:, g]).to(out.dtype)
    return made


def prove_effect(module: nn.Module, forward: Watched, pixels: Tensor, calls: Sequence[AttentionCall], blocks: Blocks | None) -> Check:
    """Let the queries of one call of each kind look at one key alone: the logits must move, by far more than rounding moves them.

    A model without logits must move its last block's output. A call outside the blocks that the logits do not use is told apart.
    """
    before = _observed(module, forward, pixels, blocks)
    least = ABOVE_ROUNDING * _rounding(module, forward, pixels, calls, blocks, before)
    smallest, unused = float("inf"), []
    for numbers in _kinds(module, calls, blocks):
        change = _change(before, _observed(module, forward, pixels, blocks, sharpen=numbers[-1:]))
        change = change if change > least else _change(before, _observed(module, forward, pixels, blocks, sharpen=numbers))
        if change <= least and _beside(module, forward, pixels, blocks, calls, numbers):
            unused.append(calls[numbers[-1]].path)
            continue
        smallest = min(smallest, change)
    text = f"letting all queries look at one key changes the output by {smallest:.2g} of its largest value"
    if unused:
        text += f"; not used by the output: {', '.join(unused)}"
    return Check(passed=least < smallest < float("inf"), measured=smallest, tolerance=least, text=text)


def _rounding(
    module: nn.Module, forward: Watched, pixels: Tensor, calls: Sequence[AttentionCall], blocks: Blocks | None, before: Tensor
) -> float:
    """What rounding does to the output: its change when every pixel moves by one rounding step, up or down, and no less than one step.

    Two equal passes would not tell: on a processor that always adds in the same order they agree to the last bit.
    """
    step = max(torch.finfo(call.out.dtype).eps for call in calls)
    signs = torch.randint(2, pixels.shape, generator=torch.Generator().manual_seed(0)).to(pixels) * 2 - 1
    nudged = pixels * (1 + step * signs) if pixels.is_floating_point() else pixels  # a picture as words of a codebook
    return max(step, _change(before, _observed(module, forward, nudged, blocks)))


def _beside(
    module: nn.Module, forward: Watched, pixels: Tensor, blocks: Blocks | None, calls: Sequence[AttentionCall], numbers: Sequence[int]
) -> bool:
    """Whether the output is not made of these calls at all: outside the blocks, or (without blocks) no graph leads back to them."""
    if blocks is not None:
        return blocks.number(calls[numbers[-1]].path) is None
    with ordinary_mode(grad=True), intercept(module, batch=len(pixels)) as recorder:
        output = forward(pixels.detach().requires_grad_())
        if output is None or not output.requires_grad:
            return False
        outs = [recorder.heard[number].out for number in numbers]
        return not any(out.requires_grad for out in outs) or all(
            grad is None for grad in torch.autograd.grad(output.sum(), outs, allow_unused=True)
        )


def _kinds(module: nn.Module, calls: Sequence[AttentionCall], blocks: Blocks | None) -> list[list[int]]:
    """Numbers of the calls of each kind: same way of calling, same class of module, inside or outside the blocks."""
    groups: dict[object, list[int]] = {}
    for number, call in enumerate(calls):
        key = (call.kind, type(module.get_submodule(call.path)), blocks is None or blocks.number(call.path) is None)
        groups.setdefault(key, []).append(number)
    return list(groups.values())


def _observed(module: nn.Module, forward: Watched, pixels: Tensor, blocks: Blocks | None, sharpen: Sequence[int] = ()) -> Tensor:
    """Logits, or the last block's output of a model without any; with some calls sharpened."""
    with hearing_blocks(module, blocks) as outputs, intercept(module, batch=len(pixels), sharpen=sharpen):
        logits = forward(pixels)
    if logits is None and not outputs:
        raise CaptureError("neither logits nor block outputs to watch", where=type(module).__name__)
    return (outputs[-1] if logits is None else logits).detach()


def _change(one: Tensor, other: Tensor) -> float:
    return _number((one - other).abs().max() / one.abs().max().clamp_min(torch.finfo(one.dtype).tiny))


def _number(x: Tensor) -> float:
    """A float; not-a-number counts as infinitely wrong."""
    value = float(x)
    return value if value == value else float("inf")  # noqa: PLR0124 - NaN is the one value that is not itself


def _sampled(call: AttentionCall) -> Tensor:
    return torch.linspace(0, call.queries - 1, min(ROWS, call.queries), device=call.out.device).long()
