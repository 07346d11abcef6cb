"""What is sent is what is stored: every field, every size, every kind of send, on every cluster."""

from __future__ import annotations

import random
import time
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.offset_id import OffsetMessageId
from tests.behaviour.stored import read_topic, stored
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.waiting import eventually

MIB = 1024 * 1024


@pytest.mark.feature("A1", "A3", "A4", "A20", "A22", "A23", "B1", "B21")
async def test_every_field_comes_back(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("fields"))
    ramp = bytes(range(256))
    message = rmq.Message(
        topic,
        ramp,
        tag="TagÄ",
        keys=["key-1", "schlüssel"],
        properties={"user": "wert", "unicode": "中文 🚀", "with space": " a b ", "equal=sign": "x;y=z"},
        flag=-123456,
        sharding_key="shard",
        buyer_id="buyer",
    )
    before = datetime.now(UTC)
    async with cluster.producer() as producer:
        result = await producer.send(message)
    (found,) = await stored(cluster, topic, 1)
    assert result.status is rmq.SendStatus.SEND_OK and result.queue.broker_name == cluster.broker_name
    assert found.topic == topic and found.body == ramp and found.tag == "TagÄ" and found.keys == ("key-1", "schlüssel")
    assert found.user_properties == {"user": "wert", "unicode": "中文 🚀", "with space": " a b ", "equal=sign": "x;y=z"}
    assert found.flag == -123456 and found.sharding_key == "shard" and found.properties["BUYER_ID"] == "buyer"
    assert found.properties.get("WAIT", "true") == "true"  # 4.9.7 does not store it
    assert found.message_id == result.message_id == found.properties["UNIQ_KEY"]
    assert found.offset_message_id == result.offset_message_id
    assert OffsetMessageId.decode(result.offset_message_id).offset == found.commit_log_offset
    assert (found.queue, found.queue_offset) == (result.queue, result.queue_offset)
    assert found.reconsume_times == 0 and found.prepared_transaction_offset == 0 and found.sys_flag == 0
    assert found.body_crc == zlib.crc32(ramp) & 0x7FFFFFFF and found.store_size > len(ramp)
    assert before - timedelta(seconds=1) < found.born_at <= found.stored_at + timedelta(seconds=1)
    assert found.store_host == cluster.broker_address and found.born_host.startswith("127.0.0.1:")
    assert result.transaction_id == (None if cluster.kind == "4.9.7" else result.message_id)
    assert result.region_id == "DefaultRegion" and result.trace_on


@pytest.mark.feature("A4", "A10", "A12")
@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, MIB, 4 * MIB - 1])
@pytest.mark.parametrize("kind", ["compressible", "noise"])
async def test_bodies_of_every_size_come_back(cluster: Cluster, size: int, kind: str) -> None:
    topic = await cluster.create_topic(cluster.unique("size"), 1)
    body = (b"\x00rocket\xff" * (size // 8 + 1))[:size] if kind == "compressible" else random.Random(size).randbytes(size)
    async with cluster.producer() as producer:
        result = await producer.send(rmq.Message(topic, body), timeout=20.0)
    assert result.ok
    (found,) = await stored(cluster, topic, 1)
    assert found.body == body
    packed = kind == "compressible" and size >= 4096
    assert found.sys_flag & 0x701 == (0x301 if packed else 0)
    if packed:
        assert found.store_size < size


@pytest.mark.feature("A3")
async def test_32_kilobytes_of_properties_come_back(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("properties"), 1)
    properties = {f"name{number}": "ü" * 700 for number in range(22)} | {"last": "x" * 1200}
    async with cluster.producer() as producer:
        message = rmq.Message(topic, b"x", properties=properties)
        assert len(message.wire_text("0" * 32).encode()) > 32_000
        await producer.send(message)
        with pytest.raises(rmq.InvalidMessageError, match="32767"):
            await producer.send(rmq.Message(topic, b"x", properties=properties | {"more": "x" * 800}))
    (found,) = await stored(cluster, topic, 1)
    assert found.user_properties == properties


@pytest.mark.feature("A15", "A22")
async def test_a_batch_is_stored_in_one_queue_in_its_order(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("batch"))
    async with cluster.producer() as producer:
        messages = [rmq.Message(topic, b"body %d" % number, tag=f"T{number}", keys=f"k{number}", flag=number) for number in range(100)]
        result = await producer.send_batch(messages)
    found = await stored(cluster, topic, 100)
    assert {message.queue for message in found} == {result.queue}
    assert [message.body for message in found] == [message.body for message in messages]
    assert [message.queue_offset for message in found] == list(range(100)) and result.queue_offset == 0
    assert [(message.tag, message.keys, message.flag) for message in found] == [(f"T{n}", (f"k{n}",), n) for n in range(100)]
    assert [message.message_id for message in found] == result.message_id.split(",")
    assert [message.offset_message_id for message in found] == result.offset_message_id.split(",")


@pytest.mark.feature("A15")
async def test_a_batch_of_nearly_4_mib_is_stored(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("bigbatch"), 1)
    body = random.Random(4).randbytes(MIB - 200)
    async with cluster.producer() as producer:
        result = await producer.send_batch([rmq.Message(topic, body)] * 4, timeout=20.0)
        assert result.ok
        with pytest.raises(rmq.InvalidMessageError, match="max_message_size"):
            await producer.send_batch([rmq.Message(topic, body)] * 5)
    assert [message.body for message in await stored(cluster, topic, 4)] == [body] * 4


@pytest.mark.feature("B3")
async def test_one_way_messages_are_stored(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("oneway"))
    async with cluster.producer() as producer:
        for number in range(100):
            await producer.send_oneway(rmq.Message(topic, b"%d" % number, properties={"n": str(number)}))
        found = await stored(cluster, topic, 100)
    assert sorted(int(message.body) for message in found) == list(range(100))
    assert all(message.user_properties == {"n": message.body.decode()} for message in found)


@pytest.mark.feature("A17")
async def test_a_delay_level_delays(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("delay"), 1)
    async with cluster.producer() as producer:
        begin = time.monotonic()
        assert (await producer.send(rmq.Message(topic, b"later", delay_level=1))).ok
        assert await read_topic(cluster, topic) == []
        (found,) = await stored(cluster, topic, 1)
    assert time.monotonic() - begin >= 0.9
    assert found.body == b"later" and found.properties["REAL_TOPIC"] == topic


@pytest.mark.feature("B21", "O2", "O3")
async def test_both_header_encodings_store_the_same(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("headers"), 1)
    for kind in rmq.SerializeType:
        async with cluster.producer(serialize_type=kind) as producer:
            await producer.send(rmq.Message(topic, b"x", tag="t", properties={"a": "ä"}, flag=7))
            await producer.send_batch([rmq.Message(topic, b"x", tag="t", properties={"a": "ä"}, flag=7)])
    found = await stored(cluster, topic, 4)
    assert [(message.body, message.tag, message.user_properties, message.flag) for message in found] == [(b"x", "t", {"a": "ä"}, 7)] * 4


@pytest.mark.feature("A18")
@pytest.mark.parametrize("form", ["delay", "deliver_at", "past"])
async def test_a_timed_message_comes_at_its_time(cluster: Cluster, form: str) -> None:
    topic = await cluster.create_topic(cluster.unique("timer"), 1)
    wait = timedelta(seconds=-5 if form == "past" else 4)
    began = time.time()
    timing: dict[str, Any] = {"delay": wait} if form == "delay" else {"deliver_at": datetime.now(UTC) + wait}
    async with cluster.producer() as producer:
        if cluster.kind == LAST_OF_4:
            # It has no timers, and would deliver at once: that is told, and nothing is stored.
            with pytest.raises(rmq.NotSupportedByBrokerError):
                await producer.send(rmq.Message(topic, b"x", **timing))
            assert await read_topic(cluster, topic) == []
            return
        result = await producer.send(rmq.Message(topic, b"x", **timing))
        assert result.ok
        if form != "past":
            assert await read_topic(cluster, topic) == []
        (found,) = await eventually(lambda: read_topic(cluster, topic), 30)
    assert found.body == b"x" and found.message_id == result.message_id
    assert found.store_timestamp / 1000 - began >= wait.total_seconds() - 2.0, "brokers keep times to the second"
