"""The card of `vitscope inspect`: short whatever the model is, nothing said twice, nothing hidden in a range."""

import pytest

from vitscope.api.describe import as_text


def call(path, queries=50, kind="sdpa", heads=4, windows=1):
    return {"path": path, "kind": kind, "heads": heads, "queries": queries, "keys": queries, "windows": windows}


def card(grid=(4, 6), prefix=("cls",), calls=(), why="", source="measured", **more):
    layout = {"grid": list(grid), "patch": [16, 8], "prefix": list(prefix), "readout": ["cls"], "source": source}
    layout["input_size"] = [16 * grid[0], 8 * grid[1]]
    names = ("attention", "relevance", "legrad", "grad-cam")
    reasons = {"attention": why, "relevance": why, "legrad": why or "a reason of its own"}
    methods = [{"name": name, "available": not reasons.get(name), "why": reasons.get(name, "")} for name in names]
    found = {"model": "some:model", "layout": layout, "calls": list(calls), "methods": methods, "proof": {}, "why": why, "memory": 1000}
    return as_text(found | more)


def block(text, title):
    lines = text.splitlines()
    start = lines.index(title) + 1
    return [line.strip() for line in lines[start : lines.index("", start) if "" in lines[start:] else None]]


@pytest.mark.parametrize(("grid", "rows", "columns", "step"), [((4, 6), 4, 6, 1), ((16, 24), 16, 24, 1), ((28, 28), 14, 14, 2)])
def test_the_grid_drawn(grid, rows, columns, step):
    marks = [line for line in card(grid).splitlines() if line.strip().startswith("▫")]
    assert len(marks) == rows
    assert {line.count("▫") for line in marks} == {columns}
    assert f"patches          {grid[1]} × {grid[0]} of 8 × 16 px" in card(grid)
    assert (f"one mark for {step} × {step}" in card(grid)) == (step > 1)


@pytest.mark.parametrize("grid", [(64, 64), (1, 500), (500, 1), (97, 131)])
def test_no_grid_floods_the_terminal(grid):
    lines = card(grid, prefix=["query"] * 300).splitlines()
    assert sum("▫" in line for line in lines) <= 16
    assert max(line.count("▫") + line.count("●") for line in lines) <= 24
    assert "before them      300 × query" in card(grid, prefix=["query"] * 300)


def test_a_reason_stands_once():
    why = "this model has no attention (40 convolutions in one pass)"
    text = card(why=why, source="pixels")
    assert text.count(why) == 1
    assert block(text, "What can be shown") == [
        "yes              grad-cam",
        "no               attention, relevance, legrad: no map, see above",
    ]
    assert block(card(), "What can be shown")[1] == "no               legrad: a reason of its own"


def test_the_tree_forks_where_the_model_does():
    paths = ("encoder.layers.0.attn", "encoder.layers.1.attn", *(f"decoder.{n}.{name}" for n in range(3) for name in ("self", "cross")))
    assert block(card(calls=[call(path) for path in paths]), "Attention calls (8)") == [
        "encoder.layers.0…1.attn  sdpa, 4 heads, 50 × 50  (2 calls)",
        "decoder.0…2",
        "self                   sdpa, 4 heads, 50 × 50  (3 calls)",
        "cross                  sdpa, 4 heads, 50 × 50  (3 calls)",
    ]


def test_a_range_says_nothing_that_is_not_there():
    wide = [call(f"blocks.{n}.attn", queries=196 if n % 2 else 49, windows=1 if n % 2 else 4) for n in range(10)]
    assert block(card(calls=wide), "Attention calls (10)") == [
        "blocks",
        "0,2,…,8.attn  sdpa, 4 heads, 49 × 49 in 4 windows  (5 calls)",
        "1,3,…,9.attn  sdpa, 4 heads, 196 × 196  (5 calls)",
    ]


def test_one_module_called_twice_with_other_shapes_and_attention_without_a_module():
    assert len(block(card(calls=[call("attn"), call("attn", queries=9)]), "Attention calls (2)")) == 2
    assert block(card(calls=[call("")]), "Attention calls (1)") == ["sdpa, 4 heads, 50 × 50"]


def test_proofs_with_what_was_allowed_in_lines_that_fit():
    check = {"passed": False, "measured": 0.5, "tolerance": 1e-5, "text": "rows sum to one within 0.5, largest at " + "a.long.path." * 6}
    lines = card(proof={"rows": check}).splitlines()
    assert lines[lines.index("Proof that the capture is right") + 1].startswith("  rows             FAILS  rows sum to one within 0.5")
    assert "(allowed 1e-05)" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 110
