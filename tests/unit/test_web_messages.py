"""A notebook's messages: answered in parts, in order, from the thread of the question; a slow map holds nothing up; stop stops."""

import asyncio
import base64
import threading

import numpy as np
import pytest

from support.fake_compute import FakeCompute
from vitscope.views.view import unpack
from vitscope.web.messages import Messages


class Desk:
    """Messages, and what was sent: (message, buffers, thread)."""

    def __init__(self, compute):
        self.sent = []
        self.added = 0
        self.messages = Messages(compute, self.send, self.add)

    def send(self, message, buffers):
        self.sent.append((message, buffers, threading.current_thread()))

    def add(self):
        self.added += 1

    def ask(self, request, op, buffers=(), plain=False, **args):
        self.messages.take({"id": request, "op": op, "args": args, "plain": plain}, buffers)

    def of(self, name):
        return [(message, buffers) for message, buffers, _ in self.sent if message["id"] == name]

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def done(self, name):
        await self.until(lambda: any(message.get("last") or "error" in message for message, _ in self.of(name)))
        return self.of(name)


@pytest.fixture
def compute():
    return FakeCompute()


@pytest.fixture
def desk(compute):
    desk = Desk(compute)
    yield desk
    compute.go_on.set()
    desk.messages.close()


def test_rows_come_as_one_block_in_one_buffer(desk, compute):
    async def talk():
        desk.ask("a", "rows", query="3,4")
        assert not desk.sent  # the kernel's thread does no work
        return await desk.done("a")

    [(message, [buffer])] = asyncio.run(talk())
    assert message == {"id": "a", "part": 0, "last": True}
    assert unpack(buffer).meta == {"query": "3,4"}
    np.testing.assert_array_equal(unpack(buffer).arrays["rows"], np.full((2, 3), 0.25, np.float16))
    assert all(name.startswith("vitscope rows") for name in compute.threads)


def test_everything_is_sent_from_the_thread_of_the_question(desk):
    async def talk():
        desk.ask("a", "rows", query="cls")
        desk.ask("b", "map", method="rollout")
        await desk.done("a")
        await desk.done("b")

    asking = threading.Thread(target=lambda: asyncio.run(talk()))
    asking.start()
    asking.join(20)
    assert len(desk.sent) == 4
    assert {thread for _, _, thread in desk.sent} == {asking}


def test_a_map_comes_in_parts_and_the_last_says_so(desk):
    async def talk():
        desk.ask("a", "map", method="rollout")
        return await desk.done("a")

    answers = asyncio.run(talk())
    assert [message["part"] for message, _ in answers] == [0, 1, 2]
    assert [message["last"] for message, _ in answers] == [False, False, True]
    assert [unpack(buffer).arrays["values"][0] for _, [buffer] in answers] == [0, 1, 2]


def test_a_slow_map_does_not_hold_up_rows_or_a_second_map(desk, compute):
    async def talk():
        desk.ask("slow", "map", method="occlusion", wait=True)
        await desk.until(compute.begun.is_set)
        desk.ask("row", "rows", query="cls")
        desk.ask("map", "map", method="rollout")
        await desk.done("row")
        await desk.done("map")
        assert not desk.of("slow")
        compute.go_on.set()
        await desk.done("slow")

    asyncio.run(talk())


def test_stop_ends_the_work_and_nothing_more_is_sent(desk, compute):
    async def talk():
        desk.ask("a", "map", method="occlusion", wait=True)
        await desk.until(compute.begun.is_set)
        desk.messages.take({"id": "a", "op": "stop"})
        compute.go_on.set()
        await desk.until(lambda: compute.called_off)
        await asyncio.sleep(0.02)

    asyncio.run(talk())
    assert compute.called_off == ["occlusion"]
    assert desk.sent == []


def test_what_was_called_off_while_waiting_is_never_begun(desk, compute):
    async def talk():
        for name in ("a", "b"):
            desk.ask(name, "map", method="occlusion", wait=True)  # both threads of the lane
        desk.ask("c", "map", method="rollout")
        desk.messages.take({"id": "c", "op": "stop"})
        compute.go_on.set()
        desk.ask("d", "map", method="relevance")
        await desk.done("d")

    asyncio.run(talk())
    assert len(compute.threads) == 3
    assert not desk.of("c")


def test_asked_again_in_base64_the_first_answer_is_called_off(desk, compute):
    async def talk():
        desk.ask("a", "map", method="occlusion", wait=True)
        await desk.until(compute.begun.is_set)
        desk.ask("a", "map", plain=True, method="rollout")
        await desk.done("a")
        compute.go_on.set()
        await desk.until(lambda: compute.called_off)

    asyncio.run(talk())
    answers = desk.of("a")
    assert [buffers for _, buffers in answers] == [[], [], []]
    blocks = [unpack(base64.b64decode(message["base64"])) for message, _ in answers]
    assert [one.meta["method"] for one in blocks] == ["rollout"] * 3


@pytest.mark.parametrize(
    ("op", "args", "words"),
    [
        ("nonsense", {}, "request: operation 'nonsense'; expected rows, map, links, upload"),
        ("rows", {"query": "boom"}, "ZeroDivisionError: by zero (a fault of vitscope)"),
    ],
)
def test_a_fault_is_one_line(desk, op, args, words):
    async def talk():
        desk.ask("a", op, **args)
        return await desk.done("a")

    assert asyncio.run(talk()) == [({"id": "a", "error": words}, [])]
    assert "\n" not in words


@pytest.mark.parametrize("plain", [False, True])
def test_an_upload_is_taken_in_and_the_catalogue_follows(desk, compute, plain):
    data = b"\x00photo"

    async def talk():
        if plain:
            desk.ask("a", "upload", plain=True, name="dog.jpg", model="m", bytes=base64.b64encode(data).decode())
        else:
            desk.ask("a", "upload", [memoryview(data)], name="dog.jpg", model="m")
        return await desk.done("a")

    [(message, buffers)] = asyncio.run(talk())
    meta = unpack(base64.b64decode(message["base64"]) if plain else buffers[0]).meta
    assert meta["source"] == 1
    assert compute.photos == ["cat.jpg", "dog.jpg: 6 bytes"]
    assert desk.added == 1


def test_a_host_without_an_event_loop_is_answered_in_place(desk, compute):
    desk.ask("a", "catalogue")
    desk.ask("b", "map", method="rollout")
    assert [message["id"] for message, _, _ in desk.sent] == ["a", "b", "b", "b"]
    assert unpack(desk.sent[0][1][0]).meta == compute.catalogue()
    assert compute.threads == [threading.current_thread().name]


def test_an_answer_for_a_loop_that_is_gone_is_dropped(desk, compute):
    async def leave():
        desk.ask("a", "map", method="occlusion", wait=True)
        await desk.until(compute.begun.is_set)

    asyncio.run(leave())
    compute.go_on.set()

    async def talk():
        desk.ask("b", "rows", query="cls")
        await desk.done("b")

    asyncio.run(talk())
    assert not desk.of("a")
