"""An event loop whose clock stands still while there is work and jumps to the next timer when there is none.

A test on it sees a task that is scheduled for every 30 s run at exactly 30.0, 60.0, ... of `loop.time()`, in no real time at all:

    @virtual_time
    async def test_heartbeat(...):
        await asyncio.sleep(60)

The clock starts at 0.0. Work in executor threads holds the clock until it is done. Real sockets do not fit this loop: while their bytes
travel, nothing is ready, and the clock jumps; use `memory_transport`.
"""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_REAL_PATIENCE = 5.0
_MOST_JUMPS = 100_000
"""Five times as often as any test has the clock moved: whoever still waits then, waits while timers go on and on."""


class DeadlockError(RuntimeError):
    """Nothing is ready, nothing is scheduled, no thread is at work: the test would hang for ever."""


class _VirtualSelector(selectors.DefaultSelector):
    """Asks the real selector without waiting; where the real one would have waited, it moves the loop's clock."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.loop.threads_at_work:
            return super().select(0.05)
        if timeout is not None:
            self.loop.jump(timeout)
            return []
        # Only a signal or a thread that nobody announced can still wake the loop.
        ready = super().select(_REAL_PATIENCE)
        if not ready:
            raise DeadlockError("the test waits for something that nothing will ever do")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`asyncio.SelectorEventLoop` with a clock of its own."""

    def __init__(self) -> None:
        selector = _VirtualSelector()
        selector.loop = self
        self._virtual_now = 0.0
        self._jumps = 0
        self.threads_at_work = 0
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual_now

    def jump(self, timeout: float) -> None:
        """Move the clock by `timeout`, or exactly to the next timer where the sum of floats would miss it by a rounding error."""
        self._jumps += 1
        if self._jumps > _MOST_JUMPS:
            self._jumps = 0  # what ends the loop needs timers, too
            raise DeadlockError(f"at {self._virtual_now:.0f} s the test still waits for something that no timer brings")
        target = self._virtual_now + timeout
        timers = self._scheduled  # type: ignore[attr-defined]  # a heap; the loop has taken cancelled ones off its top
        nearest = timers[0].when() if timers else target
        self._virtual_now = nearest if abs(nearest - target) < 1e-6 else target
        if self._virtual_now == nearest == nearest + self._clock_resolution:  # type: ignore[attr-defined]
            self._virtual_now = math.nextafter(nearest, math.inf)  # so far away a timer is due only when its moment has passed

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override]
        self.threads_at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # From Python 3.12 on it has a time-out, which this clock would jump to while the threads end.
        await super().shutdown_default_executor()

    def _thread_done(self, future: asyncio.Future[Any]) -> None:
        self.threads_at_work -= 1


def run_virtual(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on a fresh `VirtualTimeLoop`, as `asyncio.run` does on a real one."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


def virtual_time(test: Callable[_P, Coroutine[Any, Any, None]]) -> Callable[_P, None]:
    """Decorator: run an async test function on a fresh `VirtualTimeLoop`. Its fixtures must not be async: they would run elsewhere."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run
