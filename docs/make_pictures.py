"""Make the README's picture: the demonstration's own report, as a browser shows it. Run by ``make pictures``."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
LARGEST = 400_000
WIDTH = 1280


def main() -> None:
    """Write docs/images/report.png from ``vitscope demo``."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "chelsea.html"
        command = [sys.executable, "-m", "vitscope", "demo", "--quiet", "--out", str(report)]
        subprocess.run(command, check=True)  # noqa: S603 - our own command on our own file
        shot = screenshot(report)
    data = small_png(shot)
    target = IMAGES / "report.png"
    IMAGES.mkdir(exist_ok=True)
    target.write_bytes(data)
    sys.stdout.write(f"{target}: {shot.width}×{shot.height}, {len(data) // 1000} kB\n")


def screenshot(report: Path) -> Image.Image:
    """The report from its headline to the colour bars of its maps, offline, in the light theme."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no Chromium on this machine; install Debian's package chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": WIDTH, "height": 1000}, color_scheme="light", offline=True).new_page()
        page.goto(report.as_uri())
        page.add_style_tag(
            content=".maps { grid-template-columns: repeat(4, 1fr) !important; gap: 1rem !important; } .headline { margin: 0 0 1.2rem }"
        )
        bottom = max(bar["y"] + bar["height"] for bar in (scale.bounding_box() for scale in page.locator("[data-scale]").all()) if bar)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": round(bottom + 14)}
        raw = page.screenshot(clip=clip, full_page=True)
        browser.close()
    return Image.open(io.BytesIO(raw)).convert("RGB")


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
