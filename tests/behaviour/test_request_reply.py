"""Requests and replies: both kinds of responders, late ones, nobody there, big bodies, two clients."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import new_topic
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
PATIENCE = 30.0
"""Seconds: bounds a hang; a new group's first queue takes a moment."""


@pytest.mark.feature("D1", "D2", "D4", "D5", "D6", "D7", "N7")
async def test_a_request_gets_the_reply_of_its_responder(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc")
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.respond(topic)
    async def double(request: rmq.ReceivedMessage) -> bytes:
        return request.body * 2

    async with consumer, cluster.producer() as producer:
        replies = await asyncio.gather(*(producer.request(rmq.Message(topic, b"%d;" % number), timeout=PATIENCE) for number in range(20)))
        assert [reply.body for reply in replies] == [b"%d;" % number * 2 for number in range(20)]
        properties = replies[0].properties
        assert properties["MSG_TYPE"] == "reply"
        assert properties["REPLY_TO_CLIENT"] == producer.client_id
        assert properties["TTL"] == str(int(PATIENCE * 1000))
        assert replies[0].topic.endswith("_REPLY_TOPIC")
        assert len({reply.properties["CORRELATION_ID"] for reply in replies}) == 20


@pytest.mark.feature("D3")
async def test_a_request_goes_where_it_is_told(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc_where", queues=4)
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.respond(topic)
    def where(request: rmq.ReceivedMessage) -> rmq.Message:
        return rmq.Message("any", str(request.queue.queue_id).encode(), properties={"from": "responder"}, tag="told")

    async with consumer, cluster.producer() as producer:
        queues = await producer.fetch_publish_message_queues(topic)
        last = max(queues, key=lambda queue: queue.queue_id)
        reply = await producer.request(rmq.Message(topic, b"?"), queue=last, timeout=PATIENCE)
        assert (reply.body, reply.tag, reply.user_properties) == (str(last.queue_id).encode(), "told", {"from": "responder"})
        chosen = await producer.request(rmq.Message(topic, b"?"), selector=lambda queues, message: queues[0], timeout=PATIENCE)
        assert chosen.body == b"%d" % queues[0].queue_id
        keyed = [(await producer.request(rmq.Message(topic, b"?"), sharding_key="k", timeout=PATIENCE)).body for _ in range(3)]
        assert len(set(keyed)) == 1


@pytest.mark.feature("D7")
async def test_large_replies_arrive_whole(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc_large")
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.respond(topic)
    async def large(request: rmq.ReceivedMessage) -> bytes:
        return b"a line of text\n" * 20_000

    async with consumer, cluster.producer() as producer:
        reply = await producer.request(rmq.Message(topic, b"?"), timeout=PATIENCE)
        assert reply.body == b"a line of text\n" * 20_000


@pytest.mark.feature("D1", "D8")
async def test_without_a_responder_the_error_says_that_the_request_is_stored(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc_nobody")
    async with cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"first"), timeout=PATIENCE)  # the route is known, the broker is up
        began = time.monotonic()
        with pytest.raises(rmq.ReplyTimeoutError, match=f"for topic '{topic}'.*stored in {cluster.broker_name}:") as caught:
            await producer.request(rmq.Message(topic, b"?"), timeout=1.0)
        assert time.monotonic() - began >= 1.0
        error = caught.value
        assert (error.code, error.topic, error.maybe_stored) == (10006, topic, True)
        assert error.message_id and error.correlation_id
        assert isinstance(error, rmq.NoAnswerError)


@pytest.mark.feature("D8")
async def test_a_late_reply_is_dropped_and_told(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "rpc_late")
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    go_on, begun = asyncio.Event(), asyncio.Event()

    @consumer.respond(topic)
    async def slow(request: rmq.ReceivedMessage) -> bytes:
        if request.body == b"slow":
            begun.set()
            await go_on.wait()
        return b"done"

    async with consumer, cluster.producer() as producer:
        assert (await producer.request(rmq.Message(topic, b"warm"), timeout=PATIENCE)).body == b"done"
        waiting = asyncio.ensure_future(producer.request(rmq.Message(topic, b"slow"), timeout=PATIENCE))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with caplog.at_level(logging.WARNING, "aiorocketmq.client"):
            go_on.set()
            await eventually(lambda: "nobody waits for it" in caplog.text, PATIENCE)
        assert (await producer.request(rmq.Message(topic, b"again"), timeout=PATIENCE)).body == b"done"


@pytest.mark.feature("D8")
async def test_a_request_whose_sender_waits_no_more_is_not_carried_out(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "rpc_old")
    called: list[bytes] = []
    async with cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"plain"), timeout=PATIENCE)
        with pytest.raises(rmq.ReplyTimeoutError):
            await producer.request(rmq.Message(topic, b"old"), timeout=0.5)
        consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

        @consumer.respond(topic)
        async def note(request: rmq.ReceivedMessage) -> bytes:
            called.append(request.body)
            return b"noted"

        with caplog.at_level(logging.WARNING, "aiorocketmq.consumer"):
            async with consumer:
                assert (await producer.request(rmq.Message(topic, b"new"), timeout=PATIENCE)).body == b"noted"
                await eventually(lambda: "older than its time-out of 500 ms" in caplog.text, PATIENCE)
                await eventually(lambda: b"plain" in called, PATIENCE)
    assert sorted(called) == [b"new", b"plain"]
    assert "is no request" in caplog.text


@pytest.mark.feature("D5", "D6")
async def test_replies_by_hand_and_to_senders_that_are_gone(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc_hand")
    requests: list[rmq.ReceivedMessage] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def keep(message: rmq.ReceivedMessage) -> None:
        requests.append(message)

    async with cluster.producer(instance_name="responder") as responder, consumer:
        async with cluster.producer(instance_name="requester") as producer:
            waiting = asyncio.ensure_future(producer.request(rmq.Message(topic, b"?"), timeout=PATIENCE))
            await eventually(lambda: requests, PATIENCE)
            result = await responder.reply(requests[0], b"by hand")
            assert result.ok
            assert (await waiting).body == b"by hand"
        with pytest.raises(rmq.SendError, match=f"channel of <{requests[0].properties['REPLY_TO_CLIENT']}> not found"):
            await responder.reply(requests[0], b"too late")
        await responder.send(rmq.Message(topic, b"plain"))
        await eventually(lambda: len(requests) == 2, PATIENCE)
        with pytest.raises(rmq.InvalidMessageError, match="is no request"):
            await responder.reply(requests[1], b"to nobody")
        with pytest.raises(rmq.InvalidMessageError, match="delay"):
            await responder.request(rmq.Message(topic, b"?", delay_level=1))


@pytest.mark.feature("D1")
async def test_the_blocking_facade_asks_and_answers(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "rpc_sync")

    def ask() -> bytes:
        consumer = rmq.sync.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

        @consumer.respond(topic)
        def upper(request: rmq.ReceivedMessage) -> bytes:
            return request.body.upper()

        with consumer, rmq.sync.Producer(cluster.name_servers, group=cluster.unique("p")) as producer:
            return producer.request(rmq.Message(topic, b"shout"), timeout=PATIENCE).body

    assert await asyncio.to_thread(ask) == b"SHOUT"
