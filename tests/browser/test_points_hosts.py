"""Points of `vitscope embed` in a real Chromium: the page of `vitscope serve`, the file beside them, a notebook; one scenario."""

import shutil

import pytest

from browser import points_scenario, scenario
from browser.test_page import serving
from browser.test_points import opened
from support.browser import Seen, browser
from support.clouds import embedded, folder_of_photos
from support.notebook import Kernel, jupyter_lab
from vitscope.projection.table import read_cloud
from vitscope.views.cloud import columns_of, places
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
pytest.importorskip("pyarrow", reason="pyarrow is not installed")
IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = tmp_path_factory.mktemp("cloud")
    return embedded(folder_of_photos(root / "in"), root / "points.parquet")


@pytest.fixture(scope="module")
def truth(file):
    cloud = read_cloud(file)
    codes = {name: column.values for name, column in columns_of(cloud).items() if column.categories is not None}
    maps = [places(one)[0] for one in cloud.maps]
    return points_scenario.Truth(maps, codes, [cloud.text("id", row) for row in range(len(cloud))])


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture
def context(running):
    context = running.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    yield context
    context.close()


def test_the_page_of_serve(context, file, truth, tmp_path):
    with serving(file, cwd=tmp_path) as address:
        plot = opened(context, address, truth, live=True, root="#vitscope-view")
        points_scenario.whole(plot, tmp_path)
        port = address.split(":")[2].split("/")[0]
        assert not [url for url in plot.requests if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]
        for page in context.pages:
            page.close()  # what is open keeps the server from stopping at once


def test_the_file_that_embed_writes(context, file, truth, tmp_path):
    context.set_offline(True)
    plot = opened(context, file.with_suffix(".html").as_uri(), truth, live=False, root=".vv")
    points_scenario.whole(plot, tmp_path)
    assert not [url for url in plot.requests if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.skipif(not (STATIC / "widget.js").exists(), reason="the front end was not built (make frontend)")
def test_a_notebook(running, file, truth, tmp_path):
    """Drawn, pointed at, lassoed and restored in another cell, by messages with a kernel."""
    cells = (
        'import vitscope as vs\n\nstate = None\nview = vs.view("points.parquet")\nview',
        'again = vs.view("points.parquet", state=state)\nagain',
    )
    context, seen = running.new_context(viewport={"width": 1400, "height": 1100}), Seen()
    with jupyter_lab(tmp_path, *cells) as lab:
        shutil.copy(file, lab.folder / "points.parquet")
        page = context.new_page()
        seen.watch(page)
        page.goto(lab.url)
        page.wait_for_function(IDLE, timeout=60_000)
        kernel = Kernel(lab)

        def run(cell):
            page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".jp-InputArea-editor").click()
            page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
            root = page.locator(".jp-Notebook .jp-CodeCell").nth(cell).locator(".vv")
            root.get_by_test_id("scatter-legend-0").wait_for(timeout=120_000)
            name = ("view", "again")[cell]
            return points_scenario.Plot(page, root, truth, True, lambda: kernel.value(f"{name}.state"), reopened, seen.messages)

        def reopened(state):
            kernel.run(f"state = {state!r}")
            return run(1)

        plot = run(0)
        points_scenario.loads(plot)
        points_scenario.hovers(plot, 4)
        points_scenario.lasso(plot, [(0.25, 0.3), (0.5, 0.15), (0.78, 0.3), (0.66, 0.72), (0.3, 0.75)])
        points_scenario.restores(plot)
        kernel.run("view.state = {'points': {'hidden': [0]}}")
        scenario.until(lambda: plot.at("scatter-legend-0").get_attribute("aria-pressed") == "false", "the view to follow Python")
        kernel.close()
    context.close()
    assert not [text for text in seen.messages if text.startswith("error") and "vitscope" in text]
