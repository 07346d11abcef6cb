"""What the tests of the push consumer share: a listener that remembers, and sending in a row."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.waiting import eventually

DELIVERY = 30.0
"""Seconds that bound a hang; deliveries take milliseconds, first ones on a real broker a second or two."""


class Inbox:
    """Remembers the messages of a listener, in the order of its calls."""

    def __init__(self) -> None:
        self.messages: list[rmq.ReceivedMessage] = []
        self.calls: list[int] = []

    def take(self, messages: rmq.ReceivedMessage | list[rmq.ReceivedMessage]) -> None:
        """Call it from a listener."""
        batch = messages if isinstance(messages, list) else [messages]
        self.calls.append(len(batch))
        self.messages.extend(batch)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    @property
    def counts(self) -> Counter[bytes]:
        return Counter(self.bodies)

    def __len__(self) -> int:
        return len(self.messages)

    async def has(self, count: int, timeout: float = DELIVERY) -> None:
        """Wait for so many messages."""
        await eventually(lambda: len(self) >= count, timeout, message=f"{count} messages")


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(start, start + count)]


async def send(
    producer: rmq.Producer,
    topic: str,
    bodies: Iterable[bytes],
    *,
    queue: rmq.MessageQueue | None = None,
    sharding_key: Callable[[bytes], str] | None = None,
    tag: str | None = None,
) -> None:
    """Send messages one after the other, each stored before the next one."""
    for body in bodies:
        message = rmq.Message(topic, body, tag=tag)
        key = sharding_key(body) if sharding_key is not None else None
        result = await producer.send(message, queue=queue, sharding_key=key)
        assert result.ok


async def new_topic(cluster: Cluster, prefix: str, queues: int = 4) -> str:
    return await cluster.create_topic(cluster.unique(prefix), queues)


async def owns(consumer: rmq.PushConsumer, topic: str, count: int, timeout: float = DELIVERY) -> None:
    """Wait until a consumer owns so many queues of a topic."""
    await eventually(
        lambda: sum(queue.topic == topic for queue in consumer.assigned) == count, timeout, message=f"{count} queues of {topic} owned"
    )


class Gate:
    """Listeners wait at it until it is opened, and it counts them."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def __call__(self) -> None:
        self.waiting += 1
        await self._open.wait()
