"""Progress bars for long work, on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ngu_points.embedded import app


@contextmanager
def drawn(progress: app.Progress) -> Iterator[None]:
    """Draw blocks, events, events a second and the time left; nothing where no one looks."""
    if not sys.stderr.isatty():
        yield
        return
    # here, because a start where no one looks goes without
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("block {task.fields[block]:,}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[events]:,} events"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    done = threading.Event()
    task = bar.add_task("sync", total=None, block=0, events=0, rate=0.0)

    def watch() -> None:
        while not done.wait(0.1):
            first, last, block = progress.from_block, progress.to_block, progress.block
            seconds = bar.get_time() - began
            bar.update(
                task,
                total=max(last - first + 1, 1),
                completed=max(block - first + 1, 0),
                block=max(block, 0),
                events=progress.events,
                rate=progress.events / seconds if seconds else 0.0,
            )

    with bar:
        began = bar.get_time()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that is told how much is done; nothing where no one looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=max(total, 1))
        yield lambda done: bar.update(task, completed=done)
