"""Writes tests/fixtures/golden.json from the Python functions (colours, drawing, codes, normalisations): both sides are proven equal.

Run it from the repository with the package installed: ``python frontend/fixtures.py``. The same code gives the same bytes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from vitscope.core.drawing import draw_on_photo
from vitscope.core.layout import TokenLayout
from vitscope.core.placement import Placement
from vitscope.core.readings import Detected, Mark, outline_of
from vitscope.views.coding import decode, encode
from vitscope.views.colour import LEVELS, TABLES, Limits, levels, limits_of, table
from vitscope.views.frame import Frame
from vitscope.views.marks import box_facts, chosen_in, drawn, kept, mark_facts
from vitscope.views.normalise import NORMS, normalise
from vitscope.views.paint import paint_on_photo
from vitscope.views.plain import percent, short
from vitscope.views.state import State
from vitscope.views.view import block, pack

OUT = Path(__file__).parent / "tests" / "fixtures" / "golden.json"


def b64(array: Any) -> str:
    """An array's bytes as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def colours() -> dict[str, Any]:
    """Tables, limits and colour steps, ties among them."""
    rng = np.random.default_rng(1)
    cases = []
    for signed in (False, True):
        values = (rng.normal(size=200) if signed else rng.random(200)).astype(np.float32)
        limits = limits_of([values], signed=signed)
        cases.append(
            {"values": b64(values), "signed": signed, "low": limits.low, "high": limits.high, "levels": levels(values, limits).tolist()}
        )
    ties = Limits(0.0, 250.0)
    halves = (np.arange(0, 250) + 0.5).astype(np.float32)
    return {
        "levels": LEVELS,
        "tables": {name: b64(table(name)) for name in TABLES},
        "cases": cases,
        "ties": {"values": b64(halves), "levels": levels(halves, ties).tolist()},
    }


def frames() -> list[tuple[str, Frame]]:
    """Photos resized, cropped, padded, turned; patches apart and overlapping."""
    whole = Placement.of_photo((30, 40)).resize((32, 48))
    cropped = Placement.of_photo((24, 42)).resize((36, 63)).crop(2, 15, (32, 32))
    padded = Placement.of_photo((18, 36)).resize((24, 48)).pad(0, 0, 24, 0)
    turned = Placement.of_photo((32, 20), exif=6).resize((40, 25)).crop(4, 0, (25, 25))
    return [
        ("whole", Frame.of(whole, TokenLayout.plain((), (4, 6), (8, 8), (32, 48)))),
        ("cropped", Frame.of(cropped, TokenLayout.plain((), (4, 4), (8, 8), (32, 32)))),
        ("padded", Frame.of(padded, TokenLayout.plain((), (6, 6), (8, 8), (48, 48)))),
        ("overlapping", Frame.of(whole, TokenLayout.plain((), (7, 11), (8, 8), (32, 48), stride=(4, 4)))),
        ("turned, with edges uncovered", Frame.of(turned, TokenLayout.plain((), (3, 3), (8, 8), (25, 25)))),
    ]


def drawings() -> list[dict[str, Any]]:
    """Each frame drawn smooth and as true patches, with and without a hole."""
    rng = np.random.default_rng(2)
    out = []
    for name, frame in frames():
        grid = rng.random(frame.layout.grid).astype(np.float32)
        holed = grid.copy()
        holed[1, 1] = np.nan
        for values, kind in ((grid, "finite"), (holed, "with a hole")):
            for smooth in (True, False):
                pixels = draw_on_photo(values, frame.layout, frame.placement, smooth=smooth)
                index = paint_on_photo(values, frame, Limits(0.0, 0.9), smooth=smooth)
                out.append(
                    {
                        "name": f"{name}, {kind}, {'smooth' if smooth else 'true patches'}",
                        "frame": frame.as_facts(),
                        "smooth": smooth,
                        "grid": b64(values),
                        "drawn": b64(pixels.astype(np.float32)),
                        "index": b64(index),
                        "padded": np.argwhere(frame.padded()).tolist(),
                    }
                )
    return out


def codes() -> dict[str, Any]:
    """The square-root code of some rows, and every seventh half float."""
    rng = np.random.default_rng(3)
    rows = rng.dirichlet(np.full(50, 0.3), size=6).astype(np.float32)
    rows[3] = 0
    coded = encode(rows)
    every = np.arange(65536, dtype=np.uint16)
    return {
        "rows": b64(rows),
        "code": b64(coded.codes),
        "max": b64(coded.largest),
        "top": b64(coded.top),
        "top_at": b64(coded.top_at),
        "decoded": b64(decode(coded.codes, coded.largest)),
        "halves": b64(every.view(np.float16).astype(np.float32)[::7]),
    }


def norms() -> list[dict[str, Any]]:
    """Every normalisation of rows with ties, holes and nothing to tell apart."""
    rng = np.random.default_rng(4)
    tied = np.round(rng.normal(size=40), 1).astype(np.float32)
    holed = tied.copy()
    holed[[3, 8]] = np.nan
    constant = np.full(9, 0.25, dtype=np.float32)
    one = np.array([0.5], dtype=np.float32)
    cases = [tied, holed, constant, one, rng.random(196).astype(np.float32) * 0.01]
    return [{"norm": norm, "values": b64(v), "out": b64(normalise(v, norm))} for v in cases for norm in NORMS]


def words() -> dict[str, Any]:
    """Numbers and shares as people read them."""
    numbers = [0.0, 1.0, -1.5, 0.0098765, 12345.678, 99999.0, 1e-7, 3.2e8, 0.00012345, 123.4, 999.96, -0.000012]
    shares = [0.0, 0.0004, 0.5, 0.1234, 0.99951, 0.9999, 1.0]
    return {
        "short": [[v, short(v), short(v, 6)] for v in numbers],
        "percent": [[v, percent(v).replace("\u00a0", " ")] for v in shares],
    }


def marks() -> list[dict[str, Any]]:
    """Boxes, a pixel, a region and a mask's border on a photo of 60 × 90 pixels."""
    found = [(4, 0.93, (-6.0, 3.0, 40.0, 70.0)), (2, 0.61, (50.0, 10.0, 80.5, 44.0)), (7, 0.2, (10.0, 5.0, 30.0, 25.0))]
    boxes = box_facts([Detected(number, "cat", share, box) for number, share, box in found])
    mask = np.zeros((60, 90), dtype=bool)
    mask[10:20, 5:30] = mask[15:40, 20:50] = True
    about = [
        None,
        mark_facts(Mark("box", (0, 0, 1, 1), 7)),
        mark_facts(Mark("pixel", (30, 12, 31, 13))),
        mark_facts(Mark("region", (5, 10, 50, 40))),
        mark_facts(Mark("region", (5, 10, 50, 40), outline=outline_of(mask))),
    ]
    out = []
    for mark, at_least in ((mark, at_least) for mark in about for at_least in (0.0, 0.5, 0.99)):
        shown = drawn((60, 90), kept(boxes, chosen_in([mark]), at_least), [mark])
        lines = [[list(line) for line in one.lines] for one in shown]
        facts = [[one.words.replace("\u00a0", " "), *one.at, one.chosen] for one in shown]
        out.append({"boxes": boxes, "mark": mark, "from": at_least, "lines": lines, "facts": facts})
    return out


def states() -> list[dict[str, Any]]:
    """States as JSON and as they stand in an address."""
    some = [
        State(),
        State(query="3,4", fixed=True, layer=5, head="2", links={"by": "top", "k": 50}, compare={"target": "köpek"}),
        State(query="box 3", target="pixel:12,30", boxes=None),
        State(method="rollout", norm="rank", range="map", overlay=0.25, smooth=False, links={"by": "above", "above": 0.05}),
    ]
    return [{"json": state.as_dict(), "address": state.as_address()} for state in some]


def blocks() -> dict[str, Any]:
    """One packed block with every type it carries."""
    arrays = {
        "a": np.arange(5, dtype=np.uint8),
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "c": np.array([1, 0.5, -2, 65504], dtype=np.float16),
        "d": np.arange(3, dtype=np.int32),
        "e": np.arange(4, dtype=np.uint16),
        "f": np.linspace(0, 1, 3),
    }
    packed = pack(block(arrays, {"query": "3,4", "note": "ß"}))
    return {"packed": base64.b64encode(packed).decode("ascii"), "shapes": {name: list(array.shape) for name, array in arrays.items()}}


def main() -> None:
    """Write the file."""
    golden = {
        "colours": colours(),
        "drawings": drawings(),
        "codes": codes(),
        "norms": norms(),
        "words": words(),
        "states": states(),
        "marks": marks(),
        "block": blocks(),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
