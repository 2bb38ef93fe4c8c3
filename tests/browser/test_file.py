"""The report's interactive view in a real Chromium, from disk, with the network off: the shared scenario, and not one request."""

import numpy as np
import pytest
from PIL import Image

import vitscope as vs
from browser import scenario
from support import photos
from support.browser import Seen, browser
from vitscope.api.write import carried_of
from vitscope.views.coding import PRECISION
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]


@pytest.fixture(scope="module")
def model():
    return vs.load("builtin:photos")


@pytest.fixture(scope="module")
def trace(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "wide.png"
    Image.fromarray(photos.scene(120, 160)).save(path)
    return model.trace(path)


@pytest.fixture(scope="module")
def maps(trace):
    return [vs.attention(trace), vs.rollout(trace), vs.relevance(trace)]


@pytest.fixture(scope="module")
def source(trace, maps):
    return dict(carried_of([(trace, maps)])[0].source)


@pytest.fixture(scope="module")
def url(model, trace, maps, tmp_path_factory):
    audits = [vs.audit(model, trace.samples[0])]
    return vs.report(trace, maps, tmp_path_factory.mktemp("report") / "one.html", audits=audits).as_uri()


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture
def opened(running, url, trace, source):
    """The report in a browser without network; opens again from a state."""
    context = running.new_context(viewport={"width": 1280, "height": 1000})
    context.set_offline(True)
    truth, every = scenario.Truth(trace), Seen()

    def at(address):
        page, seen = context.new_page(), Seen()
        seen.watch(page)
        every.watch(page)
        page.goto(address)
        return scenario.Scene(
            page=page,
            root=page.locator("[data-vitscope-view]"),
            source=source,
            truth=truth,
            within=lambda _, largest: 0.004 * largest,
            live=False,
            state=lambda: scenario.state_in(page.evaluate("location.href")),
            reopened=lambda state: at(scenario.link(url, state)),
            messages=seen.messages,
        )

    yield at, every
    context.close()


def test_axe_core_was_there():
    if not scenario.AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in frontend/): the scenario ran without it")


def test_the_scenario(opened, url):
    at, seen = opened
    scenario.whole(at(url))
    assert not seen.outside, seen.outside


def test_it_says_how_exact_it_is(opened, url):
    at, _ = opened
    scene = at(url)
    scenario.loads(scene)
    cell = scenario.inside(scene)[0]
    scenario.hover(scene, cell)
    scenario.until(lambda: scene.attribute("data-key") == f"{cell[0]},{cell[1]}", "the key")
    assert PRECISION in scene.at("reading").inner_text()


def test_what_it_does_not_carry_is_refused_with_the_reason(opened, url):
    at, _ = opened
    scene = at(url)
    scenario.loads(scene)
    before = scene.picture()
    if scene.at("method").locator("option[value=occlusion]").evaluate("o => o.disabled"):
        assert "file" in scene.at("method").locator("option[value=occlusion]").get_attribute("title")
    else:
        scene.choose("method", "occlusion")
        scenario.until(scene.failed, "the refusal")
        assert "does not carry" in scene.status()
        scene.choose("method", "attention")
        scenario.until(lambda: scene.picture() == before, "the map that was there")
        assert scene.failed() == ""
    assert scene.root.get_by_test_id("choose").count() == 0


def test_a_carried_map_equals_pythons(opened, url, maps):
    at, _ = opened
    scene = at(url)
    scenario.loads(scene)
    scene.choose("method", "relevance")
    scene.settled()
    for cell in scenario.inside(scene)[::7]:
        scenario.hover(scene, cell)
        scenario.until(lambda: scene.attribute("data-key") == f"{cell[0]},{cell[1]}", "the key")  # noqa: B023 - asked now
        np.testing.assert_allclose(float(scene.attribute("data-value")), maps[2].grid[cell], rtol=1e-6)
