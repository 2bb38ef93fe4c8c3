"""A two-tower model in a real Chromium: a text is written, its map is the model's own, and what it does not take is said there."""

import re
from pathlib import Path

import numpy as np
import pytest

import vitscope as vs
from browser import scenario
from support.browser import Seen, browser
from support.notebook import Kernel, jupyter_lab
from support.served import served
from unit.test_targets_texts import PHOTOS, TEXTS, ids, slow_relevance, tokenizer, towers, whole
from vitscope.api.explorer import Explorer
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
pytest.importorskip("uvicorn", reason="uvicorn is not installed")


def traced(labels=None, **given):
    return vs.load(towers("clip"), mean=0.5, std=0.5, labels=labels, **{"tokenizer": tokenizer(), **given}).trace(PHOTOS[0])


class Page:
    """The view of one trace, as a person sees and writes to it."""

    def __init__(self, page, trace, address):
        self.page, self.trace, self.seen = page, trace, Seen()
        self.seen.watch(page)
        page.goto(address)
        facts = Explorer([trace]).catalogue()["sources"][0]
        root = page.locator("#vitscope-view")
        self.scene = scenario.Scene(page, root, facts, None, None, True, lambda: scenario.state_in(page.evaluate("location.href")), None)
        page.locator("[data-testid=photo]").wait_for(state="visible", timeout=20_000)
        if not self.at("method").is_visible():  # narrow: the settings are folded
            page.locator(".vv-settings > summary").click()
        scenario.loads(self.scene)

    def at(self, name):
        return self.scene.at(name)

    def write(self, where, words):
        self.at(where).fill(words)
        self.at(where).press("Enter")

    def caption(self, which=0):
        return self.page.locator(".vv figcaption").nth(which).inner_text()

    def explained(self, words, which=0):
        scenario.until(lambda: words in self.caption(which), f"{words!r} in the caption")
        self.scene.settled()

    def scores(self):
        """The scores in the caption."""
        (found,) = re.findall(r"\(scores? ([^)]*)\)", self.caption())
        return [float(one.replace("−", "-")) for one in found.split(" and ")]

    def said(self, where="target"):
        return self.at(f"{where}-said").inner_text()

    def refused(self, where="target"):
        scenario.until(
            lambda: "vv-error" in (self.at(f"{where}-said").get_attribute("class") or ""), f"a refusal, not {self.said(where)!r}"
        )
        assert self.at(where).get_attribute("aria-invalid") == "true"
        assert f"{where}-said" == self.page.locator(f"#{self.at(where).get_attribute('aria-describedby').split()[-1]}").get_attribute(
            "data-testid"
        )
        return self.said(where)

    def read(self):
        """The values that are shown under the pointer, patch by patch."""
        grid = np.full(self.trace.layout.grid, np.nan)
        for cell in scenario.inside(self.scene):
            scenario.hover(self.scene, cell)
            scenario.until(lambda: self.scene.attribute("data-key") == f"{cell[0]},{cell[1]}", "the key")  # noqa: B023 - asked now
            grid[cell] = float(self.scene.attribute("data-value"))
        return grid

    def errors(self):
        return [message for message in self.seen.messages if message.startswith("error") and "400 (Bad Request)" not in message]


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture
def opened(running):
    """Opens the view of a trace; its context and server end with the test."""
    ends = []

    def opening(trace, *, width=1280, **options):
        serving = served(Explorer([trace]), port=0)
        site, port = serving.__enter__()
        ends.append(lambda: serving.__exit__(None, None, None))
        context = running.new_context(viewport={"width": width, "height": 1000}, **options)
        ends.append(context.close)
        return Page(context.new_page(), trace, f"http://127.0.0.1:{port}/?token={site.guard.token}")

    yield opening
    for end in reversed(ends):
        end()


def same(grid, own, slow):
    """The page's numbers are the verb's, and the slow twin's in float64."""
    there = np.isfinite(grid)
    assert there.sum() >= 8
    np.testing.assert_allclose(grid[there], own.grid[there], rtol=1e-6)
    assert np.abs(grid - slow)[there].max() <= 1e-4 * np.abs(slow).max()


def test_a_text_is_written_and_its_map_is_the_models_own(opened):
    trace = traced()
    page = opened(trace)
    slow = {
        against: slow_relevance(trace.pixels, TEXTS[:2], against)[0][trace.layout.patches].reshape(trace.layout.grid)
        for against in (False, True)
    }
    scores = whole(towers("clip"), trace.pixels, ids("clip"))[0].tolist()
    assert page.at("target").is_disabled()  # attention is of no text
    page.scene.choose("method", "relevance")
    scenario.until(lambda: page.scene.root.get_by_test_id("needs-text").count() == 1, "what to do")
    assert not page.scene.failed()
    page.at("target").focus()
    page.page.keyboard.type(TEXTS[0])
    assert page.said() == "Enter explains it"
    assert "target" not in page.scene.state()
    page.page.keyboard.press("Enter")
    page.explained(f"for “{TEXTS[0]}” (score")
    assert page.scores() == pytest.approx(scores[:1], rel=1e-3)
    same(page.read(), vs.relevance(trace, target=vs.Text(TEXTS[0])), slow[False])
    page.write("against", TEXTS[1])
    page.explained(f"for “{TEXTS[0]}” rather than “{TEXTS[1]}”")
    assert page.scores() == pytest.approx(scores[:2], rel=1e-3)
    same(page.read(), vs.relevance(trace, target=(vs.Text(TEXTS[0]), vs.Text(TEXTS[1]))), slow[True])
    scenario.until(lambda: page.scene.state().get("against") == f"text:{TEXTS[1]}", "the text in the address")
    assert page.errors() == []


def test_the_address_brings_the_texts_back(opened):
    trace = traced()
    page = opened(trace)
    page.scene.choose("method", "relevance")
    page.write("target", TEXTS[0])
    page.explained(TEXTS[0])
    page.at("compare").select_option("target")
    page.write("compare-with", TEXTS[2])
    page.explained(f"for “{TEXTS[2]}”", 1)
    page.at("photo-difference").wait_for(state="visible", timeout=15_000)
    wanted = {"target": f"text:{TEXTS[0]}", "compare": {"target": f"text:{TEXTS[2]}"}}
    scenario.until(lambda: {key: page.scene.state().get(key) for key in wanted} == wanted, f"the texts in {page.scene.state()}")
    again = Page(page.page.context.new_page(), trace, page.page.evaluate("location.href"))
    again.explained(f"for “{TEXTS[0]}”")
    again.explained(f"for “{TEXTS[2]}”", 1)
    assert again.at("target").input_value() == TEXTS[0]
    assert again.at("compare-with").input_value() == TEXTS[2]
    again.at("target").click()
    again.at("target").fill("")
    offered = again.page.locator("[role=option]").all_inner_texts()
    assert {TEXTS[0], TEXTS[2]} < set(offered)
    again.at("target").press("ArrowDown")
    again.at("target").press("ArrowDown")
    taken = again.page.locator("[role=option][aria-selected=true]").inner_text()
    assert taken in TEXTS
    again.at("target").press("Enter")
    again.explained(f"for “{taken}”")
    assert again.errors() == page.errors() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [("dog " * 20, "a text of 22 tokens; expected at most 12"), ("x" * 600, "target of 605 characters; expected at most 500")],
)
def test_what_the_model_does_not_take_is_said_there_and_the_old_map_stays(opened, words, said):
    page = opened(traced())
    page.scene.choose("method", "relevance")
    page.write("target", TEXTS[0])
    page.explained(TEXTS[0])
    caption, drawn = page.caption(), page.scene.picture()
    page.write("target", words)
    assert said in page.refused()
    assert "\n" not in page.said()
    assert (page.caption(), page.scene.picture()) == (caption, drawn)
    assert page.at("target").input_value() == words
    scenario.until(lambda: page.scene.state().get("target") == f"text:{TEXTS[0]}", "the address as it was")
    assert not page.scene.failed()
    page.write("against", TEXTS[0])
    assert "against itself" in page.refused("against")
    assert (page.caption(), page.scene.picture()) == (caption, drawn)
    page.at("target").press("Escape")
    page.at("target").press("Escape")
    assert (page.at("target").input_value(), page.said()) == (TEXTS[0], "")
    page.write("target", "<img src=x onerror=hurt()>")
    page.explained("for “<img src=x onerror=hurt()>”")
    assert page.errors() == []
    assert page.page.locator(".vv img[src=x]").count() == 0


def test_a_model_without_its_tokenizer_says_so_where_the_text_was_written(opened):
    page = opened(traced(tokenizer=None))
    page.scene.choose("method", "relevance")
    page.write("target", "a cat")
    assert "no tokenizer" in page.refused()


def test_beside_a_list_of_classes_any_text_can_be_asked(opened):
    trace = traced(TEXTS)
    page = opened(trace)
    page.scene.choose("method", "relevance")
    page.explained(f"for {trace.top(1)[0][0]}")
    page.write("against", "two cat")
    page.explained(f"“{trace.top(1)[0][0]}” rather than “two cat”")
    page.write("against", "")
    page.explained(f"for “{trace.top(1)[0][0]}” (score")
    page.write("target", "two cat")
    page.explained("for “two cat” (score")
    page.at("compare").select_option("target")
    page.at("photo-difference").wait_for(state="visible", timeout=15_000)
    assert "two cat" not in page.caption(1)
    assert not page.scene.failed()


def test_a_file_has_no_field_for_texts(running, tmp_path):
    trace = traced()
    maps = [vs.relevance(trace, target=vs.Text(text)) for text in TEXTS[:2]]
    page = running.new_context(viewport={"width": 1280, "height": 1000}, offline=True).new_page()
    page.goto(vs.report(trace, maps, tmp_path / "one.html").as_uri())
    page.wait_for_selector("[data-testid=small-maps]", timeout=20_000)
    assert page.get_by_test_id("target-said").count() == 0
    page.get_by_test_id("method").select_option("relevance")
    for text in TEXTS[:2]:
        page.get_by_test_id("target").fill(text)
        page.get_by_test_id("target").press("Enter")
        scenario.until(lambda: f"for “{text}”" in page.locator(".vv figcaption").first.inner_text(), text)  # noqa: B023 - asked now


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_fields_are_accessible(opened, width, scheme):
    if not scenario.AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in frontend/)")
    page = opened(traced(), width=width, color_scheme=scheme, bypass_csp=True)
    page.scene.choose("method", "relevance")
    page.write("target", TEXTS[0])
    page.explained(TEXTS[0])
    page.at("compare").select_option("target")
    page.write("compare-with", TEXTS[1])
    page.explained(TEXTS[1], 1)
    page.write("against", "dog " * 20)
    page.refused("against")
    page.at("target").fill("a")  # its list is open
    page.page.add_script_tag(path=str(scenario.AXE))
    found = page.page.evaluate("() => axe.run('#vitscope-view', {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


CELL = f"""import sys

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import vitscope as vs
from unit.test_targets_texts import PHOTOS, tokenizer, towers

trace = vs.load(towers("clip"), mean=0.5, std=0.5, tokenizer=tokenizer()).trace(PHOTOS[0])
view = vs.view(trace, state={{"method": "relevance", "range": "map"}})
view"""
IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


def test_a_notebook_takes_texts_too(running, tmp_path):
    with jupyter_lab(tmp_path, CELL) as lab:
        page = running.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        page.goto(lab.url)
        page.wait_for_function(IDLE, timeout=60_000)
        page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-editor").first.click()
        page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        page.get_by_test_id("needs-text").wait_for(timeout=120_000)
        page.get_by_test_id("target").fill("dog " * 20)
        page.get_by_test_id("target").press("Enter")
        scenario.until(lambda: "expected at most 12" in page.get_by_test_id("target-said").inner_text(), "the refusal")
        page.get_by_test_id("target").fill(TEXTS[0])
        page.get_by_test_id("target").press("Enter")
        scenario.until(lambda: f"for “{TEXTS[0]}” (score" in page.locator(".vv figcaption").first.inner_text(), "the map")
        kernel = Kernel(lab)
        scenario.until(lambda: kernel.value("view.state").get("target") == f"text:{TEXTS[0]}", "Python to know the text")
        kernel.close()
