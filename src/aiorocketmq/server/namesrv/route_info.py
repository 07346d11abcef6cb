"""Which brokers live, and which topics they have (Java: `RouteInfoManager`).

Brokers tell of themselves every 30 s; one that closes its connection is gone at once, one that falls silent after its time-out.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiorocketmq.errors import broker_error
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.route import MASTER_ID, BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import ClusterInfo, DataVersion, TopicConfig
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.headers_admin import RegisterBrokerRequestHeader
from aiorocketmq.remoting.channel import Channel

logger = logging.getLogger("aiorocketmq.server")

DEFAULT_TIMEOUT: Final = 120.0
"""Seconds of silence after which a broker is taken for dead."""


@dataclass(slots=True)
class _Broker:
    """One broker name; mutable."""

    cluster: str
    name: str
    addresses: dict[int, str] = field(default_factory=dict)
    acting_master: bool = False
    zone: str = ""


@dataclass(slots=True)
class _Live:
    """One registered address; mutable, because registrations renew it."""

    broker: str
    channel: Channel | None
    last_seen: float
    timeout: float
    version: DataVersion
    ha_address: str


class RouteInfo:
    """Tables of one name server.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._brokers: dict[str, _Broker] = {}
        self._topics: dict[str, dict[str, QueueData]] = {}
        self._live: dict[str, _Live] = {}

    # -- brokers ------------------------------------------------------------------------------------------------------

    def register(
        self, header: RegisterBrokerRequestHeader, topics: Iterable[TopicConfig], version: DataVersion, channel: Channel | None
    ) -> tuple[str, str]:
        """Take in what a broker says of itself (6.15).

        Args:
            header: Who it is.
            topics: Topics that it has, or that changed.
            version: Version of its table; an unchanged one leaves the topics as they are.
            channel: Its connection; the broker goes when it closes.

        Returns:
            For a slave, the master's address and replication address; else two empty strings.

        Raises:
            BrokerError: A first registration with a single topic, which real name servers refuse too.
        """
        topics = list(topics)
        broker = self._brokers.get(header.broker_name)
        first = broker is None or header.broker_id not in broker.addresses
        if first and len(topics) == 1:
            raise broker_error(ResponseCode.SYSTEM_ERROR, "register broker failed")
        if broker is None:
            broker = self._brokers[header.broker_name] = _Broker(header.cluster_name, header.broker_name)
        broker.acting_master = bool(header.enable_acting_master)
        broker.zone = header.zone_name or ""
        known = self._live.get(header.broker_addr)
        if known is not None and known.broker == header.broker_name and known.version.state_version > version.state_version:
            return "", ""
        for other in [key for key, address in broker.addresses.items() if address == header.broker_addr and key != header.broker_id]:
            del broker.addresses[other]
        replaced = broker.addresses.get(header.broker_id)
        if replaced is not None and replaced != header.broker_addr:
            self._live.pop(replaced, None)
        broker.addresses[header.broker_id] = header.broker_addr
        # The topics of the first slave count, too: of every slave that says whether it acts for its master, as those from 5.x on do.
        master_itself = header.broker_id == MASTER_ID
        if master_itself or (header.enable_acting_master is not None and header.broker_id == min(broker.addresses)):
            changed = first or known is None or known.version != version
            for topic in topics:
                if changed or header.broker_name not in self._topics.get(topic.topic_name, ()):
                    self._put_topic(header.broker_name, topic, read_only=broker.acting_master and not master_itself)
        timeout = header.heartbeat_timeout_millis / 1000 if header.heartbeat_timeout_millis else DEFAULT_TIMEOUT
        self._live[header.broker_addr] = _Live(header.broker_name, channel, self._now(), timeout, version, header.ha_server_addr)
        if known is None:
            logger.info("name server: broker %s:%d registered at %s", header.broker_name, header.broker_id, header.broker_addr)
        master = broker.addresses.get(MASTER_ID, "")
        if header.broker_id == MASTER_ID or not master:
            return "", ""
        live_master = self._live.get(master)
        return master, live_master.ha_address if live_master is not None else ""

    def _put_topic(self, broker: str, topic: TopicConfig, *, read_only: bool) -> None:
        perm = topic.perm & ~int(Permission.WRITE) if read_only else topic.perm
        self._topics.setdefault(topic.topic_name, {})[broker] = QueueData(
            broker, topic.read_queue_nums, topic.write_queue_nums, perm, topic.topic_sys_flag
        )

    def renew(self, address: str) -> DataVersion | None:
        """A sign of life from a registered address; returns the version of its table that is known here."""
        live = self._live.get(address)
        if live is None:
            return None
        live.last_seen = self._now()
        return live.version

    def unregister(self, broker_name: str, broker_id: int, address: str) -> None:
        """A broker leaves."""
        self._live.pop(address, None)
        broker = self._brokers.get(broker_name)
        if broker is None:
            return
        if broker.addresses.get(broker_id) == address:
            del broker.addresses[broker_id]
            logger.info("name server: broker %s:%d at %s is gone", broker_name, broker_id, address)
        if not broker.addresses:
            del self._brokers[broker_name]
            for topic in [topic for topic, queues in self._topics.items() if broker_name in queues]:
                self._drop_queues(topic, broker_name)
        elif broker.acting_master and MASTER_ID not in broker.addresses:
            self.set_write_permission(broker_name, allow=False)  # a slave acts for the master: nobody writes there

    def _drop_queues(self, topic: str, broker_name: str) -> None:
        queues = self._topics[topic]
        del queues[broker_name]
        if not queues:
            del self._topics[topic]

    def channel_closed(self, channel: Channel) -> None:
        """The brokers that registered on this connection are gone."""
        self._forget([address for address, live in self._live.items() if live.channel is channel])

    def expire(self) -> None:
        """Forget the brokers that fell silent."""
        now = self._now()
        self._forget([address for address, live in self._live.items() if now - live.last_seen > live.timeout])

    def _forget(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            live = self._live[address]
            broker = self._brokers.get(live.broker)
            for broker_id in [key for key, known in (broker.addresses.items() if broker else ()) if known == address]:
                self.unregister(live.broker, broker_id, address)
            self._live.pop(address, None)

    def member_group(self, broker_name: str) -> BrokerData | None:
        """Addresses of one broker name."""
        broker = self._brokers.get(broker_name)
        return _broker_data(broker) if broker is not None else None

    def clusters(self) -> ClusterInfo:
        """All brokers, and their names by cluster."""
        clusters: dict[str, list[str]] = {}
        for broker in self._brokers.values():
            clusters.setdefault(broker.cluster, []).append(broker.name)
        return ClusterInfo({name: _broker_data(broker) for name, broker in self._brokers.items()}, clusters)

    # -- topics -------------------------------------------------------------------------------------------------------

    def route(self, topic: str, zone: str = "") -> TopicRouteData | None:
        """Queues and brokers of a topic; None when either is unknown.

        Args:
            topic: Topic name.
            zone: Leave out brokers of other zones, unless they have no master: their slaves may serve any zone.
        """
        queues = self._topics.get(topic)
        if not queues:
            return None
        brokers = [_broker_data(self._brokers[name]) for name in queues if name in self._brokers]
        if not brokers:
            return None
        far = {name for name in queues if zone and self._is_far(name, zone)}
        return TopicRouteData(
            queue_datas=tuple(queue for queue in queues.values() if queue.broker_name not in far),
            broker_datas=tuple(broker for broker in brokers if broker.broker_name not in far),
        ).sorted()

    def _is_far(self, broker_name: str, zone: str) -> bool:
        broker = self._brokers.get(broker_name)
        return broker is not None and MASTER_ID in broker.addresses and broker.zone.lower() != zone.lower()

    def topics(self) -> list[str]:
        return list(self._topics)

    def topics_of_cluster(self, cluster: str) -> list[str]:
        """Topics that some broker of the cluster has."""
        names = {broker.name for broker in self._brokers.values() if broker.cluster == cluster}
        return [topic for topic, queues in self._topics.items() if not names.isdisjoint(queues)]

    def register_topic(self, topic: str, queues: Iterable[QueueData]) -> None:
        """Add queues of a topic (217); brokers that are not known are left out."""
        for queue in queues:
            if queue.broker_name in self._brokers:
                self._topics.setdefault(topic, {})[queue.broker_name] = queue

    def delete_topic(self, topic: str, cluster: str | None) -> None:
        """Forget a topic, or its part in one cluster."""
        for name in list(self._topics.get(topic, {})):
            broker = self._brokers.get(name)
            if cluster is None or broker is None or broker.cluster == cluster:
                self._drop_queues(topic, name)

    def set_write_permission(self, broker_name: str, *, allow: bool) -> int:
        """Take or give the write permission of all topics of a broker; returns how many there are."""
        count = 0
        for queues in self._topics.values():
            queue = queues.get(broker_name)
            if queue is not None:
                perm = int(Permission.READ | Permission.WRITE) if allow else queue.perm & ~int(Permission.WRITE)
                queues[broker_name] = dataclasses.replace(queue, perm=perm)
                count += 1
        return count


def _broker_data(broker: _Broker) -> BrokerData:
    return BrokerData(broker.cluster, broker.name, dict(broker.addresses), broker.acting_master)
