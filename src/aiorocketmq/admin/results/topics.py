"""What is told of topics (Java: `TopicStatsTable`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiorocketmq.model.enums import Permission
from aiorocketmq.model.queue import MessageQueue


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What one queue holds (Java: `TopicOffset`).

    Attributes:
        min_offset: Offset of the oldest message that is still stored.
        max_offset: Offset that the next message will get.
        updated_at: When the newest message was stored, or None for an empty queue.
    """

    min_offset: int
    max_offset: int
    updated_at: datetime | None

    @property
    def messages(self) -> int:
        """Messages that are stored."""
        return self.max_offset - self.min_offset


@dataclass(frozen=True, slots=True)
class TopicStats:
    """What a topic holds, over all brokers (Java: `TopicStatsTable`)."""

    topic: str
    queues: Mapping[MessageQueue, QueueStats]

    @property
    def messages(self) -> int:
        """Messages that are stored in all queues."""
        return sum(queue.messages for queue in self.queues.values())


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What a topic is on one broker (Java: `TopicConfig`).

    Attributes:
        topic: Its name.
        read_queues: Queues that can be read.
        write_queues: Queues that are sent to.
        permission: What clients may do.
        order: Whether it is a topic of ordered messages.
        attributes: Its attributes, for example `{"message.type": "FIFO"}`; those of 4.x have none.
    """

    topic: str
    read_queues: int
    write_queues: int
    permission: Permission
    order: bool
    attributes: Mapping[str, str]
