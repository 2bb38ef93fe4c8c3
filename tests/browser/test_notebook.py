"""The view in a real JupyterLab: the shared scenario, a state that follows both ways, a kernel that is busy, and one that is gone."""

import numpy as np
import pytest
from PIL import Image

import vitscope as vs
from browser import scenario
from support import photos
from support.browser import Seen, browser
from support.notebook import Kernel, jupyter_lab
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "widget.js").exists(), reason="the front end was not built (make frontend)"),
    pytest.mark.skipif(not scenario.AXE.exists(), reason="axe-core is not installed (npm ci in frontend/)"),
]

FIRST = """import vitscope as vs

model = vs.load("builtin:photos")
trace = model.trace("photo.png")
state = None
view = vs.view(trace, models=[model])
view"""
AGAIN = "again = vs.view(trace, state=state)\nagain"
IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


class Notebook:
    """The notebook in the browser, and its kernel."""

    def __init__(self, lab, page, seen):
        self.lab, self.page, self.seen = lab, page, seen
        self.truth = scenario.Truth(vs.load("builtin:photos").trace(lab.folder / "photo.png"))
        self.kernel, self.source = None, {}

    def open(self):
        """The notebook, and a kernel for it: the one that runs, or a new one."""
        self.page.goto(self.lab.url)
        self.page.wait_for_function(IDLE, timeout=60_000)

    def run(self, cell):
        """Run one cell and wait for its view."""
        self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-InputArea-editor").click()
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        self.view(cell).get_by_test_id("photo").wait_for(timeout=120_000)

    def view(self, cell):
        """A cell's view."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".vv")

    def scene(self, cell=0, name="view", **other):
        """What the scenario sees of a cell's view, a widget of that name."""
        facts = {
            "page": self.page,
            "root": self.view(cell),
            "source": self.source,
            "truth": self.truth,
            "within": lambda value, peak: max(0.0005 * value, 3e-8),
            "live": True,
            "state": lambda: self.kernel.value(f"{name}.state"),
            "reopened": self.reopened,
            "messages": self.seen.messages,
        }
        return scenario.Scene(**(facts | other))

    def set(self, scene, state):
        """Python sets the state, once the page has said what it did before."""
        scenario.until(lambda: scene.state().get("query", "pooled") == scene.attribute("data-query"), "the state to follow the pointer")
        self.kernel.run(f"view.state = {state!r}")
        scenario.until(lambda: scene.value("method") == state.get("method", "attention"), f"the view to follow {state}")
        scene.settled()

    def reopened(self, state):
        """Another widget that starts from this state."""
        self.kernel.run(f"state = {state!r}")
        self.run(1)
        return self.scene(1, "again")


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with browser() as running, jupyter_lab(folder, FIRST, AGAIN) as lab:
        Image.fromarray(photos.scene(120, 160)).save(lab.folder / "photo.png")
        page, seen = running.new_context(viewport={"width": 1400, "height": 1000}).new_page(), Seen()
        seen.watch(page)
        notebook = Notebook(lab, page, seen)
        notebook.open()
        notebook.run(0)
        notebook.kernel = Kernel(lab)
        notebook.source = notebook.kernel.value("view.catalogue['sources'][0]")
        yield notebook
        notebook.kernel.close()


@pytest.fixture
def scene(notebook):
    return notebook.scene()


def test_the_scenario(notebook, scene):
    scenario.whole(scene)
    here = notebook.lab.address.rstrip("/")
    assert [url for url in notebook.seen.outside if not url.startswith((here, here.replace("http", "ws")))] == []


def test_python_sets_the_state(notebook, scene):
    notebook.set(scene, {"layer": 1, "head": "2", "query": "6,5", "fixed": True})
    scenario.until(lambda: (scene.value("layer"), scene.value("head")) == ("1", "2"), "the view to follow")
    scenario.hover(scene, (1, 1))
    shown, true = scenario.read(scene, (6, 5), (1, 1), 1, 2), notebook.truth(1, 2, (6, 5), (1, 1))
    assert abs(shown - true) <= scene.within(true, true)


def test_a_state_that_cannot_be_is_refused_in_one_line(notebook):
    before = notebook.kernel.value("view.state")
    notebook.kernel.run("try:\n    view.state = {'layr': 1}\nexcept vs.VitscopeError as error:\n    said = str(error)")
    assert notebook.kernel.value("said").startswith("state: unknown key 'layr'; expected among source, query")
    assert notebook.kernel.value("view.state") == before


def test_a_map_is_computed_on_demand(notebook, scene):
    notebook.set(scene, {"method": "relevance", "target": "cat"})
    grid = vs.relevance(notebook.truth.trace, target="cat").grid
    for cell in scenario.inside(scene)[::9]:
        scenario.hover(scene, cell)
        scenario.until(lambda at=f"{cell[0]},{cell[1]}": scene.attribute("data-key") == at, "the key")
        np.testing.assert_allclose(float(scene.attribute("data-value")), grid[cell], rtol=1e-4, atol=1e-7)


def test_a_busy_kernel_still_answers(notebook, scene):
    """JupyterLab speaks to widgets beside the running cell (in a kernel subshell); the answer goes back the same way."""
    notebook.set(scene, {})
    notebook.kernel.run("import time; time.sleep(4); slept = True", wait=False)
    notebook.page.wait_for_timeout(300)
    assert "idle" not in notebook.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.status")
    scenario.hover(scene, (6, 6))
    scenario.until(lambda: scene.attribute("data-query") == "6,6", "the answer of a busy kernel", seconds=3)
    assert notebook.kernel.value("slept")


def test_a_photo_given_to_the_notebook_goes_through_the_model(notebook, scene):
    Image.fromarray(photos.scene(64, 96)).save(notebook.lab.folder / "more.png")
    scene.at("upload").set_input_files(notebook.lab.folder / "more.png")
    scenario.until(lambda: "more" in scene.at("source").evaluate("s => s.selectedOptions[0].textContent"), "the new photo")
    scene.settled()
    assert scene.failed() == ""
    assert notebook.kernel.value("model.trace('more.png').top(1)[0][0]") in scene.at("top").inner_text()
    scenario.until(lambda: len(notebook.kernel.value("view.catalogue['sources']")) == 2, "the catalogue to follow")


def test_reopened_without_its_kernel_it_shows_what_it_carries(notebook, scene):
    queries = scenario.inside(scene)[::17]
    notebook.set(scene, {"layer": 5, "head": "0"})
    scenario.until(lambda: (scene.value("layer"), scene.value("head")) == ("5", "0"), "the view to follow")
    notebook.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    scenario.until(lambda: "widgets" in notebook.lab.saved["metadata"], "the notebook to be saved")
    notebook.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.open()
    saved = notebook.scene(live=False)
    saved.at("photo").wait_for(timeout=60_000)
    scenario.until(lambda: "only what the notebook saved" in saved.status(), "the reason to be said")
    for query in queries:
        scenario.fix(saved, query)
        scenario.hover(saved, queries[0])
        shown, true = scenario.read(saved, query, queries[0], 5, 0), notebook.truth(5, 0, query, queries[0])
        assert abs(shown - true) <= 0.004 * notebook.truth.largest(5, 0, query)
    assert not saved.errors(), saved.errors()
