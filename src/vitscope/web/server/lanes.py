"""Lane: one worker thread that serves whoever waits in turn, so that nobody's long job keeps the others out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from http import HTTPStatus
from threading import Condition, Thread
from typing import Any, TypeVar

from vitscope.web.server.refusal import Refusal

#: Pieces of work that one visitor may have waiting.
WAITING = 64

T = TypeVar("T")
_Task = tuple["Future[Any]", Callable[[], Any]]


class Lane:
    """Pieces of work done one at a time, round robin over those who asked, first in first out for each of them.

    A long answer is given in pieces, each asked for when the one before was sent: between two pieces everybody else gets a turn.
    """

    def __init__(self, name: str) -> None:
        self._turns: dict[Hashable, deque[_Task]] = {}  # in the order of their next turn
        self._change = Condition()
        self._running = self._closed = False
        # a daemon: a pass through a model cannot be cut short, and Ctrl-C does not wait for it
        Thread(target=self._work, name=name, daemon=True).start()

    def put(self, who: Hashable, work: Callable[[], T]) -> Future[T]:
        """Add a piece of work at the end of its asker's own queue; cancelling the future before its turn takes it out.

        Raises:
            Refusal: too much of theirs is waiting, or the server is stopping.
        """
        task: Future[T] = Future()
        with self._change:
            if self._closed:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping")
            mine = self._turns.setdefault(who, deque())
            waiting = [one for one in mine if not one[0].cancelled()]
            if len(waiting) >= WAITING:
                raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, f"{len(waiting)} requests of yours are waiting already; wait for some")
            mine.append((task, work))
            self._change.notify_all()
        return task

    def close(self, seconds: float) -> bool:
        """Drop what waits and give what runs a moment; whether the worker is at rest then."""
        with self._change:
            self._closed = True
            for waiting in self._turns.values():
                for task, _ in waiting:
                    task.cancel()
            self._turns.clear()
            self._change.notify_all()
            return self._change.wait_for(lambda: not self._running, seconds)

    def _next(self) -> _Task | None:
        """The next piece of work; None when there will be none any more."""
        with self._change:
            self._running = False
            self._change.notify_all()
            self._change.wait_for(lambda: bool(self._turns) or self._closed)
            if self._closed:
                return None
            who = next(iter(self._turns))
            mine = self._turns.pop(who)
            task = mine.popleft()
            if mine:
                self._turns[who] = mine  # to the end: the others first
            self._running = True
            return task

    def _work(self) -> None:
        while (task := self._next()) is not None:
            _do(*task)


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - handed on to who asked
        future.set_exception(error)
    else:
        future.set_result(result)
