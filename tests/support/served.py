"""A page served from this process on loopback over a small fake ``compute``, and plain HTTP to ask it."""

from __future__ import annotations

import http.client
import json
import struct
import time
from contextlib import contextmanager
from threading import Event, Lock, Thread, get_ident

import numpy as np

from vitscope.errors import ArgumentError, MethodError
from vitscope.views.view import View, pack, unpack
from vitscope.web.compute import OPS

PNG_1PX = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db00000000049454e44ae426082"
)


class Fake:
    """Answers at once, except where told to be slow; writes down what it was asked and what was stopped."""

    def __init__(self, given=1, *, models=("m",)):
        self.names = [f"given-{i}" for i in range(given)]
        self.models, self.asked, self.stopped, self.closed = list(models), [], [], []
        self.lock, self.released, self.threads = Lock(), Event(), {}

    def catalogue(self, *, inline=True):
        models = [{"id": m, "name": m} for m in self.models]
        can = {"live": True, "upload": bool(models), "why": "", "precision": "float16", "limits": {}}
        sources = [{"photo": name, "picture": f"api/picture?source={i}"} for i, name in enumerate(self.names)]
        return {"format": 1, "sources": sources, "models": models, "capabilities": can}

    def ready(self, source):
        return True

    def picture(self, source):
        return "image/jpeg", b"picture %d" % source

    def add(self, data, name, model):
        if model not in self.models:
            raise ArgumentError(f"model {model!r}", expected=", ".join(self.models))
        with self.lock:
            self.names.append(name)
            return len(self.names) - 1

    def answer(self, op, args, stop=lambda: False):
        if op not in OPS:
            raise ArgumentError(f"operation {op!r}")
        with self.lock:
            self.asked.append((op, dict(args)))
        self.threads[op] = get_ident()
        method = args.get("method")
        if method == "undefined":
            raise MethodError("undefined for this model")
        if method == "bug":
            raise ZeroDivisionError("a bug")
        if set(args) - {"source", "query", "method", "parts", "seconds", "fails"}:
            raise ArgumentError(f"unknown argument {sorted(args)}")
        parts, seconds = int(args.get("parts", 1)), float(args.get("seconds", 0))
        try:
            for part in range(parts):
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    if stop():
                        self.stopped.append(args.get("query"))
                        return
                    time.sleep(0.005)
                if part == int(args.get("fails", -1)):
                    raise MethodError("failed on the way")
                yield pack(View("", (), {"rows": np.full(8, part, np.float32)}, {"query": args.get("query"), "source": args["source"]}))
        finally:
            self.closed.append(args.get("query"))


class Client:
    """One browser: keeps its cookie."""

    def __init__(self, port, token=""):
        self.port, self.cookie = port, ""
        if token:
            status, headers, _ = self.ask("GET", f"/?token={token}")
            assert status == 303, status
            self.cookie = headers["set-cookie"].split(";")[0]

    def ask(self, method, path, body=None, timeout=20, **headers):
        """Status, headers and body; a header given as None is left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        own = {"Host": f"127.0.0.1:{self.port}", "Cookie": self.cookie}
        if method == "POST":
            own["Origin"] = f"http://127.0.0.1:{self.port}"
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            if isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body if isinstance(body, bytes) else None)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def error(self, method, path, body=None, **headers):
        """Status and the one line of a refusal."""
        status, _, data = self.ask(method, path, body, **headers)
        reason = json.loads(data)["error"]
        assert reason
        assert "\n" not in reason
        return status, reason

    def post(self, path, body=b""):
        """What a photo was answered with."""
        status, _, data = self.ask("POST", path, body)
        assert status == 200, data
        return json.loads(data)

    def blocks(self, path):
        """A stream's blocks, unpacked."""
        status, _, data = self.ask("GET", path)
        assert status == 200, data
        return [unpack(part) for part in parted(data)]

    def catalogue(self):
        return json.loads(self.ask("GET", "/api/catalogue")[2])


def parted(data):
    found = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        assert len(data) >= 4 + length, "cut short"
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


@contextmanager
def served(compute, **settings):
    """The running site and its port; the server is stopped at the end."""
    import uvicorn

    from vitscope.web.server.routes import Site
    from vitscope.web.server.run import config, listening
    from vitscope.web.server.settings import Settings

    chosen = Settings(**settings)
    chosen.check()
    with listening(chosen) as sock:
        port = sock.getsockname()[1]
        site = Site(compute, chosen, f"vitscope-{port}")
        server = uvicorn.Server(config(site))
        thread = Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield site, port
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
            assert site.passes.close(5)
            assert site.rows.close(5)
            assert site.disk.close(5)
