"""Administration on every cluster: what it says is what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from aiorocketmq import (
    AdminClient,
    ConfigError,
    ConsumerNotOnlineError,
    GroupNotExistError,
    InvalidNameError,
    Message,
    MessageModel,
    MessageQueue,
    Permission,
    Producer,
    PushConsumer,
    ReceivedMessage,
    StartFrom,
    TopicNotFoundError,
)
from aiorocketmq.errors import BrokerNotFoundError, ClientClosedError, ClientStateError
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


async def test_a_new_topic_is_routed_when_create_returns(cluster: Cluster, admin: AdminClient) -> None:
    topic = cluster.unique("admin_create")
    with pytest.raises(TopicNotFoundError, match=topic):
        await admin.topic_route(topic)
    assert await admin.create_topic(topic, queues=3) == (cluster.broker_name,)
    route = await admin.topic_route(topic)
    assert [(data.broker_name, data.read_queue_nums, data.write_queue_nums) for data in route.queue_datas] == [(cluster.broker_name, 3, 3)]
    assert topic in await admin.topics()
    assert await admin.queues(topic) == tuple(MessageQueue(topic, cluster.broker_name, number) for number in range(3))


async def test_a_topic_is_changed_by_creating_it_again(cluster: Cluster, admin: AdminClient) -> None:
    topic = cluster.unique("admin_change")
    await admin.create_topic(topic, queues=2)

    async def has(read: int, write: int, permission: Permission) -> bool:
        data = (await admin.topic_route(topic)).queue_datas[0]
        return (data.read_queue_nums, data.write_queue_nums, data.perm) == (read, write, int(permission))

    await admin.create_topic(topic, queues=5, permission=Permission.READ, broker=cluster.broker_name)
    await eventually(lambda: has(5, 5, Permission.READ), 15)
    await admin.create_topic(topic, queues=3, broker=cluster.broker_name)
    await eventually(lambda: has(3, 3, Permission.READ | Permission.WRITE), 15)
    assert await admin.queues(topic) == tuple(MessageQueue(topic, cluster.broker_name, number) for number in range(3))


async def test_topic_creation_refuses_what_cannot_work(admin: AdminClient) -> None:
    with pytest.raises(InvalidNameError):
        await admin.create_topic("white space")
    with pytest.raises(ConfigError, match="belongs to the broker"):
        await admin.create_topic("TBW102")
    with pytest.raises(ConfigError, match="queues 0"):
        await admin.create_topic("fine", queues=0)
    with pytest.raises(ConfigError, match="cluster 'nowhere' is unknown"):
        await admin.create_topic("fine", cluster="nowhere")
    with pytest.raises(BrokerNotFoundError, match="nobody"):
        await admin.create_topic("fine", broker="nobody")


async def test_cluster_info_names_every_master(cluster: Cluster, admin: AdminClient) -> None:
    (broker,) = await admin.cluster_info()
    assert (broker.name, broker.master) == (cluster.broker_name, cluster.broker_address)


async def test_stats_and_offsets_of_a_topic(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_stats")
    await admin.create_topic(topic, queues=2)
    queue = MessageQueue(topic, cluster.broker_name, 1)
    for number in range(5):
        await producer.send(Message(topic, str(number).encode()), queue=queue)

    async def counted() -> bool:
        return (await admin.topic_stats(topic)).messages == 5

    await eventually(counted)
    stats = await admin.topic_stats(topic)
    assert {(one.queue_id, state.min_offset, state.max_offset) for one, state in stats.queues.items()} == {(0, 0, 0), (1, 0, 5)}
    updated = stats.queues[queue].updated_at
    assert updated is not None
    assert abs(updated.timestamp() - time.time()) < 300
    assert (await admin.min_offset(queue), await admin.max_offset(queue)) == (0, 5)
    assert await admin.search_offset(queue, 0.0) == 0
    with pytest.raises(TopicNotFoundError):
        await admin.topic_stats(cluster.unique("nowhere"))


async def test_messages_are_read_without_a_group(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_read")
    await admin.create_topic(topic, queues=1)
    queue = MessageQueue(topic, cluster.broker_name, 0)
    for number in range(40):
        await producer.send(Message(topic, str(number).encode(), tag="even" if number % 2 == 0 else "odd"))
    await eventually(lambda: admin.max_offset(queue), message="the messages are dispatched")
    bodies: list[bytes] = []
    offset = 0
    while offset < 40:
        read = await admin.read_queue(queue, offset, count=16)
        assert (read.min_offset, read.next_offset > offset) == (0, True)
        bodies += [message.body for message in read.messages]
        offset = read.next_offset
    assert bodies == [str(number).encode() for number in range(40)]
    odd = await admin.read_queue(queue, 0, expression="odd")
    assert {message.tag for message in odd.messages} == {"odd"}
    assert not (await admin.read_queue(queue, 40)).messages
    with pytest.raises(ConfigError, match="out of range"):
        await admin.read_queue(queue, -1)


async def test_a_held_read_ends_with_the_next_message(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_wait")
    await admin.create_topic(topic, queues=1)
    queue = MessageQueue(topic, cluster.broker_name, 0)
    await producer.send(Message(topic, b"first"))
    await eventually(lambda: admin.max_offset(queue))
    await producer.send_oneway(Message(topic, b"second"))
    read = await admin.read_queue(queue, 1, wait=20.0)
    assert [message.body for message in read.messages] == [b"second"]


async def test_progress_and_members_of_a_group(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic, group = cluster.unique("admin_progress"), cluster.unique("admin_group")
    await admin.create_topic(topic, queues=2)
    with pytest.raises(ConsumerNotOnlineError):
        await admin.group_connections(group)
    with pytest.raises(GroupNotExistError, match=group):
        await admin.consume_progress(group)
    seen: list[ReceivedMessage] = []
    consumer = PushConsumer(cluster.name_servers, group=group, start_from=StartFrom.FIRST, persist_consumer_offset_interval=0.2)

    @consumer.listen(topic, "a || b")
    async def handle(message: ReceivedMessage) -> None:
        seen.append(message)

    async with consumer:
        for number in range(10):
            await producer.send(Message(topic, str(number).encode(), tag="a"))
        await eventually(lambda: len(seen) >= 10, 30)
        members = await admin.group_connections(group)
        assert [client.client_id for client in members.clients] == [consumer.client_id]
        assert members.clients[0].language == "PYTHON"
        assert members.message_model is MessageModel.CLUSTERING
        assert members.start_from is StartFrom.FIRST
        assert {data.topic: data.tags for data in members.subscriptions}[topic] == {"a", "b"}
    progress = await admin.consume_progress(group, topic=topic)
    assert sum(state.broker_offset for state in progress.queues.values()) == 10
    assert progress.lag == 0
    await producer.send(Message(topic, b"waits", tag="a"))

    async def lags() -> bool:
        return (await admin.consume_progress(group)).lag == 1

    await eventually(lags)


async def test_admin_clients_share_the_instance_and_end_once(cluster: Cluster) -> None:
    first, second = cluster.admin(), cluster.admin()
    with pytest.raises(ClientStateError, match="is not started"):
        await first.topics()
    async with first, second:
        await first.start()
        assert first._instance() is second._instance()
        await first.topics()
    await first.stop()
    with pytest.raises(ClientClosedError):
        await second.topics()
    with pytest.raises(ClientClosedError, match="was stopped"):
        await first.start()


async def test_search_offset_is_the_first_message_since_then(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = await cluster.create_topic(cluster.unique("times"), queues=1)
    (queue,) = await admin.queues(topic)
    for number in range(5):
        await producer.send(Message(topic, b"%d" % number), queue=queue)
        await asyncio.sleep(0.02)
    read = await admin.read_queue(queue, 0)
    times = [message.store_timestamp for message in read.messages]
    assert len(times) == 5
    around = [stored + shift for stored in times for shift in (-9, -1, 0, 1, 9)]
    for at in [times[0] - 3_600_000, *around, times[-1] + 3_600_000]:
        assert await admin.search_offset(queue, at / 1000) == sum(stored < at for stored in times), at - times[0]
    assert await admin.search_offset(queue, datetime.now(UTC) + timedelta(hours=1)) == 5


async def test_ping_tells_who_is_there(cluster: Cluster, admin: AdminClient) -> None:
    result = await admin.ping()
    assert result.ok and set(result.brokers) == {info.name for info in await admin.cluster_info()}
    async with cluster.producer() as producer:
        assert (await producer.ping()).ok
