"""What measurements in a browser share: Chromium without a GPU, a running ``vitscope serve``, and the machine in words."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CHROMIUM, FLAGS = "/usr/bin/chromium", ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def served(*words: object) -> Iterator[str]:
    """The address of ``vitscope serve`` with these arguments, while the block lasts."""
    command = [sys.executable, "-m", "vitscope", "serve", *map(str, words), "--threads", "1"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = next(filter(None, (re.search(r"http://\S+", line) for line in server.stdout)))
        yield found.group(0)
    finally:
        server.terminate()
        server.wait(20)


def machine() -> str:
    """The machine, and how busy it is."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg()[:2])
    return f"{os.cpu_count()} cores, {platform.machine()}, headless Chromium without a GPU (load {load} over 1 and 5 minutes)"
