"""A page and a file of synthetic points for the built view: no model, no photos, seeded, and every answer known."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image, ImageDraw

from vitscope.views.view import block, pack
from vitscope.web.built import STATIC
from vitscope.web.document import POLICY as FILE_POLICY
from vitscope.web.interactive import deflated, for_script
from vitscope.web.server.guard import POLICY
from vitscope.web.server.pages import HEAD, PAGE

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
GRID = (6, 8)
PICTURE = (48, 64)
TYPES = {"js": "text/javascript", "css": "text/css"}


class Points:
    """Seeded clusters: a flat map, another layer of it, and a map of three axes.

    Attributes:
        positions: uint16 ``[m, 2]``, ``[m, 2]``, ``[m, 3]``.
        label, predicted: codes ``[m]``, commonest first; 65535 where there is no label.
    """

    def __init__(self, count: int = 2000, *, seed: int = 0, labels: int = 10) -> None:
        self.count = count
        draw = np.random.default_rng(seed)
        self.names = [NAMES[i] if i < len(NAMES) else f"class {i:03d}" for i in range(labels)]
        share = 1 / (np.arange(labels) + 6)
        cluster = draw.choice(labels, size=count, p=share / share.sum())
        tally = np.bincount(cluster, minlength=labels)
        order = np.argsort(-tally, kind="stable")
        code = np.empty(labels, np.uint16)
        code[order] = np.arange(labels, dtype=np.uint16)
        self.names = [self.names[i] for i in order]
        self.label = code[cluster]
        self.positions = [self._map(draw, cluster, labels, dims, spread) for dims, spread in ((2, 0.16), (2, 0.07), (3, 0.1))]
        wrong = draw.random(count) < 0.08
        self.predicted = np.where(wrong, draw.integers(0, labels, count), self.label).astype(np.uint16)
        self.error = np.where(self.predicted == self.label, 0, 1).astype(np.uint16)
        self.confidence = draw.random(count).astype(np.float32)
        self.confidence[::50] = np.nan
        self.label = self.label.copy()
        self.label[7::97] = 65535

    def _map(self, draw: np.random.Generator, cluster: Any, labels: int, dims: int, spread: float) -> Any:
        middle = draw.normal(size=(labels, dims)) * 0.55
        place = middle[cluster] + draw.normal(size=(self.count, dims)).astype(np.float32) * spread
        low, high = place.min(0), place.max(0)
        side = float((high - low).max())
        return np.rint((place - (low + high - side) / 2) / side * 65535).astype(np.uint16)

    @property
    def bounds(self) -> list[dict[str, list[float]]]:
        """Map units: ten across."""
        return [{"low": [-5.0] * p.shape[1], "high": [5.0] * p.shape[1]} for p in self.positions]

    def columns(self) -> dict[str, Any]:
        """The columns' arrays."""
        return {"label": self.label, "predicted": self.predicted, "error": self.error, "confidence": self.confidence}

    def facts(self, *, live: bool) -> dict[str, Any]:
        """The catalogue entry."""
        category = {"label": self.names, "predicted": self.names, "error": ["right", "wrong"]}
        titles = ("PCA, layer 11", "t-SNE, layer 11", "PCA, layer 6 in 3-D")
        words = ["trustworthiness 0.953, continuity 0.978 (15 neighbours)", "neighbours of one label 94.1%, in the original space 95.8%"]
        maps = [
            {"layer": 6 if i == 2 else 11, "method": "pca", "dims": p.shape[1], "title": title, "quality": words}
            for i, (p, title) in enumerate(zip(self.positions, titles, strict=True))
        ]
        ways = (
            {"how": "live", "why": ""}
            if live
            else {"how": "carried", "why": "Pictures of every tenth point are in this file.", "rows": self.carried}
        )
        return {
            "title": "Synthetic photos",
            "count": self.count,
            "maps": maps,
            "columns": [
                *({"name": name, "kind": "category", "categories": names} for name, names in category.items()),
                {"name": "confidence", "kind": "number", "low": 0.0, "high": 1.0},
            ],
            "curve": [{"layer": i, "knn_accuracy": 0.35 + 0.6 * (i / 11) ** 0.6} for i in range(12)],
            "accuracy": 0.962,
            "layers_note": "a synthetic model; every point is a drawing",
            "pictures": ways,
            "attention": {**ways, "why": "Head mean of the last block."},
            "nearest": {"how": "live", "why": "exact"} if live else {"how": "none", "why": "this file does not carry the vectors"},
            "open": live,
        }

    @property
    def carried(self) -> list[int]:
        """Rows whose pictures a file has."""
        return list(range(0, self.count, 10))[:300]

    def row(self, row: int, number: int = 0) -> dict[str, Any]:
        """A row of the table."""
        label = None if self.label[row] == 65535 else self.names[self.label[row]]
        confidence = None if np.isnan(self.confidence[row]) else float(self.confidence[row])
        words = {"error": ("right", "wrong")[self.error[row]], "confidence": confidence}
        return {"id": f"{row:06d}", "path": f"photos/{row:06d}.png", "label": label, "predicted": self.names[self.predicted[row]], **words}

    def thumb(self, row: int, size: int) -> bytes:
        """A drawing: colour by prediction, its number on it."""
        image = Image.new(
            "RGB", (size, size * 3 // 4), tuple(int(c) for c in np.random.default_rng(int(self.predicted[row])).integers(60, 220, 3))
        )
        ImageDraw.Draw(image).text((4, 4), str(row), fill="white")
        ImageDraw.Draw(image).ellipse((size * 0.3, size * 0.2, size * 0.7, size * 0.6), fill="white")
        out = io.BytesIO()
        image.save(out, "JPEG")
        return out.getvalue()

    def attention(self, row: int) -> Any:
        """float32 ``[6, 8]``: a spot that depends on the row."""
        y, x = np.mgrid[: GRID[0], : GRID[1]]
        spot = np.exp(-((y - row % GRID[0]) ** 2 + (x - row % GRID[1]) ** 2) / 3.0)
        return (spot / spot.sum()).astype(np.float32)

    def attention_facts(self, rows: int) -> dict[str, Any]:
        """What is said of so many overlays."""
        return {
            "grid": list(GRID),
            "frames": [frame()] * rows,
            "method": "attention",
            "query": "pooled",
            "layer": 11,
            "unit": "attention weight",
        }

    def stored(self) -> bytes:
        """The block of a file."""
        rows = self.carried
        thumbs, attention = [self.thumb(row, 64) for row in rows], np.stack([self.attention(row).ravel() for row in rows])
        texts: dict[str, Any] = {}
        for name in ("id", "path"):
            texts |= joined(f"text/{name}", [str(self.row(row)[name]).encode() for row in range(self.count)])
        arrays = {f"map/{i}": p for i, p in enumerate(self.positions)} | {f"column/{n}": a for n, a in self.columns().items()}
        arrays |= texts | joined("thumbs", thumbs) | {"attention": attention.astype(np.float16)}
        return pack(block(arrays, {"bounds": self.bounds, "attention": self.attention_facts(len(rows))}))


def frame() -> dict[str, Any]:
    """Where the patches lie on a drawing."""
    height, width = PICTURE
    whole = [0, 0, height, width]
    geometry = {
        "photo_size": [height, width],
        "input_size": [height, width],
        "scale": [1, 1],
        "offset": [0, 0],
        "seen": whole,
        "covered": whole,
    }
    return {**geometry, "grid": list(GRID), "patch": [8, 8], "stride": [8, 8], "origin": [0, 0]}


def joined(name: str, parts: list[bytes]) -> dict[str, Any]:
    """Bytes joined, and where each begins."""
    ends = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    return {name: np.frombuffer(b"".join(parts), np.uint8), f"{name}/offsets": ends}


def source(row: int) -> dict[str, Any]:
    """A point opened: two layers of two heads over its patches."""
    patches = GRID[0] * GRID[1]
    method = {"name": "attention", "title": "Attention", "available": True, "why": "", "class_specific": False, "signed": False}
    words = {
        "options": ["layer", "head", "query"],
        "shows": "where tokens look.",
        "does_not_show": "what mattered.",
        "source": "",
        "progressive": False,
    }
    return {
        "photo": f"{row:06d}.png",
        "model": "synthetic",
        "weights": "",
        "picture": f"api/picture?row={row}",
        "frame": frame(),
        "padded": [],
        "tokens": {"n": patches, "patches": list(range(patches)), "named": []},
        "pooled": {"name": "patch mean"},
        "layers": [{"path": f"blocks.{i}", "heads": 2, "kind": "softmax"} for i in range(2)],
        "top": [["cat", 0.9]],
        "labels": ["cat", "dog"],
        "methods": [{**method, **words}],
        "sinks": [],
        "notes": [],
        "size_note": f"{patches} patches",
    }


class Host:
    """Answers the page's requests about points; keeps the rows that were opened."""

    def __init__(self, points: Points) -> None:
        self.points, self.opened = points, list[int]()

    @cached_property
    def html(self) -> str:
        """One file with all of it."""
        catalogue = {
            **self.catalogue(live=False),
            "clouds": [{**self.points.facts(live=False), "block": 0, "left_out": "drawn evenly from many more"}],
        }
        script, style = ((STATIC / name).read_text(encoding="utf-8") for name in ("view.js", "view.css"))
        data = f'<script type="application/json" data-catalogue>{for_script(catalogue)}</script>'
        data += f'<script type="application/octet-stream" data-explore>{deflated(self.points.stored())}</script>'
        head = f'{HEAD}<meta http-equiv="Content-Security-Policy" content="{FILE_POLICY}"><style>{style}</style></head>'
        body = f'<div data-vitscope-view data-host="file"></div>{data}<script>{script}</script>'
        return f"{head}<body><main><h1>Points</h1><h2>As the model sees them</h2>{body}</main></body></html>"

    def catalogue(self, *, live: bool = True) -> dict[str, Any]:
        """What there is to look at."""
        why = "" if live else "this is a file: only what it carries can be shown"
        can = {"live": live, "upload": False, "why": why, "precision": "exact"}
        return {
            "format": 1,
            "sources": [source(row) for row in self.opened] if live else [],
            "models": [],
            "capabilities": can,
            "clouds": [self.points.facts(live=live)],
        }

    def answer(self, op: str, args: dict[str, str]) -> Iterator[bytes]:
        """The blocks of one question."""
        rows = [int(row) for row in args.get("rows", args.get("row", "0")).split(",")]
        points, number = self.points, int(args.get("map", 0))
        if op == "points":
            yield pack(block({f"map/{number}": points.positions[number]}, {"bounds": points.bounds[number], "map": number}))
        elif op == "column":
            yield pack(block({f"column/{args['name']}": points.columns()[args["name"]]}, {}))
        elif op == "table":
            yield pack(block({}, {"rows": [points.row(row, number) for row in rows]}))
        elif op == "thumbs":
            yield pack(block(joined("thumbs", [points.thumb(row, int(args["size"])) for row in rows]), {"failed": {}}))
        elif op == "attentions":
            for row in rows:
                yield pack(block({"attention": points.attention(row).reshape(1, -1)}, {"row": row, "attention": points.attention_facts(1)}))
        elif op == "nearest":
            yield pack(block({}, {"rows": self.nearest(rows[0], int(args["k"]))}))
        elif op == "open":
            if rows[0] not in self.opened:
                self.opened.append(rows[0])
            yield pack(block({}, {"source": self.opened.index(rows[0]), "catalogue": self.catalogue()}))
        else:  # rows of an opened photo: uniform attention
            tokens = GRID[0] * GRID[1]
            yield pack(block({"rows": np.full((4, tokens), 1 / tokens, np.float16)}, {"query": args.get("query", "")}))

    def nearest(self, row: int, k: int) -> list[dict[str, Any]]:
        """By the map of three axes."""
        place = self.points.positions[2].astype(np.float64)
        far = np.sqrt(((place - place[row]) ** 2).sum(1))
        far[row] = np.inf
        order = np.argsort(far, kind="stable")[:k]
        return [{"row": int(i), "distance": float(far[i] / 65535)} for i in order]


@contextmanager
def serving(host: Host) -> Iterator[str]:
    """The address of the page, until the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing is written."""

        def do_GET(self) -> None:
            kind, body = reply(host, self.path)
            self.send_response(200 if kind else 404)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if self.path in ("/", "") or self.path.startswith("/#"):
                self.send_header("content-security-policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def reply(host: Host, path: str) -> tuple[str, bytes]:
    """Media type and body; "" where there is no such thing."""
    parts = urlsplit(path)
    args = dict(parse_qsl(parts.query))
    if parts.path == "/":
        return "text/html", PAGE.encode()
    if parts.path == "/file.html":
        return "text/html", host.html.encode()
    if parts.path.startswith("/static/"):
        name = parts.path.removeprefix("/static/")
        return TYPES[name.rsplit(".", 1)[-1]], (STATIC / name).read_bytes()
    op = parts.path.removeprefix("/api/")
    if op == "catalogue":
        return "application/json", json.dumps(host.catalogue()).encode()
    if op == "picture":
        return "image/jpeg", host.points.thumb(int(args["row"]), PICTURE[1])
    if parts.path.startswith("/api/"):
        return "application/octet-stream", b"".join(struct.pack("<I", len(part)) + part for part in host.answer(op, args))
    return "", b""


if __name__ == "__main__":
    import sys

    with serving(Host(Points(int(sys.argv[1]) if len(sys.argv) > 1 else 5000))) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        time.sleep(3600)
