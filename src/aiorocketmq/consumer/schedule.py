"""Calling the program for each of its queues, again and again (Java: `MQPullConsumerScheduleService`). Feature J6.

A queue has one call at a time, or waits for its next one, be it for its time or for room among the calls of all queues. It is let go of
between two calls; whoever gets it next is held up by one that runs for half a second at most.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiorocketmq.client.callbacks import call
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import ClientClosedError, ConfigError
from aiorocketmq.model.checks import duration

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.model.received import ReceivedMessage

FAILURE_DELAY: Final = 1.0
"""Seconds until the next call of a queue after one that has raised."""
_HERE: ContextVar[Schedule | None] = ContextVar("aiorocketmq.consumer.schedule", default=None)

logger = logging.getLogger("aiorocketmq.consumer")


class Plan(NamedTuple):
    """What is called for the queues of a topic, and the seconds between the end of a call and the next one."""

    function: Callable[[MessageQueue], Any]
    every: float


class _Job:
    """A queue that is called for. Mutable, slotted."""

    __slots__ = ("over", "queue", "timer")

    def __init__(self, queue: MessageQueue) -> None:
        self.queue = queue
        self.timer: asyncio.TimerHandle | None = None
        self.over = False


class Schedule:
    """Calls for the queues of one consumer; implements `ConsumeService`. Belongs to the event loop.

    Args:
        plans: What is called, by topic; shared with the `PullConsumer`.
        scheduler: Makes the tasks.
        concurrency: Calls at the same time.
        group: The consumer group, for the log.
    """

    full = False

    def __init__(self, plans: Mapping[str, Plan], scheduler: Scheduler, concurrency: int, group: str) -> None:
        self._plans = plans
        self._scheduler = scheduler
        self._concurrency = concurrency
        self._group = group
        self._jobs: dict[MessageQueue, _Job] = {}
        self._ready: deque[_Job] = deque()
        self._running: dict[MessageQueue, _Job] = {}
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._threads: ThreadPoolExecutor | None = None
        self._loop = asyncio.get_running_loop()
        self.log = StateLog(logger)

    @property
    def is_here(self) -> bool:
        """Whether the running code was called from here."""
        return _HERE.get() is self

    @property
    def busy(self) -> bool:
        """Calls are running."""
        return bool(self._running)

    # --- `ConsumeService` -----------------------------------------------------------------------------------------------------------

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`: nothing is pulled ahead."""

    def wake(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.wake`: there are no locks here."""

    def pause(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.pause`: whether it pulls is the program's business."""

    def resume(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.resume`."""

    def let_go(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.let_go`."""
        job = self._jobs.pop(assigned.queue, None)
        if job is not None:
            job.over = True
            if job.timer is not None:
                job.timer.cancel()
                job.timer = None

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`."""
        return assigned.queue in self._running

    # --- calls ------------------------------------------------------------------------------------------------------------------------

    def begin(self, queue: MessageQueue) -> None:
        """The queue is owned: call for it, if that is planned."""
        if queue.topic in self._plans and queue not in self._jobs and not self._closed:
            job = self._jobs[queue] = _Job(queue)
            if queue not in self._running:  # else it was here before, and its turn comes when the call that still runs has ended
                self._due(job)

    def _due(self, job: _Job) -> None:
        job.timer = None
        self._ready.append(job)
        self._pump()

    def _pump(self) -> None:
        while self._ready and len(self._running) < self._concurrency and not self._closed:
            job = self._ready.popleft()
            plan = self._plans.get(job.queue.topic)
            if job.over or plan is None:
                continue
            try:
                task = self._scheduler.spawn(f"pull {job.queue}", self._run(job, plan))
            except ClientClosedError:
                return
            self._running[job.queue] = job
            self._idle.clear()
            task.add_done_callback(partial(self._ended, job))

    async def _run(self, job: _Job, plan: Plan) -> None:
        _HERE.set(self)
        queue, delay = job.queue, plan.every
        if self._threads is None and not inspect.iscoroutinefunction(plan.function):
            self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix=f"aiorocketmq-pull-{self._group}")
        try:
            answer = await call(plan.function, self._threads, queue)
            if answer is not None:
                delay = duration(f"the answer of {plan.function!r}", answer, 0.0)
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if self._closed and isinstance(error, ClientClosedError):
                return  # a pull that was cut off by the stop
            text = "the scheduled call of group %s for %s failed, the next one is in %g s: %s: %s"
            delay = max(delay, FAILURE_DELAY)
            self.log.failed(str(queue), text, self._group, queue, delay, type(error).__name__, error, exc_info=error)
        else:
            self.log.worked(str(queue), "scheduled calls of group %s for %s work again", self._group, queue)
        if not job.over and not self._closed:
            job.timer = self._loop.call_later(delay, self._due, job)

    def _ended(self, job: _Job, _: asyncio.Task[None]) -> None:
        del self._running[job.queue]
        following = self._jobs.get(job.queue)
        if following is not None and following is not job:
            self._due(following)
        if not self._running:
            self._idle.set()
        self._pump()

    # --- the end ------------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """No call begins any more."""
        self._closed = True
        self._ready.clear()
        for job in self._jobs.values():
            if job.timer is not None:
                job.timer.cancel()
        self._jobs.clear()

    async def idle(self) -> None:
        """Wait until the running calls have ended."""
        await self._idle.wait()

    def end(self) -> None:
        """The consumer has stopped: its threads end with their calls."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def checked_plan(function: object, every: float | timedelta) -> Plan:
    """A plan that a user gave.

    Raises:
        ConfigError: It cannot be called, or the time is none.
    """
    if not callable(function):
        raise ConfigError(f"function {function!r} cannot be called", hint="give a def or async def that takes a MessageQueue")
    return Plan(function, duration("every", every, 0.0))
