"""Automatic batching on every cluster: few requests, and every message stored once, with its own id, place and content."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.send import SendOperation
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.waiting import eventually

pytestmark = pytest.mark.feature("B18")


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """The send requests that were made: for each, whether it was a batch."""
    if aiorocketmq.compiled:
        pytest.skip("objects of compiled classes let no method be replaced")
    made: list[bool] = []
    begin = SendDispatcher.begin

    def note(self: SendDispatcher, operation: SendOperation) -> None:
        made.append(operation.batch)
        begin(self, operation)

    monkeypatch.setattr(SendDispatcher, "begin", note)
    yield made


def check_places(found: list[ReceivedMessage], results: list[rmq.SendResult]) -> dict[str, ReceivedMessage]:
    """Every result names the place where its message is stored; the messages by id."""
    by_id = {message.message_id: message for message in found}
    assert len(by_id) == len(results) == len(found)
    for result in results:
        message = by_id[result.message_id]
        assert (message.queue, message.queue_offset) == (result.queue, result.queue_offset)
        assert message.offset_message_id == result.offset_message_id
    return by_id


async def test_a_hundred_small_sends_are_a_few_requests(cluster: Cluster, requests: list[bool]) -> None:
    topic = await cluster.create_topic(cluster.unique("auto"))
    async with cluster.producer(topics=[topic], auto_batch=True) as producer:
        messages = [
            rmq.Message(topic, b"%d" % number, tag=f"T{number % 2}", keys=f"key{number}", properties={"n": f"ü{number}"}, flag=-number)
            for number in range(100)
        ]
        results = await asyncio.gather(*[producer.send(message) for message in messages])
    assert len(requests) <= 10 and any(requests)
    by_id = check_places(await stored(cluster, topic, 100), results)
    for number, result in enumerate(results):
        message = by_id[result.message_id]
        assert result.ok and message.body == b"%d" % number and message.flag == -number and message.sys_flag == 0
        assert (message.tag, message.keys) == (f"T{number % 2}", (f"key{number}",)) and message.user_properties == {"n": f"ü{number}"}
        assert result.region_id == "DefaultRegion" and result.recall_handle is None


async def test_two_hundred_and_fifty_six_in_flight(cluster: Cluster, requests: list[bool]) -> None:
    topic = await cluster.create_topic(cluster.unique("autoflight"))
    async with cluster.producer(topics=[topic], auto_batch=True, max_in_flight=256) as producer:

        async def send(first: int) -> list[rmq.SendResult]:
            return [await producer.send(rmq.Message(topic, b"%d" % number + bytes(1000))) for number in range(first, 3000, 300)]

        results = [result for some in await asyncio.gather(*[send(first) for first in range(300)]) for result in some]
    assert len(requests) < 600
    by_id = check_places(await stored(cluster, topic, 3000), results)
    assert sorted(int(message.body.rstrip(b"\0")) for message in by_id.values()) == list(range(3000))


async def test_messages_of_one_key_lie_in_their_order(cluster: Cluster, requests: list[bool]) -> None:
    topic = await cluster.create_topic(cluster.unique("autokeys"))
    async with cluster.producer(topics=[topic], auto_batch=True) as producer:
        places = [(step, number) for step in range(20) for number in range(4)]
        futures = [producer.send_nowait(rmq.Message(topic, b"%d" % step), sharding_key=f"k{number}") for step, number in places]
        results = await asyncio.gather(*futures)
    assert len(requests) <= 8
    by_id = check_places(await stored(cluster, topic, 80), results)
    for number in range(4):
        mine = results[number::4]
        assert len({result.queue for result in mine}) == 1
        assert [int(by_id[result.message_id].body) for result in sorted(mine, key=lambda result: result.queue_offset)] == list(range(20))
        assert {by_id[result.message_id].sharding_key for result in mine} == {f"k{number}"}


async def test_the_largest_batch_of_the_smallest_messages_is_stored(cluster: Cluster, requests: list[bool]) -> None:
    # Stored, each of these takes more than 250 bytes: together they are more than the 4 MiB that one message may have.
    count = 20_000
    topic = await cluster.create_topic(cluster.unique("auto" + "x" * 100), 1)
    settings = {"batch_max_delay": 5.0, "batch_max_bytes": 2 * 1024 * 1024, "max_in_flight": count}
    async with cluster.producer(topics=[topic], auto_batch=True, **settings) as producer:
        futures = [producer.send_nowait(rmq.Message(topic, b"%d" % number)) for number in range(count)]
        await asyncio.sleep(0)
    results = [future.result() for future in futures]
    assert requests == [True] and [result.queue_offset for result in results] == list(range(count))
    assert len({result.offset_message_id for result in results}) == count
    async with cluster.producer() as producer:
        assert (await producer.send(rmq.Message(topic, b"next"))).queue_offset == count


async def test_what_cannot_be_batched_arrives_too(cluster: Cluster, requests: list[bool]) -> None:
    topic = await cluster.create_topic(cluster.unique("automix"))
    bodies: set[bytes] = set()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("automix"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic, "A || B")
    async def handle(message: rmq.ReceivedMessage) -> None:
        bodies.add(message.body)

    async with cluster.producer(topics=[topic], auto_batch=True) as producer, consumer:
        large = b"large" * 10_000
        messages = [
            rmq.Message(topic, b"1", tag="A"),
            rmq.Message(topic, b"2", tag="A"),
            rmq.Message(topic, b"delayed", tag="A", delay_level=1),
            rmq.Message(topic, large, tag="B"),
            rmq.Message(topic, b"3", tag="B"),
            rmq.Message(topic, b"4", tag="B", wait_store_ok=False),
            rmq.Message(topic, b"other", tag="C"),
        ]
        results = await asyncio.gather(*[producer.send_nowait(message) for message in messages])
        assert all(result.ok for result in results) and requests.count(True) == 1 and len(requests) == 6
        await eventually(lambda: bodies == {b"1", b"2", b"3", b"4", b"delayed", large}, 30)


def test_threads_share_batches(cluster: Cluster, requests: list[bool]) -> None:
    topic = cluster.unique("autosync")
    with cluster.sync_admin() as admin:
        admin.topics.create(topic, queues=2)
    with cluster.sync_producer(topics=[topic], auto_batch=True) as producer:

        def send(first: int) -> list[rmq.SendResult]:
            return [producer.send(rmq.Message(topic, b"%d" % number)) for number in range(first, 320, 16)]

        with ThreadPoolExecutor(16) as threads:
            results = [result for some in threads.map(send, range(16)) for result in some]
        futures = [producer.send_nowait(rmq.Message(topic, b"%d" % number)) for number in range(320, 400)]
        results += [future.result(20) for future in futures]
    assert len(requests) < 200 and any(requests)
    by_id = check_places(asyncio.run(stored(cluster, topic, 400)), results)
    assert sorted(int(message.body) for message in by_id.values()) == list(range(400))
