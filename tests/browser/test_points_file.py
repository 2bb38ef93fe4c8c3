"""The page that `vitscope embed` writes, in a real browser: its first map, its table of figures at every width, its one switch."""

import pytest

from support.browser import browser, opened
from support.clouds import embedded, folder_of_photos
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("points")
    file = embedded(folder_of_photos(root / "in"), root / "points.parquet", "--layer", "2", "--layer", "5", "--method", "pca", "--dim", "3")
    return file.with_suffix(".html")


def test_it_opens_on_the_last_layer_and_reads_at_every_width(page):
    with browser() as running:
        for width, stacked in ((390, True), (800, True), (1010, False), (1280, False)):
            with opened(running, page.as_uri(), width=width, color_scheme="dark" if stacked else "light") as (shown, seen):
                assert shown.locator("[data-testid=scatter-map]").input_value() == "1"
                assert shown.evaluate("document.documentElement.scrollWidth") <= width
                cells = shown.locator(".stacks tbody tr").first.locator("th, td")
                boxes = [cell.bounding_box() for cell in cells.all() if cell.is_visible()]
                assert len(boxes) == 7
                assert len({box["x"] for box in boxes}) == (1 if stacked else 7)
                assert all(box["x"] + box["width"] <= width for box in boxes)
                assert seen.outside == seen.messages == []
                if width == 1280:
                    theme = shown.locator("[data-testid=theme], [name=theme]")
                    assert theme.count() == 1
                    theme.select_option("dark")
                    assert shown.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
