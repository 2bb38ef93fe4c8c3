"""The scatter in a real Chromium: the shared scenario on a page and in a file of points whose every answer is known."""

import numpy as np
import pytest

from browser import points_scenario, scenario
from support.browser import Seen, browser
from support.points_page import Host, Points, serving
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def host():
    return Host(Points(1500))


@pytest.fixture(scope="module")
def address(host):
    with serving(host) as found:
        yield found


def opened(context, url, truth, *, live, root):
    """The scatter at an address; written down is all that it says and asks for."""
    page, seen = context.new_page(), Seen()
    page.add_init_script(points_scenario.LISTEN)
    seen.watch(page)
    page.goto(url)
    plot = points_scenario.Plot(
        page=page,
        root=page.locator(root),
        truth=truth,
        live=live,
        state=lambda: scenario.state_in(page.evaluate("location.href")),
        reopened=lambda state: opened(context, scenario.link(page.evaluate("location.href"), state), truth, live=live, root=root),
        messages=seen.messages,
    )
    plot.requests = seen.requests
    return plot


@pytest.fixture
def context(running):
    context = running.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    yield context
    context.close()


def truth_of(points):
    codes = {"label": points.label, "predicted": points.predicted, "error": points.error}
    return points_scenario.Truth(points.positions, codes, [points.row(row)["id"] for row in range(points.count)])


@pytest.fixture
def plot(context, address, host):
    return opened(context, address, truth_of(host.points), live=True, root="#vitscope-view")


def test_the_scenario_on_a_page(plot, address, tmp_path):
    points_scenario.whole(plot, tmp_path)
    assert not [url for url in plot.requests if not url.startswith((address, "data:", "blob:"))]


def test_the_scenario_in_a_file_without_network(context, host, tmp_path):
    path = tmp_path / "points.html"
    path.write_text(host.html, encoding="utf-8")
    context.set_offline(True)
    plot = opened(context, path.as_uri(), truth_of(host.points), live=False, root="[data-vitscope-view]")
    points_scenario.whole(plot, tmp_path)
    assert not [url for url in plot.requests if not url.startswith(("file:", "data:", "blob:"))]


def test_it_tells_how_long_it_took(plot):
    points_scenario.loads(plot)
    points_scenario.hovers(plot, 2)
    points_scenario.lasso(plot, [(0.3, 0.3), (0.7, 0.3), (0.5, 0.7)])
    told = plot.page.evaluate("told")
    assert {one["kind"] for one in told} == {"first", "draw", "hover", "lasso", "listed"}
    assert all(one["ms"] >= 0 for one in told)


def test_attention_lies_over_the_pictures(plot):
    points_scenario.loads(plot)
    points_scenario.lasso(plot, [(0.3, 0.3), (0.7, 0.3), (0.5, 0.7)])
    plot.at("scatter-attention").click()
    pictures = plot.at("scatter-pictures").locator("button")
    scenario.until(
        lambda: plot.at("scatter-pictures").locator("[data-attention]").count() == pictures.count(), "attention over all of them"
    )
    assert pictures.first.locator("canvas").evaluate("c => c.width * c.height") > 1000


def test_neighbours_are_those_of_the_original_space(plot, host):
    points_scenario.loads(plot)
    points_scenario.lasso(plot, [(0.3, 0.3), (0.7, 0.3), (0.5, 0.7)])
    plot.at("scatter-pictures").locator("button").first.click()
    plot.at("scatter-nearest").click()
    scenario.until(lambda: plot.there("scatter-neighbours"), "the neighbours")
    row = int(plot.at("scatter-focus").get_attribute("data-row"))
    assert plot.at("scatter-neighbours").get_attribute("data-rows") == ",".join(str(one["row"]) for one in host.nearest(row, 12))


def test_more_points_than_an_svg_should_have_are_one_picture_in_it(context, tmp_path):
    points = Points(50_001)
    with serving(Host(points)) as address:
        plot = opened(context, address, truth_of(points), live=True, root="#vitscope-view")
        points_scenario.loads(plot)
        with plot.page.expect_download() as coming:
            plot.at("scatter-export-svg").click()
        coming.value.save_as(tmp_path / "many.svg")
        text = (tmp_path / "many.svg").read_text(encoding="utf-8")
        assert text.count("<image") == 1
        assert "more than 50,000 points: they are one picture" in text
        assert "embedded picture" in plot.at("scatter-status").inner_text()


def test_a_picture_of_many_points_is_the_same_painted_whole(context):
    """While something moves fewer points are painted, and that is said; at rest all of them."""
    points = Points(300_000)
    with serving(Host(points)) as address:
        plot = opened(context, address, truth_of(points), live=True, root="#vitscope-view")
        points_scenario.loads(plot)
        before = plot.picture()
        points_scenario.drag(plot, [(0.5, 0.5), (0.55, 0.5), (0.5, 0.5)])
        plot.settled()
        plot.at("scatter-fit").click()
        scenario.until(lambda: plot.picture() == before, "the whole picture again")
        drawn = [one for one in plot.page.evaluate("told") if one["kind"] == "draw"]
        assert drawn[-1]["points"] == drawn[-1]["of"] == 300_000
        assert np.all([one["points"] <= one["of"] for one in drawn])
