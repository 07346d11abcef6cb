"""The pull consumer beside a topic that nobody is subscribed to: its route is forgotten, and asked for when it is needed."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster


@pytest.mark.feature("J1", "J3", "J5")
async def test_what_is_forgotten_of_a_topic_is_asked_for_again() -> None:
    async with (
        LocalCluster() as cluster,
        rmq.Producer(cluster.name_servers, group="p", instance_name="other") as producer,
        rmq.PullConsumer(cluster.name_servers, group="g") as consumer,
    ):
        await cluster.create_topic("t", queues=1)
        await producer.send(rmq.Message("t", b"1"))
        (queue,) = await consumer.queues("t")
        instance = consumer.instance
        assert instance is not None

        async def forget() -> None:
            await instance.routes.update_all()
            instance.routes.drop_offline_brokers()
            assert instance.find_broker_address_in_subscribe(queue.broker_name, 0) is None

        await forget()
        assert await consumer.min_offset(queue) == 0
        await forget()
        (message,) = await consumer.pull(queue, 0)
        await forget()
        await consumer.commit({queue: 1})
        await forget()
        assert await consumer.committed(queue) == 1
        await forget()
        assert await consumer.search_offset(queue, 0) == 0
        await forget()
        await consumer.send_back(message, 1)
        await asyncio.gather(*[consumer.pull(queue, 0) for _ in range(20)], *[forget() for _ in range(5)], return_exceptions=False)


@pytest.mark.feature("J1")
async def test_a_broker_that_does_not_answer_costs_the_time_that_was_given() -> None:
    async with LocalCluster() as cluster, rmq.PullConsumer(cluster.name_servers, group="g") as consumer:
        await cluster.create_topic("t", queues=1)
        (queue,) = await consumer.queues("t")
        cluster.brokers[0].pause()
        try:
            began = asyncio.get_running_loop().time()
            with pytest.raises(rmq.RequestTimeoutError):
                await consumer.pull(queue, 0, wait=0.2, timeout=0.3)
            assert 0.45 <= asyncio.get_running_loop().time() - began < 5
        finally:
            cluster.brokers[0].proceed()
        assert not await consumer.pull(queue, 0)
