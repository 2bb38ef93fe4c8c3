"""The scatter drawn by WebGL, which Chromium plays in software here, against the processor's: the same points in the same pixels."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from browser import points_scenario, scenario
from browser.test_points import opened, truth_of
from support.browser import ARGUMENTS, browser
from support.points_page import Host, Points, serving
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
#: As with a graphics card, the whole browser draws by it; software plays the card.
SOFTWARE = [
    *(one for one in ARGUMENTS if one != "--disable-gpu"),
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
FORCED = "window['vitscope-painter'] = 'gl'"
#: Keeps the contexts that are made, to lose one.
KEPT = """
window.cards = [];
const made = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  const context = made.call(this, kind, ...more);
  if (kind === 'webgl2' && context) cards.push(context);
  return context;
};
"""
#: What a card may fail at, and what is said of it.
FAULTS = {
    "does not compile": ";WebGL2RenderingContext.prototype.getProgramParameter = () => false",
    "no room for the points": ";WebGL2RenderingContext.prototype.getError = () => 0x0505",
    "limits are too small": ";Object.defineProperty(WebGL2RenderingContext.prototype, 'drawingBufferWidth', {get: () => 64})",
}
DEEP = 2
#: Pixels between a point that stands alone and the next one.
APART = 16
#: Share of the pixels that may differ.
MOST_FLAT, MOST_DEEP = 2e-4, 0.01


@pytest.fixture(scope="module")
def points():
    return Points(10_000, labels=23)


@pytest.fixture(scope="module")
def address(points):
    with serving(Host(points)) as found:
        yield found


@pytest.fixture(scope="module")
def running():
    with browser(SOFTWARE) as found:
        yield found


@pytest.fixture
def pages(running, address, points):
    """Opens the scatter with a painter."""
    contexts = []

    def opens(painter, density=1, state=None, faults=""):
        context = running.new_context(viewport={"width": 1280, "height": 1000}, device_scale_factor=density, accept_downloads=True)
        contexts.append(context)
        context.add_init_script(KEPT + (FORCED if painter == "gl" else faults))
        url = scenario.link(address, state) if state else address
        plot = opened(context, url, truth_of(points), live=True, root="#vitscope-view")
        scenario.until(lambda: plot.page.evaluate("told.some((one) => one.kind === 'first')"), "the first picture", 20)
        plot.settled()
        assert plot.at("scatter-canvas").get_attribute("data-painter") == painter
        return plot

    yield opens
    for context in contexts:
        context.close()


def pixels(plot):
    """The picture as drawn, int ``[height, width, 3]``."""
    plot.settled()
    data = base64.b64decode(plot.picture().split(",")[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def alone(plot, number, picture):
    """Pixels ``[n, 2]`` (across, down) of the middles of points with no other one near."""
    box = plot.box()
    at = (points_scenario.on_screen(plot, number) - [box["x"], box["y"]]) * picture.shape[1] / box["width"]
    seen = ((at > -APART) & (at < np.array(picture.shape[1::-1]) + APART)).all(1)
    at = at[seen & ~np.isin(plot.truth.codes["label"], plot.points().get("hidden", []))]
    far = np.array([np.partition(np.hypot(*(at - one).T), 1)[1] for one in at])
    whole = ((at > APART) & (at < np.array(picture.shape[1::-1]) - APART)).all(1)
    return np.floor(at[whole & (far > APART)]).astype(int)


LASSO = [[0.3, 0.3], [0.7, 0.35], [0.5, 0.8]]
NEAR = {"x": 0.5, "y": 0.5, "zoom": 4}
UPRIGHT, TURNED = [0, 0, 0, 1], [-0.2, 0.3, 0.1, 0.9]
#: By name: density of the screen, the scatter's state. In 2-D single pixels differ, where single precision puts a point one pixel on;
#: in 3-D also edges, which the processor paints in the order of the points and the card after all whole pixels.
STATES = {
    "flat": (1, {}),
    "flat, fine screen": (2, {}),
    "flat, selected, some hidden, large": (1, {"lasso": LASSO, "hidden": [1, 65535], "size": 2.5}),
    "flat, near": (1, {"camera": {**NEAR, "turn": UPRIGHT}}),
    "flat, numbers": (1, {"colour": "confidence"}),
    "deep": (1, {"map": DEEP}),
    "deep, fine screen": (2, {"map": DEEP}),
    "deep, near, selected": (1, {"map": DEEP, "lasso": LASSO, "camera": {**NEAR, "turn": TURNED}}),
    "deep, selected, some hidden, small": (1, {"map": DEEP, "lasso": LASSO, "hidden": [0], "size": 0.5}),
}


@pytest.mark.parametrize("name", STATES)
def test_both_painters_draw_the_same(pages, name):
    density, points = STATES[name]
    (plot, ours), (_, theirs) = ((one, pixels(one)) for one in (pages(painter, density, {"points": points}) for painter in ("cpu", "gl")))
    assert ours.shape == theirs.shape
    differing = (ours != theirs).any(-1).mean()
    assert differing < (MOST_DEEP if points.get("map") == DEEP else MOST_FLAT), differing
    x, y = alone(plot, points.get("map", 0), ours).T
    if "near" in name:
        assert len(x) > 50
    np.testing.assert_array_equal(theirs[y, x], ours[y, x])
    assert (ours[y, x] != ours[0, 0]).any(-1).all()


def test_the_scenario_with_webgl(pages, tmp_path):
    """Pointing, selecting, saving, moving, turning and opening again are as ever; nothing in the console."""
    plot = pages("gl")
    assert "Drawn by the graphics card." in plot.at("scatter-status").inner_text()
    points_scenario.loads(plot)
    points_scenario.hovers(plot, 4)
    points_scenario.lassoes(plot, tmp_path)
    points_scenario.saves(plot, tmp_path)
    points_scenario.moves(plot)
    points_scenario.turns(plot)
    again = points_scenario.restores(plot)
    assert again.at("scatter-canvas").get_attribute("data-painter") == "gl"
    assert not plot.messages + again.messages


def test_losing_the_card_leaves_the_processors_picture(pages):
    ours, plot = pixels(pages("cpu")), pages("gl")
    before = len(plot.page.evaluate("told"))
    plot.page.evaluate("cards[0].getExtension('WEBGL_lose_context').loseContext()")
    scenario.until(lambda: plot.at("scatter-canvas").get_attribute("data-painter") == "cpu", "the processor to paint")
    scenario.until(lambda: len(plot.page.evaluate("told")) > before, "another picture")
    np.testing.assert_array_equal(pixels(plot), ours)
    assert "Drawn by the processor, since the graphics card failed: its context was lost." in plot.at("scatter-status").inner_text()
    points_scenario.moves(plot)
    assert plot.page.evaluate("cards.length") == 1
    assert [text for text in plot.messages if "loseContext" not in text] == []  # the browser speaks of what the test did


@pytest.mark.parametrize(("what", "fault"), FAULTS.items())
def test_a_card_that_fails_leaves_the_processors_picture(pages, what, fault):
    plot = pages("cpu", faults=FORCED + fault)
    assert what in plot.at("scatter-status").inner_text()
    np.testing.assert_array_equal(pixels(plot), pixels(pages("cpu")))
    assert not plot.messages


def test_software_is_no_card_and_nobody_is_told(pages):
    plot = pages("cpu")
    assert "Drawn" not in plot.at("scatter-status").inner_text()
    assert not plot.messages
