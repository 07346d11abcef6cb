"""Compressed bodies of every kind, in single sends and in batches."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.packages import need
from tests.support.push import Inbox, new_topic

MIB = 1024 * 1024


@pytest.mark.feature("A11", "A13")
@pytest.mark.parametrize("kind", rmq.CompressionType)
async def test_bodies_of_every_compression_come_back(cluster: Cluster, kind: rmq.CompressionType) -> None:
    need(kind)
    topic = await new_topic(cluster, "packed", 1)
    bodies = [b"small", b"rocket\0" * 1000, b"rocket\xff" * 300_000]
    async with cluster.producer(compress_type=kind) as producer:
        for body in bodies:
            await producer.send(rmq.Message(topic, body))
    found = await stored(cluster, topic, 3)
    assert [message.sys_flag & 0x701 for message in found] == [0, kind.value << 8 | 1, kind.value << 8 | 1]
    assert [message.store_size < 100_000 for message in found] == [True] * 3
    assert [message.body for message in found] == bodies


@pytest.mark.feature("A11", "A15")
@pytest.mark.parametrize("kind", rmq.CompressionType)
async def test_compressed_batches_come_back(cluster: Cluster, kind: rmq.CompressionType) -> None:
    need(kind)
    topic = await new_topic(cluster, "packedbatch", 1)
    bodies = [bytes([65 + index]) * 5000 for index in range(20)]
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.producer(compress_type=kind, compress_batches=True) as producer, consumer:
        result = await producer.send_batch([rmq.Message(topic, body, keys=f"k{index}") for index, body in enumerate(bodies)])
        await inbox.has(20)
    found = sorted(inbox.messages, key=lambda message: message.queue_offset)  # threads take them in any order
    assert [message.body for message in found] == bodies and all(message.store_size < 1000 for message in found)
    assert [message.message_id for message in found] == result.message_id.split(",")


@pytest.mark.feature("A11", "B18")
async def test_batches_that_gather_by_themselves_are_compressed_too(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "packedauto", 1)
    bodies = [bytes([65 + index]) * 2000 for index in range(10)]
    async with cluster.producer(auto_batch=True, compress_batches=True, topics=[topic]) as producer:
        for future in [producer.send_nowait(rmq.Message(topic, body)) for body in bodies]:
            assert (await future).ok
    found = await stored(cluster, topic, 10)
    assert sorted(message.body for message in found) == bodies and any(message.sys_flag & 0x701 == 0x301 for message in found)


@pytest.mark.feature("A13")
async def test_a_body_beyond_the_limit_is_poison_and_the_others_are_consumed(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "bomb", 1)
    group = cluster.unique("g")
    inbox, dead = Inbox(), Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, max_reconsume_times=0, max_decompressed_length=MIB
    )
    undertaker = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("u"), start_from=rmq.StartFrom.FIRST)
    undertaker.listen(f"%DLQ%{group}")(dead.take)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        assert message.body
        inbox.take(message)

    async with cluster.producer() as producer, consumer:
        for body in (b"before", bytes(2 * MIB), b"after"):
            await producer.send(rmq.Message(topic, body))
        await inbox.has(2)
        async with undertaker:
            await dead.has(1, 40)
    assert sorted(inbox.bodies) == [b"after", b"before"] and dead.bodies == [bytes(2 * MIB)]


@pytest.mark.feature("A14", "Q61")
async def test_bodies_stay_compressed_or_are_left_out_on_request(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "asis", 1)
    async with cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"x" * 10_000, tag="T"))
    for fields, wanted in (({"decode_decompress_body": False}, b"x\x9c"), ({"decode_read_body": False}, b"")):
        inbox = Inbox()
        consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST, **fields)  # type: ignore[arg-type]
        consumer.listen(topic, "T")(inbox.take)
        async with consumer:
            await inbox.has(1)
        (message,) = inbox.messages
        if wanted:
            assert len(message.body) < 200 and message.sys_flag & 0x701 == 0x301
        else:
            assert message.body == b"" and message.store_size > 0
