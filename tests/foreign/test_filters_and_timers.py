"""The Java client filters by SQL92, sends for later, takes back and sets priorities: against our server, and beside our client."""

from __future__ import annotations

import base64

import pytest

import aiorocketmq as rmq
from tests.behaviour.stored import stored
from tests.foreign.exchange import collect_from_java
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.line_program import LineProgram


def text(body: bytes) -> str:
    return base64.b64encode(body).decode()


@pytest.mark.feature("F18")
async def test_a_java_consumer_filters_by_sql(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("javasql"), 1)
    sql = "(price > 10 AND region IN ('eu', 'us') AND NOT (TAGS = 'no')) OR last IS NOT NULL"
    letters = [("5", "eu", "T"), ("50", "eu", "T"), ("50", "us", "no"), ("many", "eu", "T"), ("50", "asia", "T"), ("51", "us", "T")]
    group = cluster.unique("g")
    await peer.call("consumer", id="c", group=group, name_servers=cluster.name_servers, topic=topic, sql=sql)
    async with cluster.producer() as producer:
        for number, (price, region, tag) in enumerate(letters):
            await producer.send(rmq.Message(topic, b"%d" % number, tag=tag, properties={"price": price, "region": region}))
        await producer.send(rmq.Message(topic, b"last", properties={"last": "yes"}))
    told = await collect_from_java(peer, "c", lambda taken: any(each["body"] == text(b"last") for each in taken), 40.0)
    wanted = [
        b"%d" % number
        for number, (price, region, tag) in enumerate(letters)
        if rmq.SQL(sql).matches({"price": price, "region": region, "TAGS": tag})
    ]
    assert wanted == [b"1", b"5"]
    assert sorted(base64.b64decode(each["body"]) for each in told) == [*wanted, b"last"]


@pytest.mark.feature("A18", "A19")
async def test_each_client_takes_back_what_the_other_has_sent(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("recall"), 1)
    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers)
    async with cluster.producer() as producer:
        if cluster.kind == LAST_OF_4:  # it has no timers; the Java client does not look, and its message would come at once
            with pytest.raises(rmq.NotSupportedByBrokerError):
                await producer.send(rmq.Message(topic, b"x", delay=10.0))
            return
        theirs = [
            await peer.call("send", id="p", topic=topic, body=text(body), delay_ms=10_000) for body in (b"java kept", b"java taken back")
        ]
        ours = await producer.send(rmq.Message(topic, b"python taken back", delay=10.0))
        assert theirs[0]["recall_handle"] and ours.recall_handle
        assert await producer.recall(topic, theirs[1]["recall_handle"]) == theirs[1]["message_id"]
        assert (await peer.call("recall", id="p", topic=topic, handle=ours.recall_handle))["message_id"] == ours.message_id
        (found,) = await stored(cluster, topic, 1, timeout=60)
        assert found.body == b"java kept"
        await producer.send(rmq.Message(topic, b"after", delay=3.0))
        assert [message.body for message in await stored(cluster, topic, 2, timeout=40)] == [b"java kept", b"after"]


@pytest.mark.feature("B27")
async def test_priorities_of_java_choose_the_same_queues(cluster: Cluster, peer: LineProgram) -> None:
    topic = await cluster.create_topic(cluster.unique("priority"), 4)
    await peer.call("producer", id="p", group=cluster.unique("p"), name_servers=cluster.name_servers)
    async with cluster.producer() as producer:
        if cluster.kind == LAST_OF_4:  # it does not look at priorities, and the Java client does not look at that
            with pytest.raises(rmq.NotSupportedByBrokerError):
                await producer.send(rmq.Message(topic, b"x", priority=3))
            return
        for priority in (0, 2, 3, 77):
            theirs = await peer.call("send", id="p", topic=topic, body=text(b"x"), priority=priority)
            ours = await producer.send(rmq.Message(topic, b"x", priority=priority))
            assert theirs["queue_id"] == ours.queue.queue_id == min(priority, 3)
