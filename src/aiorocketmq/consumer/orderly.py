"""Consuming in order: one call at a time per queue, only while the queue is locked (Java: `ConsumeMessageOrderlyService`).

A queue is handed to a worker, which goes on with it until it is empty, suspended, or others wait. A failed message stays at the head of
its queue and is tried again after a moment; after `max_reconsume_times` tries it goes to the dead-letter topic, so that the queue can
move on. What answers do to the messages is in `core/ordered.py`. Features F2, F3, F29, F30, G10.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue, QueueState
from aiorocketmq.consumer.calling import Caller, Stretch, Work
from aiorocketmq.consumer.listener import NOT_BEGUN, SUSPEND, Payload, ordered_outcomes
from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.core.ordered import OrderedAccount
from aiorocketmq.errors import ClientClosedError
from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Suspend

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

RUN_LENGTH: Final = 32
"""A worker takes so many single messages of a queue along."""

logger = logging.getLogger("aiorocketmq.consumer")


class OrderlyService:
    """Hands each queue to a worker, up to `concurrency` queues at a time.

    Args:
        settings: The consumer's settings.
        subscriptions: Tells the listener of a topic.
        scheduler: Makes the worker tasks.
        send_back: Buries messages that failed too often; None in a broadcasting group.
        lock_lost: Called when a queue has no valid lock; `wake()` is called again when it is locked.
    """

    def __init__(
        self,
        settings: PushSettings,
        subscriptions: Subscriptions,
        scheduler: Scheduler,
        send_back: SendBack | None,
        lock_lost: Callable[[], None],
    ) -> None:
        self.full = False  # each queue has its limits
        self.caller = Caller(settings.group, scheduler, self, *settings.workers)
        self._settings = settings
        self._subscriptions = subscriptions
        self._scheduler = scheduler
        self._send_back = send_back
        self._lock_lost = lock_lost
        self._burying: set[asyncio.Task[None]] = set()
        self._clock = asyncio.get_running_loop().time
        self._log = StateLog(logger)

    # --- which messages are next --------------------------------------------------------------------------------------------------

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`."""
        if assigned.queue.topic == self._subscriptions.retry_topic:
            for message in messages:
                restore_topic(message)
        self.wake(assigned)

    def wake(self, assigned: AssignedQueue) -> None:
        """Go on with a queue, unless it is in a worker's hands or suspended."""
        if not assigned.in_service and assigned.messages.count > assigned.messages.taken:
            assigned.in_service = True
            self._hand_out(self._next(assigned))

    def _hand_out(self, work: Work | None) -> None:
        if work is not None:
            self.caller.extend(work[0].listener, (work,))

    def _account(self, assigned: AssignedQueue) -> OrderedAccount:
        account = assigned.account
        if account is None or account.messages is not assigned.messages:
            settings = self._settings
            account = assigned.account = OrderedAccount(assigned.messages, auto_commit=settings.auto_commit, max_tries=settings.max_tries)
        return account

    def _next(self, assigned: AssignedQueue) -> Work | None:
        """Take the next messages of a queue, or take it out of service when it cannot go on."""
        process_queue = assigned.messages
        if process_queue.count <= process_queue.taken or not self._may_go_on(assigned):
            assigned.leave_service()
            return None
        account = self._account(assigned)
        messages = account.take(1)
        if not messages:  # what is left lies in the dead-letter topic already
            assigned.leave_service()
            return None
        topic = messages[0].topic
        listener = self._subscriptions.listener(topic)
        if listener is None:
            account.return_rest(1)
            self._without_listener(assigned, messages[0])
            return None
        # A coroutine listener with manual commits is called message by message: each answer decides about all before it.
        one_by_one = (listener.is_async and not self._settings.auto_commit) or self.caller.paces(topic)
        size = listener.batch if listener.batch > 1 or one_by_one else RUN_LENGTH
        if size > 1:
            messages += account.take(size - 1)
            # Only the retry topic holds messages of several topics.
            same = next((index for index, message in enumerate(messages) if message.topic != topic), len(messages))
            account.return_rest(len(messages) - same)
            del messages[same:]
        finish = process_queue.commit_first if self._settings.auto_commit else _stays_taken
        stretch = Stretch(assigned, listener, finish, messages)
        return stretch, messages[0] if stretch.single else messages

    def _may_go_on(self, assigned: AssignedQueue) -> bool:
        if self._clock() < assigned.valid_until:
            return True
        if assigned.state is QueueState.OWNED and not assigned.paused:
            self._lock_lost()
        return False

    def _without_listener(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        text = "%r has no listener in this member of group %s, and waits: all members of a group must have the same subscription"
        self._log.failed(f"listener {assigned.queue}", text, message, self._settings.group)
        self._suspend(assigned, None)

    # --- what an answer does (`CallPolicy`) ---------------------------------------------------------------------------------------

    def not_begun(self, stretch: Stretch, payload: Payload) -> None:
        """See `CallPolicy.not_begun`: the messages go back into the row."""
        assigned = stretch.assigned
        if not assigned.messages.dropped:
            self._account(assigned).return_rest(len(stretch.messages) - stretch.position)
        assigned.leave_service()
        # The lock may be back, or the pause over, before this was known here.
        if not stretch.listener.held and self._may_go_on(assigned):
            self.wake(assigned)

    def failure(self, stretch: Stretch) -> Suspend:
        """See `CallPolicy.failure`."""
        return SUSPEND

    def run_over(self, stretch: Stretch, now: float) -> Work | None:
        """See `CallPolicy.run_over`; with automatic commits each message was committed before the next one was called."""
        stretch.assigned.consumed_at = now
        return self._go_on(stretch)

    def _go_on(self, run: Stretch) -> Work | None:
        """The next work of the queue, for the same worker unless it is for the other kind of them."""
        following = self._next(run.assigned)
        if following is not None:
            listener = following[0].listener
            if listener.is_async != run.listener.is_async or self.caller.paces(listener.topic):
                self._hand_out(following)
                return None
        return following

    def ended(self, stretch: Stretch, payload: Payload, answer: object, now: float) -> Work | None:
        """See `CallPolicy.ended`."""
        assigned, listener = stretch.assigned, stretch.listener
        if answer is NOT_BEGUN:
            listener.calls -= 1
            self.not_begun(stretch, payload)
            return None
        assigned.consumed_at = now
        called = payload if isinstance(payload, list) else [payload]
        outcome, acknowledged = ordered_outcomes(listener, answer, called)
        if assigned.messages.dropped:
            assigned.leave_service()
            return None
        account = self._account(assigned)
        account.return_rest(len(stretch.messages) - stretch.position - len(called))
        if outcome is ConsumeResult.SUCCESS or outcome is ConsumeResult.COMMIT:
            listener.consumed += len(called)
            if outcome is ConsumeResult.COMMIT:
                account.commit()
            else:
                account.succeeded()
            return self._go_on(stretch)
        failed = called[acknowledged:]
        listener.consumed += acknowledged
        listener.failed += len(failed)
        delay = outcome.delay if isinstance(outcome, Suspend) else None
        if outcome is ConsumeResult.ROLLBACK:
            account.rolled_back(failed)
            self._suspend(assigned, delay)
            return None
        account.failed(failed)
        if not failed:
            return self._go_on(stretch)
        if account.to_bury() is None:
            account.try_again()
            self._suspend(assigned, delay)
        else:
            self._begin_burying(assigned, account, delay)
        return None

    def _begin_burying(self, assigned: AssignedQueue, account: OrderedAccount, delay: float | None) -> None:
        try:
            task = self._scheduler.spawn("bury", self._bury(assigned, account, delay))
        except ClientClosedError:
            assigned.leave_service()
            return
        self._burying.add(task)
        task.add_done_callback(self._burying.discard)

    async def _bury(self, assigned: AssignedQueue, account: OrderedAccount, delay: float | None) -> None:
        """Send the messages at the head of the queue that failed too often to the dead-letter topic, and go on behind them."""
        going_on = False
        try:
            while (message := account.to_bury()) is not None and await self._give_away(message):
                if assigned.messages.dropped:
                    return
                account.buried()
            going_on = True
        finally:
            if not going_on:
                assigned.leave_service()
        if account.failed_messages:
            account.try_again()
            self._suspend(assigned, delay)
        else:
            self._hand_out(self._next(assigned))

    async def _give_away(self, message: ReceivedMessage) -> bool:
        if self._send_back is None:
            logger.warning("%r failed too often and is dropped: a broadcasting group has no dead-letter topic", message)
            return True
        return await self._send_back.bury(message)

    def _suspend(self, assigned: AssignedQueue, delay: float | None) -> None:
        if assigned.state is not QueueState.OWNED:
            assigned.leave_service()
            return
        pause = self._settings.suspend_current_queue_time if delay is None else delay
        assigned.timer = asyncio.get_running_loop().call_later(pause, self._resume, assigned)

    def _resume(self, assigned: AssignedQueue) -> None:
        assigned.timer = None
        self._hand_out(self._next(assigned))

    # --- watching -----------------------------------------------------------------------------------------------------------------

    def pause(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.pause`: workers find the queue closed, and put back what they had."""

    def resume(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.resume`."""
        self.wake(assigned)

    def let_go(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.let_go`."""
        if assigned.cancel_timer():
            assigned.leave_service()
        for stretch, payload in self.caller.take_back(assigned):
            self.not_begun(stretch, payload)

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`."""
        return assigned.in_service

    def check_overdue(self) -> None:
        """See `ConsumeService.check_overdue`: order forbids going on behind a listener that hangs, so it is only reported."""
        now = self._clock()
        for (stretch, _), started in self.caller.in_hand():
            if now - started >= self._settings.consume_timeout:
                message = stretch.messages[min(stretch.position, len(stretch.messages) - 1)]
                text = "listener %r has not ended after %.0f s on %r: its queue waits"
                self._log.note(logging.WARNING, f"overdue {stretch.assigned.queue}", text, stretch.listener, now - started, message)

    # --- the end ------------------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """See `ConsumeService.drain`."""
        await self.caller.idle()
        while self._burying:
            await asyncio.wait(self._burying)

    async def close(self, patience: float) -> None:
        """See `ConsumeService.close`."""
        await self.caller.close(patience)
        if self._send_back is not None:
            await self._send_back.close()


def _stays_taken(message: ReceivedMessage) -> None:
    """With manual commits a message that was consumed waits for the commit."""
