"""The message queue: the unit of order, of allocation and of offsets (Java: `MessageQueue`)."""

from __future__ import annotations

from typing import NamedTuple


class MessageQueue(NamedTuple):
    """One queue of a topic on one broker; sorts like Java's (topic, broker name, queue id).

    A named tuple, because queues are dictionary keys on the hot path and tuples hash in C.
    """

    topic: str
    broker_name: str
    queue_id: int

    def __str__(self) -> str:
        return f"{self.topic}@{self.broker_name}:{self.queue_id}"
