"""The audit's page in a real browser: nothing fetched, nothing refused by its own policy, no sideways scrolling, both themes."""

import numpy as np
import pytest

from support.browser import browser, opened
from vitscope.views.colour import Limits
from vitscope.views.sheet import Sheet, borders
from vitscope.web.sheet import write_sheet

pytestmark = pytest.mark.browser


@pytest.fixture
def page(tmp_path):
    sheet = Sheet("What the model was fed: <b>a_very_long_file_name_without_any_space.jpeg</b>", answer=("tabby", 0.5), by="a model")
    sheet.section("Findings", "Worst first.")
    sheet.say("1 fault.", strong=True)
    sheet.finding({"kind": "upscaled", "severity": "fault", "what": "Too small.", "evidence": "64 px.", "fix": "<script>alert(1)</script>"})
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    lines = borders((3, 4), (16, 16), (16, 16), (0, 0), (48, 64))
    sheet.picture("The input.", pixels, "3 rows of 4 patches.", lines=lines, scale=(Limits(0, 1), "share"), wide=True)
    sheet.table("Hypotheses", ("If", "to the", "left"), [("nothing", "values", 0.25), ("all of it", "place", 1.0)], bars=2)
    sheet.curve("Lead", [("lead", [-1.0, 0.5, 2.0])], x="block", y="points")
    sheet.provenance({"model": "x", "versions": {"torch": "2"}})
    return write_sheet(sheet.view(), tmp_path / "sheet.html")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_stands_alone(page, width, scheme):
    with browser() as running, opened(running, page.as_uri(), width=width, color_scheme=scheme) as (shown, seen):
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.outside == []
        assert seen.messages == []
        assert shown.locator(".finding.fault").count() == 1
        assert "<script>alert(1)</script>" in shown.locator(".finding").inner_text()
        assert shown.locator("svg.curve polyline").count() == 1
        assert shown.locator("td .bar").count() == 2
        shown.locator("label", has_text="Dark").click()
        assert shown.evaluate("document.documentElement.dataset.theme") == "dark"
