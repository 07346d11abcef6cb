"""Messages cross between the Java client and ours, both ways, byte for byte."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from tests.foreign.exchange import LETTERS, MIB, collect_from_java, letter_of_java, letter_of_python
from tests.support.clusters import Cluster
from tests.support.line_program import LineProgram
from tests.support.packages import need
from tests.support.waiting import eventually


@pytest.mark.feature("A1", "A3", "A4", "A10", "B1", "O2")
@pytest.mark.parametrize("encoding", list(rmq.SerializeType))
async def test_python_to_java(cluster: Cluster, peer: LineProgram, encoding: rmq.SerializeType) -> None:
    topic = await cluster.create_topic(cluster.unique("to_java"), queues=2)
    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    sent = {}
    async with cluster.producer(serialize_type=encoding) as producer:
        for letter in LETTERS:
            result = await producer.send(letter.as_message(topic), timeout=20.0)
            assert result.status is rmq.SendStatus.SEND_OK
            sent[result.message_id] = letter
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= len(sent), 30.0)
    assert {told["message_id"]: letter_of_java(told, sent[told["message_id"]]) for told in received} == sent


@pytest.mark.feature("A1", "A3", "A4", "A12", "A23", "F1")
async def test_java_to_python(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("from_java"), queues=2)
    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers)
    sent = {(await peer.call("send", id="p", **letter.as_request(topic)))["message_id"]: letter for letter in LETTERS}
    received: dict[str, rmq.ReceivedMessage] = {}
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received[message.message_id] = message

    async with consumer:
        await eventually(lambda: received.keys() >= sent.keys(), 30.0)
    assert {name: letter_of_python(message, sent[name]) for name, message in received.items()} == sent


@pytest.mark.feature("A11", "A13")
@pytest.mark.parametrize("kind", rmq.CompressionType)
async def test_bodies_of_every_compression_cross_both_ways(cluster: Cluster, peer: LineProgram, kind: rmq.CompressionType) -> None:
    need(kind)
    topic = await cluster.create_topic(cluster.unique("packed"), queues=1)
    letters = [letter for letter in LETTERS if len(letter.body) < 2 * MIB]
    small = [letter for letter in letters if len(letter.body) < 100_000]
    received: list[rmq.ReceivedMessage] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message)

    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers, compress_type=kind.name)
    sent = {(await peer.call("send", id="p", **letter.as_request(topic)))["message_id"]: letter for letter in letters}
    async with consumer, cluster.producer(compress_type=kind, compress_batches=True) as producer:
        for letter in letters:
            sent[(await producer.send(letter.as_message(topic), timeout=20.0)).message_id] = letter
        batch = await producer.send_batch([letter.as_message(topic) for letter in small])
        sent |= dict(zip(batch.message_id.split(","), small, strict=True))
        told = await collect_from_java(peer, "c", lambda taken: len(taken) >= len(sent), 30.0)
        await eventually(lambda: len(received) >= len(sent), 30.0)
    assert {each["message_id"]: letter_of_java(each, sent[each["message_id"]]) for each in told} == sent
    assert {each.message_id: letter_of_python(each, sent[each.message_id]) for each in received} == sent
    assert {each.sys_flag & 0x701 for each in received} == {0, kind.value << 8 | 1}


@pytest.mark.feature("A15")
async def test_batches_cross_both_ways(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("batches"), queues=1)
    small = [letter for letter in LETTERS if len(letter.body) < 100_000]
    received: list[rmq.ReceivedMessage] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message)

    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers)
    async with consumer, cluster.producer() as producer:
        ours = await producer.send_batch([letter.as_message(topic) for letter in small])
        await peer.call("send_batch", id="p", messages=[letter.as_request(topic) for letter in small])
        told = await collect_from_java(peer, "c", lambda taken: len(taken) >= 2 * len(small), 30.0)
        await eventually(lambda: len(received) >= 2 * len(small), 30.0)
    # 4.9.7 gives every message of a Java batch the id of the whole batch, so those are known by what they hold.
    sent = dict(zip(ours.message_id.split(","), small, strict=True))
    assert {each["message_id"]: letter_of_java(each, sent[each["message_id"]]) for each in told if each["message_id"] in sent} == sent
    assert {each.message_id: letter_of_python(each, sent[each.message_id]) for each in received if each.message_id in sent} == sent
    for letter in small:
        assert sum(letter_of_java(each, letter) == letter for each in told) == 2
        assert sum(letter_of_python(each, letter) == letter for each in received) == 2
