"""From a route to queues and addresses: pure tables and rules.

Java: `TopicPublishInfo`, `MQClientInstance.topicRouteData2TopicPublishInfo`, `topicRouteData2TopicSubscribeInfo`, `brokerAddrTable`,
`brokerVersionTable`, `topicRouteData2EndpointsForStaticTopic`. Features B7, B13, B14, G12, K11, K14, K15, K17, K20.

A static topic has logical queues, which stay what they are while brokers hand them to each other. They are named by a broker that does not
exist; which one has a queue now is its endpoint.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.parsing import number_or_none, parse_address
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import MASTER_ID, BrokerData, QueueData, TopicRouteData
from aiorocketmq.wording import one_line, shown

logger = logging.getLogger("aiorocketmq.client")

MAX_QUEUES_PER_TOPIC: Final = 65_536
"""More queues than any broker allows: a route that claims more is damaged, and would cost memory without bound."""
MAX_ADDRESSES_PER_TOPIC: Final = 8_192
"""More brokers than any cluster has: each of them would get heartbeats over a connection of its own."""
MAX_NAME: Final = 511
"""Characters of a broker's name: names stand in requests, errors and logs."""


LOGICAL_BROKER_PREFIX: Final = "__syslo__"
"""What the broker names of logical queues begin with; the scope of the topic follows."""
NO_ENDPOINT: Final = f"{LOGICAL_BROKER_PREFIX}none__"
"""The broker of a logical queue that no broker has."""
_NO_ENDPOINTS: Final[Mapping[MessageQueue, str]] = {}


def is_logical(queue: MessageQueue) -> bool:
    """Whether it is a queue of a static topic."""
    return queue.broker_name.startswith(LOGICAL_BROKER_PREFIX)


class TopicPublishInfo:
    """The queues a producer may write to, and the turn among them.

    Hot and mutable: one `select()` per message moves the turn. Shared by all producers of an instance, used from one event loop.

    Attributes:
        queues: Queues that can be written, in the order of the route.
        order_topic: True when the name server's order configuration named the queues.
        route: The route it was made of.
        endpoints: Static topics: logical queue → name of the broker that has it.
    """

    __slots__ = ("_turn", "endpoints", "order_topic", "queues", "route")

    def __init__(
        self,
        queues: tuple[MessageQueue, ...],
        order_topic: bool,
        route: TopicRouteData,
        endpoints: Mapping[MessageQueue, str] = _NO_ENDPOINTS,
    ) -> None:
        self.queues = queues
        self.order_topic = order_topic
        self.route = route
        self.endpoints = endpoints
        # A random start spreads many short-lived producers over the queues.
        self._turn = random.randrange(len(queues)) if queues else 0

    def __bool__(self) -> bool:
        return bool(self.queues)

    def select(self, last_broker: str | None = None) -> MessageQueue:
        """The next queue in turn, on another broker than `last_broker` when there is one.

        Args:
            last_broker: Name of the broker that failed just now, or None.

        Raises:
            IndexError: There is no queue; check `queues` first.
        """
        queues = self.queues
        size = len(queues)
        turn = self._turn
        if last_broker is not None:
            for step in range(size):
                queue = queues[(turn + step) % size]
                if queue.broker_name != last_broker:
                    self._turn = (turn + step + 1) % size
                    return queue
        if turn >= size:
            raise IndexError("no queue to select from")
        self._turn = (turn + 1) % size
        return queues[turn]

    def broker_of(self, queue: MessageQueue) -> str:
        """Name of the broker that has a queue: of a logical one, its endpoint."""
        return self.endpoints.get(queue, queue.broker_name) if self.endpoints else queue.broker_name

    def unselect(self) -> None:
        """Give the last turn back: nothing was sent to that queue, and whoever chooses next shall get it."""
        size = len(self.queues)
        self._turn = (self._turn + size - 1) % size

    def __repr__(self) -> str:
        return f"TopicPublishInfo({len(self.queues)} queues, order_topic={self.order_topic})"


def publish_info_of(topic: str, route: TopicRouteData) -> TopicPublishInfo:
    """The queues of a topic that can be written: write permission, and a master that has an address.

    An order configuration of the name server (`broker-a:4;broker-b:2`) names the queues itself and overrides these rules. Of one that is
    not of this form the entries that are count, and the log tells of the others; without any, it counts as not there.
    """
    if route.order_topic_conf:
        ordered = tuple(_order_queues(topic, route.order_topic_conf))
        if ordered:
            return TopicPublishInfo(ordered, True, route)
    if route.mappings:
        endpoints = endpoints_of(topic, route)
        return TopicPublishInfo(tuple(endpoints), False, route, endpoints)
    masters = {broker.broker_name for broker in route.broker_datas if MASTER_ID in broker.broker_addrs}
    queues = tuple(
        MessageQueue(topic, data.broker_name, queue_id)
        for data in sorted(route.queue_datas, key=lambda data: data.broker_name)
        if data.writable and data.broker_name in masters
        for queue_id in range(data.write_queue_nums)
    )
    return TopicPublishInfo(queues, False, route)


def _order_queues(topic: str, text: str) -> Iterator[MessageQueue]:
    total = 0
    odd = []
    for part in text.split(";"):
        if not part:
            continue
        broker_name, _, text_of_count = part.partition(":")
        count = number_or_none(text_of_count, 0, MAX_QUEUES_PER_TOPIC - total)
        if not broker_name or count is None:
            odd.append(part)
            continue
        total += count
        for queue_id in range(count):
            yield MessageQueue(topic, broker_name, queue_id)
    if odd:
        # Routes are read again only when they have changed, so this is told once.
        logger.warning(
            "order configuration of topic %s: left out %r, which is not of the form broker:queues, or names more than %d queues in all",
            topic,
            ";".join(odd)[:200],
            MAX_QUEUES_PER_TOPIC,
        )


def subscribe_queues_of(topic: str, route: TopicRouteData) -> tuple[MessageQueue, ...]:
    """The queues of a topic that can be read; a slave is enough."""
    if route.mappings:
        return tuple(endpoints_of(topic, route))
    return tuple(
        MessageQueue(topic, data.broker_name, queue_id)
        for data in sorted(route.queue_datas, key=lambda data: data.broker_name)
        if data.readable
        for queue_id in range(data.read_queue_nums)
    )


def endpoints_of(topic: str, route: TopicRouteData) -> dict[MessageQueue, str]:
    """The logical queues of a static topic, in their order, with the broker that has each.

    Of two brokers that claim a queue the one with the later epoch has it; one that nobody claims is there with `NO_ENDPOINT`.
    """
    endpoints: dict[MessageQueue, str] = {}
    for scope in sorted({mapping.scope for mapping in route.mappings}):
        # By name before by epoch: of brokers with the same epoch every client takes the same one.
        mappings = sorted((each for each in route.mappings if each.scope == scope), key=lambda each: (each.epoch, each.broker_name))
        owners = {number: mapping.broker_name for mapping in mappings for number in mapping.current}
        name = LOGICAL_BROKER_PREFIX + scope.removeprefix("__")
        for number in range(max(mapping.total for mapping in mappings)):
            endpoints[MessageQueue(topic, name, number)] = owners.get(number, NO_ENDPOINT)
    return endpoints


def clamp_queues(route: TopicRouteData, limit: int) -> TopicRouteData:
    """The route of the default topic as a new topic will inherit it: at most `limit` queues per broker, as many to read as to write."""
    datas = []
    for data in route.queue_datas:
        size = min(limit, data.read_queue_nums)
        datas.append(QueueData(data.broker_name, size, size, data.perm, data.topic_sys_flag))
    return TopicRouteData(tuple(datas), route.broker_datas, route.order_topic_conf)


def check_route(topic: str, route: TopicRouteData) -> None:
    """Refuse a route that nobody can mean, before it costs memory or connections.

    Raises:
        ProtocolError: A queue number is negative or absurd, there are too many brokers, a broker's name cannot be shown, or an address is
            not `host:port`.
    """
    total = 0
    for data in route.queue_datas:
        if data.read_queue_nums < 0 or data.write_queue_nums < 0:
            raise ProtocolError(f"route of topic {topic!r} gives broker {data.broker_name!r} a negative number of queues")
        total += max(data.read_queue_nums, data.write_queue_nums)
    if total > MAX_QUEUES_PER_TOPIC:
        raise ProtocolError(f"route of topic {topic!r} claims {shown(total)} queues, the limit is {MAX_QUEUES_PER_TOPIC}")
    totals: dict[str, int] = {}
    for mapping in route.mappings:
        if mapping.total < 0:
            raise ProtocolError(f"route of topic {topic!r} gives broker {mapping.broker_name!r} a negative number of logical queues")
        totals[mapping.scope] = max(totals.get(mapping.scope, 0), mapping.total, len(mapping.current))
    if (total := sum(totals.values())) > MAX_QUEUES_PER_TOPIC:
        raise ProtocolError(f"route of topic {topic!r} claims {shown(total)} logical queues, the limit is {MAX_QUEUES_PER_TOPIC}")
    if len(route.mappings) > MAX_ADDRESSES_PER_TOPIC:
        raise ProtocolError(f"route of topic {topic!r} maps {len(route.mappings)} brokers, the limit is {MAX_ADDRESSES_PER_TOPIC}")
    addresses = sum(len(broker.broker_addrs) for broker in route.broker_datas)
    if max(addresses, len(route.broker_datas)) > MAX_ADDRESSES_PER_TOPIC:
        raise ProtocolError(
            f"route of topic {topic!r} names {addresses} addresses of {len(route.broker_datas)} brokers, "
            f"the limit is {MAX_ADDRESSES_PER_TOPIC}"
        )
    names = {broker.broker_name for broker in route.broker_datas} | {data.broker_name for data in route.queue_datas}
    for name in names | {name for mapping in route.mappings for name in (mapping.broker_name, mapping.scope)}:
        if len(name) > MAX_NAME or one_line(name) != name:
            raise ProtocolError(f"route of topic {topic!r} names a broker {shown(name)}, which no broker can be called")
    for broker in route.broker_datas:
        for address in broker.broker_addrs.values():
            parse_address(address, f"route of topic {topic!r}: address of broker {broker.broker_name!r}", error=ProtocolError)


@dataclass(frozen=True, slots=True)
class FoundBroker:
    """An address to read from.

    Attributes:
        address: `host:port`.
        is_slave: True when it is not the master.
        version: The broker's version number as its heartbeat answer told it, 0 when not known yet.
    """

    address: str
    is_slave: bool
    version: int


class BrokerTable:
    """Broker name → broker id → address, and broker name → address → version.

    Mutable; changed only by route updates, heartbeats and the clean-up of brokers that no route names.
    """

    __slots__ = ("_addresses", "_found_before", "_versions")

    def __init__(self) -> None:
        self._addresses: dict[str, dict[int, str]] = {}
        self._versions: dict[str, dict[str, int]] = {}
        self._found_before: dict[tuple[str, int], FoundBroker] = {}  # every pull asks; forgotten with every change

    def put(self, broker: BrokerData) -> None:
        """Take over what a route says of a broker name; versions of addresses that it no longer has are forgotten."""
        self._found_before.clear()
        name, by_id = broker.broker_name, dict(broker.broker_addrs)
        self._addresses[name] = by_id
        versions = self._versions.get(name)
        if versions:
            self._versions[name] = {address: version for address, version in versions.items() if address in by_id.values()}

    def put_version(self, broker_name: str, address: str, version: int) -> None:
        """Remember the version that a broker's heartbeat answer carried."""
        self._found_before.clear()
        self._versions.setdefault(broker_name, {})[address] = version

    def version(self, broker_name: str, address: str) -> int:
        """Version number of a broker (`MQVersion` ordinal), 0 when not known yet."""
        return self._versions.get(broker_name, {}).get(address, 0)

    def names(self) -> tuple[str, ...]:
        return tuple(self._addresses)

    def addresses(self) -> tuple[tuple[str, int, str], ...]:
        """Every (broker name, broker id, address), as a snapshot that may be walked while the table changes."""
        return tuple((name, broker_id, address) for name, by_id in self._addresses.items() for broker_id, address in by_id.items())

    def master(self, broker_name: str) -> str | None:
        """Address to publish to: the master's, or None."""
        by_id = self._addresses.get(broker_name)
        return by_id.get(MASTER_ID) if by_id else None

    def for_reading(self, broker_name: str, broker_id: int, *, only_this: bool = False) -> FoundBroker | None:
        """Address to read from: the wanted id, else the next id when a slave was wanted, else any.

        Args:
            broker_name: Name of the broker.
            broker_id: The id that the broker suggested; 0 is the master.
            only_this: Take no other id than the wanted one, or the next slave.
        """
        by_id = self._addresses.get(broker_name)
        if not by_id:
            return None
        found = broker_id
        if found not in by_id and broker_id != MASTER_ID:
            found = broker_id + 1
        if found not in by_id:
            if only_this:
                return None
            found = next(iter(by_id))
        return self._found(broker_name, found, by_id[found])

    def any(self, broker_name: str) -> FoundBroker | None:
        """Address for administration: the first that is known."""
        for broker_id, address in self._addresses.get(broker_name, {}).items():
            return self._found(broker_name, broker_id, address)
        return None

    def _found(self, broker_name: str, broker_id: int, address: str) -> FoundBroker:
        key = broker_name, broker_id
        found = self._found_before.get(key)
        if found is None:
            found = self._found_before[key] = FoundBroker(address, broker_id != MASTER_ID, self.version(broker_name, address))
        return found

    def retain(self, routes: Iterable[TopicRouteData]) -> list[str]:
        """Drop every address that none of the routes names; gives back the dropped addresses."""
        self._found_before.clear()
        named = {address for route in routes for broker in route.broker_datas for address in broker.broker_addrs.values()}
        dropped = []
        for name, by_id in list(self._addresses.items()):
            for broker_id, address in list(by_id.items()):
                if address not in named:
                    del by_id[broker_id]
                    self._versions.get(name, {}).pop(address, None)
                    dropped.append(address)
            if not by_id:
                del self._addresses[name]
                self._versions.pop(name, None)
        return dropped


def choose_address(route: TopicRouteData) -> str | None:
    """Some broker of a topic: a random broker name, its master when it has one (K15)."""
    brokers = [broker for broker in route.broker_datas if broker.broker_addrs]
    if not brokers:
        return None
    addresses = random.choice(brokers).broker_addrs
    return addresses.get(MASTER_ID) or random.choice(list(addresses.values()))
