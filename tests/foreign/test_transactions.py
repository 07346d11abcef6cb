"""Transactions of the Java client and of ours in one group: what one has left open the other one ends."""

from __future__ import annotations

import itertools
from typing import Any

import aiorocketmq as rmq
from tests.foreign.exchange import collect_from_java
from tests.foreign.test_java_on_embedded import text_of
from tests.support.clusters import Cluster, RealTestCluster
from tests.support.line_program import LineProgram
from tests.support.push import Inbox
from tests.support.waiting import eventually

COMMIT, ROLLBACK, UNKNOWN = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK, rmq.TransactionState.UNKNOWN
ASKED = 60.0
BODIES = [f"{what} {number}" for what, number in itertools.product(("commit", "rollback"), range(4))]
COMMITTED = sorted(body for body in BODIES if body.startswith("commit"))


async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
    """What the Java listener answers, too."""
    return COMMIT if message.body.startswith(b"commit") else ROLLBACK


async def start_java(peer: LineProgram, cluster: Cluster, group: str) -> None:
    await peer.call("transaction_producer", id="t", group=group, name_servers=cluster.name_servers)


async def test_what_java_leaves_open_python_ends(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    cluster = newest_cluster
    topic, group = await cluster.create_topic(cluster.unique("java_half"), 2), cluster.unique("pay")
    await start_java(peer, cluster, group)
    told = [await peer.call("send_in_transaction", id="t", topic=topic, body=body, state="UNKNOW") for body in BODIES]
    await peer.call("stop", id="t")
    asked: dict[str, rmq.ReceivedMessage] = {}

    async def remember(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        asked[message.body.decode()] = message
        return await check(message)

    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.transaction_producer(remember, group=group), consumer:
        await eventually(lambda: len(asked) == len(BODIES), ASKED)
        await eventually(lambda: {body.decode() for body in inbox.bodies} == set(COMMITTED), ASKED)
    assert {body: message.transaction_id for body, message in asked.items()} == {
        body: answer["transaction_id"] for body, answer in zip(BODIES, told, strict=True)
    }
    assert {message.topic for message in asked.values()} == {topic}


async def test_what_python_leaves_open_java_ends(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    cluster = newest_cluster
    topic, group = await cluster.create_topic(cluster.unique("python_half"), 2), cluster.unique("pay")
    ids: dict[str, str] = {}
    async with cluster.transaction_producer(check, group=group) as producer:
        for body in BODIES:
            result = await producer.send_in_transaction(rmq.Message(topic, body.encode()), lambda message, arg: UNKNOWN)
            ids[body] = result.transaction_id
    await start_java(peer, cluster, group)
    # Before it has sent something no broker knows it.
    await peer.call("send_in_transaction", id="t", topic=topic, body="first", state="COMMIT_MESSAGE")
    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    received = await collect_from_java(peer, "c", lambda taken: len({text_of(told) for told in taken}) > len(COMMITTED), ASKED)
    asked: list[dict[str, Any]] = []

    async def all_asked() -> bool:
        asked.extend((await peer.call("asked", id="t"))["messages"])
        return {each["body"] for each in asked} == set(BODIES)

    await eventually(all_asked, ASKED, interval=0.2)
    assert {text_of(told) for told in received} == {"first", *COMMITTED}
    assert {each["body"]: each["transaction_id"] for each in asked} == ids
    assert {each["topic"] for each in asked} == {topic}


async def test_both_ends_of_a_committed_message_agree(newest_cluster: RealTestCluster, peer: LineProgram) -> None:
    """One commits, the other consumes; both see the same transaction id."""
    cluster = newest_cluster
    topic, group = await cluster.create_topic(cluster.unique("both"), 1), cluster.unique("pay")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(inbox.take)
    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    await start_java(peer, cluster, cluster.unique("pay"))
    async with cluster.transaction_producer(check, group=group) as producer, consumer:
        ours = await producer.send_in_transaction(rmq.Message(topic, b"commit ours"), lambda message, arg: COMMIT)
        await producer.send_in_transaction(rmq.Message(topic, b"rollback ours"), lambda message, arg: ROLLBACK)
        theirs = await peer.call("send_in_transaction", id="t", topic=topic, body="commit theirs", state="COMMIT_MESSAGE")
        await peer.call("send_in_transaction", id="t", topic=topic, body="rollback theirs", state="ROLLBACK_MESSAGE")
        received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 2, ASKED)
        await inbox.has(2)
    expected = {"commit ours": ours.transaction_id, "commit theirs": theirs["transaction_id"]}
    assert {text_of(each): each["properties"]["__transactionId__"] for each in received} == expected
    assert {message.body.decode(): message.transaction_id for message in inbox.messages} == expected


async def test_java_on_the_embedded_server(embedded_cluster: Cluster, peer: LineProgram) -> None:
    cluster = embedded_cluster
    topic = await cluster.create_topic(cluster.unique("embedded_half"), 2)
    await peer.call("consumer", id="c", group=cluster.unique("g"), name_servers=cluster.name_servers, topic=topic, expression="*")
    await start_java(peer, cluster, cluster.unique("pay"))
    for body, state in (("commit", "COMMIT_MESSAGE"), ("rollback", "ROLLBACK_MESSAGE"), ("commit later", "UNKNOW")):
        answer = await peer.call("send_in_transaction", id="t", topic=topic, body=body, state=state)
        assert answer["state"] == state
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 2, ASKED)
    assert sorted(map(text_of, received)) == ["commit", "commit later"]
    asked = (await peer.call("asked", id="t"))["messages"]
    assert [(each["body"], each["topic"], each["properties"]["TRANSACTION_CHECK_TIMES"]) for each in asked] == [
        ("commit later", topic, "1")
    ]
