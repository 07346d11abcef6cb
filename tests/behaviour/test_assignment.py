"""Queues that brokers share out, and what members do where brokers cannot."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.errors import BrokerError
from aiorocketmq.model.enums import MessageRequestMode
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.server import LocalCluster
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

WITHOUT = ("4.9.7",)


def member(cluster: Cluster, group: str, topic: str, inbox: Inbox, *, by_broker: bool, name: str) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, client_rebalance=not by_broker, instance_name=name
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    return consumer


@pytest.mark.feature("G11")
async def test_brokers_share_out_the_queues_and_members_do_where_brokers_cannot(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "told", 4), cluster.unique("g")
    inboxes = [Inbox(), Inbox(), Inbox()]
    first = member(cluster, group, topic, inboxes[0], by_broker=True, name=f"{group}-a")
    second = member(cluster, group, topic, inboxes[1], by_broker=True, name=f"{group}-b")
    third = member(cluster, group, topic, inboxes[2], by_broker=False, name=f"{group}-c")
    async with cluster.producer() as producer, first:
        await owns(first, topic, 4)
        assert first.instance is not None
        ask = first.instance.broker_api.query_assignment(cluster.broker_address, topic, group, first.client_id, "AVG")
        if cluster.kind in WITHOUT:
            with pytest.raises(BrokerError) as caught:
                await ask
            assert caught.value.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
        else:
            told = await ask
            assert told is not None
            assert set(told) == {queue for queue in first.assigned if queue.topic == topic}
            assert set(told.values()) == {MessageRequestMode.PULL}
        await send(producer, topic, numbered(20))
        async with second:
            await asyncio.gather(owns(first, topic, 2), owns(second, topic, 2))
            await send(producer, topic, numbered(20, 20))
            async with third:  # it works out by itself what the broker tells the others
                await asyncio.gather(owns(first, topic, 2), owns(second, topic, 1), owns(third, topic, 1))
                await send(producer, topic, numbered(20, 40))
                await eventually(lambda: sum(map(len, inboxes)) == 60)
        await owns(first, topic, 4)
    assert inboxes[0].counts + inboxes[1].counts + inboxes[2].counts == dict.fromkeys(numbered(60), 1)


@pytest.mark.feature("G11", "F26")
async def test_retries_come_where_brokers_share_out_the_queues(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "toldretry", 2), cluster.unique("g")
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, client_rebalance=False)
    times: list[int] = []

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> object:
        times.append(message.reconsume_times)
        return None if message.reconsume_times else rmq.Retry(delay_level=1)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"again"])
        await eventually(lambda: times == [0, 1], 60)


@pytest.mark.feature("G11")
async def test_an_embedded_broker_shares_out_the_queues_of_the_others_too() -> None:
    async with LocalCluster(brokers=2) as cluster:
        await cluster.create_topic("wide", queues=2)
        consumer = rmq.PushConsumer(cluster.name_servers, group="wide", client_rebalance=False)
        consumer.listen("wide")(lambda message: None)
        async with consumer:
            await owns(consumer, "wide", 4)
            assert consumer.instance is not None
            for broker in cluster.brokers:
                told = await consumer.instance.broker_api.query_assignment(broker.address, "wide", "wide", consumer.client_id, "AVG")
                assert told is not None
                assert {(queue.broker_name, queue.queue_id) for queue in told} == {
                    (each.name, number) for each in cluster.brokers for number in range(2)
                }
