"""Administration on every cluster: what it says is what was done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aiorocketmq import (
    AdminClient,
    AlreadyExistsError,
    ConfigError,
    ConsumerNotOnlineError,
    GroupNotExistError,
    InvalidNameError,
    Message,
    MessageModel,
    MessageQueue,
    NotSupportedByBrokerError,
    Permission,
    Producer,
    ProtocolError,
    PushConsumer,
    ReceivedMessage,
    StartFrom,
    TopicNotFoundError,
)
from aiorocketmq.admin import GroupSettings, TopicSettings
from aiorocketmq.errors import BrokerError, BrokerNotFoundError, ClientClosedError, ClientStateError
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.waiting import eventually

READ_WRITE = Permission.READ | Permission.WRITE


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
        await admin.topics.route(topic)
    assert await admin.topics.create(topic, queues=3) == (cluster.broker_name,)
    route = await admin.topics.route(topic)
    assert [(data.broker_name, data.read_queue_nums, data.write_queue_nums) for data in route.queue_datas] == [(cluster.broker_name, 3, 3)]
    assert topic in await admin.topics.list()
    assert await admin.topics.queues(topic) == tuple(MessageQueue(topic, cluster.broker_name, number) for number in range(3))


@pytest.mark.feature("Q21", "Q22")
async def test_what_is_given_of_a_topic_changes_and_nothing_else(cluster: Cluster, admin: AdminClient) -> None:
    topic = cluster.unique("admin_change")
    await admin.topics.create(topic, queues=2, order=True)
    with pytest.raises(AlreadyExistsError, match=f"exists on {cluster.broker_name} with 2 queues"):
        await admin.topics.create(topic, queues=5)
    assert await admin.topics.create(topic, queues=5, exist_ok=True) == (cluster.broker_name,)

    async def has(read: int, write: int, permission: Permission) -> bool:
        data = (await admin.topics.route(topic)).queue_datas[0]
        return (data.read_queue_nums, data.write_queue_nums, data.perm) == (read, write, int(permission))

    assert await has(2, 2, READ_WRITE), "creating it again has changed nothing"
    await admin.topics.update(topic, queues=5, permission=Permission.READ, broker=cluster.broker_name)
    await eventually(lambda: has(5, 5, Permission.READ), 15)
    updated = await admin.topics.update(topic, read_queues=3, write_queues=2)
    assert updated.require() == (await admin.topics.settings(topic)).require()
    expected = TopicSettings(topic, 3, 2, Permission.READ, order=cluster.kind != LAST_OF_4, attributes={})  # 4.x does not keep it
    assert updated.require() == {cluster.broker_name: expected}
    await admin.topics.update(topic, permission=READ_WRITE)
    await eventually(lambda: has(3, 2, READ_WRITE), 15)
    assert await admin.topics.queues(topic) == tuple(MessageQueue(topic, cluster.broker_name, number) for number in range(3))
    if cluster.kind != LAST_OF_4:
        await admin.topics.update(topic, attributes={"message.type": "FIFO"})
        assert (await admin.topics.settings(topic)).require()[cluster.broker_name].attributes == {"message.type": "FIFO"}
        await admin.topics.update(topic, attributes={"message.type": None})
        assert (await admin.topics.settings(topic)).require() == {cluster.broker_name: replace(expected, permission=READ_WRITE)}


@pytest.mark.feature("Q21")
async def test_a_deleted_topic_is_gone_everywhere_and_can_be_made_again(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = await cluster.create_topic(cluster.unique("admin_delete"), queues=1)
    await producer.send(Message(topic, b"old"))
    assert await admin.topics.delete(topic) == (cluster.broker_name,)
    with pytest.raises(TopicNotFoundError):
        await admin.topics.stats(topic)
    assert await admin.topics.delete(topic) == ()
    await admin.topics.create(topic, queues=1)
    assert (await admin.topics.stats(topic)).messages == 0
    with pytest.raises(TopicNotFoundError):
        await admin.topics.update("nosuch", queues=2)
    for arguments in ({}, {"queues": 0}, {"permission": 6}, {"attributes": {"": "x"}}):
        with pytest.raises(ConfigError):
            await admin.topics.update(topic, **arguments)  # type: ignore[arg-type]


@pytest.mark.feature("Q23")
async def test_groups_are_made_changed_and_deleted(cluster: Cluster, admin: AdminClient) -> None:
    group, broker = cluster.unique("admin_group"), cluster.broker_name
    assert await admin.groups.create(group, retry_max_times=3) == (broker,)
    assert group in await admin.groups.list()
    expected = GroupSettings(group, False, True, True, 1, 3, {})
    assert (await admin.groups.settings(group)).require() == {broker: expected}
    with pytest.raises(AlreadyExistsError, match=f"exists on {broker}"):
        await admin.groups.create(group)
    await admin.groups.create(group, retry_max_times=9, exist_ok=True)
    changed = await admin.groups.update(group, consume=False, retry_queues=2)
    assert changed.require() == {broker: replace(expected, consume=False, retry_queues=2)} == (await admin.groups.settings(group)).require()
    assert await admin.groups.delete(group) == (broker,)
    assert group not in await admin.groups.list()
    assert await admin.groups.delete(group) == ()
    assert (await admin.groups.settings(group)).require() == {}
    with pytest.raises(GroupNotExistError):
        await admin.groups.update(group, consume=True)


@pytest.mark.feature("Q23")
@pytest.mark.parametrize("offsets", [True, False])
async def test_offsets_go_with_their_group_when_they_are_to(cluster: Cluster, admin: AdminClient, offsets: bool) -> None:
    """4.x reads another field of the request than 5.x."""
    topic, group = await cluster.create_topic(cluster.unique("t"), 1), cluster.unique("admin_group")
    async with cluster.producer() as producer:
        for _ in range(2):
            await producer.send(Message(topic, b"x"))
    await admin.groups.create(group)
    broker = cluster.broker_address
    await asyncio.to_thread(raw_remoting.commit_offset, broker, group, topic, 0, 2)
    assert f"{topic}@{group}".encode() in await asyncio.to_thread(raw_remoting.invoke, broker, 43)
    assert await admin.groups.delete(group, offsets=offsets) == (cluster.broker_name,)
    assert (f"{topic}@{group}".encode() in await asyncio.to_thread(raw_remoting.invoke, broker, 43)) is not offsets
    with pytest.raises(ConfigError, match="nothing is to be changed"):
        await admin.groups.update(group)
    with pytest.raises(ConfigError, match="retry_queues"):
        await admin.groups.create(group, retry_queues=-1)


@pytest.mark.feature("Q28")
async def test_settings_and_state_of_brokers(cluster: Cluster, admin: AdminClient) -> None:
    broker = cluster.broker_name
    assert (await admin.brokers.config.get()).require()[broker]["brokerName"] == broker
    before = (await admin.brokers.config.get(broker=broker)).require()[broker]["brokerPermission"]
    assert (await admin.brokers.config.set({"brokerPermission": "4"}, broker=broker)).ok
    try:
        assert (await admin.brokers.config.get(broker=cluster.broker_address)).require()[cluster.broker_address]["brokerPermission"] == "4"
    finally:
        assert (await admin.brokers.config.set({"brokerPermission": before}, broker=broker)).ok
    status: dict[str, str] = {}

    async def tells() -> bool:
        try:
            status.update((await admin.brokers.status()).require()[broker])
        except BrokerError as error:  # 4.x in its first second
            assert "NoSuchElementException" in str(error)
        return bool(status)

    await eventually(tells, 10.0)
    assert "msgPutTotalTodayNow" in status and "brokerVersionDesc" in status
    for values in ({}, {"a=b": "c"}, {"a": "b\nc"}, None):
        with pytest.raises(ConfigError):
            await admin.brokers.config.set(values, broker=broker)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="neither cluster nor broker"):
        await admin.brokers.config.set({"a": "b"})


@pytest.mark.feature("Q29")
async def test_a_drained_broker_is_not_sent_to(cluster: Cluster, admin: AdminClient) -> None:
    topic = await cluster.create_topic(cluster.unique("admin_drain"), queues=1)
    try:
        drained = (await admin.brokers.drain(cluster.broker_name)).require()
        assert sum(drained.values()) > 0
        assert (await admin.topics.route(topic)).queue_datas[0].perm == int(Permission.READ)
    finally:
        assert (await admin.brokers.undrain(cluster.broker_name)).require().keys() == drained.keys()
    assert (await admin.topics.route(topic)).queue_datas[0].perm == int(READ_WRITE)


@pytest.mark.feature("Q29")
async def test_values_and_settings_of_name_servers(cluster: Cluster, admin: AdminClient) -> None:
    key = cluster.unique("key")
    kv = admin.name_servers.kv
    assert await kv.get("SPACE", key) is None
    assert (await kv.put("SPACE", key, "value")).ok
    assert await kv.get("SPACE", key) == "value"
    assert (await kv.list("SPACE"))[key] == "value"
    assert (await kv.delete("SPACE", key)).ok
    assert key not in await kv.list("SPACE")
    settings = (await admin.name_servers.config.get()).require()
    assert tuple(settings) == await admin.name_servers.list()
    assert all("listenPort" in each or "orderMessageEnable" in each for each in settings.values())
    assert (await admin.name_servers.config.set({"orderMessageEnable": "false"})).ok
    assert await admin.clusters.list() == tuple({broker.cluster for broker in await admin.clusters.brokers()})


async def test_topic_creation_refuses_what_cannot_work(admin: AdminClient) -> None:
    with pytest.raises(InvalidNameError):
        await admin.topics.create("white space")
    with pytest.raises(ConfigError, match="belongs to the broker"):
        await admin.topics.create("TBW102")
    with pytest.raises(ConfigError, match="queues 0"):
        await admin.topics.create("fine", queues=0)
    with pytest.raises(ConfigError, match="cluster 'nowhere' is unknown"):
        await admin.topics.create("fine", cluster="nowhere")
    with pytest.raises(BrokerNotFoundError, match="nobody"):
        await admin.topics.create("fine", broker="nobody")


async def test_cluster_info_names_every_master(cluster: Cluster, admin: AdminClient) -> None:
    (broker,) = await admin.clusters.brokers()
    assert (broker.name, broker.master) == (cluster.broker_name, cluster.broker_address)


async def test_stats_and_offsets_of_a_topic(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_stats")
    await admin.topics.create(topic, queues=2)
    queue = MessageQueue(topic, cluster.broker_name, 1)
    for number in range(5):
        await producer.send(Message(topic, str(number).encode()), queue=queue)

    async def counted() -> bool:
        return (await admin.topics.stats(topic)).messages == 5

    await eventually(counted)
    stats = await admin.topics.stats(topic)
    assert {(one.queue_id, state.min_offset, state.max_offset) for one, state in stats.queues.items()} == {(0, 0, 0), (1, 0, 5)}
    updated = stats.queues[queue].updated_at
    assert updated is not None
    assert abs(updated.timestamp() - time.time()) < 300
    assert (await admin.offsets.min(queue), await admin.offsets.max(queue)) == (0, 5)
    assert await admin.offsets.search(queue, 0.0) == 0
    with pytest.raises(TopicNotFoundError):
        await admin.topics.stats(cluster.unique("nowhere"))


async def test_messages_are_read_without_a_group(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_read")
    await admin.topics.create(topic, queues=1)
    queue = MessageQueue(topic, cluster.broker_name, 0)
    for number in range(40):
        await producer.send(Message(topic, str(number).encode(), tag="even" if number % 2 == 0 else "odd"))
    await eventually(lambda: admin.offsets.max(queue), message="the messages are dispatched")
    bodies: list[bytes] = []
    offset = 0
    while offset < 40:
        read = await admin.messages.read(queue, offset, count=16)
        assert (read.min_offset, read.next_offset > offset) == (0, True)
        bodies += [message.body for message in read.messages]
        offset = read.next_offset
    assert bodies == [str(number).encode() for number in range(40)]
    odd = await admin.messages.read(queue, 0, expression="odd")
    assert {message.tag for message in odd.messages} == {"odd"}
    assert not (await admin.messages.read(queue, 40)).messages
    with pytest.raises(ConfigError, match="out of range"):
        await admin.messages.read(queue, -1)


async def test_a_held_read_ends_with_the_next_message(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = cluster.unique("admin_wait")
    await admin.topics.create(topic, queues=1)
    queue = MessageQueue(topic, cluster.broker_name, 0)
    await producer.send(Message(topic, b"first"))
    await eventually(lambda: admin.offsets.max(queue))
    await producer.send_oneway(Message(topic, b"second"))
    read = await admin.messages.read(queue, 1, wait=20.0)
    assert [message.body for message in read.messages] == [b"second"]


async def test_progress_and_members_of_a_group(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic, group = cluster.unique("admin_progress"), cluster.unique("admin_group")
    await admin.topics.create(topic, queues=2)
    with pytest.raises(ConsumerNotOnlineError):
        await admin.groups.clients(group)
    with pytest.raises(GroupNotExistError, match=group):
        await admin.groups.lag(group)
    seen: list[ReceivedMessage] = []
    consumer = PushConsumer(cluster.name_servers, group=group, start_from=StartFrom.FIRST, persist_consumer_offset_interval=0.2)

    @consumer.listen(topic, "a || b")
    async def handle(message: ReceivedMessage) -> None:
        seen.append(message)

    async with consumer:
        for number in range(10):
            await producer.send(Message(topic, str(number).encode(), tag="a"))
        await eventually(lambda: len(seen) >= 10, 30)
        members = await admin.groups.clients(group)
        assert [client.client_id for client in members.clients] == [consumer.client_id]
        assert members.clients[0].language == "PYTHON"
        assert members.message_model is MessageModel.CLUSTERING
        assert members.start_from is StartFrom.FIRST
        assert {data.topic: data.tags for data in members.subscriptions}[topic] == {"a", "b"}
    progress = await admin.groups.lag(group, topic=topic)
    assert sum(state.broker_offset for state in progress.queues.values()) == 10
    assert progress.lag == 0
    await producer.send(Message(topic, b"waits", tag="a"))

    async def lags() -> bool:
        return (await admin.groups.lag(group)).lag == 1

    await eventually(lags)


async def test_admin_clients_share_the_instance_and_end_once(cluster: Cluster) -> None:
    first, second = cluster.admin(), cluster.admin()
    with pytest.raises(ClientStateError, match="is not started"):
        await first.topics.list()
    async with first, second:
        await first.start()
        assert first._kernel.instance is second._kernel.instance
        await first.topics.list()
    await first.stop()
    with pytest.raises(ClientClosedError):
        await second.topics.list()
    with pytest.raises(ClientClosedError, match="was stopped"):
        await first.start()


async def test_search_offset_is_the_first_message_since_then(cluster: Cluster, admin: AdminClient, producer: Producer) -> None:
    topic = await cluster.create_topic(cluster.unique("times"), queues=1)
    (queue,) = await admin.topics.queues(topic)
    for number in range(5):
        await producer.send(Message(topic, b"%d" % number), queue=queue)
        await asyncio.sleep(0.02)
    read = await admin.messages.read(queue, 0)
    times = [message.store_timestamp for message in read.messages]
    assert len(times) == 5
    around = [stored + shift for stored in times for shift in (-9, -1, 0, 1, 9)]
    for at in [times[0] - 3_600_000, *around, times[-1] + 3_600_000]:
        assert await admin.offsets.search(queue, at / 1000) == sum(stored < at for stored in times), at - times[0]
    assert await admin.offsets.search(queue, datetime.now(UTC) + timedelta(hours=1)) == 5


async def test_ping_tells_who_is_there(cluster: Cluster, admin: AdminClient) -> None:
    result = await admin.ping()
    assert result.ok and set(result.brokers) == {info.name for info in await admin.clusters.brokers()}
    async with cluster.producer() as producer:
        assert (await producer.ping()).ok


@pytest.mark.feature("Q21", "Q22")
async def test_lists_of_topics_agree_with_each_other(cluster: Cluster, admin: AdminClient) -> None:
    topic = await cluster.create_topic(cluster.unique("admin_lists"), queues=2)
    (home,) = await admin.topics.clusters(topic)
    assert home in await admin.clusters.list()
    assert topic in await admin.topics.list(cluster=home)
    assert set(await admin.topics.list(cluster=home)) <= set(await admin.topics.list())
    with pytest.raises(ConfigError, match="cluster 'nosuch' is unknown"):
        await admin.topics.list(cluster="nosuch")
    with pytest.raises(TopicNotFoundError):
        await admin.topics.clusters("nosuch")
    own = (await admin.topics.system()).require()[cluster.broker_name]
    assert "TBW102" in own and "SCHEDULE_TOPIC_XXXX" in own and topic not in own
    every = (await admin.topics.all_settings()).require()[cluster.broker_name]
    assert {topic: every[topic]} == {topic: (await admin.topics.settings(topic)).require()[cluster.broker_name]}
    assert every == (await admin.topics.all_settings(broker=cluster.broker_name)).require()[cluster.broker_name]
    assert set(every) >= {"TBW102", topic}


@pytest.mark.feature("Q21", "Q25")
async def test_the_groups_of_a_topic_are_those_that_consume_it(cluster: Cluster, admin: AdminClient) -> None:
    topic, group = await cluster.create_topic(cluster.unique("admin_by_who"), queues=1), cluster.unique("admin_by_who")
    assert await admin.topics.groups(topic) == ()
    consumer = PushConsumer(cluster.name_servers, group=group)

    @consumer.listen(topic)
    async def handle(message: ReceivedMessage) -> None: ...

    async with consumer:

        async def known() -> bool:
            return group in await admin.topics.groups(topic)

        await eventually(known, 20)
    with pytest.raises(TopicNotFoundError):
        await admin.topics.groups("nosuch")


@pytest.mark.feature("Q21")
async def test_order_settings_are_kept_by_the_name_servers(cluster: Cluster, admin: AdminClient) -> None:
    topic = await cluster.create_topic(cluster.unique("admin_order"), queues=2, order=True)
    assert await admin.topics.order.get(topic) is None
    assert (await admin.topics.order.set(topic, {cluster.broker_name: 2, "broker-z": 1})).ok
    assert await admin.topics.order.get(topic) == {cluster.broker_name: 2, "broker-z": 1}
    assert (await admin.topics.route(topic)).order_topic_conf == f"broker-z:1;{cluster.broker_name}:2" or cluster.broker_name < "broker-z"
    assert (await admin.topics.order.delete(topic)).ok
    assert await admin.topics.order.get(topic) is None
    assert (await admin.topics.order.delete(topic)).ok
    for queues in ({}, {"": 1}, {"a:b": 1}, {"a": 0}, None):
        with pytest.raises(ConfigError):
            await admin.topics.order.set(topic, queues)  # type: ignore[arg-type]
    await admin.name_servers.kv.put("ORDER_TOPIC_CONFIG", topic, "a:b:c")
    with pytest.raises(ProtocolError, match="order settings of topic"):
        await admin.topics.order.get(topic)
    await admin.topics.order.delete(topic)


@pytest.mark.feature("Q21")
async def test_a_topic_goes_from_one_place_alone(cluster: Cluster, admin: AdminClient) -> None:
    topic = await cluster.create_topic(cluster.unique("admin_one_place"), queues=1)
    assert (await admin.topics.delete_route(topic)).ok
    assert cluster.broker_name in (await admin.topics.all_settings()).require()
    assert topic in (await admin.topics.all_settings()).require()[cluster.broker_name], "the broker has it still"
    with pytest.raises(AlreadyExistsError, match="with 1 queues"):
        await admin.topics.create(topic, queues=3)
    assert set(await admin.topics.delete(topic, broker=cluster.broker_name)) <= {cluster.broker_name}
    assert topic not in (await admin.topics.all_settings()).require()[cluster.broker_name]
    with pytest.raises(ConfigError, match="belongs to the broker"):
        await admin.topics.delete_route("TBW102")


@pytest.mark.feature("Q21")
async def test_many_topics_are_put_in_one_request(cluster: Cluster, admin: AdminClient) -> None:
    one, two = cluster.unique("admin_put_one"), cluster.unique("admin_put_two")
    wanted = [TopicSettings(one, 3, 2, READ_WRITE, True, {}), TopicSettings(two, 1, 1, Permission.READ, False, {"message.type": "FIFO"})]
    if cluster.kind == LAST_OF_4:
        with pytest.raises(NotSupportedByBrokerError, match="put topics"):
            await admin.topics.put(wanted)
        return
    for _ in range(2):
        assert (await admin.topics.put(wanted)).ok
        every = (await admin.topics.all_settings()).require()[cluster.broker_name]
        assert [every[one], every[two]] == wanted
    changed = replace(wanted[0], read_queues=5)
    assert (await admin.topics.put([changed], broker=cluster.broker_name)).ok
    assert (await admin.topics.settings(one)).require() == {cluster.broker_name: changed}
    for odd in ([], None, "t", [one], [changed, changed], [replace(changed, topic="TBW102")], [replace(changed, read_queues=0)]):
        with pytest.raises(ConfigError):
            await admin.topics.put(odd)  # type: ignore[arg-type]
