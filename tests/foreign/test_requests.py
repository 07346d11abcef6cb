"""Requests and replies with the Java client at the other end."""

from __future__ import annotations

import base64

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.line_program import LineProgram

PATIENCE = 30.0
LARGE = b"a line of text\n" * 3_000
"""Compressed by both clients, in requests and replies."""


@pytest.mark.feature("D1", "D4", "D7", "N7", "O2")
async def test_java_replies_to_python(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("ask_java"), queues=2)
    await peer.call("responder", id="r", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic)
    async with cluster.producer() as producer:
        assert (await producer.request(rmq.Message(topic, b"python"), timeout=PATIENCE)).body == b"re: python"
        assert (await producer.request(rmq.Message(topic, LARGE), timeout=PATIENCE)).body == b"re: " + LARGE


@pytest.mark.feature("D1", "D4", "D5", "D6", "O2")
async def test_python_replies_to_java(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("ask_python"), queues=2)
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.respond(topic)
    async def answer(request: rmq.ReceivedMessage) -> rmq.Message:
        return rmq.Message("any", b"re: " + request.body, properties={"by": "python"})

    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers)
    async with consumer:
        for body in (b"java", LARGE):
            text = base64.b64encode(body).decode()
            reply = await peer.call("request", id="p", topic=topic, body=text, ttl=int(PATIENCE * 1000))
            assert base64.b64decode(reply["body"]) == b"re: " + body
            assert reply["properties"]["by"] == "python"
