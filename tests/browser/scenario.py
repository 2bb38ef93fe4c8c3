"""One scenario for every host of the interactive view: page, file, notebook. It acts as a person does: pointer, keys, controls.

A host's test makes a :class:`Scene` and calls the functions here. Nothing is waited for by time: every step waits for what it should cause.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"

#: Everything that must be reachable by Tab alone, besides the chips and the upload.
CONTROLS = (
    "photo",
    "method",
    "layer",
    "play",
    "head",
    "norm",
    "range",
    "palette",
    "overlay",
    "smooth",
    "links",
    "compare",
    "share",
    "theme",
)


PICTURES = """async (panel) => (await Promise.all([...panel.querySelectorAll("image")].map(async (shown) => {
  const picture = new Image();
  picture.src = shown.getAttribute("href");
  return picture.decode().then(() => "", (error) => String(error));
}))).filter((said) => said)"""
"""What is wrong with each picture that cannot be shown."""

VIOLATIONS = """async (root) => {
  const ground = root.getRootNode();
  const ours = root.matches('#vitscope-view, [data-vitscope-view]'); // a notebook's page is not
  const { violations } = await axe.run(ours ? document : ground === document ? root : ground.host, { resultTypes: ['violations'] });
  return violations.map((v) => [v.id, v.impact, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))]);
}"""
FOCUSED = "(root) => (root.getRootNode().activeElement ?? document.activeElement)?.dataset?.testid ?? ''"


class Truth:
    """Python's attention weights of one photo, a row at a time, kept."""

    def __init__(self, trace: Any) -> None:
        self.trace = trace
        self._known: dict[tuple[int, int, tuple[int, int]], Any] = {}

    def _row(self, layer: int, head: int, query: tuple[int, int]) -> Any:
        import vitscope as vs

        at = (layer, head, query)
        if at not in self._known:
            self._known[at] = vs.attention(self.trace, layer=layer, head=head, query=query)
        return self._known[at]

    def __call__(self, layer: int, head: int, query: tuple[int, int], key: tuple[int, int]) -> float:
        """The weight a query gives to a key, both patches as (row, column)."""
        return float(self._row(layer, head, query).grid[key])

    def largest(self, layer: int, head: int, query: tuple[int, int]) -> float:
        """The largest weight of the whole row, patches and other tokens."""
        return float(self._row(layer, head, query).tokens.max())


@dataclass
class Scene:
    """The view in one host.

    Attributes:
        page: the Playwright page, for pointer and keyboard.
        root: a locator of the view's root element (through a frame, where the host has one).
        source: the catalogue's entry of the photo shown.
        truth: Python's values.
        within: how far a shown value may be from a true one by the host's stated precision: (true value, largest of its row).
        live: whether anything can be computed on demand.
        state: the state as the host keeps it (address, widget trait).
        reopened: the view opened anew in this host from such a state.
        messages: console messages so far.
    """

    page: Any
    root: Any
    source: dict[str, Any]
    truth: Truth
    within: Callable[[float, float], float]
    live: bool
    state: Callable[[], dict[str, Any]]
    reopened: Callable[[dict[str, Any]], Scene]
    messages: list[str] = field(default_factory=list)

    def at(self, name: str) -> Any:
        """The element with a data-testid."""
        return self.root.get_by_test_id(name).first

    def attribute(self, name: str, of: str = "reading") -> str:
        """An attribute of an element, now."""
        return self.at(of).get_attribute(name) or ""

    def value(self, name: str) -> str:
        """What a control is set to."""
        return str(self.at(name).input_value())

    def choose(self, name: str, value: str) -> None:
        """Set a select."""
        self.at(name).select_option(value)
        until(lambda: self.value(name) == value, f"{name} to be {value}, not {self.value(name)!r}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.source["frame"]["grid"]
        return rows, columns

    def picture(self) -> str:
        """The large map as drawn, as a data URI."""
        return str(self.at("photo").locator("canvas").first.evaluate("c => c.toDataURL()"))

    def small_picture(self) -> str:
        """The small maps as drawn."""
        return str(self.at("small-maps").locator("canvas").first.evaluate("c => c.toDataURL()"))

    def settled(self) -> None:
        """Wait until nothing is on its way."""
        until(lambda: "Working" not in self.status() and not self.stale(), f"the view to settle: {self.status()!r}")

    def stale(self) -> bool:
        """Whether what is shown is of an earlier query."""
        return "vv-stale" in (self.at("photo").get_attribute("class") or "")

    def status(self) -> str:
        """The status line."""
        return str(self.at("status").inner_text())

    def failed(self) -> str:
        """The error that the status line shows, if any."""
        return str(self.at("status").evaluate("e => e.classList.contains('vv-error') ? e.innerText || 'an error without words' : ''"))

    def errors(self) -> list[str]:
        """Errors on the console so far."""
        return [text for text in self.messages if text.startswith("error")]


def until(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Wait for a condition; a strict CSP forbids to let the page wait for it.

    Raises:
        AssertionError: it did not come true, and what was waited for.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def state_in(address: str) -> dict[str, Any]:
    """The state in a page's address, ``#s=`` and base64url JSON."""
    code = address.partition("#s=")[2]
    return dict(json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))) if code else {}


def link(address: str, state: dict[str, Any]) -> str:
    """The same page's address with another state."""
    code = base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
    return f"{address.partition('#')[0]}#s={code}"


# where things are on the screen


def centre(scene: Scene, cell: tuple[int, int]) -> tuple[float, float]:
    """The middle of a patch as shares (y, x) of the photo, from the catalogue's geometry."""
    frame, found = scene.source["frame"], []
    for axis in (0, 1):
        u = frame["origin"][axis] + cell[axis] * frame["stride"][axis] + frame["patch"][axis] / 2
        found.append((u - frame["offset"][axis]) / frame["scale"][axis] / frame["photo_size"][axis])
    return found[0], found[1]


def inside(scene: Scene) -> list[tuple[int, int]]:
    """The patches whose middle lies on the photo."""
    rows, columns = scene.grid
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    return [cell for cell in cells if all(0.001 < share < 0.999 for share in centre(scene, cell))]


def hover(scene: Scene, cell: tuple[int, int]) -> None:
    """Move the pointer to a patch of the large map."""
    y, x = centre(scene, cell)
    box = scene.at("photo").bounding_box()
    scene.at("photo").hover(position={"x": x * box["width"], "y": y * box["height"]}, force=True)


def hover_small(scene: Scene, layer: int, head: int, cell: tuple[int, int]) -> None:
    """Move the pointer to a patch of a small map."""
    maps = scene.at("small-maps")
    columns, rows, gap = (int(maps.get_attribute(f"data-{name}")) for name in ("columns", "rows", "gap"))
    (height, width), box = scene.grid, maps.bounding_box()
    y = (layer * (height + gap) + cell[0] + 0.5) / (rows * (height + gap) - gap)
    x = (head * (width + gap) + cell[1] + 0.5) / (columns * (width + gap) - gap)
    maps.hover(position={"x": x * box["width"], "y": y * box["height"]}, force=True)


def read(scene: Scene, query: tuple[int, int], key: tuple[int, int], layer: int, head: int | str) -> float:
    """The value in the reading, once it is of this query, key, layer and head."""
    wanted = {"data-query": f"{query[0]},{query[1]}", "data-key": f"{key[0]},{key[1]}", "data-layer": str(layer), "data-head": str(head)}

    def there() -> bool:
        found = scene.at("reading").evaluate("e => ({...e.dataset})")
        return all(found[name.removeprefix("data-")] == value for name, value in wanted.items())

    until(there, f"the reading of {wanted}: {scene.at('reading').evaluate('e => ({...e.dataset})')}; status {scene.status()!r}")
    return float(scene.attribute("data-value"))


def fix(scene: Scene, cell: tuple[int, int]) -> None:
    """Make a patch the query and keep it there."""
    free(scene)
    hover(scene, cell)
    y, x = centre(scene, cell)
    box = scene.at("photo").bounding_box()
    scene.at("photo").click(position={"x": x * box["width"], "y": y * box["height"]}, force=True)
    until(lambda: scene.root.get_by_test_id("free").count() == 1, "the query to be fixed")
    until(lambda: scene.attribute("data-query") == f"{cell[0]},{cell[1]}", f"the query {cell}")


def free(scene: Scene) -> None:
    """Let the query follow the pointer."""
    if scene.root.get_by_test_id("free").count():
        scene.at("free").click()
        until(lambda: scene.root.get_by_test_id("free").count() == 0, "the query to be free")


# the scenario


def loads(scene: Scene) -> None:
    """The photo, its maps and its answers are there."""
    for name in ("photo", "small-maps", "status", "method", "layer", "head", "reading"):
        scene.at(name).wait_for(state="visible", timeout=20_000)
    scene.settled()
    assert scene.failed() == ""
    until(lambda: scene.at("photo").locator("img").first.evaluate("i => i.complete && i.naturalWidth > 0"), "the photo")
    until(lambda: scene.at("photo").locator("canvas").first.evaluate("c => c.width * c.height") > 1000, "the map on it")
    assert int(scene.attribute("data-rows", "small-maps")) == len(scene.source["layers"])
    label = scene.source["top"][0][0] if scene.source["top"] else ""
    assert label in scene.root.inner_text()


def points(scene: Scene, how_many: int = 5) -> None:
    """Each patch pointed at becomes the query, and every map changes."""
    free(scene)
    last = (len(scene.source["layers"]) - 1, "mean")
    scene.choose("layer", str(last[0]))
    scene.choose("head", "mean")
    seen = set()
    cells = inside(scene)
    for cell in [cells[i * (len(cells) - 1) // (how_many - 1)] for i in range(how_many)]:
        hover(scene, cell)
        read(scene, cell, cell, *last)
        scene.settled()
        seen.add((scene.picture(), scene.small_picture()))
    assert len(seen) == how_many, "different queries were drawn alike"
    heads = scene.source["layers"][-1]["heads"]
    mean = sum(scene.truth(last[0], h, cell, cell) for h in range(heads)) / heads
    shown = read(scene, cell, cell, *last)
    largest = max(scene.truth.largest(last[0], h, cell) for h in range(heads))
    assert abs(shown - mean) <= scene.within(mean, largest), (shown, mean)


def changes(scene: Scene) -> None:
    """Layer, head, method, target, threshold: each redraws and is kept in the state."""
    cell = inside(scene)[len(inside(scene)) // 2]
    scene.choose("method", "attention")
    fix(scene, cell)
    layers = len(scene.source["layers"])
    before = scene.picture()
    for name, value in (("layer", "0"), ("layer", str(layers - 1)), ("head", "0"), ("head", "mean")):
        scene.choose(name, value)
        scene.settled()
        now = scene.picture()
        assert name == "head" or now != before or value == str(layers - 1), f"{name} {value} drew the same"
        before = now
    until(lambda: scene.state().get("query") == f"{cell[0]},{cell[1]}", "the state to hold the query")
    method(scene)
    links(scene)
    drawing(scene)


def method(scene: Scene) -> None:
    """A method for a target, and against another where the host computes."""
    names = [m["name"] for m in scene.source["methods"] if m["available"] and m["class_specific"]]
    if not names or (not scene.live and not any(m["method"] in names for m in scene.source["stored"]["maps"])):
        return
    name = names[0] if scene.live else next(m["method"] for m in scene.source["stored"]["maps"] if m["method"] in names)
    scene.choose("method", name)
    scene.settled()
    assert scene.failed() == ""
    drawn = scene.picture()
    if scene.live:
        other = next(label for label in scene.source["labels"] if label != scene.source["top"][0][0])
        target = scene.at("target")
        target.fill(other)
        target.press("Enter")
        until(lambda: scene.state().get("target") == other, f"the target {other}")
        scene.settled()
        until(lambda: scene.picture() != drawn, "another target to draw another map")
    scene.choose("method", "attention")
    scene.settled()


def links(scene: Scene) -> None:
    """The strongest links, then those above a threshold; what is left out is said."""
    if scene.at("links").is_disabled():
        assert not scene.live
        return
    scene.choose("links", "top")
    until(lambda: scene.root.get_by_test_id("links-note").count() == 1, "the links to be drawn")
    until(lambda: "Left out" in scene.at("links-note").inner_text(), "what the links leave out")
    scene.at("links-k").fill("10")
    scene.at("links-k").press("Tab")
    until(lambda: scene.root.get_by_test_id("links-note").count() == 1 and " 10 links" in scene.at("links-note").inner_text(), "10 links")
    scene.choose("links", "above")
    scene.at("links-above").fill("0.04")
    scene.at("links-above").press("Tab")
    until(lambda: (scene.state().get("links") or {}).get("above") == 0.04, "the threshold in the state")
    scene.settled()
    assert scene.failed() == ""
    scene.choose("links", "")


def drawing(scene: Scene) -> None:
    """Normalisation, range, palette, overlay and smoothness redraw; the raw value under the pointer stays."""
    cells = inside(scene)
    key = cells[1]
    hover(scene, key)
    until(lambda: scene.attribute("data-key") == f"{key[0]},{key[1]}", "the key")
    raw, before = scene.attribute("data-value"), scene.picture()
    for name, value in (("smooth", "patches"), ("palette", "viridis"), ("norm", "rank"), ("range", "map")):
        back = scene.value(name)
        scene.choose(name, value)
        if name != "range":  # one map may be the largest of all, and its range its own
            until(lambda: scene.picture() != before, f"{name} {value} to draw differently")
        hover(scene, key)
        until(lambda: scene.attribute("data-key") == f"{key[0]},{key[1]}", "the key")
        assert scene.attribute("data-value") == raw, f"{name} changed the raw value"
        scene.choose(name, back)
        until(lambda: scene.picture() == before, f"{name} {back} to draw as before")


def compares(scene: Scene) -> None:
    """Two layers side by side with their difference, and back."""
    scene.choose("method", "attention")
    scene.choose("compare", "layer")
    for name in ("photo-b", "photo-difference", "bar-b", "bar-difference"):
        scene.at(name).wait_for(state="visible", timeout=15_000)
    scene.settled()
    assert scene.failed() == ""
    other = scene.at("photo-b").locator("canvas").first
    until(lambda: other.evaluate("c => c.toDataURL()") != scene.picture(), "another layer to draw another map")
    until(lambda: "layer" in (scene.state().get("compare") or {}), "the comparison in the state")
    scene.choose("compare", "")
    until(lambda: scene.root.get_by_test_id("photo-b").count() == 0, "the comparison to end")


def keyboard(scene: Scene) -> None:
    """Everything by keys alone: each control is reached by Tab, and the view's own keys work."""
    reached = tabbed(scene)
    around = scene.page.locator("input[name=theme]").count() > 0  # that document's own switch of themes is not the view's to reach
    expected = [name for name in CONTROLS if name != "theme" or not around]
    missing = [name for name in expected if name not in reached and not scene.at(name).is_disabled()]
    assert not missing, f"not reached by Tab: {missing}; reached {reached}"
    free(scene)
    scene.choose("method", "attention")
    scene.choose("layer", "1")
    scene.choose("head", "mean")
    scene.at("photo").focus()
    press = scene.page.keyboard.press
    rows, columns = scene.grid
    hover(scene, (rows // 2, columns // 2))
    until(lambda: scene.attribute("data-query") == f"{rows // 2},{columns // 2}", "the query")
    row, column = rows // 2, columns // 2
    steps = {"ArrowRight": (0, 1), "ArrowDown": (1, 1), "ArrowLeft": (1, 0), "ArrowUp": (0, 0)}
    for name, (down, right) in steps.items():
        press(name)
        wanted = f"{row + down},{column + right}"
        until(lambda wanted=wanted: scene.attribute("data-query") == wanted, f"{name} to move the query to {wanted}")
    press("Enter")
    until(lambda: scene.root.get_by_test_id("free").count() == 1, "Enter to fix the query")
    press("ArrowUp")
    until(lambda: scene.attribute("data-key") == f"{row - 1},{column}", "an arrow to move the key of a fixed query")
    assert scene.attribute("data-query") == f"{row},{column}"
    until(lambda: f"row {row - 1}, column {column}" in scene.at("spoken").inner_text(), "the cell to be spoken")
    press("]")
    until(lambda: scene.value("layer") == "2", "] to go one layer on")
    press("[")
    until(lambda: scene.value("layer") == "1", "[ to go back")
    press(".")
    until(lambda: scene.value("head") == "max", ". to choose the next head")
    press(",")
    until(lambda: scene.value("head") == "mean", ", to choose the one before")
    press("s")
    until(lambda: scene.value("smooth") == "patches", "s to show true patches")
    press("s")
    press("Escape")
    until(lambda: scene.root.get_by_test_id("free").count() == 0, "Escape to free the query")


def tabbed(scene: Scene, presses: int = 60) -> list[str]:
    """The data-testids that Tab reaches, going both ways from a control in the middle."""
    found: list[str] = []
    for direction in ("Shift+Tab", "Tab"):
        scene.at("method").focus()
        for _ in range(presses):
            name = scene.root.evaluate(FOCUSED)
            if name and name not in found:
                found.append(name)
            scene.page.keyboard.press(direction)
    return found


def shares(scene: Scene) -> Scene:
    """The state goes into another opening of the host and draws the very same; returns that scene."""
    cell = inside(scene)[len(inside(scene)) // 3]
    scene.choose("method", "attention")
    scene.choose("layer", "2")
    scene.choose("head", "1")
    scene.choose("palette", "viridis")
    scene.choose("smooth", "patches")
    scene.choose("range", "map")
    fix(scene, cell)
    scene.settled()
    wanted = {
        "query": f"{cell[0]},{cell[1]}",
        "fixed": True,
        "layer": 2,
        "head": "1",
        "palette": "viridis",
        "smooth": False,
        "range": "map",
    }
    until(lambda: all(scene.state().get(key) == value for key, value in wanted.items()), f"the state {wanted}, not {scene.state()}")
    state = scene.state()
    other = scene.reopened(state)
    loads(other)
    until(lambda: other.attribute("data-query") == wanted["query"], "the query to be restored")
    other.settled()
    for name in ("method", "layer", "head", "palette", "smooth", "range", "norm", "links", "compare"):
        assert other.value(name) == scene.value(name), name
    until(lambda: other.picture() == scene.picture(), "the same large map", 5)
    until(lambda: other.small_picture() == scene.small_picture(), "the same small maps", 5)
    return other


def plays(scene: Scene) -> None:
    """The layers play as an animation, and stop."""
    scene.choose("method", "attention")
    scene.choose("layer", "0")
    scene.at("play").click()
    seen: set[str] = set()
    until(lambda: seen.add(scene.value("layer")) or len(seen) >= 3, "three layers to be played")  # type: ignore[func-returns-value]  # add gives None
    scene.at("play").click()
    until(lambda: scene.attribute("aria-pressed", "play") == "false", "the play to stop")


def audits(scene: Scene) -> None:
    """The panel says what the model was fed: the verdict, every step as a picture that is there, the patches' borders, the proofs."""
    panel = scene.at("audit")
    panel.locator("summary").click()
    until(lambda: "The model saw" in panel.locator("summary").inner_text(), "the verdict", seconds=60)
    steps = panel.locator("figure")
    assert steps.count() >= 7, steps.count()
    broken = panel.evaluate(PICTURES)
    assert not broken, broken
    assert panel.locator("path.vv-grid").count() == 1
    assert "equal the input exactly" in panel.inner_text()


def is_accessible(scene: Scene) -> None:
    """axe-core finds nothing, in light and in dark; a page of our own is looked at whole."""
    frame = scene.at("photo").element_handle().owner_frame()
    frame.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("dark", "light"):
        turn(scene, theme)
        found = scene.root.evaluate(VIOLATIONS)
        assert not found, (theme, found)
    turn(scene, "auto")


def turn(scene: Scene, theme: str) -> None:
    """Set the one switch of themes there is: the view's own, or that of the document around it."""
    own, around = scene.root.get_by_test_id("theme"), scene.page.locator("input[name=theme]")
    assert (own.count(), around.count()) in ((1, 0), (0, 3)), "two switches of themes, or none"
    if own.count():
        scene.choose("theme", theme)
        return
    around.and_(scene.page.locator(f"[value={theme}]")).check(force=True)
    until(lambda: scene.page.evaluate("document.documentElement.dataset.theme") == theme, f"the document to be {theme}")
    if theme != "auto":
        assert scene.root.locator(".vv").evaluate("e => getComputedStyle(e).colorScheme") == theme
        until(lambda: scene.state().get("theme") == theme, f"the address to say {theme}")


def reads(scene: Scene, how_many: int = 200, seed: int = 0) -> float:
    """Numbers under the pointer equal Python's, at random (layer, head, query, key); returns the largest difference.

    One reading in four is of the large map with layer and head chosen by the controls, the others are of the small maps.
    """
    draw = random.Random(seed)
    cells, layers = inside(scene), scene.source["layers"]
    scene.choose("method", "attention")
    largest = 0.0
    for number in range(how_many):
        if number % 10 == 0:
            query = draw.choice(cells)
            fix(scene, query)
        layer = draw.randrange(len(layers))
        head, key = draw.randrange(layers[layer]["heads"]), draw.choice(cells)
        if number % 4 == 0:
            scene.choose("layer", str(layer))
            scene.choose("head", str(head))
            hover(scene, cells[0] if key != cells[0] else cells[1])
            hover(scene, key)
        else:
            key = draw.choice([(r, c) for r in range(scene.grid[0]) for c in range(scene.grid[1])])
            hover_small(scene, layer, head, key)
        shown, true = read(scene, query, key, layer, head), scene.truth(layer, head, query, key)
        assert abs(shown - true) <= scene.within(true, scene.truth.largest(layer, head, query)), (layer, head, query, key, shown, true)
        largest = max(largest, abs(shown - true))
    return largest


def whole(scene: Scene) -> None:
    """The scenario, in the order a person might go through it."""
    loads(scene)
    points(scene)
    changes(scene)
    compares(scene)
    plays(scene)
    keyboard(scene)
    audits(scene)
    if AXE.exists():  # each host has a test that says so where it is not
        is_accessible(scene)
    other = shares(scene)
    reads(other)
    assert not scene.errors(), scene.errors()
    assert not other.errors(), other.errors()
