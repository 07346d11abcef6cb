"""What the two ways of consuming have in common (Java: `ConsumeMessageService`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.listener import Listener, Payload, name_of
from aiorocketmq.model.received import ReceivedMessage

logger = logging.getLogger("aiorocketmq.consumer")


class ConsumeService(Protocol):
    """Brings messages to listeners and acts on their answers."""

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """Messages came: `assigned.messages` holds them already."""
        ...

    def dropped(self, assigned: AssignedQueue) -> None:
        """The queue is not owned any more: let go of what belongs to it."""
        ...

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """True while a listener runs with messages of the queue."""
        ...

    def check_overdue(self) -> None:
        """Look for listeners that take longer than the consume time-out."""
        ...

    def resize(self, minimum: int, maximum: int) -> None:
        """Other bounds for the number of workers."""
        ...

    def adjust(self) -> None:
        """Fit the number of workers to the backlog, within the bounds."""
        ...

    @property
    def workers(self) -> int:
        """Workers now, of both kinds."""
        ...

    @property
    def backlog(self) -> int:
        """Work that no worker has begun."""
        ...

    async def drain(self) -> None:
        """Begin no more work, and wait until what has begun has ended, given-back messages included."""
        ...

    async def close(self) -> None:
        """End the workers."""
        ...


def log_failure(listener: Listener, payload: Payload, error: BaseException) -> None:
    """Log what a listener let out."""
    first, others = (payload, 0) if isinstance(payload, ReceivedMessage) else (payload[0], len(payload) - 1)
    logger.warning(
        "listener %s of topic %s failed on %r%s",
        name_of(listener.function),
        listener.topic,
        first,
        f" and {others} more" if others else "",
        exc_info=error,
    )


def cancelled_from_outside() -> bool:
    """True when the running task itself is being cancelled, and the listener did not just await something that was."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def next_size(size: int, busy: int, backlog: int, minimum: int, maximum: int) -> int:
    """How many workers a pool should have: half as many more while work waits, a quarter less while half of them have nothing to do."""
    if backlog > 0 and busy >= size:
        wanted = size + max(1, size // 2)
    elif backlog == 0 and busy * 2 <= size:
        wanted = size - max(1, size // 4)
    else:
        wanted = size
    return min(max(wanted, minimum), maximum)
