"""What a name server says of a topic (Java: `TopicRouteData`, `QueueData`, `BrokerData`)."""

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
class TopicRouteData:
    """Where a topic lives. Two routes are compared with `==` after `sorted()`."""

    queue_datas: tuple[QueueData, ...] = ()
    broker_datas: tuple[BrokerData, ...] = ()
    order_topic_conf: str | None = None

    def sorted(self) -> TopicRouteData:
        """The same route in a fixed order, so that equal routes compare equal (feature K18)."""
        return TopicRouteData(
            queue_datas=tuple(sorted(self.queue_datas, key=lambda queue: queue.broker_name)),
            broker_datas=tuple(sorted(self.broker_datas, key=lambda broker: broker.broker_name)),
            order_topic_conf=self.order_topic_conf,
        )
