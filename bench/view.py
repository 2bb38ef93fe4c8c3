"""The interactive view in headless Chromium: how soon a report opens, and how long a pointer waits for its maps.

A report of ViT-B/16 at 224 px with four methods is opened from disk with the network off. *Open* is from the start of the navigation to the
first maps drawn for a patch that was pointed at. *Redraw* is from the pointer's event to all small maps and the large one painted, the rows
in hand: patches are pointed at twice, two by two, and the second time counts. The big grid (24 layers of 16 heads over 37 × 37 patches) is
served by ``vitscope serve``. Weights are random and seeded: they do not matter for time.

    python bench/view.py [--out docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import page
from chromium import CHROMIUM, FLAGS, machine, served

LISTEN = "window.drawn = []; addEventListener('vitscope:drawn', (event) => drawn.push(event.detail.ms))"
POINTS, OPENINGS = 60, 5


def photo(folder: Path) -> Path:
    """The photo everybody with scikit-image has."""
    import skimage

    path = folder / "chelsea.png"
    Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png").save(path)
    return path


def report(folder: Path) -> Path:
    """A report of ViT-B/16 at 224 px with the four default methods."""
    import vitscope as vs
    from attention import build

    model = vs.load(build(224, "sdpa"), input_size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    explained = vs.explain(str(photo(folder)), model)
    return vs.report(explained.trace, explained.maps, folder / "report.html")


def big_model(folder: Path) -> Path:
    """A narrow ViT of 24 layers, 16 heads and 37 × 37 patches, saved as a folder."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=128, num_hidden_layers=24, num_attention_heads=16, intermediate_size=128, image_size=518, patch_size=14, num_labels=10
    )
    ViTForImageClassification(config).save_pretrained(folder / "big")
    ViTImageProcessor(size={"height": 518, "width": 518}).save_pretrained(folder / "big")
    return folder / "big"


def ready(tab: Any, drawn: int = 1) -> None:
    """Wait until so many redraws have been told of."""
    until = time.monotonic() + 60
    while tab.evaluate("drawn.length") < drawn:
        assert time.monotonic() < until, "nothing was drawn"
        tab.wait_for_timeout(2)


def opening(browser: Any, path: Path) -> float:
    """Milliseconds from navigation to the first maps drawn for a patch pointed at."""
    tab = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
    tab.add_init_script(LISTEN)
    tab.goto(path.as_uri(), wait_until="commit")
    tab.wait_for_selector("[data-testid=small-maps] canvas")
    area = tab.locator("[data-testid=photo]")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    ready(tab)
    taken = float(tab.evaluate("performance.now()"))
    tab.context.close()
    return taken


def redraws(browser: Any, address: str, *, offline: bool) -> list[float]:
    """Milliseconds of each redraw with its rows in hand."""
    tab = browser.new_context(viewport={"width": 1280, "height": 900}, offline=offline).new_page()
    tab.add_init_script(LISTEN)
    tab.goto(address)
    tab.wait_for_selector("[data-testid=small-maps] canvas")
    area = tab.locator("[data-testid=photo]")
    area.scroll_into_view_if_needed()
    tab.wait_for_timeout(500)
    box = area.bounding_box()
    at = [(0.3 + 0.4 * (i % 10) / 10, 0.2 + 0.6 * (i // 10) / 6) for i in range(POINTS)]
    spots = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in at]
    found: list[float] = []
    for pair in zip(spots[::2], spots[1::2], strict=True):
        for lap in range(2):  # there and back: the second time the rows are in hand
            for x, y in pair:
                tab.wait_for_timeout(60)
                tab.evaluate("drawn.length = 0")
                tab.mouse.move(x, y)
                tab.wait_for_timeout(350 if lap == 0 else 100)
                found += tab.evaluate("drawn") if lap else []
    tab.context.close()
    assert len(found) >= POINTS // 2, f"{len(found)} redraws of {POINTS}"
    return found


def measure() -> list[str]:
    """All measurements, as the lines of a Markdown table."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as play:
        folder = Path(name)
        path = report(folder)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = [opening(browser, path) for _ in range(OPENINGS)]
        small = redraws(browser, path.as_uri(), offline=True)
        with served(photo(folder), "--model", big_model(folder)) as address:
            big = redraws(browser, address, offline=False)
        browser.close()
        size = path.stat().st_size / 1e6
    soon = f"median {statistics.median(opened):.0f} ms, largest {max(opened):.0f} ms"
    return [
        "| what | measured | wanted |",
        "|---|---|---|",
        f"| report of ViT-B/16 at 224 px, four methods, all rows of all heads | {size:.2f} MB | ≤ 8 MB |",
        f"| … opened from disk, first patch answered | {soon} | ≤ 1000 ms |",
        f"| … redraw of 144 maps of 14 × 14 and the large one | {spread(small)} | median ≤ 16 ms |",
        f"| redraw of 384 maps of 37 × 37 and the large one | {spread(big)} | median ≤ 50 ms |",
    ]


def spread(found: list[float]) -> str:
    """Median and 95th percentile."""
    return f"median {statistics.median(found):.1f} ms, p95 {np.percentile(found, 95):.1f} ms ({len(found)} redraws)"


def main() -> None:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    given = parser.parse_args()
    table = measure()
    print("\n".join(table))
    words = f"Measured with `python bench/view.py` on {machine()}."
    page.replace(given.out, "view", table, words)


if __name__ == "__main__":
    main()
