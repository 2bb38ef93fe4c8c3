"""Looks at the built view in Chromium on synthetic data: screenshots, speed, console errors, axe. Start `node dev/serve.mjs` first.

``--scatter`` looks at the scatter alone, which the tests' own page of points serves (no node needed).
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
BASE = "http://127.0.0.1:8199"
AXE = Path(__file__).parent.parent / "node_modules" / "axe-core" / "axe.min.js"


QUERY_READ = "(({ query, key }) => query === key)(document.querySelector('[data-testid=reading]').dataset)"
VIOLATIONS = """axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations
  .map((v) => `${v.id} ${v.impact} ${v.nodes.slice(0, 3).map((n) => n.target).join(" | ")}`))"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def say(*words: object) -> None:
    """A line for who looks."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def heard(page: Page) -> Page:
    """The page, whose complaints are said."""
    page.on("console", lambda m: say("console", m.type, m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: say("page error", error))
    return page


def ready(page: Page) -> None:
    """Wait until the small maps are drawn."""
    page.wait_for_selector("[data-testid=small-maps] canvas")
    page.wait_for_timeout(400)


def timing(page: Page, name: str) -> None:
    """Say how long a redraw takes with every row in hand."""
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
            for _ in range(40 if lap == 0 else 0):
                if page.evaluate(QUERY_READ):
                    break
                page.wait_for_timeout(100)
    times = sorted(page.evaluate("times"))
    say(name, "draws", len(times), "median ms", round(times[len(times) // 2], 2), "p90", round(times[int(len(times) * 0.9)], 2))


def looks(page: Page, name: str, out: Path) -> None:
    """Screenshots of one page: pointed at, compared with links, and what axe finds in each."""
    page.goto(f"{BASE}/{name}")
    ready(page)
    photo = page.locator("[data-testid=photo]")
    photo.click(position={"x": 150, "y": 120})
    photo.hover(position={"x": 180, "y": 100})
    page.wait_for_timeout(300)
    shoot(page, out)
    page.keyboard.press("l")
    if page.locator(".vv-settings > summary").is_visible():
        page.locator(".vv-settings > summary").click()
    page.locator("[data-testid=compare]").select_option("layer")
    page.wait_for_timeout(1500)
    shoot(page, out.with_stem(out.stem + "-compared"))


def shoot(page: Page, out: Path) -> None:
    """One screenshot, and what axe says of it."""
    page.screenshot(path=out, full_page=True)
    page.evaluate(AXE.read_text())
    for line in page.evaluate(VIOLATIONS):
        say("axe", out.stem, line)


def drag(page: Page, corners: list[tuple[float, float]]) -> None:
    """Drag over the scatter through places given as shares of it."""
    box = page.locator("[data-testid=scatter-canvas]").bounding_box()
    assert box
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def scatter(page: Page, address: str, out: Path) -> None:
    """The scatter flat, pointed at, lassoed with attention and a chosen point's neighbours, by a number, and turned."""
    page.goto(address)
    page.locator("[data-testid=scatter-legend-0]").wait_for()
    page.locator("[data-testid=scatter-canvas]").scroll_into_view_if_needed()
    drag(page, [(0.6, 0.6), (0.5, 0.5)])
    for step in range(40):  # until there is a point under the pointer
        box = page.locator("[data-testid=scatter-canvas]").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * (0.3 + 0.01 * step), box["y"] + box["height"] * 0.45)
        if page.locator("[data-testid=scatter-hover]").is_visible():
            break
    page.wait_for_timeout(600)
    shoot(page, out.with_stem(out.stem + "-hover"))
    page.keyboard.down("Shift")
    drag(page, [(0.3, 0.3), (0.5, 0.2), (0.7, 0.3), (0.6, 0.6), (0.35, 0.6)])
    page.keyboard.up("Shift")
    page.locator("[data-testid=scatter-pictures] button").first.click()
    page.locator("[data-testid=scatter-attention]").click()
    page.locator("[data-testid=scatter-nearest]:not([disabled])").click() if page.locator(
        "[data-testid=scatter-nearest]:not([disabled])"
    ).count() else None
    page.mouse.move(1, 1)
    page.wait_for_timeout(900)
    shoot(page, out.with_stem(out.stem + "-lasso"))
    page.locator("[data-testid=scatter-map]").select_option("2")
    page.locator("[data-testid=scatter-colour]").select_option("confidence")
    page.wait_for_timeout(600)
    drag(page, [(0.5, 0.5), (0.56, 0.45)])
    page.wait_for_timeout(600)
    shoot(page, out.with_stem(out.stem + "-deep"))


def scatters(out: Path) -> None:
    """Look at the scatter in two sizes and both colour schemes, on the page and in a file."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.points_page import Host, Points, serving

    with serving(Host(Points(6000))) as address, sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for width, scheme, name in ((1280, "light", ""), (1280, "dark", ""), (390, "light", ""), (390, "dark", "file.html")):
            size = {"width": width, "height": 900}
            density = 2 if width == 390 else 1
            context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=density, bypass_csp=True)
            scatter(heard(context.new_page()), address + name, out / f"scatter-{width}-{scheme}.png")
            context.close()
        browser.close()


def main(out: Path) -> None:
    """Look at every page in every size and colour scheme."""
    out.mkdir(parents=True, exist_ok=True)
    if "--scatter" in sys.argv:
        scatters(out)
        return
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for width, height in ((390, 844), (1280, 900), (2560, 1440)):
            for scheme in ("light", "dark"):
                density = 2 if width == 390 else 1
                size = {"width": width, "height": height}
                context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=density, bypass_csp=True)
                page = heard(context.new_page())
                for name in ("b16/", "l14/", "wide/", "b16/file.html"):
                    looks(page, name, out / f"{name.replace('/', '-').replace('.html', '').strip('-')}-{width}-{scheme}.png")
                context.close()
        if "--speed" in sys.argv:
            page = heard(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
            timing(page, "b16")
            timing(page, "l14")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
