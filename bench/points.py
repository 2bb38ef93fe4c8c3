"""The scatter of a million points in headless Chromium without a GPU: first drawing, selection, the point under the pointer, moving.

A small folder of photos goes through ``vitscope embed``; its file of points is grown to a million rows (seeded clusters, one flat map
and one of three axes, photos, labels and provenance as they were) and served by ``vitscope serve``. *First* is from the arrival of the
map's bytes to all points painted with their colours. *Lasso* is from the pointer's release to the selection painted, *listed* to its
counts, pictures and table on the page. *Hover* is from the pointer's event to the ring around the nearest point. Times are the view's
own, from the browser's events.

    python bench/points.py [--out docs/benchmarks.md] [--count 1000000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import page
from chromium import CHROMIUM, FLAGS, machine, served

LISTEN = "window.told = []; addEventListener('vitscope:points', (event) => told.push(event.detail))"
OPENINGS, LASSOS, HOVERS, MOVES = 5, 12, 60, 60
CLASSES = {"frog": (40, 160, 60), "ship": (60, 90, 200), "truck": (190, 120, 60)}


def embedded(folder: Path) -> Path:
    """The file of points of 27 small photos."""
    draw = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(9):
            noisy = np.clip(draw.normal(colour, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / "photos" / name / f"{i}.png")
    out = folder / "points.parquet"
    command = [sys.executable, "-m", "vitscope", "embed", str(folder / "photos"), "--out", str(out), "--threads", "1", "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def grown(path: Path, count: int) -> Path:
    """The same file with so many rows on two maps: ten clusters on a plane, and ten in space."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    draw = np.random.default_rng(1)
    rows = np.arange(count)
    cluster, photo = draw.integers(0, 10, count), rows % table.num_rows
    labels = pa.array([f"class {i}" for i in range(10)])
    same = {name: table.column(name).combine_chunks().take(pa.array(photo)) for name in ("path", "predicted")}
    same |= {"id": pa.array(np.char.mod("%07d", rows)), "label": labels.take(pa.array(cluster))}
    layer = table.column("layer")[0].as_py()

    def one(method: str, dims: int) -> Any:
        place = draw.normal(size=(10, dims))[cluster] + draw.normal(size=(count, dims)) * 0.25
        axes = [place[:, i] if i < dims else np.full(count, np.nan) for i in range(3)]
        own = {"layer": pa.array(np.full(count, layer, np.int32)), "method": pa.array([method]).take(pa.array(np.zeros(count, np.int64)))}
        return pa.table({**same, **own, **{axis: pa.array(values.astype(np.float32)) for axis, values in zip("xyz", axes, strict=True)}})

    out = path.with_name("many.parquet")
    pq.write_table(pa.concat_tables([one("pca", 2), one("umap", 3)]).replace_schema_metadata(table.schema.metadata), out)
    return out


class Tab:
    """The scatter in a tab of its own."""

    def __init__(self, browser: Any, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page = self.context.new_page()
        self.page.add_init_script(LISTEN)
        self.page.goto(address)
        self.heard("first")
        self.page.wait_for_timeout(500)

    def heard(self, kind: str, seconds: float = 60) -> list[Any]:
        """Everything of one kind that was told since :meth:`forget`, once there is some."""
        until = time.monotonic() + seconds
        while not (found := [one for one in self.page.evaluate("told") if one["kind"] == kind]):
            assert time.monotonic() < until, f"nothing told of {kind}"
            self.page.wait_for_timeout(10)
        return found

    def forget(self) -> None:
        """From now on."""
        self.page.evaluate("told.length = 0")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A place given as shares of the plot."""
        box = self.page.locator("[data-testid=scatter-canvas]").bounding_box()
        return box["x"] + box["width"] * x, box["y"] + box["height"] * y

    def hovers(self) -> list[float]:
        """Milliseconds from the pointer's event to the ring."""
        self.forget()
        for i in range(HOVERS):
            self.page.mouse.move(*self.place(0.3 + 0.4 * (i % 10) / 10, 0.3 + 0.4 * (i // 10) / 6))
            self.page.wait_for_timeout(50)
        return [one["ms"] for one in self.heard("hover")]

    def lassos(self) -> tuple[list[float], list[float], int]:
        """Milliseconds to the selection painted, and listed; how many points the largest holds."""
        painted, listed, most = [], [], 0
        for i in range(LASSOS):
            self.forget()
            self.page.keyboard.down("Shift")
            reach = 0.15 + 0.3 * i / LASSOS
            self.page.mouse.move(*self.place(0.5 + reach, 0.5))
            self.page.mouse.down()
            for angle in np.linspace(0, 2 * np.pi, 60)[1:]:
                self.page.mouse.move(*self.place(0.5 + reach * np.cos(angle), 0.5 + reach * np.sin(angle)))
            self.page.mouse.up()
            self.page.keyboard.up("Shift")
            done = self.heard("listed")[-1]
            painted.append(self.heard("lasso")[-1]["ms"])
            listed.append(done["ms"])
            most = max(most, done["count"])
            self.page.wait_for_timeout(700)  # its pictures have come
            self.page.locator("[data-testid=scatter-canvas]").scroll_into_view_if_needed()
        self.page.locator("[data-testid=scatter-clear]").click()
        return painted, listed, most

    def moves(self) -> tuple[list[Any], list[float]]:
        """What was painted while the map was dragged, and the milliseconds of whole pictures at rest."""
        self.forget()
        self.page.mouse.move(*self.place(0.5, 0.5))
        self.page.mouse.down()
        for i in range(MOVES):
            self.page.mouse.move(*self.place(0.5 + 0.1 * np.sin(i / 8), 0.5 + 0.1 * np.cos(i / 8)))
            self.page.wait_for_timeout(16)
        self.page.mouse.up()
        self.page.wait_for_timeout(500)
        moving = self.heard("draw")
        self.forget()
        for _ in range(8):
            self.page.locator("[data-testid=scatter-fit]").click()
            self.page.locator("[data-testid=scatter-canvas]").focus()
            self.page.keyboard.press("+")
            self.page.wait_for_timeout(450)
        whole = [one["ms"] for one in self.heard("draw") if one["points"] == one["of"]]
        return moving, whole


def rows_of(tab: Tab, words: str) -> list[str]:
    """The rows of one map."""
    hovers = tab.hovers()
    painted, listed, most = tab.lassos()
    moving, whole = tab.moves()
    shown = statistics.median(one["points"] for one in moving)
    return [
        f"| {words}: the point under the pointer | {spread(hovers)} | ≤ 30 ms |",
        f"| … lasso of up to {most:,} points, painted | {spread(painted)} | ≤ 100 ms |",
        f"| … with counts, pictures and table on the page | {spread(listed)} | |",
        f"| … all points painted anew | {spread(whole)} | |",
        f"| … a frame while it is dragged, {shown:,.0f} points of it | {spread([one['ms'] for one in moving])} | |",
    ]


def measure(count: int) -> list[str]:
    """All measurements, as the lines of a Markdown table."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as play, served(grown(embedded(Path(name)), count)) as address:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context, first = None, []
        for _ in range(OPENINGS):
            if context:
                context.close()
            tab = Tab(browser, address)
            context = tab.context
            first.append(tab.heard("first")[0]["ms"])
        flat = rows_of(tab, "flat map")
        tab.page.locator("[data-testid=scatter-map]").select_option("1")
        tab.page.wait_for_timeout(3000)
        deep = rows_of(tab, "map of three axes")
        browser.close()
    words = f"{count:,} points, first drawn after their data has arrived"
    return ["| what | measured | wanted |", "|---|---|---|", f"| {words} | {spread(first)} | ≤ 2000 ms |", *flat, *deep]


def spread(found: list[float]) -> str:
    """Median and largest."""
    return f"median {statistics.median(found):.0f} ms, largest {max(found):.0f} ms ({len(found)})"


def main() -> None:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--count", type=int, default=1_000_000)
    given = parser.parse_args()
    table = measure(given.count)
    print("\n".join(table))
    page.replace(given.out, "points", table, f"Measured with `python bench/points.py` on {machine()}.")


if __name__ == "__main__":
    main()
