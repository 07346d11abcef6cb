"""Consuming without order: any worker takes any message (Java: `ConsumeMessageConcurrentlyService`).

Features F1, F5-F7, F26-F28, F49, F51.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final, TypeAlias

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.listener import RETRY, Listener, Payload, concurrent_outcome
from aiorocketmq.consumer.service import cancelled_from_outside, log_failure, next_size
from aiorocketmq.consumer.workers import Pool, Slot, TaskPool, ThreadPool
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

OVERDUE_DELAY_LEVEL: Final = 3
"""Delay level of messages whose listener takes too long: 10 s."""

NOT_BEGUN: Final = object()
"""Answer of a worker thread that left a message alone, because its queue is being given up."""

logger = logging.getLogger("aiorocketmq.consumer")

Work: TypeAlias = tuple[ProcessQueue, Listener, Payload]
"""One call of a listener: the queue, the listener, and one message or a list."""


class ConcurrentService:
    """Calls listeners with the messages of all queues, up to `concurrency` at a time for each kind of listener.

    Args:
        settings: The consumer's settings.
        subscriptions: Tells the listener of a topic.
        scheduler: Makes the worker tasks.
        send_back: Takes failed messages; None in a broadcasting group, where they are dropped.
    """

    def __init__(self, settings: PushSettings, subscriptions: Subscriptions, scheduler: Scheduler, send_back: SendBack | None) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._scheduler = scheduler
        self._send_back = send_back
        self._minimum, self._maximum = settings.workers
        self._tasks: TaskPool[Work] | None = None
        self._threads: ThreadPool[Work, object] | None = None
        self._overdue: set[int] = set()
        self._draining = False

    # --- taking messages in -----------------------------------------------------------------------------------------------------

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`."""
        if self._draining or not messages:
            return
        assigned.consumed_at = asyncio.get_running_loop().time()
        process_queue = assigned.messages
        if assigned.queue.topic == self._subscriptions.retry_topic:
            self._submit_retried(process_queue, messages)
            return
        listener = self._subscriptions.listener(assigned.queue.topic)
        if listener is not None:
            self._submit(process_queue, listener, messages)

    def _submit(self, process_queue: ProcessQueue, listener: Listener, messages: Sequence[ReceivedMessage]) -> None:
        batch = listener.batch
        work: Iterable[Work]
        if batch == 1:
            work = zip(repeat(process_queue), repeat(listener), messages)
        else:
            work = [(process_queue, listener, list(messages[start : start + batch])) for start in range(0, len(messages), batch)]
        if listener.is_async:
            if self._tasks is None:
                self._tasks = TaskPool(self._scheduler, "consume", self._work, self._minimum)
            self._tasks.extend(work)
        else:
            if self._threads is None:
                self._threads = ThreadPool(f"aiorocketmq-{self._settings.group}", self._call, self._called, self._minimum)
            self._threads.extend(work)

    def _submit_retried(self, process_queue: ProcessQueue, messages: Sequence[ReceivedMessage]) -> None:
        """Messages of the retry topic go to the listeners of the topics that they came from."""
        run: list[ReceivedMessage] = []
        run_listener: Listener | None = None
        for message in messages:
            restore_topic(message)
            listener = self._subscriptions.listener(message.topic)
            if listener is not run_listener and run:
                self._submit_run(process_queue, run_listener, run)
                run = []
            run_listener = listener
            run.append(message)
        self._submit_run(process_queue, run_listener, run)

    def _submit_run(self, process_queue: ProcessQueue, listener: Listener | None, messages: list[ReceivedMessage]) -> None:
        if listener is not None:
            self._submit(process_queue, listener, messages)
        elif self._send_back is not None:
            logger.warning(
                "%d retried message(s) of topic %s have no listener in this member of group %s, they are given back: all members of a "
                "group must have the same subscription",
                len(messages),
                messages[0].topic,
                self._settings.group,
            )
            for message in messages:
                self._send_back.put(process_queue, message, 0)

    def try_again(self, process_queue: ProcessQueue, message: ReceivedMessage) -> None:
        """A message that could not be given back is consumed again here (F27)."""
        listener = self._subscriptions.listener(message.topic)
        if listener is not None and not self._draining:
            self._submit(process_queue, listener, [message])

    # --- calling listeners ------------------------------------------------------------------------------------------------------

    async def _work(self, pool: TaskPool[Work], slot: Slot[Work]) -> None:
        """One worker task."""
        clock = asyncio.get_running_loop().time
        ready = pool.ready
        success = ConsumeResult.SUCCESS
        while await pool.wait(slot):
            now = clock()
            while ready:
                work = ready.popleft()
                process_queue, listener, payload = work
                if process_queue.closing:
                    continue
                slot.started = now
                slot.item = work
                try:
                    answer = await listener.function(payload if listener.batch == 1 else list(payload))  # type: ignore[arg-type]
                except Exception as error:  # noqa: BLE001 - the user's code: whatever it raises is a failed message
                    log_failure(listener, payload, error)
                    answer = RETRY
                except asyncio.CancelledError as error:
                    if cancelled_from_outside():
                        raise
                    log_failure(listener, payload, error)
                    answer = RETRY
                ended = clock()
                listener.calls += 1
                listener.busy_seconds += ended - now
                if (answer is None or answer is success) and listener.batch == 1:
                    process_queue.finish(payload)  # type: ignore[arg-type]
                    listener.consumed += 1
                    if self._overdue:
                        self._overdue.discard(id(work))
                else:
                    self._ended(work, answer)
                now = ended
                if now > pool.turn_ends:
                    slot.item = None
                    await pool.yield_turn()
                    if pool.overstaffed:
                        break
                    now = clock()

    def _call(self, work: Work) -> object:
        """One call, in a worker thread."""
        process_queue, listener, payload = work
        if process_queue.closing:
            return NOT_BEGUN
        try:
            return listener.function(payload if listener.batch == 1 else list(payload))  # type: ignore[arg-type]
        except BaseException as error:  # noqa: BLE001 - the user's code; a thread that ends here would be missing for ever
            log_failure(listener, payload, error)
            return RETRY

    def _called(self, work: Work, answer: object, seconds: float) -> None:
        """A worker thread has made a call; in the event loop."""
        process_queue, listener, payload = work
        if process_queue.dropped or answer is NOT_BEGUN:
            return
        listener.calls += 1
        listener.busy_seconds += seconds
        if (answer is None or answer is ConsumeResult.SUCCESS) and listener.batch == 1:
            process_queue.finish(payload)  # type: ignore[arg-type]
            listener.consumed += 1
            if self._overdue:
                self._overdue.discard(id(work))
        else:
            self._ended(work, answer)

    def _ended(self, work: Work, answer: object) -> None:
        process_queue, listener, payload = work
        messages = payload if isinstance(payload, list) else [payload]
        overdue = id(work) in self._overdue
        self._overdue.discard(id(work))
        retry = concurrent_outcome(listener, answer)
        if process_queue.dropped:
            return
        if retry is None:
            listener.consumed += len(messages)
            for message in messages:
                process_queue.finish(message)
            return
        for message in messages[: retry.acknowledged]:
            process_queue.finish(message)
        failed = messages[retry.acknowledged :]
        listener.consumed += len(messages) - len(failed)
        listener.failed += len(failed)
        if not overdue:  # else they were given back while the listener was running
            self._failed(process_queue, failed, retry)

    def _failed(self, process_queue: ProcessQueue, messages: Sequence[ReceivedMessage], retry: Retry) -> None:
        if self._send_back is not None:
            for message in messages:
                self._send_back.put(process_queue, message, retry.delay_level)
            return
        for message in messages:
            logger.warning("%r failed and is dropped: a broadcasting group has no retries", message)
            process_queue.finish(message)

    # --- watching and sizing ----------------------------------------------------------------------------------------------------

    def _pools(self) -> list[Pool[Work]]:
        pools: tuple[Pool[Work] | None, ...] = (self._tasks, self._threads)
        return [pool for pool in pools if pool is not None]

    def dropped(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.dropped`: workers skip what belongs to such a queue."""

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`."""
        works = (slot.item for pool in self._pools() for slot in pool.slots())
        return any(work is not None and work[0] is assigned.messages for work in works)

    def check_overdue(self) -> None:
        """See `ConsumeService.check_overdue`: the messages are given back, so that the offset moves on (F28)."""
        now = asyncio.get_running_loop().time()
        for pool in self._pools():
            for slot in pool.slots():
                work = slot.item
                if work is None or now - slot.started < self._settings.consume_timeout or id(work) in self._overdue:
                    continue
                process_queue, listener, payload = work
                messages = [payload] if isinstance(payload, ReceivedMessage) else payload
                self._overdue.add(id(work))
                logger.warning(
                    "listener %r has not ended after %.0f s on %r: the messages will come again", listener, now - slot.started, messages[0]
                )
                self._failed(process_queue, messages, Retry(OVERDUE_DELAY_LEVEL))

    @property
    def workers(self) -> int:
        """See `ConsumeService.workers`."""
        return sum(pool.size for pool in self._pools())

    @property
    def backlog(self) -> int:
        """See `ConsumeService.backlog`."""
        return sum(pool.backlog for pool in self._pools())

    def resize(self, minimum: int, maximum: int) -> None:
        """See `ConsumeService.resize`."""
        self._minimum, self._maximum = minimum, maximum
        for pool in self._pools():
            pool.resize(min(max(pool.size, minimum), maximum))

    def adjust(self) -> None:
        """See `ConsumeService.adjust`."""
        for pool in self._pools():
            pool.resize(next_size(pool.size, pool.busy, pool.backlog, self._minimum, self._maximum))

    # --- the end ----------------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """See `ConsumeService.drain`."""
        self._draining = True
        for pool in self._pools():
            pool.discard_backlog()
        for pool in self._pools():
            await pool.idle()
        if self._send_back is not None:
            await self._send_back.idle()

    async def close(self) -> None:
        """See `ConsumeService.close`."""
        self._draining = True
        for pool in self._pools():
            await pool.close()
        if self._send_back is not None:
            await self._send_back.close()


def restore_topic(message: ReceivedMessage) -> None:
    """Give a message of the retry topic the name of the topic that it came from."""
    original = message.properties.get(props.RETRY_TOPIC)
    if original:
        message.topic = original
