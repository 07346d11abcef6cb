"""Java and Python clients in one namespace."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.line_program import LineProgram
from tests.support.push import Inbox

PATIENCE = 60.0


def text(body: bytes) -> str:
    return base64.b64encode(body).decode()


async def received(peer: LineProgram, count: int) -> list[dict[str, Any]]:
    """So many messages of the Java consumer `c`."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += (await peer.call("received", id="c"))["messages"]
            await asyncio.sleep(0.05)
    return found


@pytest.mark.feature("L11", "O2")
async def test_java_and_python_meet_in_a_namespace(cluster: Cluster, peer: LineProgram) -> None:
    namespace, topic = cluster.unique("ns"), cluster.unique("shared")
    await cluster.create_topic(f"{namespace}%{topic}", queues=2)
    java: dict[str, Any] = {"name_servers": cluster.name_servers, "namespace": namespace}
    await peer.call("producer", id="p", group=cluster.unique("p"), **java)
    group = cluster.unique("j")
    await peer.call("consumer", id="c", group=group, topic=topic, expression="*", failures=1, **java)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), namespace=namespace, start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.producer(namespace=namespace) as producer, consumer:
        assert (await producer.send(rmq.Message(topic, b"python"))).queue.topic == topic
        await peer.call("send", id="p", topic=topic, body=text(b"java"))
        await inbox.has(2, PATIENCE)
        assert {(message.topic, message.body) for message in inbox.messages} == {(topic, b"python"), (topic, b"java")}
        told = await received(peer, 2)  # one of them through the retry topic
        assert {(message["topic"], message["body"]) for message in told} == {(topic, text(b"python")), (topic, text(b"java"))}
    async with rmq.AdminClient(cluster.name_servers, namespace=namespace) as admin:
        members = await admin.groups.clients(group)
        assert {data.topic for data in members.subscriptions} == {topic, f"%RETRY%{group}"}


@pytest.mark.feature("L11", "O2")
async def test_a_group_of_a_namespace_has_members_of_both_languages(cluster: Cluster, peer: LineProgram) -> None:
    namespace, topic, group = cluster.unique("ns"), cluster.unique("shared"), cluster.unique("g")
    await cluster.create_topic(f"{namespace}%{topic}", queues=4)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, namespace=namespace, start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with consumer:
        await peer.call(
            "consumer", id="c", group=group, topic=topic, expression="*", name_servers=cluster.name_servers, namespace=namespace
        )
        async with asyncio.timeout(PATIENCE):
            while sum(queue.topic == topic for queue in consumer.assigned) != 2:  # noqa: ASYNC110 - the other member decides, too
                await asyncio.sleep(0.05)
        async with cluster.producer(namespace=namespace) as producer:
            for number in range(8):
                await producer.send(rmq.Message(topic, b"%d" % number))
        await inbox.has(4, PATIENCE)
        told = await received(peer, 4)
        everything = [*inbox.bodies, *(base64.b64decode(message["body"]) for message in told)]
        assert sorted(everything) == [b"%d" % number for number in range(8)]
