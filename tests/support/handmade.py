"""A small seeded ViT written out by hand, and the Trace it would leave: methods are tested on it without the interceptor.

Everything is eager and kept whole, in float64 by default. ``Record`` holds what the reference implementations in
``tests/reference`` are allowed to see: full attention matrices and autograd's own gradients of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample
from vitscope.core.targets import Target
from vitscope.scoring import score
from vitscope.trace import AttentionCall, Inputs, Needs, Trace

PLAIN = Needs()


@dataclass(frozen=True)
class Spec:
    """Which small ViT. ``pool``: cls, mean, distill (cls and distillation averaged), cls+mean (side by side),

    attention (a probe reads the tokens), class (a class token joins after the blocks, with two class-attention calls).
    """

    prefix: tuple[Kind, ...] = (Kind.CLS,)
    pool: str = "cls"
    grid: tuple[int, int] = (3, 4)
    patch: int = 4
    width: int = 16
    heads: int = 2
    depth: int = 3
    classes: int = 5
    seed: int = 0
    dtype: torch.dtype = torch.float64
    sharpness: float = 2.0


CLS = Spec()
REGISTERS = Spec(prefix=(Kind.CLS, Kind.REGISTER, Kind.REGISTER), grid=(4, 3))
MEAN = Spec(prefix=(), pool="mean")
MEAN_WITH_CLS = Spec(prefix=(Kind.CLS,), pool="mean")
DISTILLED = Spec(prefix=(Kind.CLS, Kind.DISTILL), pool="distill")
TWO_STARTS = Spec(prefix=(Kind.CLS,), pool="cls+mean")
CLASS_ATTENTION = Spec(prefix=(), pool="class")
POOL = Spec(prefix=(), pool="attention", heads=4)
ALL = {
    "cls": CLS,
    "registers": REGISTERS,
    "mean": MEAN,
    "mean with cls": MEAN_WITH_CLS,
    "distilled": DISTILLED,
    "two": TWO_STARTS,
    "pool": POOL,
    "class attention": CLASS_ATTENTION,
}


@dataclass
class Call:
    """One attention, whole: q, k, v, A, O (all in the graph)."""

    q: Tensor
    k: Tensor
    v: Tensor
    a: Tensor
    out: Tensor


@dataclass
class Record:
    """One forward pass, whole and in the graph."""

    logits: Tensor
    calls: list[Call]
    hidden: list[Tensor]
    pools: list[Call] = field(default_factory=list)
    pools_by_layer: list[Call] = field(default_factory=list)
    logits_by_layer: list[Tensor] = field(default_factory=list)

    @property
    def pool(self) -> Call | None:
        """The last pooling call."""
        return self.pools[-1] if self.pools else None


class HandViT(nn.Module):
    """Pre-norm blocks, attention written out; nothing clever."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        w, n = spec.width, len(spec.prefix) + spec.grid[0] * spec.grid[1]
        self.embed = nn.Linear(3 * spec.patch**2, w)
        self.tokens = nn.Parameter(torch.zeros(len(spec.prefix), w))
        self.position = nn.Parameter(torch.zeros(n, w))
        self.qkv = nn.ModuleList(nn.Linear(w, 3 * w) for _ in range(spec.depth))
        self.proj = nn.ModuleList(nn.Linear(w, w) for _ in range(spec.depth))
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(w, 2 * w), nn.GELU(), nn.Linear(2 * w, w)) for _ in range(spec.depth))
        self.probe = nn.Parameter(torch.zeros(1, w))
        self.pool_kv = nn.Linear(w, 2 * w)
        self.head = nn.Linear(2 * w if spec.pool == "cls+mean" else w, spec.classes)
        self.redraw(spec.seed)

    def redraw(self, seed: int) -> None:
        """Every weight drawn anew."""
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in self.parameters():
                spread = self.spec.sharpness / p.shape[-1] ** 0.5 if p.dim() == 2 and p.shape[0] > 1 else 0.5
                p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) * spread)
        self.to(self.spec.dtype).eval()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Call:
        b, h = q.shape[0], self.spec.heads
        q, k, v = (x.reshape(b, x.shape[1], h, -1).transpose(1, 2) for x in (q, k, v))
        a = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1)
        return Call(q, k, v, a, a @ v)

    def read(self, z: Tensor) -> tuple[Tensor, list[Call]]:
        """Logits from tokens."""
        z = nn.functional.layer_norm(z, z.shape[-1:])
        prefix, pool, token, calls = len(self.spec.prefix), self.spec.pool, self.probe.expand(len(z), 1, -1), []
        if pool in ("attention", "class"):
            for _ in range(2 if pool == "class" else 1):
                k, v = self.pool_kv(torch.cat([token, z], 1) if pool == "class" else z).chunk(2, dim=-1)
                calls.append(self.attend(token, k, v))
                token = calls[-1].out.transpose(1, 2).flatten(2) + (token if pool == "class" else 0)
            return self.head(token[:, 0]), calls
        mean = z[:, prefix:].mean(dim=1)
        read = {"cls": z[:, :1].mean(1), "mean": mean, "distill": z[:, :2].mean(1), "cls+mean": torch.cat([z[:, :1].mean(1), mean], -1)}
        return self.head(read[pool]), []

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Record:
        b, p = len(pixels), self.spec.patch
        x = pixels.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).reshape(b, -1, 3 * p * p)
        z = torch.cat([self.tokens.expand(b, -1, -1), self.embed(x)], dim=1) + self.position
        if keep is not None:
            z = z[keep].reshape(b, int(keep[0].sum()), -1)
        calls, hidden = [], []
        for qkv, proj, mlp in zip(self.qkv, self.proj, self.mlp, strict=True):
            call = self.attend(*qkv(nn.functional.layer_norm(z, z.shape[-1:])).chunk(3, dim=-1))
            z = z + proj(call.out.transpose(1, 2).flatten(2))
            z = z + mlp(nn.functional.layer_norm(z, z.shape[-1:]))
            calls.append(call)
            hidden.append(z)
        logits, pools = self.read(z)
        by_layer = [self.read(layer) for layer in hidden]
        return Record(logits, calls, hidden, pools, [found[-1] for _, found in by_layer if found], [one for one, _ in by_layer])


def layout_of(spec: Spec) -> TokenLayout:
    """The layout of the small ViT, with what its head reads."""
    gh, gw = spec.grid
    plain = TokenLayout.plain(spec.prefix, spec.grid, (spec.patch, spec.patch), (gh * spec.patch, gw * spec.patch))
    one = np.eye(1, plain.n)[0]
    patches = (plain.kinds == Kind.PATCH) / (gh * gw)
    both = (np.arange(plain.n) < 2) / 2
    readouts = {
        "cls": (Readout("cls", one),),
        "mean": (Readout("patch mean", patches),),
        "distill": (Readout("cls and distillation mean", both),),
        "cls+mean": (Readout("cls", one), Readout("patch mean", patches)),
        "attention": (Readout("attention pool", None, "pool.0"),),
        "class": (Readout("attention pool", None, "pool.1"),),
    }
    return replace(plain, readouts=readouts[spec.pool])


def pixels_of(spec: Spec, batch: int = 2, seed: int = 7) -> Tensor:
    """Seeded pictures ``[b, 3, h, w]``."""
    gh, gw = spec.grid
    rng = torch.Generator().manual_seed(seed)
    return torch.randn((batch, 3, gh * spec.patch, gw * spec.patch), generator=rng, dtype=torch.float64).to(spec.dtype)


def _caught(call: Call, path: str, block: int | None, **grads: Tensor) -> AttentionCall:
    kept = {name: getattr(call, name).detach() for name in ("q", "k", "v", "out")}
    return AttentionCall(path, "sdpa", **kept, scale=call.q.shape[-1] ** -0.5, block=block, **grads)


def run(model: HandViT, pixels: Tensor, needs: Needs = PLAIN, target: Target | None = None, keep: Tensor | None = None) -> Trace:
    """The trace one pass leaves: q, k, v and output of every attention, and whatever gradients are needed."""
    pixels = pixels.detach().clone().requires_grad_(needs.pixel_gradients)
    seen = model(pixels, keep)
    spec, b = model.spec, len(pixels)
    every = seen.calls + seen.pools
    grads: list[dict[str, Tensor]] = [{} for _ in every]
    hidden_grads: tuple[Tensor, ...] = ()
    pixel_grads = None
    pools: tuple[AttentionCall, ...] = ()
    if target is not None:
        total = score(seen.logits, target).sum()
        for one, g in zip(grads, torch.autograd.grad(total, [c.out for c in every], retain_graph=True), strict=True):
            one["grad_out"] = g
        hidden_grads = torch.autograd.grad(total, seen.hidden, retain_graph=True) if needs.hidden else ()
        pixel_grads = torch.autograd.grad(total, pixels, retain_graph=True)[0] if needs.pixel_gradients else None
        if needs.layer_scores:
            scores = [score(one, target).sum() for one in seen.logits_by_layer]
            for one, call, s in zip(grads, seen.calls, scores, strict=False):
                one["layer_grad"] = torch.autograd.grad(s, call.out, retain_graph=True)[0]
            pools = tuple(
                _caught(call, f"pool.{len(seen.pools) - 1}", None, layer_grad=torch.autograd.grad(s, call.out, retain_graph=True)[0])
                for call, s in zip(seen.pools_by_layer, scores, strict=False)
            )
    calls = [_caught(call, f"block.{i}", i, **grads[i]) for i, call in enumerate(seen.calls)]
    calls += [_caught(call, f"pool.{i}", None, **grads[spec.depth + i]) for i, call in enumerate(seen.pools)]

    def again(wanted: Needs, aim: Target | None, inputs: Inputs) -> Trace:
        other = model
        if inputs.redraw is not None:
            other = HandViT(spec)
            other.redraw(1000 + inputs.redraw)
        return run(other, pixels if inputs.pixels is None else inputs.pixels, wanted, aim, inputs.keep)

    size = (pixels.shape[2], pixels.shape[3])
    names = tuple(f"picture {i}" for i in range(b))
    return Trace(
        calls=tuple(calls),
        layout=layout_of(spec),
        placements=(Placement.of_photo(size),) * b,
        samples=tuple(Sample(name, np.zeros((1, *size, 3), np.uint8)) for name in names),
        pixels=pixels.detach(),
        logits=seen.logits.detach(),
        labels=tuple(f"class {i}" for i in range(spec.classes)),
        provenance=Provenance("handmade", "0", "none", str(spec.dtype), "cpu", "sdpa", 0, samples=names),
        rerun=again,
        needs=needs,
        target=target,
        hidden=tuple(z.detach() for z in seen.hidden) if needs.hidden else (),
        hidden_grads=hidden_grads,
        pixel_grads=pixel_grads,
        layer_pools=pools,
    )


def trace_of(spec: Spec = CLS, batch: int = 2) -> Trace:
    """A plain trace of the small ViT on seeded pictures."""
    return run(HandViT(spec), pixels_of(spec, batch))
