"""The report in a real Chromium, from disk, with the network off: it asks for nothing, and what it shows is what the map holds."""

import io

import numpy as np
import pytest
from PIL import Image

from support.browser import browser, opened
from support.synthetic import chelsea, photo_view, plain_sample
from vitscope.views.frame import Frame
from vitscope.web.report import write_report

pytestmark = pytest.mark.browser

CONTRASTS = """() => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)|transparent/.test(colour)) return colour;
    }
  };
  const out = [];
  for (const e of document.querySelectorAll('h1, h2, h3, p, span, b, dt, dd, li, figcaption, th, summary, output, div.unit')) {
    if (!e.innerText || !e.checkVisibility()) continue;
    const pair = [light(getComputedStyle(e).color), light(ground(e))];
    out.push([(Math.max(...pair) + .05) / (Math.min(...pair) + .05), e.innerText.slice(0, 30)]);
  }
  return out;
}"""


@pytest.fixture(scope="module")
def running():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def view():
    return photo_view(chelsea())


@pytest.fixture(scope="module")
def url(view, tmp_path_factory):
    return write_report([view], tmp_path_factory.mktemp("report") / "one.html").as_uri()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    views = [photo_view(chelsea(), maps=2), photo_view(plain_sample(90, 300), pad=True, maps=2)]
    return write_report(views, tmp_path_factory.mktemp("report") / "two.html").as_uri()


def pixels(page, selector, **options):
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot(**options))).convert("RGB"), dtype=float)


def centre_of(page, view, selector, row, column):
    """Where a patch's centre lies on the screen, in the picture a selector names."""
    frame = Frame.from_facts(view.meta["frame"])
    y0, x0, y1, x1 = frame.layout.patch_box(row, column)
    y, x = frame.placement.to_photo(((y0 + y1) / 2, (x0 + x1) / 2))
    picture = page.locator(selector).first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    height, width = frame.placement.photo_size
    return box["x"] + box["width"] * x / width, box["y"] + box["height"] * y / height


@pytest.mark.parametrize("name", ["url", "two"])
def test_asks_for_nothing_and_complains_of_nothing(running, name, request):
    address = request.getfixturevalue(name)
    with opened(running, address) as (page, seen):
        page.wait_for_timeout(300)
        page.mouse.move(400, 400)
        assert seen.outside == []
        assert [url for url in seen.requests if url.startswith("file:")] == [address]
        assert seen.messages == []


def test_the_watch_sees_a_request_and_an_error(running, tmp_path):
    """The two assertions above can fail."""
    path = tmp_path / "bad.html"
    path.write_text("<img src='http://example.org/x.png'><script>undefinedName()</script>")
    with opened(running, path.as_uri()) as (page, seen):
        page.wait_for_timeout(200)
        assert seen.outside == ["http://example.org/x.png"]
        assert any("undefinedName" in message for message in seen.messages)


def test_the_policy_is_in_force(running, url):
    with opened(running, url) as (page, seen):
        page.evaluate("fetch('http://example.org/').catch(() => 0)")
        page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://example.org/x.png'}))")
        page.wait_for_timeout(200)
        assert sum("Content Security Policy" in message for message in seen.messages) >= 2


@pytest.mark.parametrize("scripts", [True, False])
def test_the_maps_are_drawn_with_and_without_scripts(running, url, scripts):
    with opened(running, url, java_script_enabled=scripts) as (page, _):
        maps = [pixels(page, f"[data-map=map-{i}] svg")[:350] for i in range(4)]
        assert all(found.std() > 12 for found in maps)
        assert all(np.abs(found[..., 0] - found[..., 2]).mean() > 3 for found in maps), "no colours over the grey photo"
        assert all(np.abs(a - b).mean() > 3 for i, a in enumerate(maps) for b in maps[i + 1 :])


def test_the_hottest_patch_is_the_brightest(running, url, view):
    with opened(running, url) as (page, _):
        page.locator("[data-strength]").evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')); }")
        found = pixels(page, "[data-map=map-2] svg")
        peak = view.of_kind("map")[2].facts["peak"]
        x, y = centre_of(page, view, "[data-map=map-2] svg", peak["row"], peak["column"])
        box = page.locator("[data-map=map-2] svg").bounding_box()
        there = found[round(y - box["y"]), round(x - box["x"])]
        assert np.abs(there - [252, 253, 191]).max() < 12


@pytest.mark.parametrize(("row", "column"), [(5, 6), (0, 0), (13, 13), (9, 2)])
def test_the_pointer_reads_raw_values_in_every_map(running, url, view, row, column):
    with opened(running, url) as (page, _):
        page.mouse.move(*centre_of(page, view, "[data-map=map-1] svg", row, column))
        for number, panel in enumerate(view.of_kind("map")):
            grid = view.arrays[f"{panel.name}/grid"]
            parts = page.locator(f"[data-map=map-{number}] [data-read]").inner_text().split(" · ")
            value = float(grid[row, column])
            assert parts[0] == f"row {row}, column {column}"
            assert float(parts[1].replace("−", "-")) == pytest.approx(value, rel=5e-6, abs=1e-12)
            assert parts[2] == f"rank {1 + int((grid > grid[row, column]).sum())} of 196"
            if panel.facts["uniform"]:
                assert float(parts[3].split(" ×")[0]) == pytest.approx(value / panel.facts["uniform"], rel=6e-3)
            assert page.locator(f"[data-map=map-{number}] .mark").is_visible()


def test_the_pointer_reads_a_padded_photo_too(running, two):
    sample = plain_sample(90, 300)
    view = photo_view(sample, pad=True, maps=2)
    with opened(running, two) as (page, _):
        page.mouse.move(*centre_of(page, view, "#photo-2 [data-map=map-0] svg", 7, 11))
        text = page.locator("#photo-2 [data-map=map-0] [data-read]").inner_text()
        assert text.startswith("row 7, column 11 · ")
        assert float(text.split(" · ")[1]) == pytest.approx(float(view.arrays["map-0/grid"][7, 11]), rel=5e-6)
        assert "highest" in page.locator("#photo-1 [data-map=map-0] [data-read]").inner_text()


def test_what_was_left_out_has_no_value(running, url):
    with opened(running, url) as (page, _):
        picture = page.locator("[data-map=map-0] svg")
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        page.mouse.move(box["x"] + 4, box["y"] + 4)
        assert "highest" in page.locator("[data-map=map-0] [data-read]").inner_text()


def test_the_keys_move_the_patch(running, url):
    with opened(running, url) as (page, _):
        page.locator("[data-map=map-0] svg").focus()
        page.keyboard.press("ArrowRight")
        read = page.locator("[data-map=map-0] [data-read]")
        assert read.inner_text().startswith("row 7, column 7 ")
        page.keyboard.press("ArrowUp")
        assert read.inner_text().startswith("row 6, column 7 ")
        for _ in range(20):
            page.keyboard.press("ArrowLeft")
        assert read.inner_text().startswith("row 6, column 0 ")
        page.keyboard.press("Escape")
        assert "highest" in read.inner_text()


def test_every_control_is_reached_by_the_tab_key(running, url):
    with opened(running, url) as (page, _):
        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.closest('[data-map]')?.dataset.map ?? document.activeElement.tagName"))
        assert {"map-0", "map-1", "map-2", "map-3", "INPUT", "SUMMARY", "A"} <= reached


def test_the_slider_takes_the_overlay_away(running, url):
    with opened(running, url) as (page, _):
        strong = pixels(page, "[data-map=map-1] svg")
        page.locator("[data-strength]").evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")
        none = pixels(page, "[data-map=map-1] svg")
        inside = (slice(none.shape[0] // 3, -none.shape[0] // 3), slice(none.shape[1] // 3, -none.shape[1] // 3))
        assert np.ptp(none[inside], axis=-1).max() < 4, "the photo beneath is grey"
        assert np.ptp(strong[inside], axis=-1).mean() > 20


def test_true_patches_are_flat_inside(running, url, view):
    with opened(running, url) as (page, _):
        page.locator("[data-strength]").evaluate("e => { e.value = 100; e.dispatchEvent(new Event('input')); }")
        page.get_by_label("True patches").check()
        x, y = centre_of(page, view, "[data-map=map-0] svg", 4, 9)
        box = page.locator("[data-map=map-0] svg").bounding_box()
        found = pixels(page, "[data-map=map-0] svg")
        inside = found[round(y - box["y"]) - 6 : round(y - box["y"]) + 6, round(x - box["x"]) - 6 : round(x - box["x"]) + 6]
        assert np.ptp(inside, axis=(0, 1)).max() == 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
def test_no_sideways_scrolling(running, two, width):
    with opened(running, two, width=width) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light(running, url):
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(running, url, color_scheme=scheme) as (page, _):
            grounds[scheme] = pixels(page, "header.page").mean()
            other = "dark" if scheme == "light" else "light"
            page.get_by_label(other.capitalize(), exact=True).check()
            grounds[f"{scheme} then {other}"] = pixels(page, "header.page").mean()
    assert grounds["light"] > 225
    assert grounds["dark"] < 40
    assert grounds["light then dark"] < 60
    assert grounds["dark then light"] > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(running, url, scheme):
    """WCAG AA: at least 4.5 to 1 for every colour of text."""
    with opened(running, url, color_scheme=scheme) as (page, _):
        ratios = page.evaluate(CONTRASTS)
        assert len(ratios) > 100
        assert [entry for entry in ratios if entry[0] < 4.5] == []


def test_print_shows_maps_and_provenance_on_white_without_controls(running, url):
    with opened(running, url, color_scheme="dark") as (page, _):
        page.emulate_media(media="print")
        assert pixels(page, "header.page").mean() > 225
        assert not page.locator("[data-strength]").is_visible()
        assert page.locator("details dd", has_text="builtin:photos").is_visible()
        assert pixels(page, "[data-map=map-0] svg").std() > 12
        assert len(page.pdf(print_background=False)) > 100_000


def test_layers_can_be_stretched_and_come_back(running, url):
    with opened(running, url) as (page, seen):
        early = "[data-layer='map-2:1']"
        shared = pixels(page, early)[20:90, 20:90]
        page.get_by_label("Each layer its own").check()
        page.wait_for_timeout(100)
        own = pixels(page, early)[20:90, 20:90]
        assert own.max() > shared.max() + 60
        assert page.get_by_text("brightness cannot be compared between layers").is_visible()
        page.get_by_label("One scale").check()
        page.wait_for_timeout(100)
        assert np.abs(pixels(page, early)[20:90, 20:90] - shared).mean() < 2
        assert not page.get_by_text("brightness cannot be compared between layers").is_visible()
        assert seen.messages == []
        assert seen.outside == []
