"""Filters: SQL92 at the broker, and what is refused before a consumer starts."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from tests.support.clusters import EMBEDDED, Cluster
from tests.support.push import Inbox, new_topic
from tests.support.waiting import eventually

MESSAGES: tuple[dict[str, str], ...] = (
    {"price": "5", "region": "eu"},
    {"price": "50", "region": "eu"},
    {"price": "50", "region": "us"},
    {"price": "50"},
    {"region": "eu"},
    {"price": "many", "region": "eu"},
    {"price": "2147483648", "region": "it's"},
)
EXPRESSIONS = (
    "price > 10",
    "price > 10 AND region = 'eu'",
    "NOT region = 'eu'",
    "NOT (region = 'eu')",
    "region IS NULL OR price BETWEEN 1 AND 9",
    "region IN ('us', 'it''s')",
    "region NOT IN ('us')",
    "TAGS = 'T' AND price IS NOT NULL",
    "price = 50 OR region = 'eu'",
)


async def send_all(cluster: Cluster, topic: str, end: bytes) -> None:
    async with cluster.producer() as producer:
        for index, properties in enumerate(MESSAGES):
            await producer.send(rmq.Message(topic, b"%d" % index, tag="T", properties=properties))
        await producer.send(rmq.Message(topic, end, tag="end", properties={"last": "yes"}))


@pytest.mark.feature("F18", "F20", "F34")
async def test_the_broker_delivers_what_matches_and_our_evaluator_agrees(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "sql", 1)
    await send_all(cluster, topic, b"end")
    inboxes = {expression: Inbox() for expression in EXPRESSIONS}
    consumers = []
    for expression, inbox in inboxes.items():
        # One listener at a time: with several the last message may come before others.
        consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST, concurrency=1)
        consumer.listen(topic, rmq.SQL(f"({expression}) OR last = 'yes'"))(inbox.take)
        consumers.append(consumer)
    try:
        await asyncio.gather(*(consumer.start() for consumer in consumers))
        await eventually(lambda: all(b"end" in inbox.bodies for inbox in inboxes.values()), 40)
    finally:
        await asyncio.gather(*(consumer.stop() for consumer in consumers))
    for expression, inbox in inboxes.items():
        sql = rmq.SQL(f"({expression}) OR last = 'yes'")
        wanted = [b"%d" % index for index, properties in enumerate(MESSAGES) if sql.matches({**properties, "TAGS": "T"})]
        assert sorted(set(inbox.bodies)) == sorted([*wanted, b"end"]), expression


@pytest.mark.feature("F13", "F18")
async def test_a_waiting_consumer_gets_new_messages_that_match(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "sqlwait", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic, rmq.SQL("price > 10"))(inbox.take)
    async with consumer, cluster.producer() as producer:
        for round_ in range(3):
            for price in ("5", "50"):
                await producer.send(rmq.Message(topic, f"{round_}-{price}".encode(), properties={"price": price}))
            await inbox.has(round_ + 1)
    assert inbox.bodies == [b"0-50", b"1-50", b"2-50"]


@pytest.mark.feature("F13", "F18")
async def test_a_new_filter_loses_nothing_though_a_pull_waits_with_the_old_one(cluster: Cluster) -> None:
    topic, inbox = await new_topic(cluster, "refilter", 1), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic, "x")(inbox.take)
    async with cluster.producer() as producer, consumer:
        await producer.send(rmq.Message(topic, b"x", tag="x"))
        await inbox.has(1)
        steps: list[tuple[str | rmq.SQL, rmq.Message]] = [
            ("y", rmq.Message(topic, b"y", tag="y")),
            (rmq.SQL("a = 1"), rmq.Message(topic, b"a", properties={"a": "1"})),
            (rmq.SQL("b = 1"), rmq.Message(topic, b"b", properties={"b": "1"})),
        ]
        for count, (expression, message) in enumerate(steps, 2):
            await consumer.subscribe(topic, inbox.take, expression)
            await producer.send(message)
            await inbox.has(count)
    assert inbox.bodies == [b"x", b"y", b"a", b"b"]


@pytest.mark.feature("F18", "F23")
async def test_a_message_that_fails_comes_back_past_the_filter(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "sqlretry", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic, rmq.SQL("price > 10"))
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        return None if message.reconsume_times else rmq.Retry(delay_level=1)

    async with consumer, cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"m", properties={"price": "11"}))
        await inbox.has(2, 40)
    assert [message.reconsume_times for message in inbox.messages] == [0, 1]


@pytest.mark.feature("F20")
async def test_a_filter_that_does_not_compile_is_refused_at_the_start_in_the_broker_s_words(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "sqlbad", 1)
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"))
    consumer.listen(topic, rmq.SQL("price > 'ten'"))(lambda message: None)
    words = "cannot be compared" if cluster.kind != EMBEDDED else "only numbers and properties"
    with pytest.raises(rmq.SubscriptionError, match=words) as caught:
        await consumer.start()
    assert caught.value.code == 23 and "column" in caught.value.hint and caught.value.topic == topic


@pytest.mark.feature("F18", "F20")
async def test_words_of_newer_brokers(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "sqlwords", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic, rmq.SQL("name CONTAINS 'oc' AND name NOT ENDSWITH 'x'"))(inbox.take)
    if cluster.kind == "4.9.7":
        with pytest.raises(rmq.NotSupportedByBrokerError, match="V4_9_7 and does not know CONTAINS and ENDSWITH"):
            await consumer.start()
        return
    async with consumer, cluster.producer() as producer:
        for name in ("rocket", "rockx", "mail"):
            await producer.send(rmq.Message(topic, name.encode(), properties={"name": name}))
        await inbox.has(1)
    assert inbox.bodies == [b"rocket"]
