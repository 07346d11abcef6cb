"""Delays by time and shrinking topics on real brokers."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster


@pytest.mark.feature("A18")
async def test_a_delay_by_time_is_kept_or_refused(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("later"), 1)
    async with cluster.producer() as producer:
        message = rmq.Message(topic, b"x", delay=1.0)
        if cluster.kind == "4.9.7":
            for _ in range(2):
                with pytest.raises(rmq.NotSupportedByBrokerError, match="V4_9_7"):
                    await producer.send(message)
            assert (await producer.send(rmq.Message(topic, b"x", delay_level=1))).ok
        else:
            assert (await producer.send(message)).ok
            with pytest.raises(rmq.MessageRefusedError) as caught:
                await producer.send(rmq.Message(topic, b"x", delay=86400.0 * 300))
            assert not caught.value.maybe_stored and isinstance(caught.value, rmq.InvalidMessageError)


@pytest.mark.feature("B7", "B10")
async def test_sends_follow_a_topic_that_gets_fewer_queues(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("shrinking"), 8)
    results: list[rmq.SendResult] = []
    async with cluster.producer() as producer, rmq.AdminClient(cluster.name_servers) as admin:
        stop = asyncio.Event()

        async def send() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                key = f"k{number % 3}" if number % 2 else None
                results.append(await producer.send(rmq.Message(topic, b"%d" % number), sharding_key=key))

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(0.5)
        await admin.topics.update(topic, queues=2)
        await asyncio.sleep(1.0)
        stop.set()
        await sending
    assert all(result.ok for result in results) and max(result.queue.queue_id for result in results) > 1
    assert {result.queue.queue_id for result in results[-5:]} <= {0, 1}
