"""A hierarchical model in the page, in a real Chromium: its windows are what is drawn, and nothing is read outside them."""

import pytest
import torch
from PIL import Image

import vitscope as vs
from support import photos
from support.browser import Seen, browser
from support.served import served
from support.zoo import redraw
from vitscope.api.explorer import Explorer
from vitscope.methods.windows import query_at
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@pytest.fixture(scope="module")
def trace():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    made = timm.models.swin_transformer.SwinTransformer
    module = redraw(made(img_size=96, patch_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=6, num_classes=5))
    model = vs.load(module, input_size=96, mean=(0.5,) * 3, std=(0.5,) * 3)
    return model.trace(Image.fromarray(photos.scene(96, 128)))


def reading(page):
    return page.locator("[data-testid=reading]").get_attribute("data-value")


def point(page, row, column, *, fix=False):
    """Point at a patch of 24×24 on the large photo."""
    box = page.locator("canvas").first.bounding_box()
    at = box["x"] + box["width"] * (column + 0.5) / 24, box["y"] + box["height"] * (row + 0.5) / 24
    page.mouse.move(*at)
    if fix:
        page.mouse.click(*at)
    page.wait_for_function(
        "key => document.querySelector('[data-testid=reading]')?.dataset.key === key", arg=f"{row},{column}", timeout=20_000
    )


def test_a_patch_is_asked_in_its_window_and_nothing_is_read_outside(trace):
    with served(Explorer([trace]), port=0) as (site, port), browser() as running:
        page, seen = running.new_page(viewport={"width": 1280, "height": 1000}), Seen()
        seen.watch(page)
        page.goto(f"http://127.0.0.1:{port}/?token={site.guard.token}")
        page.wait_for_selector("[data-testid=small-maps]", timeout=20_000)
        point(page, 14, 7, fix=True)
        page.wait_for_function("() => document.querySelector('[data-testid=reading]')?.dataset.query === '14,7'", timeout=20_000)
        layer = len(trace.blocks) - 1
        found = vs.attention(trace, layer=layer, query=query_at(trace, (14, 7), layer))
        expected = found.grid[14 * found.grid.shape[0] // 24, 7 * found.grid.shape[1] // 24]
        page.wait_for_function(
            "value => Math.abs(Number(document.querySelector('[data-testid=reading]').dataset.value) - value) < 1e-3 * value",
            arg=float(expected),
            timeout=20_000,
        )
        point(page, 1, 22)
        assert reading(page) == "NaN"
        assert "undefined" in page.locator("[data-testid=reading]").inner_text()
        page.screenshot()
        assert [message for message in seen.messages if message.startswith("error")] == []
