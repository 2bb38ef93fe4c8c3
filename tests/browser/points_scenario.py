"""One scenario of the scatter for every host: page, file, notebook.

What is on the screen is found anew here from the points themselves, in float64.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from browser.scenario import AXE, VIOLATIONS, until

#: Writes down what the view tells of its work.
LISTEN = "window.told = []; addEventListener('vitscope:points', (event) => told.push(event.detail))"
#: Share of the shorter side of the plot that a map takes at zoom 1, by its axes.
FIT = {2: 0.92, 3: 0.62}
CORNER = (0.2059, -0.3604, -0.0822, 0.906)
HOME = {"x": 0.5, "y": 0.5, "zoom": 1.0}
NONE = 65535


@dataclass
class Truth:
    """What the points are.

    Attributes:
        maps: uint16 ``[m, 2 or 3]`` each.
        codes: by column of categories, uint16 ``[m]``.
        ids: of the rows.
    """

    maps: list[Any]
    codes: dict[str, Any]
    ids: list[str]


@dataclass
class Plot:
    """The scatter in one host; see :class:`browser.scenario.Scene` for what is alike."""

    page: Any
    root: Any
    truth: Truth
    live: bool
    state: Callable[[], dict[str, Any]]
    reopened: Callable[[dict[str, Any]], Plot]
    messages: list[str] = field(default_factory=list)

    def at(self, name: str) -> Any:
        """The element with a data-testid."""
        return self.root.get_by_test_id(name).first

    def there(self, name: str) -> bool:
        """Whether it is on the page."""
        return bool(self.root.get_by_test_id(name).count())

    def points(self) -> dict[str, Any]:
        """The scatter's part of the state."""
        return self.state().get("points") or {}

    def box(self) -> dict[str, float]:
        """Where the plot is on the screen, without its border."""
        self.at("scatter-canvas").scroll_into_view_if_needed()
        return dict(self.at("scatter-canvas").locator("canvas").bounding_box())

    def picture(self) -> str:
        """The points as drawn."""
        return str(self.at("scatter-canvas").locator("canvas").evaluate("c => c.toDataURL()"))

    def count(self) -> int:
        """How many points are selected; -1 where nothing is."""
        return int(self.at("scatter-selected").get_attribute("data-count")) if self.there("scatter-selected") else -1

    def settled(self) -> None:
        """Wait until every point is drawn and nothing is on its way."""
        until(
            lambda: "Working" not in self.at("scatter-status").inner_text() and not self.at("scatter-canvas").get_attribute("data-thinned"),
            f"the scatter to settle: {self.at('scatter-status').inner_text()!r}",
        )
        self.page.wait_for_timeout(60)  # two frames: what changed last is painted in the next one


# where points are, found the long way


def projected(places: Any, turn: Any) -> Any:
    """(u, v, depth) of stored positions, float64 ``[m, 3]``."""
    p = places.astype(np.float64) / 65535
    if p.shape[1] == 2:
        return np.column_stack([p, np.zeros(len(p))])
    x, y, z, w = np.asarray(turn, np.float64) / np.linalg.norm(turn)
    axis = np.array([x, y, z])
    centred = p - 0.5
    once = np.cross(axis, centred) + w * centred
    turned = centred + 2 * np.cross(axis, once)
    return np.column_stack([turned[:, :2] + 0.5, turned[:, 2]])


def camera_of(plot: Plot, number: int) -> dict[str, Any]:
    """The camera as the state has it, or a map's first view."""
    home = {**HOME, "turn": CORNER if plot.truth.maps[number].shape[1] == 3 else (0, 0, 0, 1)}
    return {**home, **(plot.points().get("camera") or {})}


def on_screen(plot: Plot, number: int) -> Any:
    """Pixels of every point of a map, float64 ``[m, 2]``, from the top-left corner of the page."""
    box, camera, places = plot.box(), camera_of(plot, number), plot.truth.maps[number]
    plane = projected(places, camera["turn"])
    scale = FIT[places.shape[1]] * min(box["width"], box["height"]) * camera["zoom"]
    x = box["x"] + box["width"] / 2 + (plane[:, 0] - camera["x"]) * scale
    y = box["y"] + box["height"] / 2 - (plane[:, 1] - camera["y"]) * scale
    return np.column_stack([x, y])


def inside(outline: Any, u: Any, v: Any) -> Any:
    """Even-odd, each edge against all points."""
    odd = np.zeros(len(u), dtype=bool)
    corners = np.asarray(outline, np.float64)
    for (ua, va), (ub, vb) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
        crosses = (va > v) != (vb > v)
        with np.errstate(divide="ignore", invalid="ignore"):
            odd ^= crosses & (u < (ub - ua) * (v - va) / (vb - va) + ua)
    return odd


def selected(plot: Plot, *, hidden: Any = ()) -> Any:
    """The rows that the lasso in the state holds."""
    points = plot.points()
    at = points.get("lasso_at") or {"map": points.get("map", 0), "turn": camera_of(plot, points.get("map", 0))["turn"]}
    plane = projected(plot.truth.maps[at["map"]], at["turn"])
    held = inside(points["lasso"], plane[:, 0], plane[:, 1])
    return np.flatnonzero(held & ~np.isin(plot.truth.codes[colour(plot)], list(hidden)))


def colour(plot: Plot) -> str:
    """The column that colours."""
    return str(plot.at("scatter-colour").input_value())


# what a person does


def drag(plot: Plot, corners: list[tuple[float, float]]) -> None:
    """Drag through places given as shares of the plot."""
    box = plot.box()
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    plot.page.mouse.move(*at[0])
    plot.page.mouse.down()
    for place in at[1:]:
        plot.page.mouse.move(*place, steps=5)
    plot.page.mouse.up()


def lasso(plot: Plot, corners: list[tuple[float, float]]) -> Any:
    """Select by Shift and drag; the rows that ought to be selected."""
    before = plot.points().get("lasso")
    plot.page.keyboard.down("Shift")
    drag(plot, corners)
    plot.page.keyboard.up("Shift")
    until(lambda: plot.points().get("lasso") not in (None, before), "the lasso in the state")
    rows = selected(plot)
    until(lambda: plot.count() == len(rows), f"{len(rows)} selected, not {plot.count()}")
    return rows


def rows_in_csv(plot: Plot, folder: Path) -> tuple[list[int], list[dict[str, str]]]:
    """The rows of the table as saved."""
    with plot.page.expect_download() as coming:
        plot.at("scatter-csv").click()
    path = folder / coming.value.suggested_filename
    coming.value.save_as(path)
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    return [int(row["row"]) for row in table], table


def loads(plot: Plot) -> None:
    """Every point is drawn, and the legend counts them."""
    plot.at("scatter-canvas").wait_for(state="visible", timeout=20_000)
    plot.at("scatter-legend-0").wait_for(timeout=20_000)
    plot.settled()
    codes = plot.truth.codes[colour(plot)]
    for code in np.unique(codes)[:20]:
        shown = plot.at(f"scatter-legend-{code}").locator(".vv-number").inner_text().replace(",", "")
        assert int(shown) == int((codes == code).sum()), code
    assert (
        plot.at("scatter-canvas")
        .locator("canvas")
        .evaluate("c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size")
        > 2
    )


def hovers(plot: Plot, how_many: int = 8) -> None:
    """The point under the pointer is the nearest one, and its card says which."""
    number = plot.points().get("map", 0)
    box = plot.box()
    screen = on_screen(plot, number)
    held = (screen > [box["x"] + 5, box["y"] + 5]).all(1) & (screen < [box["x"] + box["width"] - 5, box["y"] + box["height"] - 5]).all(1)
    rows = np.flatnonzero(held)
    for row in rows[:: max(len(rows) // how_many, 1)]:
        place = np.round(screen[row])
        plot.page.mouse.move(*place)
        far = np.hypot(*(screen - place).T)
        near = {str(i) for i in np.flatnonzero(far < far.min() + 1e-6)}
        until(
            lambda near=near: plot.at("scatter-hover").get_attribute("data-row") in near,
            f"row {near}, not {plot.at('scatter-hover').get_attribute('data-row')}",
        )
        name = plot.truth.ids[int(plot.at("scatter-hover").get_attribute("data-row"))]
        until(lambda name=name: name in plot.at("scatter-hover").inner_text(), f"{name} in {plot.at('scatter-hover').inner_text()!r}")
    plot.page.mouse.move(1, 1)


def lassoes(plot: Plot, folder: Path) -> None:
    """A lasso selects exactly the points within it; hidden ones are not among them; the table has the same rows."""
    rows = lasso(plot, [(0.25, 0.3), (0.5, 0.15), (0.78, 0.3), (0.66, 0.72), (0.5, 0.45), (0.3, 0.75)])
    assert 0 < len(rows) < len(plot.truth.ids)
    found, table = rows_in_csv(plot, folder)
    np.testing.assert_array_equal(found, rows)
    assert [row["id"] for row in table] == [plot.truth.ids[row] for row in rows]
    code = int(np.bincount(plot.truth.codes[colour(plot)][rows]).argmax())
    plot.at(f"scatter-legend-{code}").click()
    fewer = selected(plot, hidden=[code])
    assert len(fewer) < len(rows)
    until(lambda: plot.count() == len(fewer), f"{len(fewer)} selected without the hidden ones, not {plot.count()}")
    plot.at(f"scatter-legend-{code}").click()
    until(lambda: plot.count() == len(rows), "all of them again")


def moves(plot: Plot) -> None:
    """Dragging, keys and zooming change the camera, which goes into the state; Fit puts it back."""
    before = plot.picture()
    drag(plot, [(0.5, 0.5), (0.6, 0.55)])
    until(lambda: "camera" in plot.points(), "the camera in the state")
    plot.settled()
    assert plot.picture() != before
    plot.at("scatter-canvas").focus()
    plot.page.keyboard.press("+")
    until(lambda: plot.points()["camera"]["zoom"] == 1.4, "the zoom in the state")
    x = plot.points()["camera"]["x"]
    plot.page.keyboard.press("ArrowRight")
    until(lambda: plot.points()["camera"]["x"] > x, "an arrow to move the camera")
    plot.settled()
    hovers(plot, 3)
    plot.at("scatter-fit").click()
    until(lambda: "camera" not in plot.points(), "the whole map again")
    plot.settled()
    until(lambda: plot.picture() == before, "the picture of before")


def turns(plot: Plot) -> None:
    """A map of three axes turns; the selection stays with its points, and a new lasso is of what is seen."""
    number = next((i for i, places in enumerate(plot.truth.maps) if places.shape[1] == 3), None)
    if number is None:
        return
    count = plot.count()
    plot.at("scatter-map").select_option(str(number))
    until(lambda: plot.points().get("map") == number, "the map in the state")
    drag(plot, [(0.5, 0.5), (0.62, 0.42)])
    until(lambda: "camera" in plot.points(), "the turn in the state")
    plot.settled()
    assert plot.count() == count
    hovers(plot, 5)
    lasso(plot, [(0.3, 0.3), (0.7, 0.3), (0.6, 0.7), (0.4, 0.6)])
    plot.settled()


def restores(plot: Plot) -> Plot:
    """Opened again from the state: the same camera, colours, selection, chosen point and picture."""
    column = [name for name in plot.truth.codes if name != colour(plot)][-1]
    plot.at("scatter-colour").select_option(column)
    until(lambda: plot.points().get("colour") == column, "the column in the state")
    plot.at("scatter-pictures").locator("button").first.click()
    until(lambda: plot.points().get("focus") is not None, "the chosen point in the state")
    plot.page.mouse.move(1, 1)
    plot.settled()
    other = plot.reopened(plot.state())
    other.at("scatter-selected").wait_for(timeout=20_000)
    other.settled()
    assert other.count() == plot.count()
    assert other.at("scatter-focus").get_attribute("data-row") == str(plot.points()["focus"])
    for name in ("scatter-map", "scatter-colour", "scatter-size"):
        assert other.at(name).input_value() == plot.at(name).input_value(), name
    until(lambda: other.picture() == plot.picture(), "the same picture", 5)
    return other


def saves(plot: Plot, folder: Path) -> None:
    """PNG and SVG of what is seen; the SVG has a circle for every point in view."""
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with plot.page.expect_download() as coming:
            plot.at(f"scatter-export-{kind}").click()
        path = folder / coming.value.suggested_filename
        coming.value.save_as(path)
        assert path.suffix == f".{kind}"
        data = path.read_bytes()
        assert data.startswith(begins)
    assert data.decode().count("<circle") >= 0.9 * len(plot.truth.ids)


def is_accessible(plot: Plot) -> None:
    """axe-core finds nothing, in light and in dark; a page of our own is looked at whole."""
    frame = plot.at("scatter-canvas").element_handle().owner_frame()
    frame.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("dark", "light"):
        plot.at("theme").select_option(theme)
        plot.page.wait_for_timeout(100)
        found = plot.root.evaluate(VIOLATIONS)
        assert not found, (theme, found)
    plot.at("theme").select_option("auto")


def opens(plot: Plot) -> None:
    """A chosen point opens in the photo view below, where there is a model; else the button says why not."""
    if not plot.live:
        assert plot.at("scatter-open").is_disabled()
        assert plot.at("scatter-open").get_attribute("title")
        return
    plot.at("scatter-open").click()
    plot.at("small-maps").wait_for(state="visible", timeout=60_000)
    assert plot.at("scatter-canvas").count() == 1
    assert plot.count() > 0


def whole(plot: Plot, folder: Path) -> None:
    """The scenario, in the order a person might go through it."""
    loads(plot)
    hovers(plot)
    lassoes(plot, folder)
    saves(plot, folder)
    moves(plot)
    turns(plot)
    other = restores(plot)
    if AXE.exists():
        is_accessible(other)
    opens(other)
    for one in (plot, other):
        assert not [text for text in one.messages if text.startswith(("error", "warning"))], one.messages
