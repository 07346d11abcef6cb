"""The client instance on real servers and on the embedded one."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.manager import InstanceManager
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import BrokerError, NoNameServerError, OffsetNotFoundError, TopicNotFoundError
from aiorocketmq.model.enums import SendStatus, SerializeType, ServiceState
from aiorocketmq.model.names import retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import ConsumerRunningInfo
from aiorocketmq.protocol.codes import RequestCode, version_name
from aiorocketmq.protocol.headers_client import GetConsumerRunningInfoRequestHeader
from tests.support.clusters import Cluster
from tests.support.waiting import eventually
from tests.wire.world import FakeConsumer, FakeProducer

MakeInstance = Callable[..., Awaitable[ClientInstance]]


@pytest.fixture
async def make(cluster: Cluster) -> AsyncIterator[MakeInstance]:
    """Makes started instances on the cluster, each with a client id of its own, and stops them at the end."""
    made: list[ClientInstance] = []

    async def start(**fields: Any) -> ClientInstance:
        config = ClientConfig(**({"name_servers": cluster.name_servers} | fields))
        instance = InstanceManager().acquire(config)
        made.append(instance)
        await instance.start()
        return instance

    yield start
    for instance in made:
        await instance.stop()


@asynccontextmanager
async def joined(instance: ClientInstance, group: str, topic: str) -> AsyncIterator[FakeConsumer]:
    """A consumer that brokers know of."""
    consumer = FakeConsumer(group, [topic])
    await instance.register_consumer(consumer)
    await instance.routes.update(topic)
    await instance.heartbeat.send_all()
    try:
        yield consumer
    finally:
        await instance.unregister_consumer(consumer)


@pytest.mark.feature("K4", "K14", "K15")
async def test_routes_and_addresses(cluster: Cluster, make: MakeInstance) -> None:
    topic = await cluster.create_topic(cluster.unique("routes"), queues=3)
    instance = await make()
    await instance.register_producer(FakeProducer(topics=[topic]))  # routes that nobody uses may be forgotten at any time
    info = await instance.routes.publish_info_or_fetch(topic)
    queues = tuple(MessageQueue(topic, cluster.broker_name, number) for number in range(3))
    assert info.queues == queues
    assert instance.routes.subscribe_queues(topic) == queues
    assert instance.find_broker_address_in_publish(cluster.broker_name) == cluster.broker_address
    assert instance.find_broker_addr_by_topic(topic) == cluster.broker_address
    found = instance.find_broker_address_in_subscribe(cluster.broker_name, 0)
    assert found is not None
    assert (found.address, found.is_slave) == (cluster.broker_address, False)


@pytest.mark.feature("B13", "K16")
async def test_a_new_topic_is_created_through_the_default_topics_route(cluster: Cluster, make: MakeInstance) -> None:
    topic = cluster.unique("auto")
    instance = await make()
    await instance.register_producer(FakeProducer(topics=[topic]))
    with pytest.raises(TopicNotFoundError):
        await instance.routes.fetch(topic)
    info = await instance.routes.publish_info_or_fetch(topic, default_topic_queue_nums=4)
    assert len(info.queues) == 4
    result = await instance.inner_producer.send(topic, b"first", {"UNIQ_KEY": "A1"})
    assert (result.status, result.message_id, result.queue_offset) == (SendStatus.SEND_OK, "A1", 0)

    async def created() -> bool:
        return await instance.routes.update(topic) and instance.routes.entry(topic).inherited_from is None  # type: ignore[union-attr]

    await eventually(created)
    assert len((await instance.routes.publish_info_or_fetch(topic)).queues) == 4


@pytest.mark.feature("K8", "K11", "K12", "G2", "O5")
async def test_brokers_know_a_consumer_from_its_heartbeat_to_its_goodbye(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("beat")), cluster.unique("group")
    instance, observer = await make(), await make()
    address = cluster.broker_address
    async with joined(instance, group, topic):
        assert await observer.broker_api.consumer_list(address, group) == (instance.client_id,)
        version = instance.routes.broker_addrs.version(cluster.broker_name, address)
        if cluster.is_real:
            assert version_name(version) == f"V{cluster.kind.replace('.', '_')}"
        assert version > 0
        assert instance.heartbeat.counters.sent >= 1
        assert instance.heartbeat.counters.failed == 0
        assert await instance.routes.update(retry_topic(group)), "the heartbeat made the retry topic"
    with pytest.raises(BrokerError, match="no consumer for this group"):
        await observer.broker_api.consumer_list(address, group)


@pytest.mark.feature("K9", "Q63")
async def test_short_heartbeats_keep_the_consumer_known(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("v2")), cluster.unique("group")
    instance = await make(use_heartbeat_v2=True)
    async with joined(instance, group, topic) as consumer:
        await instance.heartbeat.send_all()
        await instance.heartbeat.send_all()
        short = instance.heartbeat.counters.short
        assert short == 0 if cluster.kind.startswith("4.") else short >= 1
        assert await instance.broker_api.consumer_list(cluster.broker_address, group) == (instance.client_id,)
        consumer.topics.append(await cluster.create_topic(cluster.unique("v2_more")))
        await instance.heartbeat.send_all()
        assert instance.heartbeat.counters.short == short, "a changed subscription goes out in full"


@pytest.mark.feature("K10", "O16")
async def test_a_lost_connection_is_followed_by_a_heartbeat_at_once(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("again")), cluster.unique("group")
    instance, observer = await make(), await make()
    async with joined(instance, group, topic):
        address = cluster.broker_address
        sent = instance.heartbeat.counters.sent
        instance.remoting.close_channel(address)
        await instance.remoting.connect(address)
        began = time.monotonic()
        await eventually(lambda: instance.heartbeat.counters.sent > sent, timeout=5)
        assert await observer.broker_api.consumer_list(address, group) == (instance.client_id,)
        assert time.monotonic() - began < 10, "long before the next beat of the timer"


@pytest.mark.feature("N2", "G1")
async def test_a_member_that_joins_or_leaves_makes_the_others_rebalance(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("members")), cluster.unique("group")
    first, second = await make(rebalance_interval=1000), await make()
    async with joined(first, group, topic) as consumer:
        await eventually(lambda: consumer.rebalanced_at)
        await asyncio.sleep(1.1)  # past the minimum interval: what is counted from here on has a cause of its own
        count = len(consumer.rebalanced_at)
        async with joined(second, group, topic):
            await eventually(lambda: len(consumer.rebalanced_at) > count)
            await asyncio.sleep(1.1)
            count = len(consumer.rebalanced_at)
        await eventually(lambda: len(consumer.rebalanced_at) > count)


@pytest.mark.feature("N5")
async def test_the_broker_asks_for_the_running_info(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("info")), cluster.unique("group")
    instance, observer = await make(), await make()
    async with joined(instance, group, topic):
        header = GetConsumerRunningInfoRequestHeader(group, instance.client_id, True)
        answer = await observer.broker_api.call(cluster.broker_address, RequestCode.GET_CONSUMER_RUNNING_INFO, header, timeout=15)
        info = ConsumerRunningInfo.decode(answer.body)
        assert info.jstack == "stacks"
        assert info.properties["PROP_CLIENT_VERSION"] == "V5_3_3"
        assert [subscription.topic for subscription in info.subscription_set] == [topic]


@pytest.mark.feature("G10")
async def test_a_queue_is_locked_by_one_client_at_a_time(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("locks"), queues=2), cluster.unique("group")
    one, other = await make(), await make()
    address = cluster.broker_address
    queues = (await one.routes.publish_info_or_fetch(topic)).queues
    assert await one.broker_api.lock_batch(address, group, one.client_id, queues[:1]) == {queues[0]}
    assert await other.broker_api.lock_batch(address, group, other.client_id, queues) == {queues[1]}
    await one.broker_api.unlock_batch(address, group, one.client_id, queues, oneway=False)
    assert await other.broker_api.lock_batch(address, group, other.client_id, queues) == set(queues)


@pytest.mark.feature("G13", "G17")
async def test_offsets_of_a_group(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("offsets"), queues=1), cluster.unique("group")
    instance = await make()
    api, address = instance.broker_api, cluster.broker_address
    queue = MessageQueue(topic, cluster.broker_name, 0)
    async with joined(instance, group, topic):
        if cluster.kind.startswith("4."):
            # These brokers do not know the field, and answer 0 while the queue still holds its first message.
            assert await api.query_consumer_offset(address, group, queue, set_zero_if_not_found=False) == 0
        else:
            with pytest.raises(OffsetNotFoundError):
                await api.query_consumer_offset(address, group, queue, set_zero_if_not_found=False)
        await api.update_consumer_offset(address, group, queue, 0)
        assert await api.query_consumer_offset(address, group, queue) == 0
        for number in range(3):
            assert (await instance.inner_producer.send(topic, b"x", {"n": str(number)})).queue_offset == number
        await api.update_consumer_offset(address, group, queue, 2, oneway=True)

        async def stored() -> bool:
            return await api.query_consumer_offset(address, group, queue) == 2

        await eventually(stored)


async def test_offsets_of_a_queue(cluster: Cluster, make: MakeInstance) -> None:
    topic = await cluster.create_topic(cluster.unique("queue"), queues=1)
    instance = await make()
    api, address = instance.broker_api, cluster.broker_address
    queue = MessageQueue(topic, cluster.broker_name, 0)
    assert await api.max_offset(address, queue) == await api.min_offset(address, queue) == 0
    assert await api.earliest_store_time(address, queue) == -1
    began = int(time.time() * 1000)
    for _ in range(3):
        await instance.inner_producer.send(topic, b"x", {"a": "b"})
    await eventually(lambda: _equals(api.max_offset(address, queue), 3))
    assert await api.min_offset(address, queue) == 0
    await eventually(lambda: _equals(api.search_offset(address, queue, began - 1000), 0))
    assert await api.search_offset(address, queue, began + 3_600_000) in (2, 3), "the newest message, or the end"
    earliest = await api.earliest_store_time(address, queue)
    assert began - 60_000 < earliest < began + 60_000


async def _equals(question: Awaitable[int], expected: int) -> bool:
    return await question == expected


@pytest.mark.feature("O3")
async def test_binary_headers_work_as_well(cluster: Cluster, make: MakeInstance) -> None:
    topic, group = await cluster.create_topic(cluster.unique("binary")), cluster.unique("group")
    instance = await make(serialize_type=SerializeType.ROCKETMQ)
    async with joined(instance, group, topic):
        assert await instance.broker_api.consumer_list(cluster.broker_address, group) == (instance.client_id,)
        assert (await instance.inner_producer.send(topic, b"x", {"a": "b"})).status is SendStatus.SEND_OK


@pytest.mark.feature("L1", "L6")
async def test_a_dead_name_server_in_the_list_is_passed_over(cluster: Cluster, make: MakeInstance) -> None:
    topic = await cluster.create_topic(cluster.unique("names"))
    for _ in range(4):
        instance = await make(name_servers=f"127.0.0.1:1;{cluster.name_servers}")
        assert (await instance.routes.publish_info_or_fetch(topic, timeout=3)).queues
        assert instance.remoting.name_servers[0] == cluster.name_servers
    instance = await make(name_servers="127.0.0.1:1")
    with pytest.raises(NoNameServerError, match=r"127\.0\.0\.1:1"):
        await instance.routes.publish_info_or_fetch(topic, timeout=3)
    assert instance.update_name_servers(cluster.name_servers)
    assert (await instance.routes.publish_info_or_fetch(topic, timeout=3)).queues


@pytest.mark.feature("L3")
async def test_name_servers_come_from_the_address_service(cluster: Cluster, make: MakeInstance) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        found = request.startswith(b"GET /rocketmq/nsaddr-blue?nofix=1 ")
        body = cluster.name_servers.encode() + b"\n"
        writer.write((b"HTTP/1.1 200 OK\r\n\r\n" + body) if found else b"HTTP/1.1 404 Not Found\r\n\r\n")
        await writer.drain()
        writer.close()

    topic = await cluster.create_topic(cluster.unique("http"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    domain = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        instance = await make(name_servers=None, address_service_domain=domain, unit_name="blue")
        assert instance.client_id.endswith("@blue")
        assert (await instance.routes.publish_info_or_fetch(topic)).queues
        with pytest.raises(NoNameServerError, match="status 404"):
            await make(name_servers=None, address_service_domain=domain)


@pytest.mark.feature("K2")
async def test_clients_share_an_instance_until_the_last_one_leaves(cluster: Cluster) -> None:
    config = ClientConfig(name_servers=cluster.name_servers)
    topic = await cluster.create_topic(cluster.unique("shared"))
    before, threads, files = asyncio.all_tasks(), set(threading.enumerate()), _open_files()
    instances = [manager.acquire(config) for _ in range(10)]
    assert len(set(map(id, instances))) == 1
    await asyncio.gather(*(instance.start() for instance in instances))
    await asyncio.gather(*(instance.routes.fetch(topic) for instance in instances))
    await asyncio.gather(*(instance.remoting.connect(cluster.broker_address) for instance in instances))
    assert instances[0].remoting.counters.opened == 2, "one connection to the name server, one to the broker"
    for instance in instances:
        assert instance.state is ServiceState.RUNNING
        await manager.release(instance)
    assert instances[0].state is ServiceState.SHUTDOWN_ALREADY
    assert asyncio.all_tasks() == before
    assert set(threading.enumerate()) <= threads
    await eventually(lambda: _open_files() <= files)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
