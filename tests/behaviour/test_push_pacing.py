"""A push consumer that is told to hold back: topics and queues that are paused, limits on its rate."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.support.clusters import Cluster
from tests.support.push import Gate, Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


@pytest.mark.feature("F36")
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_topic_and_a_queue_pause_while_others_go_on(cluster: Cluster, ordered: bool) -> None:
    paused, other = await new_topic(cluster, "paused", 1), await new_topic(cluster, "other", 2)
    gate, inbox, others = Gate(), Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, ordered=ordered, concurrency=4)

    @consumer.listen(paused)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        await gate()

    @consumer.listen(other)
    def handle_other(message: rmq.ReceivedMessage) -> None:
        others.take(message)

    async with cluster.producer() as producer, consumer:
        await owns(consumer, other, 2)
        await send(producer, paused, numbered(10))
        await inbox.has(1)
        still, moving = (rmq.MessageQueue(other, cluster.broker_name, queue_id) for queue_id in range(2))
        consumer.pause(paused, still)
        gate.open()
        begun = len(inbox)
        await send(producer, other, numbered(3), queue=moving)
        await send(producer, other, numbered(3, 3), queue=still)
        await others.has(3)
        await asyncio.sleep(0.5)
        assert (len(inbox), others.bodies) == (begun, numbered(3))
        assert consumer.paused() == {still, rmq.MessageQueue(paused, cluster.broker_name, 0)}
        consumer.resume(paused, still)
        await inbox.has(10)
        await others.has(6)
    assert inbox.counts == dict.fromkeys(numbered(10), 1)
    assert others.counts == dict.fromkeys(numbered(6), 1)


@pytest.mark.feature("F48")
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_consumer_takes_no_more_than_100_messages_a_second(cluster: Cluster, ordered: bool) -> None:
    topic = await new_topic(cluster, "rate", 2)
    clock, times = asyncio.get_running_loop().time, list[float]()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, ordered=ordered, rate_limit=100)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        times.append(clock())

    async with cluster.producer() as producer:
        for _ in range(8):
            await producer.send_batch([rmq.Message(topic, body) for body in numbered(50)])
        async with consumer:
            await eventually(lambda: len(times) > 200)
            # A machine that stands still makes it fewer; `tests/unit/consumer/test_pacing.py` has exact figures.
            assert 30 <= len(times) / (times[-1] - times[0]) <= 110
            consumer.limit_rate(None)
            await eventually(lambda: len(times) == 400)


@pytest.mark.feature("F36")
def test_a_blocking_consumer_pauses(cluster: Cluster) -> None:
    async def topic_of() -> str:
        return await new_topic(cluster, "held", 1)

    topic = asyncio.run(topic_of())
    inbox = Inbox()
    consumer = aiorocketmq.sync.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    consumer.listen(topic)(inbox.take)
    consumer.pause()
    consumer.limit_rate(1000, topic)
    with aiorocketmq.sync.Producer(cluster.name_servers, group=cluster.unique("p")) as producer, consumer:
        for body in numbered(3):
            producer.send(rmq.Message(topic, body))
        asyncio.run(asyncio.sleep(1.0))
        assert inbox.bodies == []
        assert consumer.paused_topics == {topic}
        consumer.resume()
        asyncio.run(inbox.has(3))
        assert not consumer.paused_topics
        assert consumer.rate_limits == {topic: 1000.0}
