"""The report as text: everything the reader is promised is in it, nothing from outside can break it, nothing is asked of a network."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from support.synthetic import TOP, UNITS, WORDS, chelsea, cropped, layout, photo_view, plain_sample, token_map
from vitscope.errors import ArgumentError, OutputError
from vitscope.views.photo import Fed, build_photo_view
from vitscope.web.document import POLICY
from vitscope.web.report import render, write_report

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Tags, attributes and text; every opened tag must be closed in order."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> does not close the last opened tag"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html():
    return render([photo_view(chelsea())])


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_one_photo_with_four_maps_is_small(html):
    assert len(html.encode()) < 1_000_000


def test_rendering_again_gives_the_same_text(html):
    assert render([photo_view(chelsea())]) == html


def test_the_policy_comes_first_and_forbids_requests(page):
    policies = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY]
    assert POLICY == "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    names = [tag for tag, _ in page.tags]
    assert names.index("meta") < min(names.index(tag) for tag in ("style", "title", "link"))


def test_nothing_is_fetched(html, page):
    links = [a[key] for _, a in page.tags for key in ("src", "href", "xlink:href", "srcset", "action", "data", "poster") if a.get(key)]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    css = re.findall(r"url\(([^)]*)\)", html)
    assert all(target.strip("'\"").startswith(("#", "data:")) for target in css)
    assert "@import" not in html


def test_what_is_promised_is_there(page):
    for text in (
        "chelsea.png", "The model’s answer: tabby, tabby cat 61.2 %", "Top 5", *(label for label, _ in TOP), "24.1 %",
        "the model saw 50.9 % of it", "14 rows of 14 patches", "201 tokens: 196 patches + 1 CLS + 4 registers", "385×256",
        "attention weight (row sums to 1)", "logit change when hidden", "method attention", "layer 11", "head mean", "query pooled",
        "Relevance for tabby, tabby cat", "of this map’s mass is not in the picture: CLS 5.2 % , registers 20.7 %",
        WORDS["relevance"]["does_not_show"], "Layer by layer", "How far to trust it",
        "Hiding its hottest patches costs 3.40 score points", "mean of two read-outs: cls and distillation", "builtin:photos",
        "0123456789abcdef",
        "Not measured in this run", "red −1 … 0.98",
    ):  # fmt: skip
        assert text in page.text, text


def test_scales_are_printed_raw(page):
    view = photo_view(chelsea())
    high = view.of_kind("map")[0].limits[1]
    assert f"0 {high / 2:.3g} {high:.3g}" in page.text
    assert "−2.14 0 2.14" in page.text


def test_every_picture_has_words(page):
    assert all(a.get("alt") for a in page.all("img"))
    pictures = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(pictures) == 6
    assert all(len(a["aria-label"]) > 20 for a in pictures)
    assert sum(a.get("tabindex") == "0" for a in pictures) == 4


def test_a_row_for_each_layer(page):
    assert len(page.all("tr")) == 1 + 12
    assert len(page.all("img")) == 12 * 4


def test_ids_are_unique_and_every_reference_has_one():
    html = render([photo_view(chelsea(), maps=2), photo_view(plain_sample(), pad=True, maps=2)])
    page = Page(html)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")} | set(re.findall(r"url\(#([^)]*)\)", html))
    assert used <= set(ids)


def test_several_photos_have_a_jump_list_and_one_scale():
    html = render([photo_view(chelsea(), maps=2), photo_view(plain_sample(), maps=2)])
    page = Page(html)
    assert [a["href"] for a in page.all("a")][1:] == ["#photo-1", "#photo-2"]
    assert "one scale for each method over all photos of this report" in page.text
    assert "<title>2 photos · vitscope</title>" in html


def test_hostile_names_are_only_text():
    evil = "</script><img src=x onerror=alert(1)>\u2028'\"&{{7*7}}"
    sample = replace(plain_sample(path=f"a/{evil}.png"), notes=(evil,))
    placement, where = cropped(sample), layout()
    one = token_map(
        "relevance", placement, where, np.ones((14, 14)), target=(evil,), notes=(evil,), meta={"trust": {"sentence": evil, evil: evil}}
    )
    fed = Fed(np.zeros((224, 224, 3), np.float32), placement, where, one.provenance)
    html = render([build_photo_view(sample, fed, [(evil, 0.5)], [one], explain={"relevance": {"title": evil, "shows": evil}})])
    assert "<img src=x" not in html
    page = Page(html)
    assert not [a for a in page.all("img") if "onerror" in a]
    assert "{{7*7}}" in page.text
    assert len(page.all("script")) == 2


def test_undefined_and_constant_maps_can_be_drawn():
    sample, where = plain_sample(), layout()
    placement = cropped(sample)
    maps = [token_map("relevance", placement, where, np.full((14, 14), v)) for v in (np.nan, 0.0)]
    fed = Fed(np.zeros((224, 224, 3), np.float32), placement, where, maps[0].provenance)
    assert "undefined on every patch" in render([build_photo_view(sample, fed, [], maps)])


@pytest.mark.parametrize("size", [(1, 1), (20, 1500), (1500, 20)])
def test_odd_sizes(size):
    Page(render([photo_view(plain_sample(*size), pad=True, maps=1)]))


def test_large_photos_say_that_they_are_shown_smaller():
    page = Page(render([photo_view(plain_sample(900, 2600), maps=1)]))
    assert "Shown here at 1280 × 443 px" in page.text


def test_no_photos_are_refused():
    with pytest.raises(ArgumentError, match="a report of no photos"):
        render([])


def test_writing(tmp_path, html):
    path = write_report([photo_view(chelsea())], tmp_path / "r.html")
    assert path.read_text(encoding="utf-8") == html
    with pytest.raises(OutputError):
        write_report([photo_view(plain_sample(), maps=1)], tmp_path / "none" / "r.html")


def test_the_worst_photo_still_fits():
    """Pure noise, 12 megapixels, 4,096 patches, four maps with twelve layers: within four megabytes."""
    rng = np.random.default_rng(0)
    sample = replace(plain_sample(8, 8), pixels=rng.integers(0, 256, (1, 3000, 4000, 3), dtype=np.uint8))
    placement, where = cropped(sample, 1024), layout(64, 16, 4)
    maps = [token_map(name, placement, where, rng.random((64, 64))) for name in UNITS]
    fed = Fed(rng.random((1024, 1024, 3)).astype(np.float32), placement, where, maps[0].provenance)
    rows = {i: rng.random((12, where.n)) for i in range(4)}
    assert len(render([build_photo_view(sample, fed, TOP, maps, develop=rows)]).encode()) < 4_000_000
