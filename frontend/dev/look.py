"""Looks at the built view in Chromium on synthetic data: screenshots, speed, console errors, axe. Start `node dev/serve.mjs` first."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

BASE = "http://127.0.0.1:8199"
AXE = Path(__file__).parent.parent / "node_modules" / "axe-core" / "axe.min.js"


def ready(page: Page) -> None:
    page.wait_for_selector("[data-testid=small-maps] canvas")
    page.wait_for_timeout(400)


def timing(page: Page, name: str) -> None:
    page.goto(f"{BASE}/{name}/")
    ready(page)
    page.evaluate("window.times = []; addEventListener('vitscope:drawn', (e) => times.push(e.detail.ms))")
    box = page.locator("[data-testid=photo]").bounding_box()
    assert box
    for lap in range(2):
        page.evaluate("times.length = 0")
        for i in range(40):
            page.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * (i % 10) / 10), box["y"] + box["height"] * (0.2 + 0.6 * (i // 10) / 4))
            page.wait_for_timeout(60)
            for _ in range(40 if lap == 0 else 0):  # every row in hand before it is timed
                if page.evaluate("document.querySelector('[data-testid=reading]').dataset.query == document.querySelector('[data-testid=reading]').dataset.key"):
                    break
                page.wait_for_timeout(100)
    times = sorted(page.evaluate("times"))
    print(name, "draws", len(times), "median ms", round(times[len(times) // 2], 2), "p90", round(times[int(len(times) * 0.9)], 2))


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        for width, height in ((390, 844), (1280, 900), (2560, 1440)):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=2 if width == 390 else 1, bypass_csp=True)
                page = context.new_page()
                page.on("console", lambda m: print("console", m.type, m.text) if m.type in ("error", "warning") else None)
                page.on("pageerror", lambda e: print("pageerror", e))
                for name in ("b16", "l14", "wide"):
                    page.goto(f"{BASE}/{name}/")
                    ready(page)
                    page.locator("[data-testid=photo]").hover(position={"x": 150, "y": 120})
                    page.locator("[data-testid=photo]").click(position={"x": 150, "y": 120})
                    page.locator("[data-testid=photo]").hover(position={"x": 180, "y": 100})
                    page.wait_for_timeout(200)
                    page.screenshot(path=out / f"{name}-{width}-{scheme}.png", full_page=True)
                    page.evaluate(AXE.read_text())
                    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + ' ' + v.impact + ' ' + v.nodes.map(n => n.target.join(' ') + ' :: ' + (n.any[0]||{}).message).slice(0, 4).join(' | ')))")
                    for line in found:
                        print("axe", name, width, scheme, line)
                context.close()
        if "--speed" in sys.argv:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.on("console", lambda m: print("console", m.type, m.text) if m.type in ("error", "warning") else None)
            timing(page, "b16")
            timing(page, "l14")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
