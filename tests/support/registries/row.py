"""One row of the table of models: what a model's attention is, whether it is captured and proved, and what can be shown of it."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

import vitscope as vs
from support.zoo import redraw
from vitscope.capture import Contains, intercept, probe, prove_calls
from vitscope.errors import VitscopeError
from vitscope.models.kinds import kind_of, sides

#: Largest difference allowed between attention times values and the call's own output (relative, float32).
ERROR = 1e-5


@dataclass(frozen=True)
class Small:
    """A model ready to run: ``forward(pixels)`` gives one tensor ``[b, …]`` of everything it returns.

    Attributes:
        size: ``(h, w)`` where it takes pictures ``[b, 3, h, w]`` and nothing else; None where it wants more (text, a clip).
    """

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    pixels: Tensor
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        library, task, name: where it is registered, and as what.
        status: "proved", "no attention", "refused" (attention that is not captured), "not built" (the library itself fails).
        counted: attentions in one pass, by the probe; captured: how many of them were captured.
        kinds: of the attention calls: self, cross, window, spatial reduction, pooled, channel.
        error: the largest reconstruction error; effect: the smallest effect.
        layout: of the tokens; "" where there is no global one.
        methods: names of the methods available.
        why: the reason, in a sentence, for what cannot be done.
    """

    library: str
    task: str
    name: str
    status: str
    counted: int = 0
    captured: int = 0
    kinds: tuple[str, ...] = ()
    error: float = 0.0
    effect: float = 0.0
    layout: str = ""
    methods: tuple[str, ...] = ()
    why: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"error": float(f"{self.error:.1e}"), "effect": float(f"{self.effect:.1e}")}


def measured(library: str, task: str, name: str, build: Callable[[], Small], *, brief: bool = False) -> Row:
    """Build one model, and try everything on it; ``brief``: a model without attention is only named."""
    torch.manual_seed(0)
    with quiet():
        try:
            small = build()
        except Exception as error:  # noqa: BLE001 - whatever the library says: the row has it
            return Row(library, task, name, "not built", why=line(error))
        row = _tried(Row(library, task, name, "proved"), small, brief)
        if row.status == "refused":  # weights drawn large can drown a deep model in rounding: once more, gently
            redraw(small.module, spread=0.5)
            row = _tried(Row(library, task, name, "proved"), small, brief)
    del small
    gc.collect()
    return row


def _tried(row: Row, small: Small, brief: bool) -> Row:
    found = probe(small.module, small.forward, small.pixels)
    known = vars(row) | {"counted": len(found.attention)}
    if not found:
        status = "no attention"
        known["kinds"] = others(found)
    else:
        status = "proved"
        try:
            with torch.no_grad(), sides(small.module) as seen, intercept(small.module, batch=len(small.pixels)) as recorder:
                small.forward(small.pixels)
            calls = recorder.calls
            proof = prove_calls(small.module, small.forward, small.pixels)
        except (VitscopeError, RuntimeError) as error:
            return Row(**known | {"status": "refused", "why": line(error)})
        known["captured"] = len(calls)
        known["kinds"] = (*dict.fromkeys(kind_of(call, len(small.pixels), seen) for call in calls), *others(found))
        known["error"], known["effect"] = proof.reconstruction.measured, proof.effect.measured
        if known["error"] > ERROR:
            return Row(**known | {"status": "refused", "why": proof.reconstruction.text})
    named = brief and not found and not known["kinds"]
    return Row(**known | {"status": status} | ({} if named else _layout(small)))


def others(found: Contains) -> tuple[str, ...]:
    """What weighs without being ``softmax(q kᵀ) v``."""
    return (*(("linear or predicted weights",) if found.weighted else ()), *(("sampled",) if found.sampled else ()))


def _layout(small: Small) -> dict[str, Any]:
    """What the product says of it."""
    if small.size is None:
        return {"why": "takes more than one picture (text, a clip or points): its calls are captured, maps are not made of them here"}
    try:
        loaded = vs.load(small.module)
        found = loaded.describe(small.size)
    except VitscopeError as error:
        return {"why": line(error)}
    except Exception as error:  # noqa: BLE001 - a fault of ours: the row shows it
        return {"why": f"fault: {type(error).__name__}: {line(error)}"}
    return {
        "layout": _drawn(found["layout"], found["stages"]),
        "methods": tuple(m["name"] for m in found["methods"] if m["available"]),
        "why": found["why"],
    }


def _drawn(layout: dict[str, Any], stages: list[list[int]]) -> str:
    """A layout in a few words."""
    if layout["source"] == "pixels":
        return ""
    grids = " → ".join(dict.fromkeys(f"{h}×{w}" for h, w in stages))
    others = ", ".join(dict.fromkeys(layout["prefix"]))
    return f"{grids} of {layout['stride'][0]} px" + (f", {others}" if others else "")


def usable(module: nn.Module, forward: Callable[[Tensor], Tensor], pixels: Tensor, spread: float = 1.2) -> nn.Module:
    """The same module with weights drawn anew, so that attention is far from uniform; drawn gently where that overflows."""
    for width in (spread, 0.5):
        redraw(module, spread=width)
        with torch.no_grad():
            out = forward(pixels)
        if bool(torch.isfinite(out).all()) and bool(out.abs().max() > 0):
            return module
    raise ValueError("its output is not finite with re-drawn weights")


def everything(out: Any, batch: int) -> Tensor:
    """All floating tensors in what a model returns, flattened into one ``[b, …]`` (or ``[1, …]`` where they are not by picture)."""
    found: list[Tensor] = []

    def collect(x: Any) -> None:
        if isinstance(x, Tensor):
            if x.is_floating_point() and x.numel():
                found.append(x)
        elif isinstance(x, dict) or hasattr(x, "items"):
            for value in x.values():
                collect(value)
        elif isinstance(x, (list, tuple)):
            for value in x:
                collect(value)

    collect(out)
    if all(x.dim() and x.shape[0] == batch for x in found):
        return torch.cat([x.flatten(1) for x in found], dim=1)
    return torch.cat([x.flatten() for x in found])[None]


def line(error: BaseException) -> str:
    """The first line of an error, not too long."""
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return f"{lines[0] if lines else type(error).__name__}".split(" You can install")[0][:240]


@contextlib.contextmanager
def quiet():
    """Libraries' warnings and reports kept out of the way."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
