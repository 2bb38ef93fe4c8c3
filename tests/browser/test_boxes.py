"""A detector in a real Chromium: a box is chosen on the photo, in the list or by a key, and its rows are the model's own."""

import re
from pathlib import Path

import numpy as np
import pytest

import vitscope as vs
from browser import scenario
from support import photos, tasks
from support.browser import Seen, browser
from support.notebook import Kernel, jupyter_lab
from support.served import served
from vitscope.api.explorer import Explorer
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
SOON = 20_000


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


def traced(name):
    return vs.load(tasks.build(name), mean=0.5, std=0.5, input_size=tasks.SIDE).trace(photos.scene(90, 120))


@pytest.fixture(scope="module", params=["detr", "yolos"])
def looked(request):
    """A trace and its attention, written out in float64: boxes and patches, layer by layer."""
    trace = traced(request.param)
    return trace, *tasks.eager_rows(request.param, trace.pixels)


def opened(running, address, **options):
    page, seen = running.new_context(viewport={"width": 1280, "height": 1000}, **options).new_page(), Seen()
    seen.watch(page)
    page.goto(address)
    page.wait_for_selector("[data-testid=boxes-likely]", timeout=SOON)
    return page, seen


def read(page, cell):
    """The value that is shown of a patch, once the pointer is there."""
    page.locator("[data-testid=photo]").scroll_into_view_if_needed()
    box = page.locator("[data-testid=photo]").bounding_box()
    rows, columns = read.grid
    page.mouse.move(box["x"] + box["width"] * (cell[1] + 0.5) / columns, box["y"] + box["height"] * (cell[0] + 0.5) / rows)
    page.wait_for_function(f"() => document.querySelector('[data-testid=reading]')?.dataset.key === '{cell[0]},{cell[1]}'", timeout=SOON)
    return float(page.locator("[data-testid=reading]").get_attribute("data-value"))


def from_query(page, query):
    """Waits until rows of this query are what is shown."""
    page.mouse.move(2, 2)
    page.wait_for_function(f"() => document.querySelector('[data-testid=reading]')?.dataset.query === '{query}'", timeout=SOON)


def agree(page, trace, rows, *, relative):
    """Patches of the large map, mean over heads of the last layer, are the slow rows ``[h, n]``."""
    read.grid = trace.layout.grid
    slow = rows.mean(dim=0).numpy()[trace.layout.patches].reshape(trace.layout.grid)
    for cell in ((0, 0), (2, 3), (trace.layout.grid[0] - 1, 1)):
        assert abs(read(page, cell) - slow[cell]) < relative * slow.max()


def chosen_on_the_photo(page):
    """Number and corners of the one box that is drawn thick."""
    label = page.locator("[data-testid=photo] .vv-box-label.vv-chosen")
    assert label.count() == 1
    number = int(label.get_attribute("data-testid").removeprefix("box-label-"))
    path = page.locator("[data-testid=photo] path.vv-mark.vv-chosen:not(.vv-under)").get_attribute("d")
    numbers = [float(v) for v in re.findall(r"-?[\d.]+(?:e-?\d+)?", path)]
    return number, (min(numbers[0::2]), min(numbers[1::2]), max(numbers[0::2]), max(numbers[1::2]))


def test_a_box_is_chosen_and_its_rows_are_the_models_own(looked, running):
    trace, boxes, patches = looked
    found = {box.number: box for box in vs.boxes(trace)}
    with served(Explorer([trace]), port=0) as (site, port):
        page, seen = opened(running, f"http://127.0.0.1:{port}/?token={site.guard.token}")
        for number in (vs.boxes(trace)[1].number, vs.boxes(trace)[2].number):
            page.locator(f"[data-testid=box-{number}]").click()
            from_query(page, f"box {number}")
            agree(page, trace, boxes[-1][0, :, number], relative=1e-3)
            assert chosen_on_the_photo(page)[0] == number
            assert np.abs(np.subtract(chosen_on_the_photo(page)[1], found[number].box)).max() < 1e-3
            assert f"box {number}" in page.locator(".vv figcaption").first.inner_text()
        last = vs.boxes(trace)[-1].number  # in the list alone
        page.locator("[data-testid=boxes]").select_option(str(last))
        from_query(page, f"box {last}")
        agree(page, trace, boxes[-1][0, :, last], relative=1e-3)
        page.locator("[data-testid=photo]").focus()
        page.keyboard.press("Shift+B")
        from_query(page, f"box {vs.boxes(trace)[-2].number}")
        page.locator("[data-testid=method]").select_option("grad-cam")
        target = vs.grad_cam(trace, target=f"box:{vs.boxes(trace)[-2].number}")
        page.wait_for_function(
            f"() => document.querySelector('.vv figcaption')?.innerText.includes('for {target.target[0]}')", timeout=SOON
        )
        read.grid = trace.layout.grid
        assert abs(read(page, (2, 3)) - target.grid[2, 3]) < 1e-5 * target.grid.max()
        page.locator("[data-testid=method]").select_option("attention")
        page.locator("[data-testid=photo]").focus()
        page.keyboard.press("Escape")
        read(page, (1, 2))
        from_query(page, "1,2")
        page.locator("[data-testid=photo]").focus()
        page.keyboard.press("Enter")
        agree(page, trace, patches[-1][0, :, trace.layout.token_at(1, 2)], relative=1e-3)
        assert [message for message in seen.messages if message.startswith("error")] == []


def test_boxes_are_drawn_from_a_probability_on_and_not_at_all(running):
    trace = traced("deformable_detr")
    found = vs.boxes(trace)
    with served(Explorer([trace]), port=0) as (site, port):
        page, seen = opened(running, f"http://127.0.0.1:{port}/?token={site.guard.token}")
        labels = page.locator("[data-testid=photo] .vv-box-label")
        page.wait_for_function("() => document.querySelector('.vv-box-label.vv-chosen')", timeout=SOON)
        assert labels.count() == sum(box.probability >= 0.5 for box in found)
        page.locator("[data-testid=boxes-least]").fill("0")
        page.locator("[data-testid=boxes-least]").press("Tab")
        assert labels.count() == len(found)
        assert sorted(text.split("\u00a0")[0].strip() for text in labels.all_inner_texts())
        other = found[-1].number
        page.locator(f"[data-testid=box-label-{other}]").dispatch_event("click")
        page.wait_for_function(f"() => document.querySelector('.vv-box-label.vv-chosen')?.title === 'box {other}'", timeout=SOON)
        assert "do not weigh the picture" in page.locator("[data-testid=no-rows]").inner_text()
        page.locator("[data-testid=boxes-drawn]").uncheck()
        assert labels.count() == 0
        assert page.locator("[data-testid=photo] .vv-mark").count() == 0
        assert scenario.state_in(page.evaluate("location.href")).get("target", f"box:{other}") == f"box:{other}"
        assert [message for message in seen.messages if message.startswith("error")] == []


def test_a_file_has_the_boxes_too(looked, running, tmp_path):
    trace, boxes, _ = looked
    number = vs.boxes(trace)[1].number
    maps = [vs.attention(trace, query=f"box {number}"), vs.grad_cam(trace, target=f"box:{number}")]
    page, seen = opened(running, vs.report(trace, maps, tmp_path / "one.html").as_uri(), offline=True)
    page.locator(f"[data-testid=box-{number}]").click()
    from_query(page, f"box {number}")
    agree(page, trace, boxes[-1][0, :, number], relative=0.004)
    page.locator("[data-testid=method]").select_option("grad-cam")
    page.wait_for_function(f"() => document.querySelector('.vv figcaption')?.innerText.includes('at box {number}')", timeout=SOON)
    read.grid = trace.layout.grid
    np.testing.assert_allclose(read(page, (2, 3)), maps[1].grid[2, 3], rtol=1e-6)
    assert not seen.outside
    assert [message for message in seen.messages if message.startswith("error")] == []


@pytest.mark.parametrize("target", ["pixel:20,30", "region:10,5,60,40"])
def test_a_pixel_or_region_is_drawn_and_named(running, target):
    trace = traced("segformer")
    with served(Explorer([trace]), port=0) as (site, port):
        page, _ = running.new_context(viewport={"width": 1280, "height": 1000}).new_page(), Seen()
        page.goto(f"http://127.0.0.1:{port}/?token={site.guard.token}")
        page.wait_for_selector("[data-testid=small-maps]", timeout=SOON)
        page.locator("[data-testid=method]").select_option("grad-cam")
        page.locator("[data-testid=target]").click()
        page.keyboard.type(target)
        page.keyboard.press("Enter")
        name = vs.grad_cam(trace, target=target).target[0]
        page.wait_for_function(f"() => document.querySelector('.vv figcaption')?.innerText.includes('for {name}')", timeout=SOON)
        path = page.locator("[data-testid=photo] path.vv-mark.vv-chosen:not(.vv-under)").get_attribute("d")
        assert path.startswith("M25.7 20.5L29.5" if "pixel" in target else "M10 5L60 5")
        read.grid = trace.layout.grid
        read(page, (5, 7))
        page.locator("[data-testid=photo]").focus()
        page.keyboard.press("t")
        y0, x0, y1, x1 = trace.layout.patch_box(5, 7)
        y, x = trace.placements[0].to_photo(((y0 + y1) / 2, (x0 + x1) / 2))
        name = vs.grad_cam(trace, target=f"pixel:{int(y)},{int(x)}").target[0]
        page.wait_for_function(f"() => document.querySelector('.vv figcaption')?.innerText.includes('for {name}')", timeout=SOON)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["detr", "deformable_detr"])
def test_a_detectors_report_is_accessible(running, tmp_path, name, width, scheme):
    if not scenario.AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in frontend/)")
    trace = traced(name)
    address = vs.report(trace, [vs.grad_cam(trace, target="box:2")], tmp_path / "one.html").as_uri()
    page, _ = opened(running, address, offline=True, color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.add_script_tag(path=str(scenario.AXE))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == []


def test_another_photo_has_its_own_queries(running):
    """A classifier has no boxes and a detector nothing pooled: neither is asked for what it does not have."""
    detector, classifier = traced("detr"), vs.load("builtin:photos").trace(photos.scene(96, 96))
    best = vs.boxes(detector)[0].number
    with served(Explorer([classifier, detector]), port=0) as (site, port):
        page, seen = running.new_context(viewport={"width": 1280, "height": 1000}).new_page(), Seen()
        seen.watch(page)
        page.goto(f"http://127.0.0.1:{port}/?token={site.guard.token}")
        from_query(page, "pooled")
        for source, query in (("1", f"box {best}"), ("0", "pooled"), ("1", f"box {best}")):
            page.locator("[data-testid=source]").select_option(source)
            from_query(page, query)
            assert page.locator("[data-testid=status].vv-error").count() == 0
            assert (page.locator("[data-testid=boxes-likely]").count() == 1) is (source == "1")
        page.locator("[data-testid=method]").select_option("grad-cam")
        page.locator("[data-testid=compare]").select_option("target")
        page.wait_for_function("() => document.querySelectorAll('[data-testid=photo-b] .vv-mark.vv-chosen').length === 2", timeout=SOON)
        thick = [page.locator(f"[data-testid={side}] .vv-box-label.vv-chosen").get_attribute("title") for side in ("photo", "photo-b")]
        assert thick[0] == f"box {best}" != thick[1]
        assert page.locator("[data-testid=status].vv-error").count() == 0
        assert [message for message in seen.messages if message.startswith("error")] == []


CELL = f"""import sys

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import vitscope as vs
from support import photos, tasks

trace = vs.load(tasks.build("detr"), mean=0.5, std=0.5, input_size=tasks.SIDE).trace(photos.scene(90, 120))
view = vs.view(trace, state={{"range": "map"}})
view"""
IDLE = "() => window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


def test_a_notebook_has_the_boxes_too_also_without_its_kernel(running, tmp_path):
    trace = traced("detr")
    boxes, _ = tasks.eager_rows("detr", trace.pixels)
    numbers = [box.number for box in vs.boxes(trace)]
    with jupyter_lab(tmp_path, CELL) as lab:
        page, seen = running.new_context(viewport={"width": 1400, "height": 1000}).new_page(), Seen()
        seen.watch(page)
        page.goto(lab.url)
        page.wait_for_function(IDLE, timeout=60_000)
        page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-editor").first.click()
        page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
        page.locator("[data-testid=boxes-likely]").wait_for(timeout=120_000)
        from_query(page, f"box {numbers[0]}")
        page.locator(f"[data-testid=box-{numbers[1]}]").click()
        from_query(page, f"box {numbers[1]}")
        agree(page, trace, boxes[-1][0, :, numbers[1]], relative=1e-3)
        kernel = Kernel(lab)
        scenario.until(lambda: kernel.value("view.state").get("query") == f"box {numbers[1]}", "Python to know the box")
        kernel.close()
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        scenario.until(lambda: "widgets" in lab.saved["metadata"], "the notebook to be saved")
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.goto(lab.url)
        page.locator("[data-testid=boxes-likely]").wait_for(timeout=60_000)
        page.wait_for_function(
            "() => document.querySelector('[data-testid=status]')?.innerText.includes('only what the notebook saved')", timeout=SOON
        )
        page.locator(f"[data-testid=box-{numbers[2]}]").click()
        from_query(page, f"box {numbers[2]}")
        agree(page, trace, boxes[-1][0, :, numbers[2]], relative=1e-5)
