"""PNG figures: the overlay's arithmetic, the same bytes twice, no trace in matplotlib's global state."""

import builtins
import sys

import numpy as np
import pytest
from PIL import Image

from support.synthetic import chelsea, cropped, layout, photo_view, plain_sample

pytest.importorskip("matplotlib", reason="matplotlib is not installed (vitscope[figures])")

from vitscope.errors import MissingExtra, OutputError
from vitscope.figures import write_png
from vitscope.figures.picture import Sheet
from vitscope.views.colour import LEVELS, Limits, table
from vitscope.views.frame import Frame
from vitscope.views.paint import overlaid


def test_overlay_equals_a_slow_loop():
    sample = plain_sample(50, 80)
    frame = Frame.of(cropped(sample, 64), layout(8, 8, 0))
    grid = np.random.default_rng(1).random((8, 8))
    drawn = overlaid(sample.photo, grid, frame, Limits(0, 1), strength=0.6, smooth=False)
    p, colours = frame.placement, table("magma").astype(float)
    for y in range(0, 50, 3):
        for x in range(0, 80, 3):
            grey = sample.photo[y, x] @ [0.2126, 0.7152, 0.0722]
            if p.seen[0] < y + 0.5 < p.seen[2] and p.seen[1] < x + 0.5 < p.seen[3]:
                u, v = p.to_input((y + 0.5, x + 0.5))
                expected = 0.4 * grey + 0.6 * colours[round(grid[int(u // 8), int(v // 8)] * (LEVELS - 1))]
            else:
                expected = np.full(3, 0.35 * grey)
            assert np.abs(drawn[y, x] - expected).max() <= 0.51


def test_the_same_bytes_twice(tmp_path):
    view = photo_view(chelsea(), maps=2)
    assert write_png(view, tmp_path / "a.png").read_bytes() == write_png(view, tmp_path / "b.png").read_bytes()
    assert "Software" not in Image.open(tmp_path / "a.png").info


@pytest.mark.parametrize(("size", "maps"), [((300, 451), 4), ((20, 1500), 2), ((400, 100), 1), ((1, 1), 0)])
def test_pictures_of_many_shapes(tmp_path, size, maps):
    image = Image.open(write_png(photo_view(plain_sample(*size), pad=True, maps=maps), tmp_path / "a.png", dpi=60))
    assert np.asarray(image).std() > 1


def test_no_global_state(tmp_path):
    import matplotlib

    before, had_pyplot = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    write_png(photo_view(plain_sample(), maps=1), tmp_path / "a.png", dpi=40)
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_dollars_in_names_are_not_mathematics(tmp_path):
    write_png(photo_view(plain_sample(path="a/$x_{$.png"), maps=1), tmp_path / "a.png", dpi=40)


def test_panels_do_not_overlap():
    sheet = Sheet.of(7, 1.5)
    boxes = [sheet.box(i, 0.3, *sheet.picture) for i in range(7)]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= 1
        assert y >= 0
        assert y + h <= 1
        for a, b, c, d in boxes[i + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_without_matplotlib(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingExtra, match=r"matplotlib is not installed; expected matplotlib, for PNG figures; run: pip install 'vitscope\[figures\]'"
    ):
        write_png(photo_view(plain_sample(), maps=1), tmp_path / "a.png")


def test_not_writable(tmp_path):
    with pytest.raises(OutputError):
        write_png(photo_view(plain_sample(), maps=1), tmp_path / "none" / "a.png", dpi=40)
