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
from tests.wire.world import NAME_SERVER, World

SEND = RequestCode.SEND_MESSAGE_V2
BATCH = RequestCode.SEND_BATCH_MESSAGE
TOPIC = "orders"


class Broker:
    """A broker that stores messages.

    Attributes:
        peer: Its end of the network.
        sends: Every send it received, refused ones included, with the time.
        stored: Bodies of the messages it stored, in order.
        answers: What to answer to the next sends: a response code, or None to stay silent; then everything is stored.
        always: The same for all sends after that.
        extra: Additional fields of its answers.
    """

    def __init__(self, world: SendWorld, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.peer: ScriptedPeer = world.make_broker(address)
        self.sends: list[tuple[float, SendMessageRequestHeaderV2, RemotingCommand]] = []
        self.stored: list[bytes] = []
        self.answers: list[int | None] = []
        self.always: int | None = 0
        self.extra: dict[str, str] = {}
        self.delay = 0.0
        for code in (SEND, BATCH):
            self.peer.on(code, self._take)

    async def _later(self, answer: RemotingCommand) -> RemotingCommand:
        await asyncio.sleep(self.delay)
        return answer

    def _take(self, request: RemotingCommand, connection: PeerConnection) -> Any:
        header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
        self.sends.append((asyncio.get_running_loop().time(), header, request))
        code = self.answers.pop(0) if self.answers else self.always
        if code is None:
            return None
        if code in (0, 10, 11, 12):
            self.stored.append(request.body)
        fields = {
            "msgId": f"{len(self.sends):032X}",
            "queueId": str(header.queue_id),
            "queueOffset": str(len(self.stored) - 1),
            "MSG_REGION": "DefaultRegion",
            "TRACE_ON": "true",
        }
        answer = RemotingCommand.response(request, code, None if code == 0 else f"remark {code}", header=fields | self.extra)
        return self._later(answer) if self.delay else answer

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
