"""What admin operations give back: plain values, with times as datetimes and sums worked out.

Java: the beans in `org.apache.rocketmq.remoting.protocol.{admin,body}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.parsing import time_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage


def moment(milliseconds: int) -> datetime | None:
    """A time of the wire; 0 and below mean that there is none."""
    return time_or_none(milliseconds) if milliseconds > 0 else None


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
class BrokerInfo:
    """One broker name of a cluster.

    Attributes:
        cluster: Name of the cluster.
        name: Broker name.
        addresses: Broker id → `host:port`; id 0 is the master.
    """

    cluster: str
    name: str
    addresses: Mapping[int, str]

    @property
    def master(self) -> str | None:
        """Address of the master, or None when it is down."""
        return self.addresses.get(0)


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


@dataclass(frozen=True, slots=True)
class User:
    """A user of ACL 2.0; its password is not told.

    Attributes:
        name: Its name, the access key of its credentials.
        super_user: It may do everything.
        enabled: False when it is refused.
    """

    name: str
    super_user: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """What a user may do to a resource, in ACL 2.0.

    Attributes:
        user: Name of the user.
        resource: `Topic:orders`, `Topic:orders*`, ...
        actions: For example Pub, Sub, Get, or All.
        allowed: False when they are denied.
        sources: Addresses and networks from which this holds; empty for all.
        default: Asked only where no other policy of the user fits.
    """

    user: str
    resource: str
    actions: tuple[str, ...]
    allowed: bool
    sources: tuple[str, ...]
    default: bool
