"""How soon a map of a big photo is there: the bare forward pass of ViT-B/16 beside the same pass with the first, rough, rollout map.

Each size runs in a process of its own: the bare pass, then the traced pass and every stage of the refinement up to the exact map, whose
distance to each earlier one is measured. Processor seconds stand beside seconds, since they tell more on a machine with other work on it.
The photo is noise and the weights are drawn at random, which makes attention flatter than a trained model's; the L1 error of trained
weights on a photo is larger (docs/benchmarks.md).

    python bench/progressive.py [--sizes 512 1024 2048] [--out docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import page
from attention import build, memory, picture


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Seconds and processor seconds of what is done inside."""
    started, worked = time.perf_counter(), time.process_time()
    yield
    into[name], into[f"{name} cpu"] = time.perf_counter() - started, time.process_time() - worked


def once(size: int) -> dict[str, object]:
    """One size, in this process."""
    import torch

    import vitscope as vs
    from vitscope.methods.sampled import refine

    module, pixels, found = build(size, "sdpa"), picture(size), {}
    model = vs.load(module, input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    model.prove(pixels)
    with timed(found, "bare"), torch.no_grad():
        module(pixels)
    with timed(found, "trace"):
        trace = model.trace(pixels)
    stages, maps = [], refine(trace)
    while True:
        spent: dict[str, float] = {}
        with timed(spent, "seconds"):
            one, state = next(maps)
        stages.append((one.values[0].astype(np.float64), {**spent, **state.progress}))
        if state.done:
            break
    exact = stages[-1][0]
    rows = [{**facts, "true": float(np.abs(values - exact).sum())} for values, facts in stages]
    return {**found, "tokens": trace.layout.n, "stages": rows, "gigabytes": memory("VmHWM")}


def row(size: int) -> str:
    """One line of the table, measured in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--once", str(size)], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"| {size} px | – | failed: {done.stderr.strip().splitlines()[-1]} | | | | | |"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(found), file=sys.stderr, flush=True)
    first, second, *_, exact = found["stages"]
    shown, bare = found["trace"] + first["seconds"], found["bare"]
    worked, bare_worked = found["trace cpu"] + first["seconds cpu"], found["bare cpu"]
    return (
        f"| {size} px | {found['tokens']:,} | {bare:.2f} s ({bare_worked:.1f}) | {shown:.2f} s ({worked:.1f}) | "
        f"{shown / bare:.2f}× ({worked / bare_worked:.2f}×) | {first['true']:.3f} | {second['true']:.3f}, said {second['l1']:.3f} | "
        f"{exact['seconds']:.2f} s ({exact['seconds cpu']:.1f}) |"
    )


def main() -> None:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--once", type=int)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.once)))
        return
    import torch

    table = [
        "| picture | tokens | bare forward | pass and first map | ÷ bare | L1 of the first map | of the second | exact map, beyond |",
        "|---|---|---|---|---|---|---|---|",
        *(row(size) for size in given.sizes),
    ]
    print("\n".join(table))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()[:2])
    machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}, fp32"
    words = f"Measured with `python bench/progressive.py` on {machine}, load {load} over 1 and 5 minutes; processor seconds in brackets."
    page.replace(given.out, "progressive", table, words)


if __name__ == "__main__":
    main()
