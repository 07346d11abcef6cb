"""The workers that call listeners: long-lived tasks for `async def`, long-lived threads for `def` (Java: the consume thread pool).

Nothing is made per message: work waits in a deque or a `SimpleQueue`, and results of threads come back to the event loop in one wake-up for
many. The pools know neither what the work is nor what its result means. Features F5, F6, F28.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from aiorocketmq.client.direct_reply import DirectReply
from aiorocketmq.client.scheduler import Scheduler

T = TypeVar("T")
R = TypeVar("R")

NEW_WORKER_DELAY: Final = 0.1
"""Seconds after which a cancelled worker is replaced. By a timer: `asyncio.run()` cancels all tasks, too, before it closes the loop."""
THREAD_RETRY: Final = 1.0
"""Seconds before threads that the system has refused are asked for again."""
TURN: Final = 0.005
"""Seconds that all workers of a pool together may keep the event loop before they let others run."""
_OVER: Final = -1.0

logger = logging.getLogger("aiorocketmq.consumer")


class Slot(Generic[T]):
    """What one worker is doing. Written on the hot path, read by the watch for overdue listeners.

    Attributes:
        item: The work in hand, or None.
        started: Loop time at which it began.
    """

    __slots__ = ("item", "started")

    def __init__(self) -> None:
        self.item: T | None = None
        self.started = 0.0


class Pool(Protocol[T]):
    """What the two kinds of pools share."""

    @property
    def size(self) -> int:
        """Workers now."""

    @property
    def backlog(self) -> int:
        """Work that no worker has begun."""

    @property
    def busy(self) -> int:
        """Workers that have work in hand."""

    def slots(self) -> Iterable[Slot[T]]:
        """What the workers are doing."""

    def extend(self, items: Iterable[T]) -> None:
        """Add work; from the event loop only."""

    def resize(self, size: int) -> None:
        """Aim at so many workers; the ones too many end after the work in hand."""

    def discard_backlog(self) -> None:
        """Forget the work that no worker has begun."""

    async def idle(self) -> None:
        """Wait until no worker has work in hand and nothing waits."""

    async def close(self, patience: float = 1.0) -> None:
        """End the workers; work in hand of tasks is cancelled, threads end after it.

        Args:
            patience: Seconds that a task may take to end after its cancellation; one that takes longer is told in the log and left behind.
        """


class TaskPool(Generic[T]):
    """Workers that are tasks of the event loop.

    A worker without work goes on inside `extend()` or `append()` when these are called while no task runs: what a read has just brought
    is in its listener before the loop turns.

    Args:
        scheduler: Makes the tasks.
        name: Of the tasks, in logs.
        work: What one worker does, for ever: it gets the pool and its slot, waits with `wait()` when there is no work, and calls
            `yield_turn()` when `turn_over()` says so.
        size: Workers at first.
    """

    __slots__ = (
        "_help_due", "_idle_workers", "_name", "_observers", "_replacing", "_scheduler", "_sequence", "_slots", "_target", "_work",
        "closing", "ready", "turn_ends",
    )  # fmt: skip

    def __init__(
        self, scheduler: Scheduler, name: str, work: Callable[[TaskPool[T], Slot[T]], Coroutine[Any, Any, None]], size: int
    ) -> None:
        self.ready: deque[T] = deque()
        self.turn_ends = 0.0
        self.closing = False
        self._scheduler = scheduler
        self._name = name
        self._work = work
        self._target = 0
        self._sequence = 0
        self._slots: dict[Slot[T], asyncio.Task[None]] = {}
        self._idle_workers: list[DirectReply[None]] = []
        self._help_due = False
        self._replacing: asyncio.TimerHandle | None = None
        self._observers: list[asyncio.Future[None]] = []
        self.resize(size)

    @property
    def size(self) -> int:
        return len(self._slots)

    @property
    def backlog(self) -> int:
        return len(self.ready)

    @property
    def busy(self) -> int:
        return len(self._slots) - len(self._idle_workers)

    @property
    def overstaffed(self) -> bool:
        """True when there are more workers than wanted: one of them should call `wait()`, which tells it."""
        return len(self._slots) > self._target

    def slots(self) -> Iterable[Slot[T]]:
        return list(self._slots)

    def extend(self, items: Iterable[T]) -> None:
        self.ready.extend(items)
        if self._idle_workers:
            self._wake(1)

    def append(self, item: T) -> None:
        """Add one piece of work."""
        self.ready.append(item)
        if self._idle_workers:
            self._wake(1)

    def resize(self, size: int) -> None:
        if self.closing:
            return
        self._target = size
        while len(self._slots) < size:
            slot: Slot[T] = Slot()
            self._sequence += 1
            self._slots[slot] = task = self._scheduler.spawn(f"{self._name} {self._sequence}", self._work(self, slot))
            task.add_done_callback(partial(self._ended, slot))
        if len(self._slots) > size:
            self._wake(len(self._slots) - size)

    def _ended(self, slot: Slot[T], _: asyncio.Task[None]) -> None:
        self._slots.pop(slot, None)
        stopped = self.closing or self._scheduler.closed
        if self._replacing is None and not stopped and len(self._slots) < self._target:
            self._replacing = asyncio.get_running_loop().call_later(NEW_WORKER_DELAY, self._replace)
        self._tell_observers()

    def _replace(self) -> None:
        self._replacing = None
        if not self._scheduler.closed:
            self.resize(self._target)

    def has(self, task: asyncio.Task[Any]) -> bool:
        """Whether a task is one of the workers."""
        return task in self._slots.values()

    def take_back(self, wanted: Callable[[T], bool]) -> list[T]:
        """Work that no worker has begun, out of the backlog."""
        taken = [item for item in self.ready if wanted(item)]
        if taken:
            # In place: the workers hold the deque itself.
            kept = [item for item in self.ready if not wanted(item)]
            self.ready.clear()
            self.ready.extend(kept)
            self._tell_observers()
        return taken

    async def wait(self, slot: Slot[T]) -> bool:
        """Wait for work; for workers only.

        Returns:
            False when this worker is one too many and has to end.
        """
        slot.item = None
        loop = asyncio.get_running_loop()
        while True:
            if len(self._slots) > self._target:
                self._slots.pop(slot, None)
                return False
            if self.ready:
                break
            waiter: DirectReply[None] = DirectReply(loop)
            self._idle_workers.append(waiter)
            self._tell_observers()
            try:
                await waiter
            except asyncio.CancelledError:
                self._idle_workers = [other for other in self._idle_workers if other is not waiter]
                raise
        now = loop.time()
        if _OVER < self.turn_ends < now:
            self.turn_ends = now + TURN
        if len(self.ready) > 1 and self._idle_workers and not self._help_due:
            # Not at once: with quick listeners this worker does all of it in this turn, and the others need not wake up for nothing.
            self._help_due = True
            loop.call_soon(self._help)
        return True

    def _help(self) -> None:
        self._help_due = False
        while self.ready and self._idle_workers:
            self._wake(1)

    def _wake(self, count: int) -> None:
        idle = self._idle_workers
        while idle and count > 0:
            waiter = idle.pop()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    async def yield_turn(self) -> None:
        """Let the rest of the program run; for workers only, when the loop's time is past `turn_ends`."""
        loop = asyncio.get_running_loop()
        if self.turn_ends != _OVER:
            # Until the next iteration of the loop every worker's turn is over at once.
            self.turn_ends = _OVER
            loop.call_soon(self._new_turn, loop)
        await asyncio.sleep(0)

    def _new_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self.turn_ends = loop.time() + TURN

    def discard_backlog(self) -> None:
        self.ready.clear()

    async def idle(self) -> None:
        while self.ready or self.busy:
            observer = asyncio.get_running_loop().create_future()
            self._observers.append(observer)
            await observer

    def _tell_observers(self) -> None:
        if self._observers and not self.ready and not self.busy:
            observers, self._observers = self._observers, []
            for observer in observers:
                if not observer.done():
                    observer.set_result(None)

    async def close(self, patience: float = 1.0) -> None:
        self.closing = True
        self._target = 0
        self.ready.clear()
        if self._replacing is not None:
            self._replacing.cancel()
            self._replacing = None
        spared = asyncio.current_task()
        tasks = [task for task in self._slots.values() if task is not spared]
        for task in tasks:
            task.cancel()
        if tasks:
            _, alive = await asyncio.wait(tasks, timeout=patience)
            for task in alive:
                logger.error("%s is still in a listener %g s after its cancellation and is left behind", task.get_name(), patience)
                self._scheduler.leave_behind(task)


class ThreadPool(Generic[T, R]):
    """Workers that are threads, for listeners that block.

    The threads are daemons: a listener that never returns does not keep the process alive.

    Args:
        name: Of the threads.
        work: What is done with one piece of work, in a thread; must not raise.
        done: Called in the event loop with each piece of work, its result, and the seconds it took.
        size: Workers at first.
    """

    __slots__ = (
        "_closing", "_done", "_loop", "_name", "_observers", "_queue", "_refused", "_results", "_retry", "_sequence", "_slots", "_target",
        "_unfinished", "_wake_pending", "_work",
    )  # fmt: skip

    def __init__(self, name: str, work: Callable[[T], R], done: Callable[[T, R, float], None], size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._work = work
        self._done = done
        self._queue: SimpleQueue[T | None] = SimpleQueue()
        self._results: deque[tuple[T, R, float]] = deque()
        self._wake_pending = False
        self._slots: dict[Slot[T], threading.Thread] = {}
        self._sequence = 0
        self._target = 0
        self._unfinished = 0
        self._observers: list[asyncio.Future[None]] = []
        self._closing = False
        self._refused = False
        self._retry: asyncio.TimerHandle | None = None
        self.resize(size)

    @property
    def size(self) -> int:
        return len(self._slots)

    @property
    def backlog(self) -> int:
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        return sum(slot.item is not None for slot in list(self._slots))

    def slots(self) -> Iterable[Slot[T]]:
        return list(self._slots)

    def extend(self, items: Iterable[T]) -> None:
        put = self._queue.put
        count = 0
        for item in items:
            put(item)
            count += 1
        self._unfinished += count

    def append(self, item: T) -> None:
        """Add one piece of work."""
        self._unfinished += 1
        self._queue.put(item)

    def resize(self, size: int) -> None:
        if self._closing:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        while self._target > size:
            self._queue.put(None)
            self._target -= 1
        while self._target < size and self._start_one(size):
            self._target += 1
        if self._target < size:
            # What waits for a worker is not lost, as long as somebody asks again.
            self._retry = self._loop.call_later(THREAD_RETRY, self.resize, size)

    def _start_one(self, wanted: int) -> bool:
        """Start one thread; False when the system refuses it."""
        slot: Slot[T] = Slot()
        self._sequence += 1
        thread = threading.Thread(target=self._run, args=(slot,), name=f"{self._name}-{self._sequence}", daemon=True)
        self._slots[slot] = thread
        try:
            thread.start()
        except RuntimeError as error:
            del self._slots[slot]
            if not self._refused:
                self._refused = True
                text = "%s has %d of %d worker threads, more are asked for every %g s: %s; lower concurrency, or raise the system's limit"
                logger.error(text, self._name, self._target, wanted, THREAD_RETRY, error)
            return False
        if self._refused and self._target + 1 == wanted:
            self._refused = False
            logger.info("%s has all %d worker threads", self._name, wanted)
        return True

    def _run(self, slot: Slot[T]) -> None:
        get = self._queue.get
        work = self._work
        clock = self._loop.time
        results = self._results
        while (item := get()) is not None:
            slot.started = started = clock()
            slot.item = item
            result = work(item)
            slot.item = None
            results.append((item, result, clock() - started))
            if not self._wake_pending:
                self._wake_pending = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:
                    return  # the loop was closed while the listener ran: nobody is left to take the result
        self._slots.pop(slot, None)

    def has(self, thread: threading.Thread) -> bool:
        """Whether a thread is one of the workers; from any thread."""
        return thread in list(self._slots.values())

    def _collect(self) -> None:
        # The flag goes down first: a result that comes after the last look below then asks for a wake-up of its own.
        self._wake_pending = False
        results = self._results
        done = self._done
        while results:
            item, result, seconds = results.popleft()
            self._unfinished -= 1
            done(item, result, seconds)
        self._tell_observers()

    def discard_backlog(self) -> None:
        ended = 0
        with contextlib.suppress(Empty):
            while True:
                if self._queue.get_nowait() is None:
                    ended += 1
                else:
                    self._unfinished -= 1
        for _ in range(ended):
            self._queue.put(None)
        self._tell_observers()

    async def idle(self) -> None:
        while self._unfinished:
            observer = asyncio.get_running_loop().create_future()
            self._observers.append(observer)
            await observer

    def _tell_observers(self) -> None:
        if self._observers and not self._unfinished:
            observers, self._observers = self._observers, []
            for observer in observers:
                if not observer.done():
                    observer.set_result(None)

    async def close(self, patience: float = 1.0) -> None:
        threads = list(self._slots.items())
        self.discard_backlog()
        self.resize(0)
        self._closing = True
        for slot, thread in threads:
            if slot.item is None:
                thread.join(0.1)
            elif thread.is_alive():  # one that had nothing to do only waits for a processor
                logger.warning("worker thread %s is still in a listener; it ends when the listener returns", thread.name)
