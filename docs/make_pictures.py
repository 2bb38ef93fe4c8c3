"""Make the README's pictures as a browser shows them: the demonstration's own report, and a folder as points. Run by ``make pictures``."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
LARGEST = 400_000
WIDTH = 1280
CROPPED = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "moon", "retina", "rocket")
CROPS = 150


def main() -> None:
    """Write docs/images/report.png from ``vitscope demo`` and docs/images/points.png from ``vitscope embed``."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        vitscope("demo", "--out", folder / "chelsea.html")
        crops(folder / "crops")
        vitscope("embed", folder / "crops", "--method", "tsne", "--layer", "3", "--out", folder / "crops.parquet")
        save(shot(folder / "chelsea.html", maps), "report.png")
        save(shot(folder / "crops.html", selection), "points.png")


def vitscope(*words: object) -> None:
    """Run one command."""
    command = [sys.executable, "-m", "vitscope", *map(str, words), "--quiet"]
    subprocess.run(command, check=True)  # noqa: S603 - our own command on our own file


def crops(folder: Path) -> None:
    """Seeded squares out of pictures that come with scikit-image, a folder for each picture."""
    draw = np.random.default_rng(0)
    for name in CROPPED:
        whole = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        (folder / name).mkdir(parents=True)
        for number in range(CROPS):
            side = int(min(whole.size) * draw.uniform(0.2, 0.35))
            left, top = draw.integers(whole.width - side), draw.integers(whole.height - side)
            square = whole.crop((left, top, left + side, top + side))
            square.resize((96, 96), Image.Resampling.LANCZOS).save(folder / name / f"{number:03d}.png")


def shot(file: Path, framed: Callable[[Page], dict[str, float]]) -> Image.Image:
    """A part of a page, offline, in the light theme."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no Chromium on this machine; install Debian's package chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": WIDTH, "height": 1000}, color_scheme="light", offline=True).new_page()
        page.goto(file.as_uri())
        raw = page.screenshot(clip=framed(page), full_page=True)
        browser.close()
    return Image.open(io.BytesIO(raw)).convert("RGB")


def maps(page: Page) -> dict[str, float]:
    """A report from its headline to the colour bars of its maps."""
    page.add_style_tag(
        content=".maps { grid-template-columns: repeat(4, 1fr) !important; gap: 1rem !important; } .headline { margin: 0 0 1.2rem }"
    )
    bottom = max(bar["y"] + bar["height"] for bar in (scale.bounding_box() for scale in page.locator("[data-scale]").all()) if bar)
    return {"x": 0, "y": 0, "width": WIDTH, "height": round(bottom + 14)}


def selection(page: Page) -> dict[str, float]:
    """A page of points from its map to the pictures of what a lasso took."""
    canvas = page.get_by_test_id("scatter-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + 0.42 * box["width"], box["y"] + 0.5 * box["height"]
    page.keyboard.down("Shift")
    page.mouse.move(x + 130, y)
    page.mouse.down()
    for step in range(25):
        page.mouse.move(x + 130 * math.cos(step * math.tau / 24), y + 100 * math.sin(step * math.tau / 24))
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_test_id("scatter-pictures").locator("img, canvas").first.wait_for()
    page.wait_for_timeout(1500)  # pictures come one after the other
    page.evaluate("scrollTo(0, 0)")
    top, bottom = (page.get_by_test_id(name).bounding_box() for name in ("scatter", "scatter-pictures"))
    return {"x": 48, "y": top["y"] - 8, "width": WIDTH - 96, "height": bottom["y"] + bottom["height"] - top["y"] + 16}


def save(picture: Image.Image, name: str) -> None:
    """Write a picture among the documentation's."""
    data = small_png(picture)
    (IMAGES / name).write_bytes(data)
    sys.stdout.write(f"{IMAGES / name}: {picture.width}×{picture.height}, {len(data) // 1000} kB\n")


def small_png(picture: Image.Image) -> bytes:
    """A PNG of at most LARGEST bytes: 256 well-chosen colours, dithered."""
    chosen = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    out = io.BytesIO()
    picture.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG).save(out, "PNG", optimize=True)
    if out.tell() > LARGEST:
        raise SystemExit(f"the picture takes {out.tell()} bytes, more than {LARGEST}")
    return out.getvalue()


if __name__ == "__main__":
    main()
