"""What is read of queues (Java: `PullResult`)."""

from __future__ import annotations

from dataclasses import dataclass

from aiorocketmq.model.received import ReceivedMessage


@dataclass(frozen=True, slots=True)
class QueueRead:
    """Messages read from one queue without a group's offsets (Java: `PullResult`).

    Attributes:
        messages: What was found, in order; empty when nothing (that matches) is there.
        next_offset: Where to read on.
        min_offset: Offset of the oldest message that is still stored.
        max_offset: Offset that the next message will get.
    """

    messages: tuple[ReceivedMessage, ...]
    next_offset: int
    min_offset: int
    max_offset: int
