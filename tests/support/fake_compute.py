"""A live host's numbers without a model: rows at once, maps that wait to be let go, faults on request."""

from __future__ import annotations

import threading

import numpy as np

from vitscope.errors import ArgumentError
from vitscope.views.view import block, pack


class FakeCompute:
    """Answers as :class:`vitscope.web.compute.Compute` says; notes which thread worked and what was called off."""

    def __init__(self, parts: int = 3) -> None:
        self.parts = parts
        self.photos = ["cat.jpg"]
        self.threads: list[str] = []
        self.called_off: list[str] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def catalogue(self, *, inline: bool = True) -> dict:
        return {"format": 1, "sources": [{"photo": name} for name in self.photos], "models": [], "capabilities": {"live": True}}

    def picture(self, source: int) -> tuple[str, bytes]:
        return "image/jpeg", b""

    def add(self, data: bytes, name: str, model: str) -> int:
        self.photos.append(f"{name}: {len(data)} bytes")
        return len(self.photos) - 1

    def answer(self, op, args, stop=lambda: False):
        self.threads.append(threading.current_thread().name)
        if op == "rows" and args.get("query") == "boom":
            raise ZeroDivisionError("by zero")
        if op == "rows":
            yield pack(block({"rows": np.full((2, 3), 0.25, np.float16)}, {"query": args["query"]}))
        elif op == "upload":
            number = self.add(args["bytes"], args["name"], args["model"])
            yield pack(block({}, {"source": number, "catalogue": self.catalogue()}))
        elif op == "map":
            yield from self._map(args, stop)
        else:
            raise ArgumentError(f"operation {op!r}", expected="rows, map, links, upload", where="request")

    def _map(self, args, stop):
        self.begun.set()
        if args.get("wait"):
            assert self.go_on.wait(20)
        for part in range(self.parts):
            if stop():
                self.called_off.append(args["method"])
                return
            progress = {"done": part == self.parts - 1, "cells": part, "draws": part, "l1": None, "share": 1.0}
            yield pack(block({"values": np.full(3, part, np.float32)}, {"method": args["method"], "progress": progress}))
