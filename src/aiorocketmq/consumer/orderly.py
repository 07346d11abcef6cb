"""Consuming in order: one call at a time per queue, only while the queue is locked (Java: `ConsumeMessageOrderlyService`).

A queue is handed to a worker, which goes on with it until it is empty, suspended, or others wait. A failed message stays at the head of
its queue and is tried again after a moment; after `max_reconsume_times` tries it goes to the dead-letter topic, so that the queue can
move on. Features F2, F3, F29, F30, G10.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.concurrently import restore_topic
from aiorocketmq.consumer.listener import SUSPEND, Listener, ordered_outcome
from aiorocketmq.consumer.send_back import DEAD_LETTER
from aiorocketmq.consumer.service import cancelled_from_outside, log_failure, next_size
from aiorocketmq.consumer.workers import Pool, Slot, TaskPool, ThreadPool
from aiorocketmq.core.ordered import OrderedAccount
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, Suspend

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

RUN_LENGTH: Final = 32
RUN_TIME: Final = 0.05
"""A worker takes so many single messages of a queue along; a thread goes on with them for so many seconds."""

logger = logging.getLogger("aiorocketmq.consumer")


class Run:
    """A stretch of one queue in a worker's hands. Mutable: the worker counts what it did.

    Attributes:
        assigned: The queue.
        listener: The listener of the messages.
        messages: The messages, in order.
        called: How many of them the listener was called with.
        committed: How many of these are committed already.
    """

    __slots__ = ("assigned", "called", "committed", "listener", "messages")

    def __init__(self, assigned: AssignedQueue, listener: Listener, messages: list[ReceivedMessage]) -> None:
        self.assigned = assigned
        self.listener = listener
        self.messages = messages
        self.called = 0
        self.committed = 0


class OrderlyService:
    """Calls listeners with the messages of each queue in turn, up to `concurrency` queues at a time.

    Args:
        settings: The consumer's settings.
        subscriptions: Tells the listener of a topic.
        scheduler: Makes the worker tasks.
        send_back: Buries messages that failed too often; None in a broadcasting group.
        lock_lost: Called with a queue whose lock has run out; `wake()` is called again when it is locked.
    """

    def __init__(
        self,
        settings: PushSettings,
        subscriptions: Subscriptions,
        scheduler: Scheduler,
        send_back: SendBack | None,
        lock_lost: Callable[[AssignedQueue], None],
    ) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._scheduler = scheduler
        self._send_back = send_back
        self._lock_lost = lock_lost
        self._minimum, self._maximum = settings.workers
        self._tasks: TaskPool[Run] | None = None
        self._threads: ThreadPool[Run, object] | None = None
        self._burying: set[asyncio.Task[None]] = set()
        self._clock = asyncio.get_running_loop().time
        self._draining = False

    # --- which queue is next ----------------------------------------------------------------------------------------------------

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`."""
        if assigned.queue.topic == self._subscriptions.retry_topic:
            for message in messages:
                restore_topic(message)
        self.wake(assigned)

    def wake(self, assigned: AssignedQueue) -> None:
        """Go on with a queue, unless it is in a worker's hands or suspended."""
        if not assigned.in_service:
            assigned.in_service = True
            self._go_on(assigned)

    def _go_on(self, assigned: AssignedQueue) -> None:
        run = self._next(assigned)
        if run is not None:
            self._hand_out(run)

    def _hand_out(self, run: Run) -> None:
        if run.listener.is_async:
            if self._tasks is None:
                self._tasks = TaskPool(self._scheduler, "consume in order", self._work, self._minimum)
            self._tasks.append(run)
        else:
            if self._threads is None:
                self._threads = ThreadPool(f"aiorocketmq-{self._settings.group}", self._call_run, self._run_called, self._minimum)
            self._threads.append(run)

    def _account(self, assigned: AssignedQueue) -> OrderedAccount:
        if assigned.account is None:
            assigned.account = OrderedAccount(assigned.messages, auto_commit=self._settings.auto_commit, max_tries=self._settings.max_tries)
        return assigned.account

    def _may_go_on(self, assigned: AssignedQueue) -> bool:
        return not (assigned.messages.dropped or assigned.revoked or self._draining)

    def _next(self, assigned: AssignedQueue) -> Run | None:
        """Take the next messages of a queue, or take it out of service when it cannot go on."""
        process_queue = assigned.messages
        if not self._may_go_on(assigned) or process_queue.count <= process_queue.taken:
            assigned.leave_service()
            return None
        if self._clock() >= assigned.locked_until:
            assigned.leave_service()
            self._lock_lost(assigned)
            return None
        account = self._account(assigned)
        messages = account.take(1)
        if not messages:  # what is left lies in the dead-letter topic already
            assigned.leave_service()
            return None
        topic = messages[0].topic
        listener = self._subscriptions.listener(topic)
        if listener is None:
            process_queue.roll_back(1)
            self._without_listener(assigned, messages[0])
            return None
        # A coroutine listener with manual commits is called message by message: each answer decides about all before it.
        size = RUN_LENGTH if listener.batch == 1 and (self._settings.auto_commit or not listener.is_async) else listener.batch
        if size > 1:
            messages += account.take(size - 1)
            # Only the retry topic holds messages of several topics.
            same = next((index for index, message in enumerate(messages) if message.topic != topic), len(messages))
            process_queue.roll_back(len(messages) - same)
            del messages[same:]
        return Run(assigned, listener, messages)

    def _without_listener(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        logger.warning(
            "%r has no listener in this member of group %s, and waits: all members of a group must have the same subscription",
            message,
            self._settings.group,
        )
        self._suspend(assigned, None)

    # --- calling listeners ------------------------------------------------------------------------------------------------------

    async def _work(self, pool: TaskPool[Run], slot: Slot[Run]) -> None:
        """One worker task."""
        clock = self._clock
        while await pool.wait(slot):
            run: Run | None = pool.ready.popleft()
            while run is not None:
                if not self._may_go_on(run.assigned):
                    self._untouched(run)
                    break
                slot.started = clock()
                slot.item = run
                if run.listener.batch == 1 and self._settings.auto_commit:
                    answer = await self._call_one_by_one(run, slot, pool)
                else:
                    answer = await self._call_with_all(run)
                    run.listener.calls += 1
                    run.listener.busy_seconds += clock() - slot.started
                run = self._ended(run, answer)
                if run is not None and not run.listener.is_async:
                    self._hand_out(run)
                    run = None
                if clock() > pool.turn_ends:
                    slot.item = None
                    if run is not None and (pool.ready or pool.overstaffed):
                        pool.append(run)  # others wait: they come first
                        run = None
                    await pool.yield_turn()

    async def _call_one_by_one(self, run: Run, slot: Slot[Run], pool: TaskPool[Run]) -> object:
        """Call a coroutine listener with one message after the other, each committed before the next; stop at a failure."""
        assigned, listener = run.assigned, run.listener
        process_queue, clock, success = assigned.messages, self._clock, ConsumeResult.SUCCESS
        function, commit_first = listener.function, process_queue.commit_first
        ended = began = slot.started
        answer: object = None
        committed = 0
        for message in run.messages:
            slot.started = ended
            try:
                answer = await function(message)
            except Exception as error:  # noqa: BLE001 - the user's code: whatever it raises is a failed message
                log_failure(listener, message, error)
                answer = SUSPEND
            except asyncio.CancelledError as error:
                if cancelled_from_outside():
                    raise
                log_failure(listener, message, error)
                answer = SUSPEND
            ended = clock()
            if process_queue.dropped or (answer is not None and answer is not success):
                break
            answer = None
            commit_first()
            committed += 1
            if ended > pool.turn_ends or ended >= assigned.locked_until or assigned.revoked or self._draining:
                break
        called = committed + (process_queue.dropped or answer is not None)
        run.called += called
        run.committed += committed
        listener.calls += called
        listener.consumed += committed
        listener.busy_seconds += ended - began
        return answer

    async def _call_with_all(self, run: Run) -> object:
        """Call a coroutine listener once, with the whole run."""
        listener = run.listener
        run.called = len(run.messages)
        payload = run.messages[0] if listener.batch == 1 else list(run.messages)
        try:
            return await listener.function(payload)
        except Exception as error:  # noqa: BLE001 - the user's code: whatever it raises is a failed message
            log_failure(listener, payload, error)
            return SUSPEND
        except asyncio.CancelledError as error:
            if cancelled_from_outside():
                raise
            log_failure(listener, payload, error)
            return SUSPEND

    def _call_run(self, run: Run) -> object:
        """Call a listener with one message after the other, or with one list; in a worker thread."""
        listener = run.listener
        single = listener.batch == 1
        until = self._clock() + RUN_TIME
        answer: object = None
        while run.called < len(run.messages):
            if not self._may_go_on(run.assigned) or (run.called and self._clock() > min(until, run.assigned.locked_until)):
                break
            payload = run.messages[run.called] if single else list(run.messages)
            run.called += 1 if single else len(run.messages)
            try:
                answer = listener.function(payload)
            except BaseException as error:  # noqa: BLE001 - the user's code; a thread that ends here would be missing for ever
                log_failure(listener, payload, error)
                return SUSPEND
            if answer is not None and answer is not ConsumeResult.SUCCESS:
                break
        return answer

    def _run_called(self, run: Run, answer: object, seconds: float) -> None:
        """A worker thread is through with a run; in the event loop."""
        if run.called == 0:
            self._untouched(run)
            return
        run.listener.calls += run.called if run.listener.batch == 1 else 1
        run.listener.busy_seconds += seconds
        following = self._ended(run, answer)
        if following is not None:
            self._hand_out(following)

    def _untouched(self, run: Run) -> None:
        """The queue was taken away before its listener was called."""
        if not run.assigned.messages.dropped:
            run.assigned.messages.roll_back(len(run.messages))
        run.assigned.leave_service()

    # --- what an answer does ----------------------------------------------------------------------------------------------------

    def _ended(self, run: Run, answer: object) -> Run | None:
        """Act on the answer to a run's last call; the calls before it succeeded. Gives back what to go on with."""
        assigned, listener = run.assigned, run.listener
        process_queue = assigned.messages
        assigned.consumed_at = self._clock()
        if process_queue.dropped:
            assigned.leave_service()
            return None
        outcome = ordered_outcome(listener, answer)
        called = run.messages[run.committed : run.called]
        process_queue.roll_back(len(run.messages) - run.called)
        account = self._account(assigned)
        if outcome is ConsumeResult.SUCCESS or outcome is ConsumeResult.COMMIT:
            listener.consumed += len(called)
            if outcome is ConsumeResult.COMMIT:
                account.commit()
            else:
                account.succeeded()
            return self._next(assigned)
        in_last_call = 1 if listener.batch == 1 else len(called)
        acknowledged = min(outcome.acknowledged, in_last_call) if isinstance(outcome, Retry) else 0
        failed = called[len(called) - in_last_call + acknowledged :]
        listener.consumed += len(called) - len(failed)
        listener.failed += len(failed)
        delay = outcome.delay if isinstance(outcome, Suspend) else None
        if outcome is ConsumeResult.ROLLBACK:
            account.rolled_back(failed)
            self._suspend(assigned, delay)
            return None
        account.failed(failed)
        if not failed:
            return self._next(assigned)
        if account.to_bury() is None:
            account.try_again()
            self._suspend(assigned, delay)
        else:
            task = self._scheduler.spawn("bury", self._bury(assigned, account, delay))
            self._burying.add(task)
            task.add_done_callback(self._burying.discard)
        return None

    async def _bury(self, assigned: AssignedQueue, account: OrderedAccount, delay: float | None) -> None:
        """Send the messages at the head of the queue that failed too often to the dead-letter topic, and go on behind them."""
        while (message := account.to_bury()) is not None and await self._give_away(message):
            if assigned.messages.dropped:
                break
            account.buried()
        if account.failed_messages:
            account.try_again()
            self._suspend(assigned, delay)
        else:
            self._go_on(assigned)

    async def _give_away(self, message: ReceivedMessage) -> bool:
        if self._send_back is None:
            logger.warning("%r failed too often and is dropped: a broadcasting group has no dead-letter topic", message)
            return True
        return await self._send_back.give_back(message, DEAD_LETTER)

    def _suspend(self, assigned: AssignedQueue, delay: float | None) -> None:
        if not self._may_go_on(assigned):
            assigned.leave_service()
            return
        pause = self._settings.suspend_current_queue_time if delay is None else delay
        assigned.timer = asyncio.get_running_loop().call_later(pause, self._resume, assigned)

    def _resume(self, assigned: AssignedQueue) -> None:
        assigned.timer = None
        self._go_on(assigned)

    # --- watching and sizing ----------------------------------------------------------------------------------------------------

    def _pools(self) -> list[Pool[Run]]:
        pools: tuple[Pool[Run] | None, ...] = (self._tasks, self._threads)
        return [pool for pool in pools if pool is not None]

    def dropped(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.dropped`."""
        if assigned.cancel_timer():
            assigned.leave_service()

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`."""
        return assigned.in_service

    def check_overdue(self) -> None:
        """See `ConsumeService.check_overdue`: order forbids going on behind a listener that hangs, so it is only reported."""
        now = self._clock()
        for pool in self._pools():
            for slot in pool.slots():
                run = slot.item
                if run is not None and now - slot.started >= self._settings.consume_timeout:
                    logger.warning(
                        "listener %r has not ended after %.0f s on %r: its queue waits", run.listener, now - slot.started, run.messages[0]
                    )

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
            await pool.idle()
        if self._burying:
            await asyncio.wait(self._burying)

    async def close(self) -> None:
        """See `ConsumeService.close`."""
        self._draining = True
        for pool in self._pools():
            await pool.close()
        if self._send_back is not None:
            await self._send_back.close()
