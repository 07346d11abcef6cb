"""One queue that the consumer owns now: its unfinished messages, its lock, its place in the services (Java: `ProcessQueue`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiorocketmq.core.ordered import OrderedAccount
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.consumer.puller import QueuePuller


class AssignedQueue:
    """Mutable, slotted; belongs to the event loop, worker threads only read it.

    Attributes:
        queue: The queue.
        messages: Its unfinished messages.
        puller: Pulls them; set right after creation.
        account: Ordered consumers: what answers do to the messages; made when the first message came.
        locked_until: Ordered consumers: loop time until which the broker's lock may be relied on; infinite where none is needed.
        locked_at: Ordered consumers: loop time of the last successful lock, 0 before.
        in_service: Ordered consumers: a worker has it, or it waits for one, or for the end of a suspension.
        revoked: Ordered consumers: it goes to another member as soon as the running listener has ended.
        timer: Ordered consumers: ends a suspension.
        consumed_at: Loop time at which messages were last handed to workers (ordered: at which a listener last ended).
    """

    __slots__ = (
        "_released", "account", "consumed_at", "in_service", "locked_at", "locked_until", "messages", "puller", "queue", "revoked", "timer",
    )  # fmt: skip

    puller: QueuePuller

    def __init__(self, queue: MessageQueue, next_offset: int, *, commit_start: bool = False, locked_until: float = float("inf")) -> None:
        self.queue = queue
        self.messages = ProcessQueue(queue, next_offset, commit_start=commit_start)
        self.locked_until = locked_until
        self.locked_at = 0.0
        self.account: OrderedAccount | None = None
        self.in_service = False
        self.revoked = False
        self.timer: asyncio.TimerHandle | None = None
        self.consumed_at = 0.0
        self._released: asyncio.Future[None] | None = None

    def leave_service(self) -> None:
        """No worker has it any more."""
        self.in_service = False
        if self._released is not None and not self._released.done():
            self._released.set_result(None)

    async def released(self) -> None:
        """Wait until no worker has it."""
        while self.in_service:
            if self._released is None or self._released.done():
                self._released = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._released)

    def cancel_timer(self) -> bool:
        """End a suspension early; True when there was one."""
        timer, self.timer = self.timer, None
        if timer is None:
            return False
        timer.cancel()
        return True

    def __repr__(self) -> str:
        state = " dropped" if self.messages.dropped else " revoked" if self.revoked else ""
        return f"<AssignedQueue {self.queue}{state}, {self.messages.count} unfinished, next offset {self.messages.next_offset}>"
