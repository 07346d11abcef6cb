"""A small world for tests of the client instance: a name server and brokers that answer as real ones do, on an in-memory network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import ConsumeMessageDirectlyResult, ConsumerRunningInfo, HeartbeatData, encode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import MemoryNetwork, PeerConnection, ScriptedPeer

NAME_SERVER = "ns:9876"
MASTER = "broker-a:10911"
SLAVE = "broker-a-slave:10911"
BROKER_VERSION = 513
CLIENT_ID = "192.0.2.1@test"


def route(queues: int = 4, *, addrs: dict[int, str] | None = None, name: str = "broker-a", perm: int = 6) -> TopicRouteData:
    """A route over one broker name."""
    return TopicRouteData(
        (QueueData(name, queues, queues, perm),), (BrokerData("DefaultCluster", name, addrs if addrs is not None else {0: MASTER}),)
    )


class World:
    """One name server and as many brokers as wanted."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.routes: dict[str, TopicRouteData] = {}
        self.name_server = self.make_name_server(NAME_SERVER)
        self.master = self.make_broker(MASTER)

    def make_name_server(self, address: str) -> ScriptedPeer:
        """A name server that knows `routes`."""
        peer = ScriptedPeer(self.network, address)
        peer.on(RequestCode.GET_ROUTEINFO_BY_TOPIC, self.answer_route)
        return peer

    def answer_route(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        """The answer of a name server to a route query."""
        topic = request.ext_fields["topic"]
        known = self.routes.get(topic)
        if known is None:
            return RemotingCommand.response(request, ResponseCode.TOPIC_NOT_EXIST, f"No topic route info for {topic}")
        return RemotingCommand.response(request, body=encode_topic_route(known))

    def make_broker(self, address: str) -> ScriptedPeer:
        """A broker that answers heartbeats and goodbyes."""
        peer = ScriptedPeer(self.network, address)
        peer.on(RequestCode.HEART_BEAT, heartbeat_answer)
        peer.answer(RequestCode.UNREGISTER_CLIENT)
        return peer

    def instance(self, *, name_servers: str | None = NAME_SERVER, client_id: str = CLIENT_ID, **fields: Any) -> ClientInstance:
        """An instance on this network; `fields` are of `ClientConfig`."""
        address_service = fields.pop("address_service", None)
        config = ClientConfig(name_servers=name_servers, **fields)
        remoting = RemotingClient(config, connector=self.network.connector)
        return ClientInstance(config, client_id, remoting=remoting, address_service=address_service, wall_clock=lambda: 1_700_000_000.0)


def heartbeat_answer(
    request: RemotingCommand, _: PeerConnection | None = None, *, v2: bool = True, changed: bool = False
) -> RemotingCommand:
    """What a 5.x broker answers to a heartbeat."""
    ext = {"IS_SUPPORT_HEART_BEAT_V2": str(v2).lower(), "IS_SUB_CHANGE": str(changed).lower()}
    response = RemotingCommand.response(request, header=ext)
    response.version = BROKER_VERSION
    return response


def heartbeats(peer: ScriptedPeer) -> list[HeartbeatData]:
    """The heartbeats that a broker received."""
    return [HeartbeatData.decode(request.command.body) for request in peer.of(RequestCode.HEART_BEAT)]


@dataclass(eq=False)
class FakeProducer:
    """A `ProducerPort` that records what it is told."""

    group: str = "producers"
    topics: list[str] = field(default_factory=list)
    told: list[tuple[str, TopicPublishInfo]] = field(default_factory=list)

    def publish_topics(self) -> list[str]:
        return self.topics

    def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
        self.told.append((topic, publish))


@dataclass(eq=False)
class FakeConsumer:
    """A `ConsumerPort` that records what it is told, with the loop's time."""

    group: str = "consumers"
    topics: list[str] = field(default_factory=list)
    consume_type: ConsumeType = ConsumeType.CONSUME_PASSIVELY
    message_model: MessageModel = MessageModel.CLUSTERING
    start_from: StartFrom = StartFrom.FIRST
    unit_mode: bool = False
    balanced: bool = True
    told: list[tuple[str, tuple[MessageQueue, ...]]] = field(default_factory=list)
    rebalanced_at: list[float] = field(default_factory=list)
    persisted_at: list[float] = field(default_factory=list)
    adjusted_at: list[float] = field(default_factory=list)
    reset_to: list[dict[MessageQueue, int]] = field(default_factory=list)
    failing: BaseException | None = None
    asked: int = 0

    def subscriptions(self) -> list[SubscriptionData]:
        self.asked += 1
        return [SubscriptionData(topic, version=1) for topic in self.topics]

    def subscribes(self, topic: str) -> bool:
        return topic in self.topics

    def on_route_changed(self, topic: str, queues: tuple[MessageQueue, ...]) -> None:
        self.told.append((topic, queues))

    async def rebalance(self) -> bool:
        self.rebalanced_at.append(_now())
        self._fail()
        return self.balanced

    async def persist_offsets(self) -> None:
        self.persisted_at.append(_now())
        self._fail()

    def adjust_workers(self) -> None:
        self.adjusted_at.append(_now())
        self._fail()

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        self.reset_to.append(dict(offsets))

    def offsets(self, topic: str | None = None) -> dict[MessageQueue, int]:
        return {queue: offset for table in self.reset_to for queue, offset in table.items() if topic in (None, queue.topic)}

    def consume_directly(self, message: ReceivedMessage) -> Awaitable[ConsumeMessageDirectlyResult] | None:
        return None

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        return ConsumerRunningInfo(
            properties={"PROP_CONSUMER_START_TIMESTAMP": "1"}, jstack="stacks" if jstack else None, subscription_set=self.subscriptions()
        )

    def _fail(self) -> None:
        if self.failing is not None:
            raise self.failing


@dataclass(eq=False)
class FakeAdmin:
    """An `AdminPort`."""

    group: str = "admin"


def _now() -> float:
    return asyncio.get_running_loop().time()


def other_tasks() -> set[asyncio.Task[Any]]:
    """All tasks alive but the test's own."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def close_to(actual: Iterable[float], expected: Iterable[float]) -> bool:
    """The clock is exact but for the rounding of sums of floats."""
    one, other = list(actual), list(expected)
    return len(one) == len(other) and all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))
