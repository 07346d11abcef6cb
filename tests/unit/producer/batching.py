"""Producers that batch by themselves, and brokers that answer batches as real ones do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import Producer
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import BatchItem, decode_batch
from tests.support.memory_transport import PeerConnection
from tests.unit.producer.world import BATCH, SEND, TOPIC, Broker, SendWorld


class BatchBroker:
    """Makes a `Broker` of the world answer batches as real ones do: with the ids of all messages.

    Attributes:
        broker: The broker.
        items: The messages that it stored, those of batches and single ones, in their order.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.items: list[BatchItem] = []
        for code in (SEND, BATCH):
            broker.peer.on(code, self._take)

    def _take(self, request: RemotingCommand, connection: PeerConnection) -> Any:
        broker = self.broker
        items = decode_batch(request.body) if request.code == BATCH else [BatchItem(0, request.body, b"")]
        first = len(self.items)
        extra = {
            "msgId": ",".join(f"{broker.name}-{first + index}" for index in range(len(items))),
            "queueOffset": str(first),
        }
        kept, broker.extra = broker.extra, extra | broker.extra
        stored = len(broker.stored)
        try:
            return broker._take(request, connection)
        finally:
            broker.extra = kept
            if len(broker.stored) > stored:
                self.items += items

    @property
    def bodies(self) -> list[bytes]:
        return [item.body for item in self.items]

    @property
    def sizes(self) -> list[int]:
        """How many messages each request held; 0 for a plain send."""
        return [len(decode_batch(request.body)) if request.code == BATCH else 0 for _, _, request in self.broker.sends]


async def start_on(
    world: SendWorld, names: Sequence[str], *, topics: Sequence[str] = (TOPIC,), **fields: Any
) -> tuple[Producer, list[BatchBroker]]:
    """A batching producer that is connected to these brokers, and the brokers."""
    for topic in topics:
        world.route_to(*names, topic=topic)
    brokers = [BatchBroker(world.broker(name)) for name in names]
    producer = world.producer(auto_batch=True, topics=topics, **fields)
    await producer.start()
    for made in brokers:
        await producer.send_batch([Message(topics[0], b"warm")], queue=MessageQueue(topics[0], made.broker.name, 0))
        made.broker.sends.clear()
        made.broker.stored.clear()
        made.items.clear()
    return producer, brokers


async def start(world: SendWorld, **options: Any) -> tuple[Producer, BatchBroker]:
    """The same with one broker."""
    producer, (made,) = await start_on(world, ["broker-a"], **options)
    return producer, made


def in_flight(producer: Producer) -> tuple[int, int, int]:
    """Messages and bytes in the window, and bytes held in batches."""
    assert producer._dispatcher is not None and producer._accumulator is not None
    return producer._dispatcher.window.messages, producer._dispatcher.window.bytes, producer._accumulator.held


def bodies(count: int, size: int = 0) -> list[bytes]:
    return [(b"%d" % number).ljust(size, b".") for number in range(count)]
