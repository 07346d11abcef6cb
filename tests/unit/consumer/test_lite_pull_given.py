"""The lite pull consumer: what counts as given and as consumed when tasks meet, queues are paused or told anew, and brokers delete."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
TOPIC = "t"


def lite(cluster: LocalCluster, *topics: str, **fields: object) -> rmq.LitePullConsumer:
    return rmq.LitePullConsumer(cluster.name_servers, group="g", topics=topics, start_from=FIRST, **fields)  # type: ignore[arg-type]


async def send(cluster: LocalCluster, count: int, queue: rmq.MessageQueue | None = None, **fields: object) -> None:
    async with rmq.Producer(cluster.name_servers, group="p") as producer:
        for number in range(count):
            await producer.send(rmq.Message(TOPIC, b"%d" % number, **fields), queue=queue)  # type: ignore[arg-type]


@pytest.mark.feature("I14")
@pytest.mark.parametrize("auto", [True, False])
async def test_what_was_pulled_before_a_broker_deleted_it_is_given(auto: bool) -> None:
    async with LocalCluster(retention_age=3600, retention_interval=0.05) as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 60)
        async with lite(cluster, TOPIC, pull_threshold_for_queue=10, pull_batch_size=8, auto_commit=auto) as consumer:
            (queue,) = consumer.assigned
            await eventually(lambda: consumer.backlog > 10)
            waiting = consumer.backlog
            (first,) = await consumer.poll(1)
            await cluster.advance(7200)
            await asyncio.sleep(0.3)
            await send(cluster, 2)
            got = [first]
            async with asyncio.timeout(20):
                while len(got) < waiting + 2:
                    messages = await consumer.poll(3, timeout=1)
                    if messages:
                        await consumer.commit(messages[-1])
                    got += messages
            assert [message.queue_offset for message in got] == [*range(waiting), 60, 61]
            assert await consumer.committed(queue) == 62
