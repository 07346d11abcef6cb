"""Batches of the Java client on topics of the type BatchCQ, which the broker keeps as one record each, at our consumer."""

from __future__ import annotations

import base64

import pytest

import aiorocketmq as rmq
from tests.support import raw_remoting
from tests.support.clusters import RealTestCluster
from tests.support.line_program import LineProgram
from tests.support.push import Inbox
from tests.support.waiting import eventually


async def batch_topic(cluster: RealTestCluster) -> str:
    topic = cluster.unique("bcq")
    raw_remoting.create_topic(cluster.broker_address, topic, queues=1, attributes="+queue.type=BatchCQ")
    await eventually(lambda: raw_remoting.route(cluster.name_servers, topic), 30.0, message=f"route of {topic}")
    return topic


async def send_batch(peer: LineProgram, topic: str, *bodies: bytes) -> None:
    messages = [{"topic": topic, "body": base64.b64encode(body).decode(), "keys": [body.decode()], "tag": "T"} for body in bodies]
    await peer.call("send_batch", id="p", messages=messages)


@pytest.mark.feature("A16")
async def test_batches_that_are_one_record_come_as_their_messages(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    topic = await batch_topic(newest_cluster)
    await peer.call("producer", id="p", group=newest_cluster.unique("p"), name_servers=newest_cluster.name_servers)
    inbox = Inbox()
    consumer = rmq.PushConsumer(newest_cluster.name_servers, group=newest_cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)  # the broker does not look at the tags inside
    async with consumer, newest_cluster.producer() as producer:
        await send_batch(peer, topic, b"a0", b"a1", b"a2", b"a3")
        await producer.send(rmq.Message(topic, b"single", tag="T"))
        await send_batch(peer, topic, b"b0", b"b1")
        await inbox.has(7)
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.bodies == [b"a0", b"a1", b"a2", b"a3", b"single", b"b0", b"b1"]
    assert [message.queue_offset for message in inbox.messages] == list(range(7))
    assert [message.unwrapped for message in inbox.messages] == [True] * 4 + [False] + [True] * 2
    assert [message.keys for message in inbox.messages[:2]] == [("a0",), ("a1",)]
    assert len({message.message_id for message in inbox.messages}) == 7
    async with newest_cluster.admin() as admin:
        (queue,) = await admin.topics.queues(topic)
        inside = await admin.messages.read(queue, 2)  # in the middle of the first record
        assert inside.messages[-1].body == b"b1" and inside.next_offset == 7


@pytest.mark.feature("A16", "F24", "F25")
async def test_one_failed_message_of_such_a_batch_comes_back_alone(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    topic = await batch_topic(newest_cluster)
    await peer.call("producer", id="p", group=newest_cluster.unique("p"), name_servers=newest_cluster.name_servers)
    inbox = Inbox()
    consumer = rmq.PushConsumer(newest_cluster.name_servers, group=newest_cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        return rmq.Retry(delay_level=1) if message.body == b"bad" and not message.reconsume_times else None

    async with consumer:
        await send_batch(peer, topic, b"one", b"bad", b"three")
        await inbox.has(4, 60)
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.counts == {b"one": 1, b"bad": 2, b"three": 1}
    again = inbox.messages[-1]
    assert (again.body, again.topic, again.reconsume_times, again.keys) == (b"bad", topic, 1, ("bad",))
