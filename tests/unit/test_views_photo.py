"""What a photo's View says: every number against a slow count of its own, one raw scale per method, plain JSON facts."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from support.synthetic import (
    TOP,
    WORDS,
    chelsea,
    cropped,
    development,
    four_maps,
    layout,
    model_input,
    padded,
    photo_view,
    plain_sample,
    provenance,
    token_map,
)  # fmt: skip
from vitscope.views.confidence import trust_words
from vitscope.views.photo import PHOTO_LONGEST, Fed, build_photo_view
from vitscope.views.plain import percent, plain, short
from vitscope.views.scale import share_scales
from vitscope.views.view import pack
from vitscope.views.words import fact_line, fact_rows, hidden_line, method_title


def view_of(maps, sample=None, placement=None, where=None, **more):
    sample = sample or plain_sample()
    placement = placement or cropped(sample)
    fed = Fed(model_input(sample, placement), placement, where or layout(), provenance())
    return build_photo_view(sample, fed, TOP, maps, explain=WORDS, **more)


def test_the_panels_of_a_photo():
    view = photo_view(chelsea())
    assert [p.kind for p in view.panels] == ["photo", "input", "answer", "map", "map", "map", "map", "provenance"]
    assert view.title == "chelsea.png"
    assert view.arrays["photo"].shape == (300, 451, 3)
    assert view.arrays["map-0/layers"].shape == (12, 14, 14)
    assert [row[0] for row in view.of_kind("answer")[0].facts["top"]] == [label for label, _ in TOP]


def test_maps_are_kept_raw():
    sample = plain_sample()
    one = four_maps(cropped(sample), layout())[0]
    assert np.array_equal(view_of([one]).arrays["map-0/grid"], one.grid)


def test_maps_of_one_method_share_one_scale_over_all_photos():
    sample, where = plain_sample(), layout()
    weak, strong = (token_map("relevance", cropped(sample), where, np.full((14, 14), v)) for v in (0.2, 3.0))
    other = token_map("rollout", cropped(sample), where, np.ones((14, 14)))
    views = share_scales([view_of([weak, other]), view_of([other, strong])])
    assert views[0].of_kind("map")[0].limits == views[1].of_kind("map")[1].limits == (0.0, 3.0)
    assert views[0].of_kind("map")[1].limits == (0.0, pytest.approx(float(other.grid.max())))
    assert views[0].of_kind("map")[0].facts["maps_on_scale"] == 2


def test_sharing_again_changes_nothing():
    views = [photo_view(plain_sample())]
    assert pack(share_scales(views)[0]) == pack(views[0])


def test_units_do_not_share_a_scale():
    sample, where = plain_sample(), layout()
    one = token_map("relevance", cropped(sample), where, np.ones((14, 14)))
    panels = view_of([one, replace(one, values=one.values * 9, unit="another unit")]).of_kind("map")
    assert [p.limits for p in panels] == [(0.0, 1.0), (0.0, 9.0)]


def test_signed_maps_have_a_scale_centred_on_zero():
    sample = plain_sample()
    panel = view_of(four_maps(cropped(sample), layout())[3:]).of_kind("map")[0]
    assert panel.limits[0] == -panel.limits[1]
    assert panel.colours == "tideline"


def test_layers_have_their_own_shared_scale():
    sample = plain_sample()
    one = four_maps(cropped(sample), layout())[0]
    rows = development(one) * 5
    panel = view_of([one], develop={0: rows}).of_kind("map")[0]
    assert panel.facts["layers_limits"] == [0.0, pytest.approx(rows[:, one.layout.patches].max())]
    assert panel.facts["layer_hidden"][-1] == pytest.approx(np.abs(rows[-1][one.layout.prefix]).sum() / np.abs(rows[-1]).sum())


def test_padded_patches_do_not_set_the_scale():
    sample, where = plain_sample(60, 160), layout()
    values = np.ones((14, 14))
    values[0, 0] = 50.0
    view = view_of([token_map("relevance", padded(sample), where, values)], sample, padded(sample))
    assert [0, 0] in view.meta["padded"]
    assert view.of_kind("map")[0].limits == (0.0, 1.0)


def test_hidden_mass_and_uniform_are_counted_over_all_tokens():
    sample = plain_sample()
    one = four_maps(cropped(sample), layout(registers=4))[0]
    facts = view_of([one]).of_kind("map")[0].facts
    total = float(np.abs(one.tokens).sum())
    assert facts["hidden"]["cls"] == pytest.approx(one.tokens[0] / total)
    assert facts["hidden"]["register"] == pytest.approx(one.tokens[1:5].sum() / total)
    assert facts["uniform"] == pytest.approx(1 / one.layout.n, rel=1e-6)


def test_ratio_to_uniform_means_nothing_for_signed_or_empty_maps():
    sample, where = plain_sample(), layout()
    maps = [four_maps(cropped(sample), where)[3], token_map("relevance", cropped(sample), where, np.zeros((14, 14)))]
    assert [p.facts["uniform"] for p in view_of(maps).of_kind("map")] == [None, None]


def test_the_peak_is_the_largest_value_and_skips_what_is_undefined():
    sample, where = plain_sample(), layout()
    values = np.zeros((14, 14))
    values[3, 9], values[1, 1] = 0.75, np.nan
    view = view_of(
        [token_map("relevance", cropped(sample), where, values), token_map("relevance", cropped(sample), where, values * np.nan)]
    )
    first, second = view.of_kind("map")
    assert first.facts["peak"] == {"row": 3, "column": 9, "value": 0.75}
    assert second.facts["peak"] is None
    pack(view)


def test_large_photos_are_kept_smaller_and_say_so():
    sample = plain_sample(900, 2600)
    view = view_of([], sample)
    assert view.arrays["photo"].shape == (round(900 * PHOTO_LONGEST / 2600), PHOTO_LONGEST, 3)
    facts = view.of_kind("photo")[0].facts
    assert facts["size"] == [900, 2600]
    assert facts["shown"] == [443, PHOTO_LONGEST]


def test_the_share_the_model_saw_is_said():
    caption = view_of([], chelsea()).of_kind("photo")[0].caption
    assert caption.replace("\u00a0", " ") == "451 × 300 px; the model saw 50.9 % of it; the rest, dimmed, was left out."
    assert "the model saw all of it" in view_of([], chelsea(), padded(chelsea())).of_kind("photo")[0].caption


def test_pixels_under_no_patch_are_said():
    sample = chelsea()
    placement = padded(sample).only((0.0, 0.0, 150.0, 224.0))
    caption = view_of([], sample, placement).of_kind("photo")[0].caption.replace("\u00a0", " ")
    assert f"the model saw {percent(placement.seen_share)} of it".replace("\u00a0", " ") in caption
    assert "the rest, dimmed, was left out (74 rows and 0 columns of the input lie under no patch)." in caption


def test_a_photo_without_classes_or_maps_is_still_a_view():
    sample = plain_sample(1, 1)
    placement = padded(sample)
    view = build_photo_view(sample, Fed(model_input(sample, placement), placement, layout(), provenance()), [], [])
    assert view.of_kind("map") == ()
    pack(view)


def test_words_of_a_map():
    panel = photo_view(plain_sample()).of_kind("map")[1]
    assert method_title(panel) == "Rollout"
    assert fact_rows(panel) == [("method", "rollout"), ("layer", "all"), ("query", "pooled"), ("fuse", "mean"), ("residual", "0.5")]
    assert fact_line(panel) == "layer all · query pooled · fuse mean · residual 0.5"
    assert hidden_line(panel).startswith("not in the picture: CLS ")
    bare = replace(panel, facts={**panel.facts, "words": {}, "method": "grad-cam", "hidden": {}})
    assert method_title(bare) == "Grad-CAM"
    assert hidden_line(bare) == "all of the map is in the picture"


def test_trust_in_words():
    found = trust_words({"sentence": "S.", "hottest_drop": 2.0, "random_drop": -0.5, "random_drop_spread": 0.1, "draws_beaten": 0.9,
                         "random_draws": 10, "target_swap_similarity": 0.3, "target_swapped_to": "dog", "new_figure": 1.25})  # fmt: skip
    assert found["sentence"] == "S."
    assert [(d["text"], d["length"]) for d in found["drops"]] == [("2", 1.0), ("−0.5 ± 0.1", 0.0)]
    assert found["rows"] == [
        ("random draws beaten, of 10", "90.0\u00a0%"),
        ("likeness for dog (rank correlation)", "0.3"),
        ("new figure", "1.25"),
    ]


@pytest.mark.parametrize("nothing", [None, {}, [], "x"])
def test_no_trust_is_none(nothing):
    assert trust_words(nothing) is None


def test_trust_without_drops_still_lists_what_is_undefined():
    found = trust_words({"sentence": "", "hottest_drop": None, "random_drop": None, "redrawn_weights_similarity": None})
    assert found["drops"] == []
    assert ("score lost, hottest patches hidden", "undefined here") in found["rows"]
    assert ("likeness with re-drawn weights (rank correlation)", "undefined here") in found["rows"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0123456, "0.0123"), (-2.5, "−2.5"), (1.5e-7, "1.5e−7"), (12345.0, "12300"), (123456.0, "1.23e5"), (2e9, "2e9"),
     (float("nan"), "undefined"),
     (None, "undefined"), (float("inf"), "∞"), (12.0, "12")],
)  # fmt: skip
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.612, "61.2 %"), (0.0002, "< 0.1 %"), (0.9999, "> 99.9 %"), (1, "100 %"), (0.999, "99.9 %")]
)
def test_percentages(share, text):
    assert percent(share).replace("\u00a0", " ") == text


def test_plain_values():
    given = {1: np.float32(0.5), "a": (np.int64(3), float("nan")), "b": np.array([[True]]), "c": {2, 1}, "d": None, "e": complex(1)}
    assert plain(given) == {"1": 0.5, "a": [3, None], "b": [[True]], "c": [1, 2], "d": None, "e": "(1+0j)"}


def test_nothing_here_reaches_torch():
    import subprocess

    code = "import sys, vitscope.views.photo, vitscope.views.scale, vitscope.figures, vitscope.web.report; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
