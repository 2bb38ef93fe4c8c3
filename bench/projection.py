"""PCA and the quality of a projection beside scikit-learn, on clustered vectors: time, memory above the data, difference.

Each measurement runs in a process of its own. Peak memory is what the process held above the data (VmHWM, reset once the data is there).
What cannot run is listed with the size it would need.

    python bench/projection.py [--sizes 5000 20000 70000] [--width 192] [--out docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BEGIN, END = "<!-- projection: begin -->", "<!-- projection: end -->"
NEAR = 10
WAYS = {
    "PCA": ("vitscope pca", "scikit-learn pca"),
    "PCA in batches": ("vitscope batches", "scikit-learn batches"),
    "trustworthiness and continuity": ("vitscope ranks", "scikit-learn ranks"),
    "silhouette": ("vitscope silhouette", "scikit-learn silhouette"),
}


def clustered(m: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded vectors float32 ``[m, width]`` in ten clusters of unequal spread, and the cluster of each."""
    rng = np.random.default_rng(0)
    own = rng.integers(0, 10, m)
    centres = rng.standard_normal((10, width)) * 1.5
    return (centres[own] + rng.standard_normal((m, width)) * np.geomspace(2.0, 0.2, width)).astype(np.float32), own


def memory(field: str) -> float:
    """A field of /proc/self/status in GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1e6
    raise KeyError(field)


def batches(x: np.ndarray) -> Iterator[np.ndarray]:
    """A thousand rows at a time."""
    return (x[i : i + 1000] for i in range(0, len(x), 1000))


def incremental(x: np.ndarray) -> list[float]:
    """Shares of variance by scikit-learn's incremental PCA."""
    from sklearn.decomposition import IncrementalPCA

    model = IncrementalPCA(3)
    for part in batches(x):
        model.partial_fit(part)
    return model.explained_variance_ratio_.tolist()


def work(way: str, x: np.ndarray, own: np.ndarray, points: np.ndarray) -> list[float]:
    """The thing itself; returns its figures."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import trustworthiness
    from sklearn.metrics import silhouette_score

    from vitscope.projection.pca import fit_pca
    from vitscope.projection.quality import label_structure, neighbourhoods

    wide = x.astype(np.float64)  # in float32 scikit-learn's ranks are not exact
    ways = {
        "vitscope pca": lambda: [*fit_pca(x, 3).explained],
        "vitscope batches": lambda: [*fit_pca(batches(x), 3).explained],
        "vitscope ranks": lambda: list(neighbourhoods(x, points, NEAR)),
        "vitscope silhouette": lambda: [label_structure(x, own, NEAR)[1]],
        "scikit-learn pca": lambda: [*PCA(3, svd_solver="full").fit(x).explained_variance_ratio_],
        "scikit-learn batches": lambda: incremental(x),
        "scikit-learn ranks": lambda: [trustworthiness(*pair, n_neighbors=NEAR) for pair in ((wide, points), (points, wide))],
        "scikit-learn silhouette": lambda: [silhouette_score(x, own)],
    }
    return ways[way]()


def once(way: str, m: int, width: int) -> dict[str, object]:
    """One measurement, in this process."""
    import sklearn.decomposition
    import sklearn.manifold
    import sklearn.metrics  # noqa: F401 - waking the library up is no part of what is measured

    import vitscope.projection.maps
    import vitscope.projection.quality  # noqa: F401

    x, own = clustered(m, width)
    points = np.ascontiguousarray(x[:, :2])
    Path("/proc/self/clear_refs").write_text("5")
    before, started, used = memory("VmRSS"), time.perf_counter(), time.process_time()
    figures = work(way, x, own, points)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu": time.process_time() - used,
        "gigabytes": memory("VmHWM") - before,
        "figures": [float(figure) for figure in figures],
    }


def measure(way: str, m: int, width: int) -> dict[str, object] | None:
    """One measurement in a fresh process; None where it ended otherwise."""
    command = [sys.executable, __file__, "--once", way, "--sizes", str(m), "--width", str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(way, m, done.stdout.strip()[-300:] or done.stderr.strip()[-300:], flush=True)
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None


def ranks_bytes(m: int) -> float:
    """GB that all ranks at once need: a float64 distance matrix, an int64 order of it and its inverse, both of them twice."""
    return 8.0 * m * m * 3 / 1e9


def cell(found: dict[str, object] | None) -> str:
    """Seconds of processor and peak memory."""
    return f"{found['cpu']:.1f} s, {max(found['gigabytes'], 0.0):.2f} GB" if found else "ended without a result"


def row(name: str, m: int, width: int) -> str:
    """One line of the table."""
    ours, theirs = WAYS[name]
    mine = measure(ours, m, width)
    free = next(int(line.split()[1]) / 1e6 for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    needs = ranks_bytes(m) if "ranks" in theirs else 0.0
    other = measure(theirs, m, width) if needs < free / 2 else None
    said = cell(other) if other or needs < free / 2 else f"needs {needs:.0f} GB: not run"
    gap = f"{np.abs(np.subtract(mine['figures'], other['figures'])).max():.1e}" if mine and other else "–"
    return f"| {m:,} | {name} | {cell(mine)} | {said} | {gap} |"


def main() -> None:
    """Measure, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 20000, 70000])
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--once", default="")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.once, given.sizes[0], given.width)))
        return
    from importlib.metadata import version

    lines = ["| vectors | what | vitscope | scikit-learn | largest difference |", "|---|---|---|---|---|"]
    lines += [row(name, m, given.width) for m in given.sizes for name in WAYS]
    made = f"{platform.machine()}, numpy {version('numpy')}, scikit-learn {version('scikit-learn')}"
    how = f"Measured with `python bench/projection.py` on {made}, one thread, vectors of {given.width} values"
    lines += ["", f"{how}; processor time, memory above the data."]
    table = "\n".join(lines)
    print(table)
    if given.out:
        text = given.out.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        given.out.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
