"""The one place that calls listeners: in worker tasks for `async def`, in worker threads for `def` (Java: the consume thread pools).

Before every call it looks whether the queue may still be consumed here: one comparison with `AssignedQueue.valid_until`, which knows of
the lock, the release and the end. Whatever a listener lets out, `SystemExit` and a cancellation of its own task included, is a failed
message and one record in the log. What an answer means is the service's business. Features F5, F6, F28.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.listener import NOT_BEGUN, Listener, Payload, log_failure
from aiorocketmq.consumer.workers import Pool, Slot, TaskPool, ThreadPool
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage

if TYPE_CHECKING:
    from aiorocketmq.consumer.pacing import Throttle

RUN_TIME: Final = 0.05
"""Seconds for which a thread goes on with the messages of one queue in order before it tells the loop what it did."""

logger = logging.getLogger("aiorocketmq.consumer")


class Stretch:
    """Messages of one queue for one listener. Mutable; one is made for each answer of a broker, not for each message.

    Attributes:
        assigned: The queue.
        listener: The listener.
        single: It gets one message at a time.
        finish: Called with a message that was consumed by itself.
        messages: In order: the messages, as they were taken, one after the other for the same worker. Else empty: any worker takes any.
        position: In order: how many of them are behind their call.
        overdue: Offsets of first messages whose calls took too long: they are given back already. None while there are none.
    """

    __slots__ = ("assigned", "finish", "listener", "messages", "overdue", "position", "single")

    def __init__(
        self,
        assigned: AssignedQueue,
        listener: Listener,
        finish: Callable[[ReceivedMessage], None],
        in_order: Sequence[ReceivedMessage] = (),
    ) -> None:
        self.assigned = assigned
        self.listener = listener
        self.single = listener.batch == 1
        self.finish = finish
        self.messages = in_order
        self.position = 0
        self.overdue: set[int] | None = None


Work: TypeAlias = tuple[Stretch, Payload]
"""One call of a listener."""


class Called(NamedTuple):
    """What a thread did with a stretch in order.

    Attributes:
        calls: Calls made; all but the last one succeeded.
        answer: What the last call returned.
    """

    calls: int
    answer: object


class CallPolicy(Protocol):
    """What the two ways of consuming make of calls; from the event loop."""

    def not_begun(self, stretch: Stretch, payload: Payload) -> None:
        """The queue may not be consumed any more, or not now: the call is not made, or was cut off at a stop."""

    def run_over(self, stretch: Stretch, now: float) -> Work | None:
        """All messages of a stretch in order are consumed; gives back what the worker goes on with."""

    def ended(self, stretch: Stretch, payload: Payload, answer: object, now: float) -> Work | None:
        """A call has ended in another way than by consuming one message; gives back what the worker goes on with."""

    def failure(self, stretch: Stretch) -> object:
        """The answer that stands for an error."""


class Caller:
    """Calls the listeners of one consumer, up to `concurrency` at a time for each kind of them.

    Args:
        group: The consumer group; names the threads.
        scheduler: Makes the worker tasks.
        policy: Acts on answers.
        minimum: Fewest workers of each kind.
        maximum: Most workers of each kind.

    Attributes:
        throttle: Where calls wait when there is a limit on their rate; else None.
    """

    def __init__(self, group: str, scheduler: Scheduler, policy: CallPolicy, minimum: int, maximum: int) -> None:
        self._group = group
        self._scheduler = scheduler
        self._policy = policy
        self._minimum, self._maximum = minimum, maximum
        self._tasks: TaskPool[Work] | None = None
        self._threads: ThreadPool[Work, object] | None = None
        self.throttle: Throttle[Work] | None = None
        self._clock = asyncio.get_running_loop().time

    def extend(self, listener: Listener, work: Iterable[Work]) -> None:
        """Add calls of one listener."""
        if self.throttle is not None and self.throttle.keeps(listener, work):
            return
        if listener.is_async:
            if self._tasks is None:
                self._tasks = TaskPool(self._scheduler, "consume", self._work, self._minimum)
            self._tasks.extend(work)
        else:
            if self._threads is None:
                self._threads = ThreadPool(f"aiorocketmq-{self._group}", self._call, self._called, self._minimum)
            self._threads.extend(work)

    def limit_rate(self, topic: str | None, rate: float | None) -> None:
        """Limit the messages a second that listeners are called with.

        Args:
            topic: A topic, or None for all of them together.
            rate: Messages a second; None ends the limit.
        """
        if self.throttle is None:
            from aiorocketmq.consumer.pacing import Throttle  # for those who want it

            self.throttle = Throttle(self.extend, _extent)
        self.throttle.limit(topic, rate)

    def paces(self, topic: str) -> bool:
        """Whether there is a limit on the rate of a topic's calls."""
        return self.throttle is not None and self.throttle.limits(topic)

    def rate(self, topic: str | None) -> float | None:
        """The limit of a topic, or of all of them together, in messages a second; None where there is none."""
        return self.throttle.rate(topic) if self.throttle is not None else None

    # --- calls --------------------------------------------------------------------------------------------------------------------

    async def _work(self, pool: TaskPool[Work], slot: Slot[Work]) -> None:
        """One worker task."""
        clock, policy = self._clock, self._policy
        ready = pool.ready
        success = ConsumeResult.SUCCESS
        work: Work | None
        while await pool.wait(slot):
            now = clock()
            too_many = False
            while ready and not too_many:
                work = ready.popleft()
                while work is not None:
                    slot.item = work
                    stretch, payload = work
                    if now >= stretch.assigned.valid_until:
                        policy.not_begun(stretch, payload)
                        break
                    slot.started = now
                    if stretch.messages and stretch.single:
                        work = await self._call_in_a_row(stretch, slot, pool)
                        now = clock()
                    else:
                        listener = stretch.listener
                        try:
                            answer = await listener.function(payload if stretch.single else list(payload))  # type: ignore[arg-type]
                        except BaseException as error:  # noqa: BLE001 - the user's code: whatever it raises is a failed message
                            answer = self._raised(stretch, payload, error, pool)
                        ended = clock()
                        listener.calls += 1
                        listener.busy_seconds += ended - now
                        now = ended
                        if (answer is None or answer is success) and stretch.single:
                            listener.consumed += 1
                            stretch.finish(payload)  # type: ignore[arg-type]
                            work = None
                        else:
                            work = policy.ended(stretch, payload, answer, now)
                    if now > pool.turn_ends:
                        slot.item = None
                        if work is not None and (ready or pool.overstaffed):
                            ready.append(work)  # others wait: they come first
                            work = None
                        await pool.yield_turn()
                        now = clock()
                        too_many = pool.overstaffed

    async def _call_in_a_row(self, stretch: Stretch, slot: Slot[Work], pool: TaskPool[Work]) -> Work | None:
        """Call a listener with one message of a stretch after the other; until one is not consumed, the lock or the turn is over."""
        clock, policy, success = self._clock, self._policy, ConsumeResult.SUCCESS
        assigned, listener, messages, finish = stretch.assigned, stretch.listener, stretch.messages, stretch.finish
        function, position, count = listener.function, stretch.position, len(stretch.messages)
        first = position
        began = now = slot.started
        try:
            while now < assigned.valid_until:
                slot.started = now
                message = messages[position]
                try:
                    answer = await function(message)
                except BaseException as error:  # noqa: BLE001 - as in `_work`
                    answer = self._raised(stretch, message, error, pool)
                now = clock()
                if answer is not None and answer is not success:
                    listener.calls += 1
                    return policy.ended(stretch, message, answer, now)
                finish(message)
                stretch.position = position = position + 1
                if position == count:
                    return policy.run_over(stretch, now)
                if now > pool.turn_ends:
                    return stretch, messages[position]
        finally:
            listener.calls += position - first
            listener.consumed += position - first
            listener.busy_seconds += now - began
        policy.not_begun(stretch, messages[position])
        return None

    def _raised(self, stretch: Stretch, payload: Payload, error: BaseException, pool: TaskPool[Work]) -> object:
        """What to make of an exception in a worker task; raises what has to end the worker."""
        if (isinstance(error, GeneratorExit) and not self.is_worker()) or (isinstance(error, asyncio.CancelledError) and pool.closing):
            self._policy.not_begun(stretch, payload)
            raise error  # we are ending it
        log_failure(stretch.listener, payload, error)
        answer = self._policy.failure(stretch)
        task = asyncio.current_task()
        cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
        if cancelled or isinstance(error, KeyboardInterrupt):
            # The listener has cancelled its own task, or somebody all tasks of the loop: the message fails, and another worker comes.
            following = self._policy.ended(stretch, payload, answer, self._clock())
            if following is not None:
                pool.append(following)
            raise error
        return answer

    def _call(self, work: Work) -> object:
        """The call of one piece of work, in a worker thread: its answer, `NOT_BEGUN`, or what became of a stretch in order."""
        stretch, payload = work
        if stretch.messages:
            return self._thread_calls_in_a_row(stretch, payload)
        if self._clock() >= stretch.assigned.valid_until:
            return NOT_BEGUN
        try:
            return stretch.listener.function(payload if stretch.single else list(payload))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - the user's code; a thread that ends here would be missing for ever
            log_failure(stretch.listener, payload, error)
            return self._policy.failure(stretch)

    def _thread_calls_in_a_row(self, stretch: Stretch, payload: Payload) -> Called:
        clock, listener, assigned = self._clock, stretch.listener, stretch.assigned
        until = clock() + RUN_TIME
        calls = 0
        answer: object = None
        following: Payload | None = payload
        while following is not None:
            now = clock()
            if now >= assigned.valid_until or (calls and now >= until):
                break
            calls += 1
            try:
                answer = listener.function(following if stretch.single else list(following))  # type: ignore[arg-type]
            except BaseException as error:  # noqa: BLE001 - as in `_call`
                log_failure(listener, following, error)
                answer = self._policy.failure(stretch)
                break
            if not stretch.single or not (answer is None or answer is ConsumeResult.SUCCESS):
                break
            index = stretch.position + calls
            following = stretch.messages[index] if index < len(stretch.messages) else None
        return Called(calls, answer)

    def _called(self, work: Work, answer: object, seconds: float) -> None:
        """A worker thread is through with a piece of work; in the event loop."""
        stretch, payload = work
        if answer is NOT_BEGUN:
            self._policy.not_begun(stretch, payload)
            return
        if type(answer) is Called:
            self._called_in_a_row(stretch, payload, answer, seconds)
            return
        listener = stretch.listener
        listener.calls += 1
        listener.busy_seconds += seconds
        if (answer is None or answer is ConsumeResult.SUCCESS) and stretch.single:
            listener.consumed += 1
            stretch.finish(payload)  # type: ignore[arg-type]
        else:
            self._go_on(self._policy.ended(stretch, payload, answer, self._clock()))

    def _called_in_a_row(self, stretch: Stretch, payload: Payload, called: Called, seconds: float) -> None:
        listener, policy = stretch.listener, self._policy
        if not called.calls:
            policy.not_begun(stretch, payload)
            return
        listener.calls += called.calls
        listener.busy_seconds += seconds
        now, answer, messages = self._clock(), called.answer, stretch.messages
        succeeded = called.calls if (answer is None or answer is ConsumeResult.SUCCESS) and stretch.single else called.calls - 1
        for _ in range(succeeded):
            stretch.finish(payload)  # type: ignore[arg-type]
            stretch.position += 1
            payload = messages[min(stretch.position, len(messages) - 1)]
        listener.consumed += succeeded
        if succeeded < called.calls:
            self._go_on(policy.ended(stretch, payload, answer, now))
        else:
            self._go_on((stretch, payload) if stretch.position < len(messages) else policy.run_over(stretch, now))

    def _go_on(self, following: Work | None) -> None:
        if following is not None:
            self.extend(following[0].listener, (following,))

    # --- watching and sizing ------------------------------------------------------------------------------------------------------

    def _pools(self) -> list[Pool[Work]]:
        pools: tuple[Pool[Work] | None, ...] = (self._tasks, self._threads)
        return [pool for pool in pools if pool is not None]

    def in_hand(self) -> Iterator[tuple[Work, float]]:
        """The calls that are running, with the loop times at which they began."""
        for pool in self._pools():
            for slot in pool.slots():
                work, started = slot.item, slot.started
                if work is not None:
                    yield work, started

    def take_back(self, assigned: AssignedQueue) -> list[Work]:
        """Calls of a queue that no worker task has begun, out of the backlog."""
        early = self.throttle.take_back(assigned) if self.throttle is not None else []
        if self._tasks is None:
            return early
        return early + self._tasks.take_back(lambda work: work[0].assigned is assigned)

    @property
    def workers(self) -> int:
        """Workers now, of both kinds."""
        return sum(pool.size for pool in self._pools())

    @property
    def backlog(self) -> int:
        """Work that no worker has begun."""
        return sum(pool.backlog for pool in self._pools())

    def resize(self, minimum: int, maximum: int) -> None:
        """Other bounds for the number of workers."""
        self._minimum, self._maximum = minimum, maximum
        for pool in self._pools():
            pool.resize(min(max(pool.size, minimum), maximum))

    def adjust(self) -> None:
        """Fit the number of workers to the backlog, within the bounds."""
        for pool in self._pools():
            pool.resize(next_size(pool.size, pool.busy, pool.backlog, self._minimum, self._maximum))

    def is_worker(self) -> bool:
        """Whether the running task or thread is one of the workers: it runs a listener."""
        if self._threads is not None and self._threads.has(threading.current_thread()):
            return True
        try:
            task = asyncio.current_task()
        except RuntimeError:  # a thread without a loop
            return False
        return self._tasks is not None and task is not None and self._tasks.has(task)

    # --- the end ------------------------------------------------------------------------------------------------------------------

    def discard_backlog(self) -> None:
        """Forget the work that no worker has begun."""
        if self.throttle is not None:
            self.throttle.discard()
        for pool in self._pools():
            pool.discard_backlog()

    async def idle(self) -> None:
        """Wait until no listener runs and nothing waits."""
        for pool in self._pools():
            await pool.idle()

    async def close(self, patience: float) -> None:
        """End the workers: tasks are cancelled and get `patience` seconds to end, threads end after the call in hand."""
        if self.throttle is not None:
            self.throttle.close()
        for pool in self._pools():
            await pool.close(patience)


def _extent(work: Work) -> tuple[AssignedQueue, int]:
    """The queue of a call, and how many messages it has."""
    stretch, payload = work
    return stretch.assigned, len(payload) if isinstance(payload, list) else 1


def next_size(size: int, busy: int, backlog: int, minimum: int, maximum: int) -> int:
    """How many workers a pool should have: half as many more while work waits, a quarter less while half of them have nothing to do."""
    if backlog > 0 and busy >= size:
        wanted = size + max(1, size // 2)
    elif backlog == 0 and busy * 2 <= size:
        wanted = size - max(1, size // 4)
    else:
        wanted = size
    return min(max(wanted, minimum), maximum)
