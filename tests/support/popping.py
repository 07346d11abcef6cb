"""What the tests of POP share: consumers, and what a broker without POP says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.push import DELIVERY

FIRST = rmq.StartFrom.FIRST


def popper(cluster: Cluster, group: str, *topics: str, **fields: Any) -> rmq.PopConsumer:
    """A consumer that begins with the oldest messages."""
    return rmq.PopConsumer(cluster.name_servers, group=group, topics=topics, **{"start_from": FIRST, **fields})


async def lacks_pop(cluster: Cluster, topic: str, group: str) -> bool:
    """True on brokers without POP, which must have said so."""
    if cluster.kind != LAST_OF_4:
        return False
    consumer = popper(cluster, group, topic)
    with pytest.raises(rmq.NotSupportedByBrokerError, match="V4_9_7: it has no POP"):
        await consumer.start()
    return True


async def receive_all(consumer: rmq.PopConsumer, count: int, **how: Any) -> list[rmq.ReceivedMessage]:
    """Receive until so many messages came."""
    messages: list[rmq.ReceivedMessage] = []
    async with asyncio.timeout(DELIVERY):
        while len(messages) < count:
            messages += await consumer.receive(wait=2.0, **how)
    return messages
