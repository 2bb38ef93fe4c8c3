"""Rollout by sampled rows: unbiased, with an error that covers the true one, and exact at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vitscope as vs
from support.handmade import ALL, CLS, MEAN, REGISTERS, Spec, trace_of
from vitscope.core.layout import Kind
from vitscope.errors import ArgumentError
from vitscope.methods.sampled import PLAN, average, cells_of, choose, refine

BIG = Spec(grid=(14, 11), heads=3, depth=3, width=24, seed=4)
MEAN_BIG = Spec(prefix=(), pool="mean", grid=(16, 16), heads=3, depth=3, width=24, sharpness=3.0)


def exact(trace, **options):
    return vs.rollout(trace, **options).values[0].astype(np.float64)


# cells


@pytest.mark.parametrize("size", [2, 3, 8, 20])
@pytest.mark.parametrize("spec", [BIG, REGISTERS, MEAN])
def test_every_patch_lies_in_the_cell_of_its_place(spec, size):
    layout = trace_of(spec, 1).layout
    cells = cells_of(layout, size)
    for y in range(layout.grid[0]):
        for x in range(layout.grid[1]):
            cell = (y // size) * -(-layout.grid[1] // size) + x // size
            assert layout.token_at(y, x) in cells[cell]
    assert sorted(cells[cells >= 0].tolist()) == sorted(layout.patches.tolist())


# one step


def vector_of(layout, seed=0, zeros=True):
    v = torch.rand(layout.n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4
    if zeros:
        v[layout.patches[5:12]] = 0.0
    return v / v.sum()


def test_prefix_and_heaviest_rows_stand_for_themselves():
    layout = trace_of(BIG, 1).layout
    v = vector_of(layout)
    at, weights = choose(v, cells_of(layout, 4), 3, torch.Generator().manual_seed(0))
    heaviest = v[layout.patches].topk(layout.n // 32).indices + 1
    for token in [0, *heaviest.tolist()]:
        for head in range(3):
            assert weights[head][at[head] == token].tolist() == [v[token]]
    assert torch.allclose(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert len({tuple(row.tolist()) for row in at}) == 3, "each head draws for itself"


def test_rows_are_drawn_with_the_mass_they_carry():
    """The mean of many draws is the vector itself, within what binomial counts allow on every token."""
    layout = trace_of(BIG, 1).layout
    v, cells, runs = vector_of(layout), cells_of(layout, 4), 4000
    at, weights = choose(v, cells, runs, torch.Generator().manual_seed(1))
    stood = torch.zeros(runs, layout.n, dtype=torch.float64).scatter_add_(1, at, weights)
    mass = torch.zeros(layout.n, dtype=torch.float64)
    for cell in cells:
        members = [t for t in cell.tolist() if t >= 0 and (stood[:, t] > 0).float().mean() < 1]  # not those taken as they are
        mass[members] = v[members].sum()
    spread = ((v * (mass - v)).clamp(min=0) / runs).sqrt()
    assert ((stood.mean(dim=0) - v).abs() <= 4.5 * spread + mass / runs + 1e-15).all()
    assert int((stood > 0).any(dim=0).sum()) > 130
    assert (stood[:, layout.patches[5:12]] == 0).all()


def test_few_rows_are_not_drawn_at_all():
    layout = trace_of(BIG, 1).layout
    one_hot = torch.zeros(layout.n, dtype=torch.float64)
    one_hot[7] = 1.0
    at, weights = choose(one_hot, cells_of(layout, 2), 2, torch.Generator())
    assert at.tolist() == [[7], [7]]
    assert weights.tolist() == [[1.0], [1.0]]


def slow_draw(trace, first, cells, residual, seed):
    """One draw with whole matrices, head by head and row by row, from the same random numbers."""
    generator = torch.Generator().manual_seed(seed)
    v = first.clone()
    for call in reversed(trace.blocks):
        at, weights = choose(v, cells, call.heads, generator)
        matrices = call.rows()[0]
        pushed = torch.zeros_like(v)
        for head in range(call.heads):
            for token, weight in zip(at[head].tolist(), weights[head].tolist(), strict=True):
                pushed += weight * matrices[head, token] / call.heads
        v = (1 - residual) * pushed + residual * v
    return v.numpy()


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_a_draw_equals_the_slow_one(residual):
    trace = trace_of(MEAN_BIG, 1)
    first = torch.full((trace.layout.n,), 1 / trace.layout.n, dtype=torch.float64)
    one, state = next(refine(trace, residual=residual, plan=(4, 2), seed=5))
    assert np.allclose(one.values[0], slow_draw(trace, first, cells_of(trace.layout, 4), residual, 5), atol=1e-6)
    assert (state.cells, state.draws, state.done, state.error, state.l1) == (4, 1, False, None, None)


# whole maps


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (BIG, {}),
        (MEAN_BIG, {"residual": 0.2}),
        (MEAN_BIG, {"fuse": "max"}),
        (BIG, {"discard": 0.6}),
        (BIG, {"fuse": "min", "discard": 0.3}),
    ],
)
def test_the_mean_of_many_maps_is_the_exact_one(spec, options):
    """Unbiased: over all tokens the mean of 200 runs is off by as much as its standard error says (their squared ratio averages 1)."""
    trace, runs = trace_of(spec, 1), 200
    drawn = np.stack([next(refine(trace, plan=(4,), seed=seed, **options))[0].values[0].astype(np.float64) for seed in range(runs)])
    spread = drawn.std(axis=0, ddof=1) / runs**0.5
    off = np.abs(drawn.mean(axis=0) - exact(trace, **options))
    live = spread > 1e-7
    assert live.mean() > 0.9, "nothing was drawn"
    assert (off[~live] <= 1e-6).all()
    ratio = (off[live] / spread[live]) ** 2
    assert ratio.mean() <= 1.5
    assert ratio.max() <= 36


def test_each_head_draws_for_itself_only_where_heads_are_averaged():
    trace = trace_of(MEAN_BIG, 1)
    spread = {}
    for fuse in ("mean", "max"):
        drawn = np.stack([next(refine(trace, plan=(4,), seed=s, fuse=fuse))[0].values[0] for s in range(60)])
        spread[fuse] = np.abs(drawn - exact(trace, fuse=fuse)).sum(axis=1).mean()
    assert spread["mean"] < spread["max"]


@pytest.mark.parametrize("spec", [BIG, MEAN_BIG])
def test_the_estimated_error_covers_the_true_one(spec):
    """In 19 runs of 20 at every stage from the second draw on, and never by a wide margin; it is no empty promise either."""
    trace, runs = trace_of(spec, 1), 60
    true, said = np.zeros((runs, len(PLAN) - 1)), np.zeros((runs, len(PLAN) - 1))
    whole = exact(trace)
    for seed in range(runs):
        for k, (one, state) in enumerate(refine(trace, seed=seed)):
            if 1 <= k < len(PLAN):
                true[seed, k - 1], said[seed, k - 1] = np.abs(one.values[0] - whole).sum(), state.l1
    assert ((true <= said).mean(axis=0) >= 0.95).all()
    assert (true <= 1.25 * said).all()
    assert (true.mean(axis=0) >= 0.5 * said.mean(axis=0)).all()


def test_standard_errors_are_those_of_many_runs():
    trace = trace_of(MEAN_BIG, 1)
    found, errors = [], []
    for seed in range(100):
        one, state = list(refine(trace, seed=seed, plan=(4, 4, 4, 4)))[3]
        found.append(one.values[0].astype(np.float64))
        errors.append(state.error)
    measured, said = np.std(found, axis=0, ddof=1), np.sqrt(np.mean(np.square(errors), axis=0))
    assert np.allclose(said.sum(), measured.sum(), rtol=0.1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("options", [{}, {"fuse": "min", "residual": 0.3, "discard": 0.4}, {"query": (1, 2)}])
def test_it_ends_with_the_rollout_itself(name, options):
    trace = trace_of(ALL[name], 1)
    *_, (one, state) = refine(trace, **options)
    wanted = vs.rollout(trace, **options)
    assert np.array_equal(one.values, wanted.values)
    assert (one.unit, one.parameters, one.query, one.notes) == (wanted.unit, wanted.parameters, wanted.query, wanted.notes)
    assert state.progress == {"done": True, "cells": 1, "draws": len(PLAN), "l1": 0.0, "share": 1.0}
    assert not state.error.any()


def test_the_same_seed_gives_the_same_maps_and_another_seed_others():
    trace = trace_of(MEAN_BIG, 1)
    first, again, other = (next(refine(trace, seed=seed))[0].values for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_computed_are_counted():
    trace = trace_of(MEAN_BIG, 1)
    shares = [state.share for _, state in refine(trace, plan=(8, 4))]
    n, heavy = 256, 8
    assert shares == pytest.approx([(heavy + 4) / n, (2 * heavy + 4 + 16) / n, 1.0])


def test_leaving_ends_it_between_two_layers():
    asked = []
    assert list(refine(trace_of(BIG, 1), stop=lambda: len(asked) >= 4 or bool(asked.append(1)))) != []
    assert len(asked) == 4
    assert list(refine(trace_of(BIG, 1), stop=lambda: True)) == []


def test_means_weigh_fine_cells_more():
    draws = [np.array([0.0, 1.0]), np.array([1.0, 1.0])]
    mean, error, l1 = average(draws, [1 / 16, 1 / 4])
    assert mean.tolist() == [0.8, 1.0]
    assert error[0] == pytest.approx(np.sqrt((0.8**2 / 16 + 0.2**2 / 4) / (1 / 16 + 1 / 4)))
    assert l1 == pytest.approx(1.25 * error.sum() / np.sqrt(2 / np.pi))
    assert average(draws[:1], [1.0])[1:] == (None, None)


@pytest.mark.parametrize(("batch", "plan"), [(2, (8,)), (1, (8, 1)), (1, (0,))])
def test_what_cannot_be_refined_is_refused(batch, plan):
    with pytest.raises(ArgumentError, match="expected one picture, cells of at least 2"):
        next(refine(trace_of(CLS, batch), plan=plan))


def test_special_tokens_are_never_drawn():
    trace = trace_of(Spec(prefix=(Kind.CLS, Kind.REGISTER), grid=(12, 12)), 1)
    at, _ = choose(vector_of(trace.layout, zeros=False), cells_of(trace.layout, 6), 50, torch.Generator().manual_seed(0))
    assert all((row == token).sum() == 1 for row in at for token in (0, 1))
