"""The local page under 50 people: rows of a ready trace of ViT-B/16 at 224 px, over HTTP on loopback.

The server runs in a process of its own, as `vitscope serve` runs it, with seeded random weights. First one client alone points at every
patch once; then all clients point at random for a minute, each pausing after every answer. Memory is the server's resident size above what
it held after the first answers. Loopback only; bounded by --clients and --seconds.

    python bench/server.py [--clients 50] [--seconds 60] [--cache-mb 64] [--out docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SIZE, GRID, TOKENS, HEADS = 224, 14, 197, 144
BEGIN, END = "<!-- server: begin -->", "<!-- server: end -->"
PAUSE = (0.1, 0.5)
"""Seconds a client waits after an answer, drawn evenly: a hand moves on."""


def serve(cache_mb: int) -> None:
    """The server's process."""
    import torch

    import vitscope as vs
    from attention import build
    from vitscope.api.explorer import Explorer
    from vitscope.web import server

    torch.set_num_threads(1)  # rows are small: one thread answers faster than several that wait for each other
    model = vs.load(build(SIZE, "sdpa"), input_size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    photo = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    settings = server.Settings(cache_bytes=cache_mb * 1_000_000)
    with server.listening(settings) as sock:
        server.serve(Explorer([model.trace(photo)], cache_bytes=settings.cache_bytes), settings, sock)


@dataclass
class Client:
    """One browser: a connection that stays open, and the cookie."""

    port: int
    cookie: str = ""
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def connect(self) -> None:
        """Open the connection."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n\r\n"
        self.writer.write(head.encode())
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers, await self.body(headers)

    async def body(self, headers: dict[str, str]) -> bytes:
        """The body, by its length or in chunks."""
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        data = b""
        while length := int(await self.reader.readuntil(b"\r\n"), 16):
            data += (await self.reader.readexactly(length + 2))[:-2]
        await self.reader.readexactly(2)
        return data

    async def enter(self, token: str) -> None:
        """Show the token, keep the cookie."""
        status, headers, _ = await self.get(f"/?token={token}")
        assert status == 303, status
        self.cookie = headers["set-cookie"].split(";")[0]

    async def point(self, row: int, column: int) -> None:
        """One answer: the row of every head from a patch; its time, or what was wrong with it."""
        started = time.perf_counter()
        status, _, data = await self.get(f"/api/rows?source=0&query={row},{column}")
        self.seconds.append(time.perf_counter() - started)
        if status != 200 or len(data) < 2 * HEADS * TOKENS:
            self.errors.append(f"{status}, {len(data)} bytes")


async def alone(port: int, token: str, pid: int) -> tuple[Client, float]:
    """One client points at every patch once, in random order: nothing is cached yet. Also the server's size after five answers."""
    client = Client(port)
    await client.connect()
    await client.enter(token)
    first = 0.0
    for number, cell in enumerate(np.random.default_rng(0).permutation(GRID * GRID)):
        await client.point(*divmod(int(cell), GRID))
        if number == 4:
            first = resident(pid)
    client.seconds = client.seconds[5:]  # the first answers are the libraries waking up
    return client, first


async def pointing(port: int, token: str, number: int, until: float) -> Client:
    """One of many clients, until its time is up."""
    client, draw = Client(port), np.random.default_rng(number)
    try:
        await client.connect()
        await client.enter(token)
        while time.perf_counter() < until:
            await client.point(*draw.integers(GRID, size=2))
            await asyncio.sleep(draw.uniform(*PAUSE))
    except (OSError, EOFError, AssertionError) as error:
        client.errors.append(f"{type(error).__name__}: {error}")
    return client


async def watched(pid: int, until: float) -> float:
    """The largest resident size of the server meanwhile, in MB."""
    largest = resident(pid)
    while time.perf_counter() < until:
        await asyncio.sleep(0.5)
        largest = max(largest, resident(pid))
    return largest


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    raise KeyError("VmRSS")


def busy(pid: int) -> float:
    """Processor seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def crowd(port: int, token: str, pid: int, clients: int, seconds: float) -> tuple[list[Client], float]:
    """All clients at once, and the server's largest size."""
    until = time.perf_counter() + seconds
    jobs = [pointing(port, token, number, until) for number in range(clients)]
    *done, largest = await asyncio.gather(*jobs, watched(pid, until))
    return list(done), largest


def percentile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return 1000 * float(np.quantile(values, share))


def run(clients: int, seconds: float, cache_mb: int) -> str:
    """Start the server, measure, stop it; the table."""
    command = [sys.executable, __file__, "--serve", "--cache-mb", str(cache_mb)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        port, token = int(address.split(":")[2].split("/")[0]), address.split("token=")[1]
        one, before = asyncio.run(alone(port, token, process.pid))
        used = busy(process.pid)
        many, largest = asyncio.run(crowd(port, token, process.pid, clients, seconds))
        used = busy(process.pid) - used
        return table(one, many, Cost(largest - before, cache_mb, used, seconds))
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Cost:
    """What it took: MB grown, MB the cache may hold, processor seconds of the server, seconds altogether."""

    growth: float
    cache_mb: int
    used: float
    seconds: float


def table(one: Client, many: list[Client], cost: Cost) -> str:
    """What was measured beside what was wanted."""
    times = [value for client in many for value in client.seconds]
    errors = [error for client in many for error in client.errors] + one.errors
    if errors:
        print(*errors[:5], sep="\n", file=sys.stderr)
    lines = [
        "| what | measured | target |",
        "|---|---|---|",
        f"| one client, a patch not asked for before | median {1000 * statistics.median(one.seconds):.1f} ms, "
        f"p95 {percentile(one.seconds, 0.95):.1f} ms | ≤ 60 ms |",
        f"| {len(many)} clients for {cost.seconds:g} s: answers | {len(times):,} ({len(times) / cost.seconds:.0f} a second) | |",
        f"| errors | {len(errors)} | 0 |",
        f"| time to an answer | median {percentile(times, 0.5):.0f} ms, p95 {percentile(times, 0.95):.0f} ms, "
        f"largest {1000 * max(times):.0f} ms | p95 ≤ 500 ms |",
        f"| processor time of the server for an answer | {1000 * cost.used / len(times):.1f} ms | |",
        f"| memory growth of the server, cache limit {cost.cache_mb} MB | {cost.growth:.0f} MB | ≤ {cost.cache_mb + 50} MB |",
    ]
    return "\n".join(lines)


def write(found: str, out: Path) -> None:
    """Replace the table between the markers of the page."""
    import torch

    machine = f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}, fp32"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()[:2])
    note = f"Measured with `python bench/server.py` on {machine}; clients and server share the machine (load {load} over 1 and 5 minutes)."
    before, rest = out.read_text().split(BEGIN)
    out.write_text(f"{before}{BEGIN}\n{found}\n\n{note}\n{END}{rest.split(END)[1]}")


def main() -> None:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cache-mb", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.cache_mb)
        return
    found = run(min(given.clients, 200), min(given.seconds, 300), given.cache_mb)
    print(found)
    write(found, given.out)


if __name__ == "__main__":
    main()
