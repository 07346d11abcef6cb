"""Background tasks of the client side: named, supervised, stopped in reverse order (Java: `scheduledExecutorService`, `ServiceThread`).

Nothing else in `client`, `producer`, `consumer` and `admin` makes tasks. All times are the event loop's.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ClientClosedError, ClientStateError, RocketMQError, fresh
from aiorocketmq.remoting.tasks import begin

T = TypeVar("T")

RESTART_DELAY_FIRST: Final = 0.1
RESTART_DELAY_MAX: Final = 5.0
"""Bounds in seconds of the back-off before a crashed service loop is started again."""
STOP_PATIENCE: Final = 3.0
"""Seconds that a cancelled task may take to end."""

logger = logging.getLogger("aiorocketmq.client")


@dataclass(slots=True)
class TaskRecord:
    """What is known of a periodic task or a service loop. Mutable: it counts.

    Attributes:
        name: Its name in logs.
        interval: Seconds between two runs; 0 for a service loop.
        runs: Runs (or starts of a service loop) so far.
        failures: How many of these failed.
        last_error: Text of the last failure, or "".
        due: Loop time at which the last run began, or the next one is to begin; of a service loop, at which it last began.
        began_at: Loop time at which the last run began, None before.
        failed_at: Loop time of the last failure, None when there was none.
        failing: The last run failed.
    """

    name: str
    interval: float
    runs: int = 0
    failures: int = 0
    last_error: str = ""
    due: float = 0.0
    began_at: float | None = None
    failed_at: float | None = None
    failing: bool = False

    def failed(self, error: str) -> None:
        """Take a failure into account."""
        self.failures += 1
        self.last_error = error
        self.failed_at = asyncio.get_running_loop().time()
        self.failing = True


@dataclass(slots=True)
class _Kept:
    """A periodic task or service loop: what is running, how it is started again, and the timer of that. Mutable."""

    task: asyncio.Task[None]
    again: Callable[[], Coroutine[Any, Any, None]]
    timer: asyncio.TimerHandle | None = None


class Scheduler:
    """Makes and ends the tasks of one client instance.

    Periodic tasks and service loops end with `end()` and `stop()` alone: when code outside of the library cancels all tasks of the event
    loop, they come back.

    Args:
        owner: What the tasks belong to; the first part of every task's name.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.records: dict[str, TaskRecord] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._kept: dict[str, _Kept] = {}
        self._cut: tuple[str, ...] = ()  # what others have cancelled, until that is told
        self._closed = False
        self._log = StateLog(logger)

    @property
    def closed(self) -> bool:
        """True once `stop()` was called."""
        return self._closed

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the tasks alive, in the order of their start."""
        return tuple(task.get_name() for task in self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, T], *, log_errors: bool = True) -> asyncio.Task[T]:
        """Run a coroutine in a task of its own.

        Args:
            name: Name in logs.
            work: The coroutine.
            log_errors: False leaves its errors to whoever awaits the task.

        Raises:
            ClientClosedError: The scheduler was stopped; the coroutine is closed.
        """
        if self._closed:
            work.close()
            raise ClientClosedError(f"{self.owner} was stopped: {name} cannot begin")
        return self._begin(name, work, log_errors)

    def _begin(self, name: str, work: Coroutine[Any, Any, T], log_errors: bool) -> asyncio.Task[T]:
        task = begin(f"{self.owner}:{name}", work)
        self._tasks[task] = None
        task.add_done_callback(self._ended_logged if log_errors else self._ended)
        return task

    def finish(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Future[None]:
        """Do what has to be done to its end, for the ends of clients and instances; also where the scheduler was stopped.

        Args:
            name: Name in logs.
            work: Called again when code outside of the library cancels its task, until it returns or fails: what is done by then, it
                must find done.

        Returns:
            Its outcome, for `join()`: no task, so that nobody finds and cancels it.
        """
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._go_on(name, work, outcome)
        return outcome

    def _go_on(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], outcome: asyncio.Future[None]) -> asyncio.Task[None]:
        def again() -> None:
            _unmissed(self._go_on(name, work, outcome))

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():  # by a timer, as with `every()` and `service()`
                asyncio.get_running_loop().call_later(RESTART_DELAY_FIRST, again)
            elif (error := task.exception()) is not None:
                outcome.set_exception(error)
                outcome.exception()  # nobody may be left who waits
            else:
                outcome.set_result(None)

        task = self._begin(name, work(), log_errors=False)
        task.add_done_callback(ended)
        return task

    def every(self, name: str, interval: float, work: Callable[[], Awaitable[object] | object], *, first: float | None = None) -> None:
        """Run `work` again and again at a fixed rate; a run that takes longer than the interval skips the missed ones.

        A run that fails is logged, and does not end the task.

        Args:
            name: Name in logs; also the key in `records`, and for `end()`.
            interval: Seconds between two starts.
            work: Plain or async function.
            first: Seconds before the first run; None takes the interval.
        """
        record = self.records[name] = TaskRecord(name, interval)
        again = partial(self._repeat, record, work, interval)
        self._keep(name, self._repeat(record, work, interval if first is None else first), again)

    def service(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep a loop alive: when `work` fails it is started again, with a growing delay of 0.1 to 5 s; when it returns it has ended.

        Args:
            name: Name in logs; also the key in `records`, and for `end()`.
            work: Async function that loops.
        """
        record = self.records[name] = TaskRecord(name, 0.0)
        again = partial(self._keep_alive, record, work)
        self._keep(name, again(), again)

    async def end(self, name: str) -> None:
        """End a periodic task or service loop, and wait until it has ended; called by its own work it does not wait."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return
        if kept.timer is not None:
            kept.timer.cancel()
        if kept.task is not asyncio.current_task():
            kept.task.cancel()
            await asyncio.wait([kept.task])

    def _keep(self, name: str, work: Coroutine[Any, Any, None], again: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        task = self.spawn(name, work)
        kept = self._kept[name] = _Kept(task, again)
        task.add_done_callback(partial(self._cut_off, name, kept))
        return task

    def _cut_off(self, name: str, kept: _Kept, task: asyncio.Task[None]) -> None:
        """A kept task has ended; when it was cancelled, and nobody here has done it, it has to come back."""
        if self._kept.get(name) is not kept:
            return
        if self._closed or not task.cancelled():
            del self._kept[name]
            return
        record = self.records[name]
        record.failed("cancelled by code outside of the library")
        self._cut += (name,)
        # By a timer, which dies with the loop: `asyncio.run()` cancels all tasks as well, before it closes the loop.
        kept.timer = asyncio.get_running_loop().call_later(RESTART_DELAY_FIRST, self._come_back, name, kept)

    def _come_back(self, name: str, kept: _Kept) -> None:
        if self._cut:
            text = "%s of %s: cancelled by code outside of the library, and starts again"
            self._log.note(logging.WARNING, "cancelled", text, ", ".join(sorted(self._cut)), self.owner)
            self._cut = ()
        _unmissed(self._keep(name, kept.again(), kept.again))

    async def join(self, task: asyncio.Future[T]) -> T:
        """Wait for a task, or an outcome of `finish()`, that several callers share; cancelling one of them leaves it for the others.

        Raises:
            ClientClosedError: The task was cancelled because the scheduler was stopped.
            ClientStateError: It was cancelled by code outside of the library.
        """
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if not task.cancelled() or (waiter is not None and waiter.cancelling()):
                raise
            name = task.get_name() if isinstance(task, asyncio.Task) else ""
            raise self._cancelled(name.removeprefix(self.owner + ":")) from None
        except RocketMQError as error:
            raise fresh(error) from None  # each caller gets one of its own: a shared one would collect the tracebacks of all

    async def gather(self, name: str, works: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T | Exception]:
        """Run several coroutines at once and wait for all of them; errors are results. Cancelling it cancels them."""
        tasks = [self.spawn(f"{name}:{key}", work, log_errors=False) for key, work in works.items()]
        outcomes: dict[str, T | Exception] = {}
        for key, outcome in zip(works, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                outcomes[key] = self._cancelled(name)
            elif isinstance(outcome, Exception):
                outcomes[key] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                outcomes[key] = outcome
        return outcomes

    def _cancelled(self, what: str) -> ClientStateError:
        if self._closed:
            return ClientClosedError(f"{self.owner} was stopped during {what}")
        return ClientStateError(f"{what} of {self.owner} was cancelled by code outside of the library", hint="try again")

    def leave_behind(self, task: asyncio.Task[Any]) -> None:
        """Count a task that does not end for its cancellation no more: `stop()` does not wait for it."""
        self._tasks.pop(task, None)

    def abandon(self) -> None:
        """Make and keep alive nothing more; all that is to do when the event loop was closed too early."""
        self._closed = True
        for kept in self._kept.values():
            if kept.timer is not None:
                kept.timer.cancel()
        self._kept.clear()
        self._cut = ()

    async def stop(self) -> None:
        """Cancel every task, the youngest first, and wait until all have ended; the caller's own task is spared. Idempotent.

        A task that goes on in spite of its cancellation is given 3 s, told in the log and left behind, so that nobody's stop hangs.
        """
        self.abandon()
        spared = {asyncio.current_task()}
        while tasks := [task for task in reversed(self._tasks) if task not in spared]:
            for task in tasks:
                task.cancel()
                _, alive = await asyncio.wait([task], timeout=STOP_PATIENCE)
                if alive:
                    spared.add(task)
                    logger.error("%s goes on %g s after its cancellation and is left behind", task.get_name(), STOP_PATIENCE)

    async def _repeat(self, record: TaskRecord, work: Callable[[], Awaitable[object] | object], first: float) -> None:
        clock = asyncio.get_running_loop().time
        record.due = clock() + first
        while True:
            await asyncio.sleep(record.due - clock())
            record.began_at = clock()
            await self._run_once(record, work)
            due = record.due + record.interval
            late = clock() - due
            if late > 0:
                due += record.interval * (late // record.interval + 1)
            record.due = due

    async def _run_once(self, record: TaskRecord, work: Callable[[], Awaitable[object] | object]) -> None:
        record.runs += 1
        try:
            outcome = work()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception as error:  # noqa: BLE001 - the supervisor's own boundary: logged, counted, and the task lives on
            record.failed(f"{type(error).__name__}: {error}")
            self._log.failed(record.name, "%s of %s failed: %s", record.name, self.owner, record.last_error, exc_info=error)
        else:
            record.failing = False
            self._log.worked(record.name, "%s of %s works again", record.name, self.owner)

    async def _keep_alive(self, record: TaskRecord, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        from random import uniform

        clock = asyncio.get_running_loop().time
        delay = RESTART_DELAY_FIRST
        while True:
            record.runs += 1
            record.began_at = record.due = started = clock()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - as in `_run_once`
                record.failed(f"{type(error).__name__}: {error}")
                text = "%s of %s ended with an error and starts again"
                self._log.note(logging.ERROR, record.name, text, record.name, self.owner, exc_info=error)
            else:
                return
            if clock() - started > RESTART_DELAY_MAX:
                delay = RESTART_DELAY_FIRST
            await asyncio.sleep(delay * uniform(0.5, 1.0))
            delay = min(delay * 2, RESTART_DELAY_MAX)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # marks it as seen: its error belongs to whoever awaits the task

    def _ended_logged(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._closed and isinstance(error, ClientClosedError):
                return  # it has ended because its owner was stopped, as one that is cancelled
            name = task.get_name()
            self._log.note(logging.ERROR, name, "%s failed: %s: %s", name, type(error).__name__, error, exc_info=error)


def _unmissed(task: asyncio.Task[None]) -> None:
    """What has cancelled its predecessor may have been the end of the loop, as that of `asyncio.run()`, which then takes the task with it:
    the loop that was left without a stop has been told of once."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio does for tasks of its own
