"""The local page in a real Chromium: `vitscope serve` as people start it, the shared scenario, and nothing asked of anybody else."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

import vitscope as vs
from browser import scenario
from support import photos
from support.browser import Seen, browser
from support.served import Client
from vitscope.web.built import STATIC

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (STATIC / "view.js").exists(), reason="the front end was not built (make frontend)"),
]
pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(photos.scene(120, 160)).save(folder / "wide.png")
    Image.fromarray(photos.scene(96, 96)).save(folder / "square.png")
    Image.fromarray(photos.scene(64, 96)).save(folder / "more.png")
    return folder


@pytest.fixture(scope="module")
def truth(folder):
    return scenario.Truth(vs.load("builtin:photos").trace(folder / "wide.png"))


@contextmanager
def serving(*words, cwd):
    """A running `vitscope serve`: its address (with the token), until it is stopped by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vitscope", "serve", *map(str, words), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"},
    )
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        yield address
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 130
        assert err == "vitscope: stopped; nothing half-written was left\n"
    finally:
        process.kill()


@pytest.fixture(scope="module")
def address(folder):
    with serving("wide.png", "square.png", cwd=folder) as found:
        yield found


@pytest.fixture(scope="module")
def catalogue(address):
    port, token = int(address.split(":")[2].split("/")[0]), address.split("token=")[1]
    return Client(port, token).catalogue()


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture
def context(running):
    context = running.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


def opened(context, url, catalogue, truth):
    page, seen = context.new_page(), Seen()
    seen.watch(page)
    page.goto(url)
    scene = scenario.Scene(
        page=page,
        root=page.locator("#vitscope-view"),
        source=catalogue["sources"][0],
        truth=truth,
        within=lambda value, peak: max(0.0005 * value, 3e-8),
        live=True,
        state=lambda: scenario.state_in(page.evaluate("location.href")),  # page.url is only as new as the last event heard
        reopened=lambda state: opened(context, scenario.link(page.evaluate("location.href"), state), catalogue, truth),
        messages=seen.messages,
    )
    scene.requests = seen.requests
    return scene


@pytest.fixture
def scene(context, address, catalogue, truth):
    return opened(context, address, catalogue, truth)


def test_axe_core_was_there():
    if not scenario.AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in frontend/): the scenario ran without it")


def test_the_scenario(scene):
    scenario.whole(scene)
    port = scene.page.url.split(":")[2].split("/")[0]
    assert not [url for url in scene.requests if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]


def test_the_token_does_not_stay_in_the_address(scene):
    scenario.loads(scene)
    assert "token" not in scene.page.url
    assert scene.page.evaluate("history.length") <= 2
    assert scene.page.evaluate("document.cookie") == ""  # HttpOnly


def test_a_dropped_photo_goes_through_the_model(scene, folder, context, address, catalogue, truth):
    scenario.loads(scene)
    scene.at("upload").set_input_files(folder / "more.png")
    scenario.until(lambda: "more" in scene.at("source").evaluate("s => s.selectedOptions[0].textContent"), "the new photo")
    scene.settled()
    assert scene.failed() == ""
    trace = vs.load("builtin:photos").trace(folder / "more.png")
    label, _ = trace.top(1)[0]
    assert label in scene.at("top").inner_text()
    assert not scene.errors()


def test_a_file_that_is_no_photo_is_refused_in_the_status_line(scene, tmp_path):
    scenario.loads(scene)
    wrong = tmp_path / "notes.png"
    wrong.write_text("no picture")
    scene.at("upload").set_input_files(wrong)
    scenario.until(scene.failed, "the refusal")
    assert "notes.png" in scene.status()


def test_a_map_equals_pythons(scene, truth):
    """The values under the pointer of a class-specific map are the method's own, in float32."""
    scenario.loads(scene)
    scene.choose("method", "relevance")
    scene.settled()
    grid = vs.relevance(truth.trace).grid
    for cell in scenario.inside(scene)[::7]:
        scenario.hover(scene, cell)
        scenario.until(lambda: scene.attribute("data-key") == f"{cell[0]},{cell[1]}", "the key")  # noqa: B023 - asked now
        scene.settled()
        np.testing.assert_allclose(float(scene.attribute("data-value")), grid[cell], rtol=1e-4, atol=1e-7)
