"""The trust figures on models whose right answer is known, and the words they are put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from support.handmade import CLS, MEAN, POOL, HandViT, Spec, pixels_of, run, trace_of
from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError
from vitscope.methods import METHODS, explain
from vitscope.methods.uniformity import distance_from_uniform
from vitscope.metrics.faithfulness import Drops
from vitscope.trace import Trace
from vitscope.trust import Trust, _sentence, check, trust_of

LARGE = replace(MEAN, grid=(5, 6), depth=2)


def uniform(spec: Spec) -> Trace:
    """Queries and keys are zero: every row of attention is even; values still differ."""
    model = HandViT(spec)
    with torch.no_grad():
        for layer in model.qkv:
            layer.weight[: 2 * spec.width] = 0
            layer.bias[: 2 * spec.width] = 0
        model.pool_kv.weight[: spec.width] = 0
        model.pool_kv.bias[: spec.width] = 0
    return run(model, pixels_of(spec))


def figures(trace: Trace, one: TokenMap, **more: int) -> list[Trust]:
    return trust_of(trace, one, **{"draws": 6, "redraws": 1} | more)


@pytest.mark.parametrize("spec", [CLS, POOL], ids=["cls", "pool"])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reads_attention])
def test_uniform_attention_is_called_uninformative(spec, name):
    trace = uniform(spec)
    assert max(distance_from_uniform(trace)) < 1e-12
    assert min(distance_from_uniform(trace_of(spec))) > 0.3
    for one in check(trace, explain(trace, name), draws=2, redraws=1):
        assert one.meta["trust"]["uninformative"]
        assert one.meta["trust"]["sentence"].startswith("Uninformative: the m")
        assert one.notes[-1] == one.meta["trust"]["sentence"]


@pytest.mark.parametrize("level", [0.0, 1.0, -2.5])
def test_a_constant_map_is_called_uninformative(level):
    trace = trace_of(LARGE)
    even = replace(explain(trace, "relevance"), values=np.full((2, trace.layout.n), level))
    for figure in figures(trace, even):
        assert figure.uninformative
        assert "the map is constant" in figure.sentence
        assert figure.redrawn_weights_similarity is None


def test_what_hiding_a_patch_costs_beats_random_and_its_opposite_does_not():
    trace = trace_of(LARGE)
    honest = explain(trace, "occlusion")
    for figure in figures(trace, honest, draws=12):
        assert figure.hottest_drop > figure.random_drop
        assert figure.draws_beaten == 1.0
        assert "what it marks matters to the score" in figure.sentence
    for figure in figures(trace, replace(honest, values=-honest.values), draws=12):
        assert figure.hottest_drop < figure.random_drop
        assert "no better than chance, do not read it as evidence" in figure.sentence


def test_drops_are_the_scores_that_really_fell():
    trace, model = trace_of(LARGE), HandViT(LARGE)
    honest = explain(trace, "occlusion", (3, 1))
    order = np.argsort(-honest.values[0])
    fell = []
    for count in (3, 6, 9):
        keep = torch.ones(1, 30, dtype=torch.bool)
        keep[0, order[:count].copy()] = False
        pixels = pixels_of(LARGE)[:1]
        full, less = model(pixels).logits[0].detach(), model(pixels, keep).logits[0].detach()
        fell.append(float((full[3] - full[1]) - (less[3] - less[1])))
    assert figures(trace, honest)[0].hottest_drop == pytest.approx(np.mean(fell))


def test_swapping_the_target_is_done_for_methods_that_have_one():
    trace = trace_of(LARGE)
    top = [int(i) for i in trace.scores().argsort(dim=-1)[:, -2]]
    swapped = figures(trace, explain(trace, "relevance"))
    assert [figure.target_swapped_to for figure in swapped] == [f"class {i}" for i in top]
    assert all(-1 <= figure.target_swap_similarity < 0.999 for figure in swapped)
    turned = figures(trace, explain(trace, "relevance", (0, 1)))
    assert turned[0].target_swapped_to == "class 1 rather than class 0"
    none = figures(trace, explain(trace, "rollout"))
    assert none[0].target_swap_similarity is None
    assert "it is the same map for every class" in none[0].sentence


def test_redrawn_weights_are_other_weights_and_the_map_is_made_the_same_way():
    trace = trace_of(LARGE)
    rolled = explain(trace, "attention", layer=0, head=1, query=(2, 3))
    same = replace(trace, rerun=lambda needs, target, inputs: trace.rerun(needs, target, replace(inputs, redraw=None)))
    assert [figure.redrawn_weights_similarity for figure in figures(same, rolled)] == pytest.approx([1.0, 1.0])
    assert all(figure.redrawn_weights_similarity < 0.9 for figure in figures(trace, rolled))


def test_the_same_seed_gives_the_same_figures_and_a_batch_those_of_its_pictures():
    model, pixels = HandViT(LARGE), pixels_of(LARGE)
    trace = run(model, pixels)
    batch = figures(trace, explain(trace, "relevance", 1))
    assert batch == figures(trace, explain(trace, "relevance", 1))
    alone = run(model, pixels[1:])
    single = figures(alone, explain(alone, "relevance", 1))[0]
    assert single.hottest_drop == pytest.approx(batch[1].hottest_drop)
    assert single.redrawn_weights_similarity == pytest.approx(batch[1].redrawn_weights_similarity)


def test_a_model_without_class_scores_says_what_cannot_be_tested():
    trace = trace_of(LARGE)
    blind = replace(trace, logits=None, _cache={})
    figure = figures(blind, explain(blind, "rollout"))[0]
    assert figure.hottest_drop is None
    assert figure.sentence.startswith("This model has no class score, so what it marks cannot be put to the test")
    undefined = [row for row in figure.rows("cat") if not row.defined]
    assert {row.metric for row in undefined} >= {"trust hottest drop", "trust target swap similarity"}
    assert all(row.reason for row in undefined)


def test_figures_lie_beside_the_map():
    trace = trace_of(LARGE)
    checked = check(trace, explain(trace, "relevance"), draws=3, redraws=1)
    assert len(checked.meta["trust"]) == 2
    assert checked[1].meta["trust"] == checked.meta["trust"][1]
    assert checked.notes == ()
    with pytest.raises(ArgumentError, match="a map of 1 pictures; expected 2, as the trace"):
        check(trace, checked[0])


BETTER, LITTLE, WORSE = Drops(3, 1, 0.5, 1.0, 10), Drops(1.1, 1, 0.5, 0.6, 10), Drops(0.5, 1, 0.5, 0.2, 10)


@pytest.mark.parametrize(
    ("drops", "swapped", "redrawn", "words"),
    [
        (BETTER, 0.2, 0.1, "costs 3.00 score points, random ones 1.00 ± 0.50: what it marks matters to the score."),
        (LITTLE, None, None, "better than chance on average, not clearly (60% of the random sets cost less)."),
        (LITTLE, 0.95, None, "the random sets cost less); but it hardly changes for dog (rank correlation 0.95)."),
        (
            WORSE,
            None,
            0.8,
            "also it looks alike with re-drawn weights (rank correlation 0.80), so it owes much to the picture itself.",
        ),
    ],
)
def test_the_sentence_says_no_more_than_the_numbers(drops, swapped, redrawn, words):
    assert _sentence(drops, swapped, "dog", redrawn, class_specific=True).endswith(words)
