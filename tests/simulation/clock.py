"""An event loop whose time jumps to the next thing to do: no sleeping, no sockets, no threads."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


LONGEST = 3_600.0
"""Virtual seconds after which something ought to have stopped long ago."""


class Stuck(Exception):  # noqa: N818 -- what happened to the world
    """Everybody waits and nothing is going to happen, or it goes on and on."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`work_time` gives the seconds that one piece of work on an executor takes."""

    def __init__(self, start: float, work_time: Callable[[], float]) -> None:
        super().__init__()
        self._selector = self
        self._now = start
        self.deadline = start + LONGEST
        self._work_time = work_time
        self._free_at: dict[Any, float] = {}
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Where a real loop would wait for sockets, this one moves the clock."""
        if timeout is None:
            raise Stuck("nothing is scheduled any more")
        self._now += timeout
        if self._now > self.deadline:
            raise Stuck("it was to stop and did not")
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Work of one executor runs one piece at a time, in order; its end comes later.

        As with a real pool, work that is cancelled before it starts never runs, and work that
        has started runs to its end.
        """
        future: asyncio.Future[T] = self.create_future()
        if executor is None:
            self._work(future, self._now, func, args)
            return future
        start = max(self._now, self._free_at.get(executor, 0.0))
        end = self._free_at[executor] = start + self._work_time()
        self.call_at(start, self._work, future, end, func, args)
        return future

    def _work(
        self, future: asyncio.Future[T], end: float, func: Callable[..., T], args: Any
    ) -> None:
        if future.cancelled():
            return
        try:
            result = func(*args)
        except BaseException as error:  # noqa: BLE001 -- a crash is one, and goes to who waits
            self._at(end, _settle, future, None, error)
        else:
            self._at(end, _settle, future, result, None)

    def _at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        if when <= self._now:
            call(*args)
        else:
            self.call_at(when, call, *args)


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run to the end and leave no task behind."""
    try:
        return loop.run_until_complete(main)
    finally:
        loop.deadline = math.inf
        left = sorted(asyncio.all_tasks(loop), key=lambda task: int(task.get_name().split("-")[-1]))
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
