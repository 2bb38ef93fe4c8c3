"""Progress on stderr: a line that moves on a terminal, nothing elsewhere and nothing when quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def silent(_: str) -> None:
    """Where nobody is told anything."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A function to say what is being done; on a terminal it shows with the seconds it has taken, and is gone at the end."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield silent
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("starting", total=None)
        yield lambda words: shown.update(task, description=words)
