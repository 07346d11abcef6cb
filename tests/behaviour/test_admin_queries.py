"""Messages found by key, by id and by time, on every cluster."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

import aiorocketmq.sync
from aiorocketmq import AdminClient, ConfigError, Message, MessageQueue, Producer, ReceivedMessage, TopicNotFoundError
from aiorocketmq.errors import QueryNotFoundError
from tests.support.clusters import Cluster
from tests.support.waiting import eventually


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[AdminClient]:
    async with cluster.admin(poll_name_server_interval=1.0) as client:
        yield client


@pytest.fixture
async def producer(cluster: Cluster) -> AsyncIterator[Producer]:
    async with cluster.producer() as client:
        yield client


@pytest.mark.feature("B23")
async def test_messages_are_found_by_each_of_their_keys(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic, other = cluster.unique("query_key"), cluster.unique("query_other")
    for each in (topic, other):
        await admin.topics.create(each, queues=2)
    for number in range(6):
        await producer.send(Message(topic, str(number).encode(), keys=["all", f"k{number % 2}"]))
    await producer.send(Message(other, b"no", keys="all"))
    await eventually(lambda: _found(admin, topic, "all", 6), 30.0)
    found = await admin.messages.query(topic, "k1")
    assert [message.body for message in found] == [b"1", b"3", b"5"]
    assert {message.topic for message in found} == {topic}
    assert len(await admin.messages.query(topic, "all", count=2)) == 2
    assert await admin.messages.query(topic, "nobody") == ()
    now = time.time()
    assert await admin.messages.query(topic, "all", since=now + 3600) == ()
    assert await admin.messages.query(topic, "all", until=datetime.fromtimestamp(now - 3600, UTC)) == ()
    assert len(await admin.messages.query(topic, "all", since=now - 3600, until=now + 3600)) == 6


async def _found(admin: AdminClient, topic: str, key: str, count: int) -> bool:
    return len(await admin.messages.query(topic, key)) == count


@pytest.mark.feature("B23", "A6")
async def test_a_message_is_viewed_by_both_of_its_ids(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("query_id")
    await admin.topics.create(topic, queues=1)
    queue = MessageQueue(topic, cluster.broker_name, 0)
    assert await admin.offsets.earliest_store_time(queue) is None
    results = [await producer.send(Message(topic, body, properties={"größe": "中"})) for body in (b"one", b"two")]

    async def viewed(message_id: str) -> ReceivedMessage | None:
        try:
            return await admin.messages.view(topic, message_id)
        except QueryNotFoundError:
            return None

    for result, body in zip(results, (b"one", b"two"), strict=True):
        assert result.offset_message_id is not None
        for message_id in (result.message_id, result.offset_message_id):
            await eventually(partial(viewed, message_id), 30.0)
            message = await admin.messages.view(topic, message_id)
            assert (message.body, message.topic, message.properties["größe"]) == (body, topic, "中")
            assert (message.message_id, message.offset_message_id) == (result.message_id, result.offset_message_id)
    await eventually(lambda: admin.offsets.max(queue))
    oldest = await admin.offsets.earliest_store_time(queue)
    assert oldest is not None
    assert abs(oldest.timestamp() - time.time()) < 300
    beyond = f"{results[1].offset_message_id}"[:-16] + f"{1 << 50:016X}"
    for unknown in (results[0].message_id[:-8] + "00000000", beyond, "no id"):
        with pytest.raises(QueryNotFoundError, match="has the id"):
            await admin.messages.view(topic, unknown)


@pytest.mark.feature("B23", "L11")
async def test_names_of_a_namespace_are_the_users(cluster: Cluster) -> None:
    topic = cluster.unique("query_space")
    async with cluster.admin(namespace="space") as admin, cluster.producer(namespace="space") as producer:
        await admin.topics.create(topic, queues=1)
        sent = await producer.send(Message(topic, b"inside", keys="key"))
        await eventually(lambda: _found(admin, topic, "key", 1), 30.0)
        assert (await admin.messages.view(topic, sent.message_id)).topic == topic
        assert sent.offset_message_id is not None
        assert (await admin.messages.view(topic, sent.offset_message_id)).topic == topic


@pytest.mark.feature("B23")
async def test_the_blocking_twin_finds_the_same(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("query_sync")
    await admin.topics.create(topic, queues=1)
    sent = await producer.send(Message(topic, b"body", keys="key"))
    await eventually(lambda: _found(admin, topic, "key", 1), 30.0)
    with aiorocketmq.sync.AdminClient(cluster.name_servers) as twin:
        assert [message.body for message in twin.messages.query(topic, "key")] == [b"body"]
        assert twin.messages.view(topic, sent.message_id).body == b"body"
        assert twin.offsets.earliest_store_time(MessageQueue(topic, cluster.broker_name, 0)) is not None


@pytest.mark.feature("B23")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"key": ""}, "key ''"),
        ({"key": "a b"}, "no key"),
        ({"key": None}, "key None"),
        ({"count": 0}, "count 0"),
        ({"count": 1025}, "count 1025"),
        ({"since": True}, "since True"),
        ({"until": "now"}, "until 'now'"),
        ({"since": datetime(2026, 1, 1)}, "no time zone"),
        ({"since": 2.0, "until": 1.0}, "is after until"),
    ],
)
async def test_queries_that_cannot_work_are_refused(admin: AdminClient, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        await admin.messages.query(**{"topic": "topic", "key": "key", **arguments})


@pytest.mark.feature("B23")
async def test_ids_and_topics_that_are_none_are_refused(cluster: Cluster, admin: AdminClient) -> None:
    for message_id in ("", None, 5):
        with pytest.raises(ConfigError, match="is no id"):
            await admin.messages.view("topic", message_id)  # type: ignore[arg-type]
    nowhere = cluster.unique("nowhere")
    with pytest.raises(TopicNotFoundError):
        await admin.messages.query(nowhere, "key")
    with pytest.raises(TopicNotFoundError):
        await admin.messages.view(nowhere, "ABC")
