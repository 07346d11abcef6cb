"""The push consumer in a group that brokers have switched to POP."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.enums import MessageRequestMode
from aiorocketmq.protocol.bodies_client import SetMessageRequestModeRequestBody
from aiorocketmq.protocol.codes import RequestCode
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.popping import FIRST, lacks_pop
from tests.support.push import DELIVERY, Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually


def pusher(cluster: Cluster, group: str, **fields: Any) -> rmq.PushConsumer:
    return rmq.PushConsumer(cluster.name_servers, group=group, **{"start_from": FIRST, "client_rebalance": False, **fields})


async def switch(cluster: Cluster, topic: str, group: str, mode: MessageRequestMode) -> None:
    """Tell the broker how a group consumes a topic, as `mqadmin setConsumeMode` does."""
    body = SetMessageRequestModeRequestBody(topic, group, mode).encode()
    async with cluster.admin() as admin:
        await admin._kernel.calls.call(cluster.broker_address, RequestCode.SET_MESSAGE_REQUEST_MODE, body=body)


async def pops(cluster: Cluster, consumer: rmq.PushConsumer, topic: str) -> None:
    wanted = frozenset({rmq.MessageQueue(topic, cluster.broker_name, -1)})
    await eventually(lambda: consumer.popped == wanted, DELIVERY, message="the group pops")


@pytest.mark.feature("H1", "H2", "H4", "H6")
async def test_a_group_is_switched_to_pop_and_back_while_it_consumes(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "switched"), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    inbox, failed = Inbox(), set[bytes]()
    consumer = pusher(cluster, group)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        if message.body.endswith(b"7") and message.body not in failed:
            failed.add(message.body)
            return rmq.Retry(delay_level=1)
        inbox.take(message)
        return None

    async with cluster.producer() as producer, consumer:
        assert consumer.instance is not None
        await owns(consumer, topic, 4)
        await send(producer, topic, numbered(20))
        await inbox.has(19)
        await switch(cluster, topic, group, MessageRequestMode.POP)
        consumer.instance.rebalance.wake()
        await pops(cluster, consumer, topic)
        assert not [queue for queue in consumer.assigned if queue.topic == topic]
        await send(producer, topic, numbered(20, 20))
        await inbox.has(40)
        again = {message.body: message for message in inbox.messages}[b"37"]
        assert (again.topic, again.reconsume_times) == (topic, 1)
        await switch(cluster, topic, group, MessageRequestMode.PULL)
        consumer.instance.rebalance.wake()
        await owns(consumer, topic, 4)
        assert consumer.popped == frozenset()
        await send(producer, topic, numbered(10, 40))
        await inbox.has(50)
    assert inbox.counts == Counter(numbered(50)), "nothing twice"


@pytest.mark.feature("H9", "H12")
async def test_a_slow_listener_holds_popping_back_and_what_is_too_late_comes_again(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "slow", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    tries: list[bytes] = []
    release = asyncio.Event()
    consumer = pusher(cluster, group, pop_threshold_for_queue=4, pop_invisible_time=5.0, concurrency=4)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        tries.append(message.body)
        if message.reconsume_times == 0:
            await release.wait()

    async with cluster.producer() as producer:
        await switch(cluster, topic, group, MessageRequestMode.POP)
        await send(producer, topic, numbered(12))
        async with consumer:
            await eventually(lambda: len(tries) == 4, DELIVERY)
            assert consumer.instance is not None
            (info,) = consumer.instance.clients.consumers[group].running_info(False).mq_pop_table.values()
            assert info.wait_ack_count == 4 and info.last_pop_timestamp > 0
            await asyncio.sleep(6.5)  # their time is over, and nobody else has begun
            assert len(tries) == 4, "what waits for a worker would lose a try for nothing"
            release.set()
            await eventually(lambda: Counter(tries) == Counter(numbered(12) + numbered(4)), DELIVERY)


@pytest.mark.feature("H4", "F25")
async def test_a_stop_gives_back_and_what_fails_too_often_is_a_dead_letter(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "stopped", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    begun, gate, inbox = Inbox(), asyncio.Event(), Inbox()
    first = pusher(cluster, group, concurrency=1, instance_name=f"{group}-a")
    second = pusher(cluster, group, max_reconsume_times=1, instance_name=f"{group}-b")

    @first.listen(topic)
    async def slow(message: rmq.ReceivedMessage) -> None:
        begun.take(message)
        await gate.wait()

    @second.listen(topic)
    def bad(messages: rmq.ReceivedMessage) -> None:
        inbox.take(messages)
        if messages.body == b"3":
            raise ValueError("never")

    async with cluster.producer() as producer:
        await switch(cluster, topic, group, MessageRequestMode.POP)
        await send(producer, topic, numbered(5))
        async with first:
            await begun.has(1)
            stopping = asyncio.create_task(first.stop())
            await asyncio.sleep(0.1)
            gate.set()
            await stopping
        async with second:
            await inbox.has(4)
            (dead,) = await stored(cluster, f"%DLQ%{group}", 1, timeout=DELIVERY)
            assert dead.body == b"3" and dead.origin_topic == topic
    assert sorted(begun.bodies + inbox.bodies) == numbered(5), "each was consumed once"


@pytest.mark.feature("F48", "H1")
async def test_what_waits_for_a_limited_rate_loses_no_try(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "paced", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    inbox = Inbox()
    consumer = pusher(cluster, group, pop_invisible_time=5.0, rate_limit=10.0)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    async with cluster.producer() as producer:
        await switch(cluster, topic, group, MessageRequestMode.POP)
        await send(producer, topic, numbered(90))
        async with consumer:
            await inbox.has(90)
    assert inbox.counts == Counter(numbered(90))
    assert {message.reconsume_times for message in inbox.messages} == {0}, "each was given to the listener when it came first"
