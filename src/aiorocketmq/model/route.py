"""What a name server says of a topic (Java: `TopicRouteData`, `QueueData`, `BrokerData`, `TopicQueueMappingInfo`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiorocketmq.model.enums import Permission

MASTER_ID = 0
"""Broker id of the master of a broker name (Java: `MixAll.MASTER_ID`)."""


@dataclass(frozen=True, slots=True)
class QueueData:
    """Queues of a topic on one broker name."""

    broker_name: str
    read_queue_nums: int
    write_queue_nums: int
    perm: int = Permission.READ | Permission.WRITE
    topic_sys_flag: int = 0

    @property
    def readable(self) -> bool:
        return bool(self.perm & Permission.READ)

    @property
    def writable(self) -> bool:
        return bool(self.perm & Permission.WRITE)


@dataclass(frozen=True, slots=True)
class BrokerData:
    """Addresses of one broker name: broker id → `host:port`; id 0 is the master."""

    cluster: str
    broker_name: str
    broker_addrs: dict[int, str] = field(default_factory=dict)
    enable_acting_master: bool = False


@dataclass(frozen=True, slots=True)
class QueueMapping:
    """The logical queues of a static topic that one broker has.

    Attributes:
        broker_name: The broker.
        scope: Which brokers know the topic; "__global__" for all.
        total: Logical queues of the topic on all brokers.
        epoch: When it was made: of two brokers that claim a queue, the later one has it.
        current: Logical queue id → queue id on the broker.
    """

    broker_name: str
    scope: str
    total: int
    epoch: int
    current: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicRouteData:
    """Where a topic lives. Two routes are compared with `==` after `sorted()`. Mappings are those of a static topic; others have none."""

    queue_datas: tuple[QueueData, ...] = ()
    broker_datas: tuple[BrokerData, ...] = ()
    order_topic_conf: str | None = None
    mappings: tuple[QueueMapping, ...] = ()

    def sorted(self) -> TopicRouteData:
        """The same route in a fixed order, so that equal routes compare equal (feature K18)."""
        return TopicRouteData(
            queue_datas=tuple(sorted(self.queue_datas, key=lambda queue: queue.broker_name)),
            broker_datas=tuple(sorted(self.broker_datas, key=lambda broker: broker.broker_name)),
            order_topic_conf=self.order_topic_conf,
            mappings=tuple(sorted(self.mappings, key=lambda mapping: (mapping.scope, mapping.broker_name))),
        )
