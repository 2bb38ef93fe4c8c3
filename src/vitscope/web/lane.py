"""Lane: a few threads that do jobs in the order they come, and end with the process whatever they are doing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

Job = Callable[[], None]


class Lane:
    """Jobs in order, ``threads`` of them at a time."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = threads
        for number in range(threads):
            Thread(target=_work, args=(self._jobs,), name=f"vitscope {name} {number}", daemon=True).start()

    def put(self, job: Job) -> None:
        """Have a job done; what it raises is logged."""
        self._jobs.put(job)

    def close(self) -> None:
        """No more jobs: the threads end after those that are waiting."""
        for _ in range(self._threads):
            self._jobs.put(None)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job()
        except Exception:
            logging.getLogger(__name__).exception("a job failed")
