"""Three ways a model's tokens lie on the picture: one grid throughout, stages and windows, or nowhere that can be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitscope.capture import guards
from vitscope.capture.blocks import Blocks, number_blocks
from vitscope.capture.hidden import hearing_blocks, replacing_output
from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary_mode
from vitscope.capture.probe import probe
from vitscope.core.layout import TokenLayout
from vitscope.errors import CaptureError, ModelError, ProofError, VitscopeError
from vitscope.grids import PLAIN_FORM, Form, Stages
from vitscope.models.family import Loaded
from vitscope.models.kinds import Sides, kind_of, sides
from vitscope.models.layout import Told, measure_layout
from vitscope.models.measure import changed, first_attention
from vitscope.models.prefixes import in_token_order, learned_tokens
from vitscope.models.stages import learn_stages, stage_layout
from vitscope.trace import AttentionCall

#: Cells along the longer side of a picture whose tokens have no place of their own.
CELLS = 14


@dataclass(frozen=True)
class Laid:
    """Where a model's tokens lie, for one input size.

    Attributes:
        layout: the first grid; cells of the picture where tokens have no place.
        calls: the attention calls of one pass.
        blocks: whose outputs are kept.
        stages: windows and grids of a hierarchical model.
        unmapped: why attention cannot be put on the picture; "" where it can.
        form: how the last block's output holds its tokens.
        on_cells: whether the first attention's tokens are the cells of the feature map, in raster order.
    """

    layout: TokenLayout
    calls: tuple[AttentionCall, ...]
    blocks: Blocks
    stages: Stages | None = None
    unmapped: str = ""
    form: Form = PLAIN_FORM
    on_cells: bool = False

    @property
    def layouts(self) -> tuple[TokenLayout, ...]:
        """One for each stage, first grid first."""
        if self.stages is None:
            return (self.layout,)
        return tuple(stage_layout(self.layout, self.stages, number) for number in range(len(self.stages.stages)))


def lay_out(described: Loaded, noise: Tensor) -> Laid:
    """Measured on one picture of noise.

    Raises:
        CaptureError: attention that cannot be captured.
        ProofError: a model of one grid whose tokens cannot be accounted for.
    """
    module = described.module
    guards.check_module(module)

    def forward(pixels: Tensor) -> object:
        return described.call(module, pixels)

    calls, seen = _heard(described, noise)
    if not calls:
        contains = probe(module, forward, noise)
        if contains:
            raise guards.none_heard(module)
        whose = "its picture tower" if described.texts else "this model"
        return _on_pixels(described, noise, calls, f"{whose} has no attention ({contains.convolutions} convolutions in one pass)")
    plain: VitscopeError | None = None
    channels = any(kind_of(call, len(noise), seen) == "channel" for call in calls)
    if not channels and _one_grid(calls, len(noise)):
        found = _plain(described, noise, calls)
        if isinstance(found, Laid):
            return found
        plain = found
        if isinstance(plain, ProofError) and _gives_boxes(described, noise):
            return _on_pixels(described, noise, calls, f"attention is among boxes: {_line(plain)}")
    return _staged(described, noise, calls, (seen, plain))


def _heard(described: Loaded, noise: Tensor) -> tuple[tuple[AttentionCall, ...], Sides]:
    """The attention calls of one pass, and what the modules were given.

    Raises:
        ModelError: the model cannot be run on a picture.
    """
    module = described.module
    try:
        with ordinary_mode(grad=False), sides(module) as seen, intercept(module, batch=len(noise)) as recorder:
            described.call(module, noise)
    except VitscopeError:
        raise
    except Exception:
        _require_photos(described, noise)
        raise
    return recorder.calls, seen


def _staged(described: Loaded, noise: Tensor, calls: tuple[AttentionCall, ...], known: tuple[Sides, VitscopeError | None]) -> Laid:
    """Windows and grids where they can be measured, else why there is no map.

    Args:
        described: the model.
        noise: see there.
        calls: see there.
        known: what the modules were given, and why the model is not of one grid throughout (None where that was not tried).

    Raises:
        ProofError: why it is not, where what was said of its tokens does not fit what was measured.
    """
    seen, plain = known
    unlike = plain if isinstance(plain, ProofError) and (described.patch is not None or described.prefix) else None
    try:
        laid = _measured(described, noise, calls, seen)
    except (ProofError, CaptureError, RuntimeError, ValueError, TypeError) as error:
        if unlike is not None:
            raise unlike from error
        if isinstance(plain, CaptureError) and not isinstance(error, VitscopeError):
            return _on_pixels(described, noise, calls, _line(plain))
        crossing = next((call.path for call in calls if kind_of(call, len(noise), seen) == "cross"), "")
        return _on_pixels(described, noise, calls, f"no one grid for all attention: {_reason(error, crossing)}")
    if unlike is not None and described.patch not in (None, laid.layout.patch, laid.layout.stride):
        raise unlike
    return laid


def _measured(described: Loaded, noise: Tensor, calls: tuple[AttentionCall, ...], seen: Sides) -> Laid:
    """Windows and grids, measured block by block; also one grid behind a stem, or padded.

    Raises:
        ProofError: what cannot be accounted for.
    """
    whole = [call.path for call in calls if len(call.out) == len(noise) and kind_of(call, len(noise), seen) == "channel"]
    mixing = [call.path for call in calls if call.path not in whole]
    layout, stages, blocks = learn_stages(described, noise, mixing, whole)
    laid = Laid(layout, calls, Blocks(blocks), stages, form=stages.forms[-1])
    laid.layouts  # noqa: B018 - each stage's grid must cover the picture
    return laid


def _require_photos(described: Loaded, noise: Tensor) -> None:
    """Say so where it is the model itself that cannot be run on a picture: one of videos or volumes, or of another size.

    Raises:
        ModelError: with what the model says.
    """
    try:
        with ordinary_mode(grad=False):
            described.call(described.module, noise)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        shape = list(noise.shape)
        raise ModelError(
            f"cannot be run on a photo {shape} ({said[:200]})",
            where=described.ref,
            expected="a model of single photos [b, 3, h, w], not of videos or volumes",
            todo="or another input size",
        ) from error


def _reason(error: Exception, crossing: str) -> str:
    """In a sentence: what was measured, a decoder, or that the model cannot be run in part."""
    if crossing:
        return f"{crossing}: queries of its own read the picture's tokens, and stand for no part of it"
    if isinstance(error, VitscopeError):
        return _line(error)
    return (
        "a part of this model cannot be run by itself on other tokens than a whole picture's, so that it is not known what they stand for "
        f"({type(error).__name__}: {_line(error)[:120]})"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _one_grid(calls: Sequence[AttentionCall], batch: int) -> bool:
    """Whether every call of tokens among themselves is over the same tokens of whole pictures, and no other call reads fewer of them."""
    among = {call.queries for call in calls if call.queries == call.keys}
    reduced = any(call.keys < call.queries for call in calls)
    first = calls[0].keys in among  # else the picture is read by other tokens first (latents)
    return len(among) == 1 and first and not reduced and all(call.out.shape[0] == batch for call in calls)


def _gives_boxes(described: Loaded, noise: Tensor) -> bool:
    """Whether it is a detector: what its attention is over may be boxes that are no part of the picture."""
    with ordinary_mode(grad=False):
        return described.rest(described.call(described.module, noise)).boxes is not None


def _plain(described: Loaded, noise: Tensor, calls: tuple[AttentionCall, ...]) -> Laid | VitscopeError:
    """One grid throughout, or why it is none: no blocks of one attention each, or tokens that are not the picture's patches."""
    try:
        blocks = number_blocks(described.module, [call.path for call in calls])
    except CaptureError as error:
        return error
    try:
        layout = bare_layout(described, noise)
        _check_tokens_stay(described, noise, blocks, layout.n)
    except ProofError as error:
        return error
    return Laid(layout, calls, blocks)


def _check_tokens_stay(described: Loaded, noise: Tensor, blocks: Blocks, n: int) -> None:
    """Each block must give as many tokens as there are, ``[b, n, c]``, ``[n, b, c]``, ``[b, h, w, c]`` or ``[b, c, h, w]``: else some pool.

    Raises:
        ProofError: a block that gives others, or tokens in another shape than the first one.
    """
    if "" in blocks.paths:
        return
    with hearing_blocks(described.module, blocks) as outputs, ordinary_mode(grad=False):
        described.call(described.module, noise)
    for path, out in zip(blocks.paths, outputs, strict=False):
        sides = tuple(out.shape)
        counts = sides[:2] if len(sides) == 3 else (sides[1] * sides[2], sides[2] * sides[3]) if len(sides) == 4 else (n,)
        if n not in counts or sides != tuple(outputs[0].shape):
            raise ProofError(f"a block gives {list(sides)}", expected=f"{n} tokens, as the first {list(outputs[0].shape)}", where=path)


def bare_layout(described: Loaded, noise: Tensor) -> TokenLayout:
    """The one grid, measured on this noise; without read-outs."""

    def forward(pixels: Tensor) -> object:
        return described.call(described.module, pixels)

    prefix = described.prefix
    if prefix and prefix == learned_tokens(described.module):  # read off names, not given: the order is still to be measured
        prefix = in_token_order(described.module, described.call, noise)
    return measure_layout(described.module, forward, noise, Told(prefix, described.patch))


def _on_pixels(described: Loaded, noise: Tensor, calls: tuple[AttentionCall, ...], why: str) -> Laid:
    """Cells of the picture: those of the last feature map, where there is one (its values can be drawn), else squares."""
    size = (int(noise.shape[-2]), int(noise.shape[-1]))
    path, grid = _feature_map(described.module, lambda pixels: described.call(described.module, pixels), noise)
    for chosen in (grid, None):
        blocks = () if chosen is None else (path,)
        side = -(-max(size) // CELLS)
        stride = (side, side) if chosen is None else (-(-size[0] // chosen[0]), -(-size[1] // chosen[1]))
        cells = chosen or (-(-size[0] // side), -(-size[1] // side))
        try:
            layout = TokenLayout.plain((), cells, stride, size, source="pixels")
        except ProofError:
            continue
        on_cells = chosen is not None and bool(calls) and tokens_are_cells(described, noise, path, cells)
        return Laid(layout, calls, Blocks(blocks, attends=bool(calls)), unmapped=why, form=Form(channel=1), on_cells=on_cells)
    raise AssertionError("squares always fit")


def tokens_are_cells(described: Loaded, noise: Tensor, path: str, grid: tuple[int, int]) -> bool:
    """Whether the first attention's tokens are the cells of one module's feature map ``[1, c, gh, gw]``, in raster order.

    Tried as patches are: the cells whose number (from one) has a bit are changed, and just the tokens of that number must change.
    """
    module = described.module
    numbers = torch.arange(1, grid[0] * grid[1] + 1, device=noise.device).view(grid)

    def tokens(cells: Tensor) -> Tensor:
        with replacing_output(module, path, lambda z: z * torch.where(cells, -1.5, 1.0).to(z)):
            return first_attention(module, lambda pixels: described.call(module, pixels), noise).tokens

    try:
        plain = tokens(numbers < 0)
        if len(plain) != numbers.numel():
            return False
        bits = range(int(numbers.max()).bit_length())
        return all(np.array_equal(changed(plain, tokens((numbers >> b) & 1 == 1)), _has(numbers, b)) for b in bits)
    except (ProofError, CaptureError):
        return False


def _has(numbers: Tensor, bit: int) -> NDArray[np.bool_]:
    return np.asarray(((numbers >> bit) & 1 == 1).flatten().cpu().numpy())


def _feature_map(module: nn.Module, forward: Callable[[Tensor], object], noise: Tensor) -> tuple[str, tuple[int, int] | None]:
    """The last module that gives a feature map ``[b, c, h, w]`` of more than one cell and of this picture, and its grid."""
    found: list[tuple[str, tuple[int, int], float]] = []
    height, width = int(noise.shape[-2]), int(noise.shape[-1])

    def listener(path: str) -> Any:
        def listen(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() == 4 and len(output) == len(noise):
                h, w = int(output.shape[2]), int(output.shape[3])
                if h * w > 1 and h * 2 <= height and abs(h * width - w * height) <= max(height, width):
                    found.append((path, (h, w), float(output.double().sum())))

        return listen

    with ExitStack() as hooks, ordinary_mode(grad=False):
        for path, part in module.named_modules():
            if path:
                hooks.callback(part.register_forward_hook(listener(path)).remove)
        forward(noise)
        count = len(found)
        forward(-noise)
    changed = [(path, grid) for (path, grid, a), (_, _, b) in zip(found[:count], found[count:], strict=False) if a != b]
    return changed[-1] if changed else ("", None)
