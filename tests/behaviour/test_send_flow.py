"""Where messages go and how many can be on their way: queues, keys, selectors, the window, many senders."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.waiting import eventually


@pytest.mark.feature("B2", "B17", "B26", "A5")
async def test_two_thousand_in_flight(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("flight"))
    async with cluster.producer(max_in_flight=2000) as producer:
        futures = [producer.send_nowait(rmq.Message(topic, b"%d" % number)) for number in range(2000)]
        with pytest.raises(rmq.WindowFullError):
            producer.send_nowait(rmq.Message(topic, b"one too many"))
        results = await asyncio.gather(*futures)
    assert all(result.ok for result in results)
    assert len({result.message_id for result in results}) == len({result.offset_message_id for result in results}) == 2000
    found = await stored(cluster, topic, 2000)
    by_id = {message.message_id: message for message in found}
    for number, result in enumerate(results):
        message = by_id[result.message_id]
        assert int(message.body) == number and (message.queue, message.queue_offset) == (result.queue, result.queue_offset)


@pytest.mark.feature("B2", "B17")
async def test_many_tasks_share_a_small_window(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("window"))
    async with cluster.producer(max_in_flight=16) as producer:
        results = await asyncio.gather(*(producer.send(rmq.Message(topic, b"%d" % number)) for number in range(500)))
    assert all(result.ok for result in results)
    found = await stored(cluster, topic, 500)
    assert sorted(int(message.body) for message in found) == list(range(500))


@pytest.mark.feature("B7")
async def test_queues_take_turns(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("turns"), 8)
    async with cluster.producer() as producer:
        queues = [(await producer.send(rmq.Message(topic, b"x"))).queue.queue_id for _ in range(16)]
    assert sorted(queues) == sorted([*range(8), *range(8)])


@pytest.mark.feature("B5", "B6", "A20")
async def test_messages_of_one_key_keep_their_order_in_one_queue(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("keys"), 4)
    keys = [f"order-{number}" for number in range(10)]
    async with cluster.producer() as producer:

        async def send_in_turn(key: str) -> None:
            for step in range(30):
                await producer.send(rmq.Message(topic, b"%d" % step, keys=key), sharding_key=key)

        await asyncio.gather(*map(send_in_turn, keys))
        # The same key goes the same way by the other two doors.
        hashed = [await producer.send(rmq.Message(topic, b"30", keys=key), selector=rmq.SelectByHash(key)) for key in keys]
        waited = [await producer.send(rmq.Message(topic, b"31", keys=key), sharding_key=key) for key in keys]
    assert [result.queue for result in hashed] == [result.queue for result in waited]
    found = await stored(cluster, topic, 320)
    for key in keys:
        mine = [message for message in found if message.keys == (key,)]
        assert len({message.queue for message in mine}) == 1
        assert [int(message.body) for message in mine] == list(range(32))


@pytest.mark.feature("B4", "B5")
async def test_a_queue_can_be_given_or_selected(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("queue"), 4)
    async with cluster.producer() as producer:
        queues = await producer.fetch_publish_message_queues(topic)
        assert queues == tuple(rmq.MessageQueue(topic, cluster.broker_name, number) for number in range(4))
        assert (await producer.send(rmq.Message(topic, b"a"), queue=queues[2])).queue == queues[2]
        assert (await producer.send_nowait(rmq.Message(topic, b"b"), queue=queues[2])).queue == queues[2]
        await producer.send_oneway(rmq.Message(topic, b"c"), queue=queues[2])
        assert (await producer.send_batch([rmq.Message(topic, b"d")], queue=queues[2])).queue == queues[2]
        last = await producer.send(rmq.Message(topic, b"e"), selector=lambda available, message: available[len(message.body) - 1])
        assert last.queue == queues[0]
    found = await stored(cluster, topic, 5)
    # Nothing is known of the order of a one-way send and the next one: a broker works on several requests at once.
    assert sorted(message.body for message in found if message.queue.queue_id == 2) == [b"a", b"b", b"c", b"d"]


@pytest.mark.feature("B24", "K2")
async def test_ten_producers_share_one_connection(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("shared"))
    producers = [cluster.producer() for _ in range(10)]
    for producer in producers:
        await producer.start()
    try:
        assert len({producer.client_id for producer in producers}) == 1
        await asyncio.gather(*(producer.send(rmq.Message(topic, b"x")) for producer in producers))
        found = await stored(cluster, topic, 10)
        assert len({message.born_host for message in found}) == 1
    finally:
        for producer in producers:
            await producer.stop()


@pytest.mark.feature("B24")
async def test_stop_leaves_nothing_behind(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("stop"))
    before = asyncio.all_tasks()
    async with cluster.producer() as producer:
        futures = [producer.send_nowait(rmq.Message(topic, b"%d" % number)) for number in range(200)]
    assert all(future.done() and future.result().ok for future in futures)
    await eventually(lambda: asyncio.all_tasks() <= before)
    with pytest.raises(rmq.ClientClosedError):
        await producer.send(rmq.Message(topic, b"x"))
