"""What is told of consumer groups and their members (Java: `ConsumeStats`, `ConsumerConnection`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue


@dataclass(frozen=True, slots=True)
class QueueProgress:
    """How far a group has come on one queue (Java: `OffsetWrapper`).

    Attributes:
        broker_offset: Offset that the next message of the queue will get.
        consumer_offset: Committed offset of the group: the next message to consume.
        pull_offset: Where the group pulls next.
        consumed_at: Store time of the last consumed message, or None.
    """

    broker_offset: int
    consumer_offset: int
    pull_offset: int
    consumed_at: datetime | None

    @property
    def lag(self) -> int:
        """Messages that wait."""
        return self.broker_offset - self.consumer_offset

    @property
    def in_flight(self) -> int:
        """Messages that were pulled and are not committed yet."""
        return max(0, self.pull_offset - self.consumer_offset)


@dataclass(frozen=True, slots=True)
class ConsumeProgress:
    """How far a group has come on all its queues (Java: `ConsumeStats`)."""

    group: str
    queues: Mapping[MessageQueue, QueueProgress]
    tps: float

    @property
    def lag(self) -> int:
        """Messages that wait in all queues."""
        return sum(queue.lag for queue in self.queues.values())

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics of the queues."""
        return tuple(sorted({queue.topic for queue in self.queues}))


@dataclass(frozen=True, slots=True)
class ClientConnection:
    """One connected client (Java: `Connection`).

    Attributes:
        client_id: Its id.
        address: `host:port` as the broker sees it.
        language: Its language, for example `PYTHON`.
        version: Its version, for example `V5_3_3`.
    """

    client_id: str
    address: str
    language: str
    version: str


@dataclass(frozen=True, slots=True)
class GroupConnections:
    """Who is connected in a consumer group (Java: `ConsumerConnection`).

    Attributes:
        group: The group.
        clients: Its members.
        subscriptions: What they subscribe.
        consume_type: How they get messages, or None when the broker tells a kind that is not known here.
        message_model: Clustering or broadcasting, or None.
        start_from: Where the group started, or None.
    """

    group: str
    clients: tuple[ClientConnection, ...]
    subscriptions: tuple[SubscriptionData, ...]
    consume_type: ConsumeType | None
    message_model: MessageModel | None
    start_from: StartFrom | None


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What a consumer group is on one broker (Java: `SubscriptionGroupConfig`).

    Attributes:
        group: Its name.
        ordered: Its messages are consumed in order.
        consume: Whether it may consume at all.
        broadcast: Whether members may consume as broadcast.
        retry_queues: Queues of its retry topic.
        retry_max_times: Times that a message is tried again before it is a dead letter; -1 has no end.
        attributes: Attributes of 5.x.
    """

    group: str
    ordered: bool
    consume: bool
    broadcast: bool
    retry_queues: int
    retry_max_times: int
    attributes: Mapping[str, str]
