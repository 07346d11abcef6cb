"""Where messages wait until the consumer asks for them (Java: `DefaultLitePullConsumerImpl.consumeRequestCache`). Features I4, I6, I11.

Queues take turns: whoever asks gets a run of messages of one queue, then of the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from aiorocketmq.consumer.send_back import restore_topic
from aiorocketmq.core.process_queue import PolledQueue
from aiorocketmq.model.names import is_retry_topic

if TYPE_CHECKING:
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.model.received import ReceivedMessage

RUN: Final = 32
"""Messages of one queue after which it is the turn of the next one."""


def polled(assigned: AssignedQueue) -> PolledQueue:
    """The messages of a queue of such a consumer."""
    return cast("PolledQueue", assigned.messages)


class PollService:
    """Holds what was pulled, and gives it out; implements `ConsumeService`. Belongs to the event loop.

    Args:
        limit: Messages that may wait here before nothing is pulled any more.

    Attributes:
        waiting: Messages that wait here.
        last: What `take()` gave last.
    """

    def __init__(self, limit: int) -> None:
        self.waiting = 0
        self.last: Sequence[ReceivedMessage] = ()
        self._limit = limit
        self._ready: dict[AssignedQueue, None] = {}
        self._held: dict[AssignedQueue, None] = {}
        self._paused: dict[AssignedQueue, None] = {}
        self._turn: AssignedQueue | None = None
        self._left = 0
        self._waiter: asyncio.Future[None] | None = None

    # --- `ConsumeService` -----------------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """See `ConsumeService.full`; what paused queues hold does not count, or the others would wait for their end."""
        limit = self._limit
        return self.waiting > limit and self.waiting - sum(assigned.messages.count for assigned in self._paused) > limit

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """See `ConsumeService.submit`."""
        self.waiting += len(messages)
        if is_retry_topic(assigned.queue.topic):
            for message in messages:
                restore_topic(message)
        if messages:
            self.look_at(assigned)

    def wake(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.wake`: there are no locks here."""

    def let_go(self, assigned: AssignedQueue) -> None:
        """See `ConsumeService.let_go`; also before its messages are exchanged for others."""
        self.waiting -= assigned.messages.count
        self._held.pop(assigned, None)
        self._paused.pop(assigned, None)
        self._set_aside(assigned)

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """See `ConsumeService.in_hand`: how long a message is worked on is not known here, and nobody waits for it."""
        return False

    # --- queues -----------------------------------------------------------------------------------------------------------------------

    def look_at(self, assigned: AssignedQueue) -> None:
        """The queue may have messages to give: whoever waits for one is woken."""
        if assigned.messages.count and not assigned.paused:
            self._ready[assigned] = None
            self.notify()

    def pause(self, assigned: AssignedQueue) -> None:
        """Give nothing of the queue until `resume()`, or until it is let go of."""
        self._paused[assigned] = None
        self._set_aside(assigned)

    def resume(self, assigned: AssignedQueue) -> None:
        """Give its messages again."""
        self._paused.pop(assigned, None)
        self.look_at(assigned)

    def _set_aside(self, assigned: AssignedQueue) -> None:
        self._ready.pop(assigned, None)
        if self._turn is assigned:
            self._turn = None

    # --- giving messages out ------------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Whoever was given messages has done with all of them."""
        held = self._held
        if held:
            for assigned in held:
                polled(assigned).settle()
            held.clear()
            self.last = ()
            self._turn = None  # it knows its queue as held

    def take(self, limit: int) -> list[ReceivedMessage]:
        """The next messages, at most `limit`, of as many queues as it takes; they are held until `settle()`."""
        given: list[ReceivedMessage] = []
        while self._ready and len(given) < limit:
            assigned = next(iter(self._ready))
            part = polled(assigned).give(min(limit - len(given), RUN))
            self._given(assigned, len(part))
            given += part
            # To the end of the row, where it has more.
            del self._ready[assigned]
            if assigned.messages.count:
                self._ready[assigned] = None
        self._turn = None
        self.last = given
        return given

    def take_one(self) -> ReceivedMessage | None:
        """Have done with everything that was given, and get the next message; None when there is none."""
        assigned = self._turn
        if assigned is None or not self._left:
            self.settle()
            if not self._ready:
                return None
            assigned = self._turn = next(iter(self._ready))
            self._left = RUN
            del self._ready[assigned]
            self._ready[assigned] = None
            self._held[assigned] = None
        messages = polled(assigned)
        message = messages.give_one()
        self._left -= 1
        self.waiting -= 1
        if not messages.count:
            del self._ready[assigned]
            self._left = 0
        return message

    @property
    def turn_over(self) -> bool:
        """The next message that `take_one()` gives is the first of a run: a moment to let others have the event loop."""
        return self._turn is None or not self._left

    def take_back(self, owned: Mapping[MessageQueue, AssignedQueue], messages: Iterable[ReceivedMessage]) -> None:
        """Whoever was given messages last has not begun some of them: they will be given again, those whose queue is still here.

        Args:
            owned: The queues that are read.
            messages: The messages, those of each queue in order.
        """
        by_queue: dict[MessageQueue, list[ReceivedMessage]] = {}
        for message in messages:
            by_queue.setdefault(message.queue, []).append(message)
        for queue, own in by_queue.items():
            assigned = owned.get(queue)
            if assigned is not None and polled(assigned).take_back(own):
                self.waiting += len(own)
                self.look_at(assigned)
        self._turn = None

    def _given(self, assigned: AssignedQueue, count: int) -> None:
        self.waiting -= count
        self._held[assigned] = None

    async def arrival(self, timeout: float | None) -> bool:
        """Wait until a queue has messages, at most so many seconds; also ends with `notify()`. False when the time is over.

        One at a time: the caller sees to that.
        """
        if self._ready:
            return True
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._waiter
        except TimeoutError:
            return False
        finally:
            self._waiter = None
        return True

    @property
    def awaited(self) -> bool:
        """Somebody waits in `arrival()`."""
        return self._waiter is not None

    def close(self) -> None:
        """Nothing is given any more."""
        self.last = ()
        self.notify()

    def notify(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
