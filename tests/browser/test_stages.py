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
from vitscope.views.state import State
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


def test_a_file_reads_where_one_points_and_asks_for_no_row_it_does_not_have(trace, tmp_path):
    """Rows over windows are not carried: pointing leaves what the head reads in place, and says so once, not as an error."""
    page_of = vs.report(trace, [vs.rollout(trace)], tmp_path / "one.html").as_uri()
    expected = vs.attention(trace)
    with browser() as running:
        for address in (page_of, page_of + "#s=" + State(query="3,4", fixed=True).as_address()):
            page = running.new_context(viewport={"width": 1280, "height": 1000}, offline=True).new_page()
            page.goto(address)
            page.wait_for_selector("[data-testid=small-maps]", timeout=20_000)
            page.locator("[data-testid=photo]").scroll_into_view_if_needed()
            for fix in (False, True):
                box = page.locator("[data-testid=photo]").bounding_box()
                at = box["x"] + box["width"] * 7.5 / 24, box["y"] + box["height"] * 14.5 / 24
                (page.mouse.click if fix else page.mouse.move)(*at)
                page.wait_for_function("() => document.querySelector('[data-testid=reading]')?.dataset.key === '14,7'", timeout=20_000)
                assert page.locator("[data-testid=reading]").get_attribute("data-query") == "pooled"
                own = expected.grid.shape[0]
                assert abs(float(reading(page)) - expected.grid[14 * own // 24, 7 * own // 24]) < 1e-6
                assert page.locator("[data-testid=small-maps]").count() == 1
            page.locator("[data-testid=photo]").focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("() => document.querySelector('[data-testid=reading]')?.dataset.key === '14,8'", timeout=20_000)
            assert ("named tokens only" in page.locator("[data-testid=status]").inner_text()) is ("#s=" in address)
