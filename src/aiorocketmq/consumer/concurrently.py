"""Consuming without order: any worker takes any message (Java: `ConsumeMessageConcurrentlyService`).

Features F1, F5-F7, F26-F28, F49, F51.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue, QueueState
from aiorocketmq.consumer.calling import Caller, Stretch, Work
from aiorocketmq.consumer.listener import NOT_BEGUN, RETRY, Listener, Payload, concurrent_outcomes
from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.core.process_queue import PoppedMessages
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.send_back import SendBack
    from aiorocketmq.consumer.settings import PushSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions

OVERDUE_DELAY_LEVEL: Final = 3
"""Delay level of messages whose listener takes too long: 10 s."""

logger = logging.getLogger("aiorocketmq.consumer")


class ConcurrentService:
    """Hands the messages of all queues to the workers, and gives back those that fail.

    Args:
        settings: The consumer's settings.
        subscriptions: Tells the listener of a topic.
        scheduler: Makes the worker tasks.
        send_back: Takes failed messages; None in a broadcasting group, where they are dropped.
    """

    def __init__(self, settings: PushSettings, subscriptions: Subscriptions, scheduler: Scheduler, send_back: SendBack | None) -> None:
        self.full = False  # each queue has its limits
        self.caller = Caller(settings.group, scheduler, self, *settings.workers)
        self._settings = settings
        self._subscriptions = subscriptions
        self._send_back = send_back
        self._held: list[Work] = []  # of what is paused
        self._log = StateLog(logger)

    # --- taking messages in -----------------------------------------------------------------------------------------------------

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`."""
        if not messages:
            return
        assigned.consumed_at = asyncio.get_running_loop().time()
        if assigned.queue.topic == self._subscriptions.retry_topic:
            self._submit_retried(assigned, messages)
            return
        self._submit_run(assigned, self._subscriptions.listener(assigned.queue.topic), messages)

    def _submit_retried(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """Messages of the retry topic go to the listeners of the topics that they came from."""
        run: list[ReceivedMessage] = []
        run_listener: Listener | None = None
        for message in messages:
            restore_topic(message)
            listener = self._subscriptions.listener(message.topic)
            if listener is not run_listener and run:
                self._submit_run(assigned, run_listener, run)
                run = []
            run_listener = listener
            run.append(message)
        self._submit_run(assigned, run_listener, run)

    def _submit_run(self, assigned: AssignedQueue, listener: Listener | None, messages: Sequence[ReceivedMessage]) -> None:
        if listener is None:
            self._without_listener(assigned, messages)
            return
        stretch = Stretch(assigned, listener, assigned.messages.finish)
        batch = listener.batch
        work: Iterable[Work]
        if batch == 1:
            work = zip(repeat(stretch), messages)
        else:
            work = [(stretch, list(messages[start : start + batch])) for start in range(0, len(messages), batch)]
        self.caller.extend(listener, work)

    def _without_listener(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """The topic was unsubscribed meanwhile, or another member has another subscription: the messages go back to the broker."""
        topic = messages[0].topic
        self._log.note(
            logging.WARNING,
            f"listener {topic}",
            "%d message(s) of topic %s have no listener in this member of group %s, they are given back: all members of a group must have "
            "the same subscription",
            len(messages),
            topic,
            self._settings.group,
        )
        self._give_back(assigned, messages, 0)

    def try_again(self, assigned: AssignedQueue, message: ReceivedMessage) -> None:
        """A message that could not be given back is consumed again here (F27)."""
        self._submit_run(assigned, self._subscriptions.listener(message.topic), [message])

    # --- what an answer does (`CallPolicy`) ---------------------------------------------------------------------------------------

    def not_begun(self, stretch: Stretch, payload: Payload) -> None:
        """See `CallPolicy.not_begun`: the next owner of the queue gets the messages, or they wait for `resume()`."""
        if stretch.assigned.state is QueueState.OWNED:
            self._take_up((stretch, payload))  # the pause may have been over before this was known here
        else:
            _leave(stretch, payload)

    def _take_up(self, work: Work) -> None:
        stretch, payload = work
        topic = stretch.listener.topic
        if stretch.assigned.paused or topic in self._subscriptions.paused:
            self._held.append(work)
        else:
            messages = payload if isinstance(payload, list) else [payload]
            self._submit_run(stretch.assigned, self._subscriptions.listener(topic), messages)

    def run_over(self, stretch: Stretch, now: float) -> None:
        """Never called: nothing is in order here."""

    def failure(self, stretch: Stretch) -> Retry:
        """See `CallPolicy.failure`."""
        return RETRY

    def ended(self, stretch: Stretch, payload: Payload, answer: object, now: float) -> None:
        """See `CallPolicy.ended`."""
        assigned, listener = stretch.assigned, stretch.listener
        if answer is NOT_BEGUN:
            listener.calls -= 1
            self.not_begun(stretch, payload)
            return
        messages = payload if isinstance(payload, list) else [payload]
        retries = concurrent_outcomes(listener, answer, messages)
        if assigned.messages.dropped:
            _leave(stretch, payload)
            return  # its next owner gets them again, or somebody has set the group's offset behind them
        if not any(retries):
            listener.consumed += len(messages)
            for message in messages:
                assigned.messages.finish(message)
            return
        given_back = stretch.overdue is not None and messages[0].queue_offset in stretch.overdue
        for message, retry in zip(messages, retries, strict=True):
            if retry is None:
                listener.consumed += 1
                assigned.messages.finish(message)
            else:
                listener.failed += 1
                if not given_back:
                    self._give_back(assigned, [message], retry.delay_level)

    def _give_back(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage], delay_level: int) -> None:
        popped = assigned.messages
        for message in messages:
            if isinstance(popped, PoppedMessages):
                popped.fail(message, delay_level)
            elif self._send_back is not None:
                self._send_back.put(assigned, message, delay_level)
            else:
                logger.warning("%r failed and is dropped: a broadcasting group has no retries", message)
                assigned.messages.finish(message)

    # --- watching -----------------------------------------------------------------------------------------------------------------

    def wake(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.wake`: nothing waits for a lock here."""

    def pause(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.pause`: workers find the queue closed, and `not_begun()` keeps what they had."""
        if self.caller.throttle is not None:  # what waits there would be let go of in the time of others
            for work in self.caller.throttle.take_back(assigned):
                self._take_up(work)

    def resume(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.resume`."""
        held, self._held = self._held, []
        for work in held:
            self._take_up(work)

    def let_go(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.let_go`: workers leave alone what belongs to such a queue."""
        held, self._held = self._held, []
        over = [work for work in held if work[0].assigned is assigned]
        self._held = [work for work in held if work[0].assigned is not assigned]
        if self.caller.throttle is not None:
            over += self.caller.throttle.take_back(assigned)
        for work in over:
            _leave(*work)

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`."""
        if self._send_back is not None and self._send_back.has(assigned):
            return True
        return any(work[0].assigned is assigned for work, _ in self.caller.in_hand())

    def check_overdue(self) -> None:
        """See `ConsumeService.check_overdue`: the messages are given back, so that the offset moves on (F28)."""
        now = asyncio.get_running_loop().time()
        for (stretch, payload), started in self.caller.in_hand():
            messages = [payload] if isinstance(payload, ReceivedMessage) else payload
            first = messages[0].queue_offset
            if now - started < self._settings.consume_timeout or (stretch.overdue is not None and first in stretch.overdue):
                continue
            if stretch.assigned.messages.dropped:
                continue
            # The mark lives on the work, and dies with it.
            stretch.overdue = (stretch.overdue or set()) | {first}
            logger.warning(
                "listener %r has not ended after %.0f s on %r: the messages will come again", stretch.listener, now - started, messages[0]
            )
            self._give_back(stretch.assigned, messages, OVERDUE_DELAY_LEVEL)

    # --- the end ----------------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """See `ConsumeService.drain`."""
        self.caller.discard_backlog()
        await self.caller.idle()
        if self._send_back is not None:
            await self._send_back.idle()

    async def close(self, patience: float) -> None:
        """See `ConsumeService.close`."""
        await self.caller.close(patience)
        if self._send_back is not None:
            await self._send_back.close()


def _leave(stretch: Stretch, payload: Payload) -> None:
    """Of what was popped it counts how much is in somebody's hands."""
    popped = stretch.assigned.messages
    if isinstance(popped, PoppedMessages):
        for message in payload if isinstance(payload, list) else [payload]:
            popped.leave(message)
