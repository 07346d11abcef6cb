"""A world for producers: brokers that store what they are sent, or refuse it as the test says, on an in-memory network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.producer import Producer
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import PeerConnection, ScriptedPeer
from tests.support.send_script import SendScript
from tests.wire.world import NAME_SERVER, World

SEND = RequestCode.SEND_MESSAGE_V2
BATCH = RequestCode.SEND_BATCH_MESSAGE
TOPIC = "orders"


class Broker(SendScript):
    """A broker that stores messages.

    Attributes:
        peer: Its end of the network.
        sends: Every send it received, refused ones included, with the time.
    """

    def __init__(self, world: SendWorld, name: str, address: str) -> None:
        super().__init__()
        self.name = name
        self.address = address
        self.peer: ScriptedPeer = world.make_broker(address)
        self.sends: list[tuple[float, SendMessageRequestHeaderV2, RemotingCommand]] = []
        for code in (SEND, BATCH):
            self.peer.on(code, self._take)

    def _take(self, request: RemotingCommand, connection: PeerConnection) -> Any:
        header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
        self.sends.append((asyncio.get_running_loop().time(), header, request))
        return self.answer(request, header, len(self.sends), self.next_code())

    @property
    def headers(self) -> list[SendMessageRequestHeaderV2]:
        return [header for _, header, _ in self.sends]

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.sends]

    def down(self) -> None:
        """Die as a process does: connections break, new ones are refused."""
        self.peer.refuse = True
        self.peer.drop()

    def up(self) -> None:
        self.peer.refuse = False


class SendWorld(World):
    """A name server, brokers, and producers on them."""

    def __init__(self) -> None:
        super().__init__()
        self.brokers: dict[str, Broker] = {}
        self.instances: list[ClientInstance] = []
        self.on_instance: Callable[[ClientInstance], None] = lambda instance: None

    def broker(self, name: str = "broker-a") -> Broker:
        """The broker of this name, made when there is none."""
        if name not in self.brokers:
            self.brokers[name] = Broker(self, name, f"{name}:10911")
        return self.brokers[name]

    def route_to(self, *names: str, topic: str = TOPIC, queues: int = 4, perm: int = 6) -> list[Broker]:
        """Have the name server lead a topic to these brokers."""
        brokers = [self.broker(name) for name in names]
        self.routes[topic] = TopicRouteData(
            tuple(QueueData(broker.name, queues, queues, perm) for broker in brokers),
            tuple(BrokerData("DefaultCluster", broker.name, {0: broker.address}) for broker in brokers),
        )
        return brokers

    def make_instance(self, config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        remoting = RemotingClient(config, connector=self.network.connector)
        instance = ClientInstance(config, client_id, index=index, remoting=remoting)
        self.instances.append(instance)
        self.on_instance(instance)
        return instance

    def producer(self, **fields: Any) -> Producer:
        """A producer on this network."""
        fields.setdefault("group", "producers")
        return Producer(fields.pop("name_servers", NAME_SERVER), **fields)

    @property
    def in_flight(self) -> int:
        """Requests that await an answer, over all instances."""
        return sum(instance.remoting.in_flight for instance in self.instances)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SendWorld:
    """An empty world; producers made in the test live in it."""
    made = SendWorld()
    monkeypatch.setattr(manager.shared, "make", made.make_instance)
    return made


def queue_of(header: SendMessageRequestHeaderV2) -> MessageQueue:
    """The queue that a send went to."""
    return MessageQueue(header.topic, header.broker_name or "", header.queue_id)


def now() -> float:
    return asyncio.get_running_loop().time()
