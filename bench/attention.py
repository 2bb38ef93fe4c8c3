"""Rollout of the read-out row on ViT-B/16: this program, eager attention with matrix products, and the bare forward pass, in one run.

Each measurement runs in a process of its own, in turn, so that a machine that drifts drifts for all. Peak memory is what the process held
above the loaded model (VmHWM, reset after loading). What cannot run is listed with the size it would need.

    python bench/attention.py [--sizes 224 512 1024 2048] [--runs 3] [--out docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import page

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYERS, HEADS, PATCH = 12, 12, 16
WAYS = ("bare forward", "vitscope", "eager, matrix products")


def build(size: int, attention: str) -> nn.Module:
    """A seeded ViT-B/16 for pictures of ``size`` pixels; weights do not matter for time or memory."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(image_size=size, num_labels=1000)
    config._attn_implementation = attention
    return ViTForImageClassification(config).eval()


def picture(size: int) -> Tensor:
    """The same seeded noise for every way, ``[1, 3, size, size]``."""
    import torch

    return torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32))


def memory(field: str) -> float:
    """A field of /proc/self/status in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1e6
    raise KeyError(field)


def eager_rollout(module: nn.Module, pixels: Tensor) -> Tensor:
    """Rollout as everybody writes it: all maps of all layers kept, then full matrices multiplied."""
    import torch

    with torch.no_grad():
        attentions = module(pixels, output_attentions=True).attentions
    total = None
    for weights in attentions:
        fused = weights.mean(dim=1)
        mixed = 0.5 * fused + 0.5 * torch.eye(fused.shape[-1])
        total = mixed if total is None else mixed @ total
    return total[:, 0]


def once(way: str, size: int, row_file: str) -> dict[str, float]:
    """One measurement, in this process."""
    import torch

    module = build(size, "eager" if way.startswith("eager") else "sdpa")
    pixels = picture(size)
    if way == "vitscope":
        import vitscope as vs

        model = vs.load(module, input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
        started = time.perf_counter()
        model.prove(pixels)
        first_use = time.perf_counter() - started
    if size <= 512:  # small pictures: the first pass of a process is mostly the library waking up
        with torch.no_grad():
            module(pixels)
    Path("/proc/self/clear_refs").write_text("5")
    loaded = memory("VmRSS")
    started = time.perf_counter()
    if way == "bare forward":
        with torch.no_grad():
            module(pixels)
        row = None
    elif way == "vitscope":
        row = vs.rollout(model.trace(pixels)).values
    else:
        row = eager_rollout(module, pixels).numpy()
    seconds = time.perf_counter() - started
    if row is not None:
        np.save(row_file, row)
    result = {"seconds": seconds, "gigabytes": memory("VmHWM") - loaded}
    return result | ({"first_use": first_use} if way == "vitscope" else {})


def measure(way: str, size: int, folder: Path) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, "--once", way, "--size", str(size), "--row", str(folder / f"{way[:4]}-{size}.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.returncode, "why": done.stderr.strip().splitlines()[-1] if done.stderr else ""}
    return json.loads(done.stdout.strip().splitlines()[-1])


def eager_bytes(size: int) -> float:
    """GB of all attention maps in float32, with one matrix product's three operands."""
    tokens = (size // PATCH) ** 2 + 1
    return 4 * tokens**2 * (LAYERS * HEADS + 3) / 1e9


def free_memory() -> float:
    """GB that could be had now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1e6
    return 0.0


def difference(size: int, folder: Path) -> str:
    """Relative L1 between this program's row and the eager one."""
    ours, theirs = folder / f"vits-{size}.npy", folder / f"eage-{size}.npy"
    if not (ours.exists() and theirs.exists()):
        return "–"
    a, b = np.load(ours).astype(np.float64), np.load(theirs).astype(np.float64)
    return f"{np.abs(a - b).sum() / np.abs(b).sum():.1e}"


def run(sizes: list[int], runs: int) -> list[str]:
    """All measurements, as the lines of a Markdown table."""
    import tempfile

    lines = [
        "| picture | tokens | bare forward | vitscope rollout | eager, matrix products "
        "| vitscope ÷ bare | eager ÷ vitscope | rel. L1 | first use (proofs) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in sizes:
            lines.append(row_of(size, runs if size <= 1024 else 1, folder))
            print(lines[-1], flush=True)
    return lines


def row_of(size: int, runs: int, folder: Path) -> str:
    """One line of the table: the three ways in turn, ``runs`` times; medians, and medians of the ratios pair by pair."""
    needed = eager_bytes(size)
    ways = [way for way in WAYS if not way.startswith("eager") or needed < 0.8 * free_memory()]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in ways:
            found[way].append(measure(way, size, folder))
            print(f"  {size} px, {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    cells = [cell(found[way]) for way in WAYS[:2]]
    eager = cell(found[WAYS[2]]) if WAYS[2] in ways else f"needs {needed:,.0f} GB: cannot run"
    ours = found["vitscope"]
    first = statistics.median(one.get("first_use", float("nan")) for one in ours)
    tokens = (size // PATCH) ** 2 + 1
    return (
        f"| {size} px | {tokens:,} | {cells[0]} | {cells[1]} | {eager} | {ratio(ours, found[WAYS[0]])} | "
        f"{ratio(found[WAYS[2]], ours)} | {difference(size, folder)} | {first:.1f} s |"
    )


def cell(found: list[dict[str, float]]) -> str:
    """Median seconds and the largest peak."""
    if any("failed" in one for one in found):
        return f"failed: {found[0].get('why', '')}"
    return f"{statistics.median(one['seconds'] for one in found):.2f} s, {max(one['gigabytes'] for one in found):.2f} GB"


def ratio(above: list[dict[str, float]], below: list[dict[str, float]]) -> str:
    """Median of the pair-wise time ratios."""
    pairs = [a["seconds"] / b["seconds"] for a, b in zip(above, below, strict=False) if "seconds" in a and "seconds" in b]
    return f"{statistics.median(pairs):.2f}×" if pairs else "–"


def write(table: list[str], out: Path, runs: int) -> None:
    """Put the rows into the page's table; rows of sizes not measured now stay."""
    import torch
    import transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {versions}, fp32, {runs} runs up to 1024 px, one beyond"
    page.replace(out, "attention", table, f"Measured with `make bench` on {machine}; medians, memory above the loaded model.")


def main() -> None:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512, 1024, 2048])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--once", choices=WAYS)
    parser.add_argument("--size", type=int)
    parser.add_argument("--row")
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.once, given.size, given.row)))
        return
    write(run(given.sizes, given.runs), given.out, given.runs)


if __name__ == "__main__":
    main()
