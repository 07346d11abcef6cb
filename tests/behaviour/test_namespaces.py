"""Namespaces: users see their own names, brokers those of the namespace, and two namespaces see nothing of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Inbox, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
SOON = rmq.Retry(delay_level=1)


async def topic_in(cluster: Cluster, namespace: str, topic: str, queues: int = 2) -> str:
    """A new topic of a namespace; gives back the name that its users know."""
    await cluster.create_topic(f"{namespace}%{topic}", queues)
    return topic


def consumer_in(cluster: Cluster, namespace: str, group: str, **fields: object) -> rmq.PushConsumer:
    return rmq.PushConsumer(cluster.name_servers, group=group, namespace=namespace, start_from=FIRST, **fields)  # type: ignore[arg-type]


def saved(directory: Path, group: str) -> str:
    """The offset file of the only member of a broadcasting group."""
    (file,) = directory.glob(f"*/{group}/offsets.json")
    return file.read_text()


@pytest.mark.feature("L11", "Q54")
async def test_users_see_their_own_names_and_brokers_those_of_the_namespace(cluster: Cluster) -> None:
    namespace, group = cluster.unique("ns"), cluster.unique("g")
    topic = await topic_in(cluster, namespace, cluster.unique("orders"))
    inbox, shown = Inbox(), set[str]()
    consumer = consumer_in(cluster, namespace, group)
    consumer.listen(topic)(inbox.take)

    def first(queues: Sequence[rmq.MessageQueue], message: rmq.Message) -> rmq.MessageQueue:
        shown.update(queue.topic for queue in queues)
        return queues[0]

    async with cluster.producer(namespace=namespace) as producer, consumer:
        result = await producer.send(rmq.Message(topic, b"1"))
        assert result.queue.topic == topic
        queues = await producer.fetch_publish_message_queues(topic)
        assert {queue.topic for queue in queues} == {topic}
        await producer.send(rmq.Message(topic, b"2"), queue=queues[0])
        await producer.send(rmq.Message(topic, b"3"), selector=first)
        assert shown == {topic}
        await producer.send_batch([rmq.Message(topic, b"4"), rmq.Message(topic, b"5")])
        await producer.send(rmq.Message(f"{namespace}%{topic}", b"6"))
        await inbox.has(6)
        assert {(message.topic, message.queue.topic) for message in inbox.messages} == {(topic, topic)}
        await owns(consumer, topic, 2)
        assert {queue.topic for queue in consumer.assigned} <= {topic, f"%RETRY%{group}"}
        await eventually(lambda: consumer.backlog == 0)
        assert {queue.topic for queue in consumer.offsets(topic)} == {topic}
        assert consumer.group == group
        async with rmq.AdminClient(cluster.name_servers) as outside:
            members = await outside.groups.clients(f"{namespace}%{group}")
            assert {data.topic for data in members.subscriptions} == {f"{namespace}%{topic}", f"%RETRY%{namespace}%{group}"}
            assert [client.client_id for client in members.clients] == [consumer.client_id]
            with pytest.raises(rmq.ConsumerNotOnlineError):
                await outside.groups.clients(group)
    async with rmq.AdminClient(cluster.name_servers, namespace=namespace) as inside:
        progress = await inside.groups.lag(group)
        assert {queue.topic for queue in progress.queues} <= {topic, f"%RETRY%{group}"}
        assert sum(state.consumer_offset for queue, state in progress.queues.items() if queue.topic == topic) == 6
    with pytest.raises(rmq.TopicNotFoundError) as caught:
        async with cluster.producer(namespace=namespace, create_topic_key=cluster.unique("none")) as producer:
            await producer.send(rmq.Message(cluster.unique("missing"), b"x"))
    assert namespace not in str(caught.value)


@pytest.mark.feature("L5", "L11")
async def test_the_endpoint_of_an_instance_gives_the_namespace(cluster: Cluster) -> None:
    namespace = f"MQ_INST_1_{cluster.unique('a')}"
    topic = await topic_in(cluster, namespace, cluster.unique("cloud"), 1)
    endpoint, where = f"http://{namespace}.mq.invalid:80", {f"{namespace}.mq.invalid:80": cluster.name_servers}
    inbox = Inbox()
    consumer = rmq.PushConsumer(endpoint, group=cluster.unique("g"), start_from=FIRST, address_map=where)
    consumer.listen(topic)(inbox.take)
    async with rmq.Producer(endpoint, address_map=where, send_msg_timeout=20.0) as producer, consumer:
        assert (await producer.send(rmq.Message(topic, b"1"))).queue.topic == topic
        await inbox.has(1)
        assert inbox.messages[0].topic == topic
    async with rmq.AdminClient(cluster.name_servers) as outside:
        assert (await outside.topics.stats(f"{namespace}%{topic}")).messages == 1


@pytest.mark.feature("L11", "F23", "F24")
async def test_failed_messages_come_again_and_are_buried_in_their_namespace(cluster: Cluster) -> None:
    namespace, group = cluster.unique("ns"), cluster.unique("g")
    topic = await topic_in(cluster, namespace, cluster.unique("fails"), 1)
    inbox, dead = Inbox(), Inbox()
    consumer = consumer_in(cluster, namespace, group, max_reconsume_times=1)

    @consumer.listen(topic)
    async def fail(message: rmq.ReceivedMessage) -> rmq.Retry:
        inbox.take(message)
        return SOON

    undertaker = consumer_in(cluster, namespace, cluster.unique("u"))
    undertaker.listen(f"%DLQ%{group}")(dead.take)
    async with cluster.producer(namespace=namespace) as producer, consumer, undertaker:
        await send(producer, topic, [b"bad"])
        await inbox.has(2, 60)
        await dead.has(1, 60)
    assert [message.topic for message in inbox.messages] == [topic, topic]
    assert inbox.messages[1].queue.topic == f"%RETRY%{group}"
    assert dead.messages[0].topic == f"%DLQ%{group}"
    assert dead.messages[0].origin_topic == dead.messages[0].to_message().topic == topic
    async with rmq.AdminClient(cluster.name_servers) as outside:
        found = await outside.topics.list()
        assert f"%RETRY%{namespace}%{group}" in found and f"%DLQ%{namespace}%{group}" in found
        assert f"%RETRY%{group}" not in found


@pytest.mark.feature("L11")
async def test_equal_names_in_two_namespaces_and_outside_do_not_meet(cluster: Cluster) -> None:
    spaces = {"": Inbox(), cluster.unique("a"): Inbox(), cluster.unique("b"): Inbox()}
    topic, group = cluster.unique("same"), cluster.unique("g")
    consumers = []
    for namespace, inbox in spaces.items():
        await cluster.create_topic(f"{namespace}%{topic}" if namespace else topic, 2)
        consumers.append(consumer := consumer_in(cluster, namespace, group))
        consumer.listen(topic)(inbox.take)
        await consumer.start()
    try:
        for namespace in spaces:
            async with cluster.producer(namespace=namespace) as producer:
                await send(producer, topic, [b"%s %d" % (namespace.encode(), number) for number in range(8)])
        for namespace, inbox in spaces.items():
            await inbox.has(8)
            assert set(inbox.bodies) == {b"%s %d" % (namespace.encode(), number) for number in range(8)}
    finally:
        for consumer in consumers:
            await consumer.stop()


@pytest.mark.feature("L11", "F6")
async def test_ordered_consumers_lock_the_queues_of_their_namespace(cluster: Cluster) -> None:
    namespace, group = cluster.unique("ns"), cluster.unique("g")
    topic = await topic_in(cluster, namespace, cluster.unique("ordered"))
    inbox = Inbox()
    consumer = consumer_in(cluster, namespace, group, ordered=True)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    async with cluster.producer(namespace=namespace) as producer, consumer:
        await send(producer, topic, numbered(10), sharding_key=lambda body: "one")
        await inbox.has(10)
        assert inbox.bodies == numbered(10)


@pytest.mark.feature("L11", "F3")
async def test_broadcasting_groups_of_two_namespaces_keep_offsets_apart(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = cluster.unique("news"), cluster.unique("g")
    for namespace in (cluster.unique("a"), cluster.unique("b")):
        await topic_in(cluster, namespace, topic)
        async with cluster.producer(namespace=namespace) as producer:
            await send(producer, topic, numbered(4))
        for expected in (4, 0):  # the second consumer goes on where the first one ended
            inbox = Inbox()
            consumer = consumer_in(
                cluster, namespace, group, message_model=rmq.MessageModel.BROADCASTING, local_offset_store_dir=tmp_path, instance_name="me"
            )
            consumer.listen(topic)(inbox.take)
            async with consumer:
                await inbox.has(expected)
                await owns(consumer, topic, 2)
                await eventually(lambda consumer=consumer: consumer.backlog == 0)  # type: ignore[misc]
            assert len(inbox) == expected
        assert f'"{namespace}%{topic}"' in saved(tmp_path, f"{namespace}%{group}")


@pytest.mark.feature("L11", "D1", "D4")
async def test_requests_are_answered_in_a_namespace(cluster: Cluster) -> None:
    namespace = cluster.unique("ns")
    topic = await topic_in(cluster, namespace, cluster.unique("rpc"))
    consumer = consumer_in(cluster, namespace, cluster.unique("g"))

    @consumer.respond(topic)
    async def pong(message: rmq.ReceivedMessage) -> bytes:
        return b"pong " + message.topic.encode()

    async with cluster.producer(namespace=namespace) as producer, consumer:
        reply = await producer.request(rmq.Message(topic, b"ping"), timeout=30.0)
        assert reply.body == b"pong " + topic.encode()


@pytest.mark.feature("L11", "C1", "C3")
async def test_transactions_are_committed_and_checked_in_a_namespace(cluster: Cluster) -> None:
    namespace = cluster.unique("ns")
    topic = await topic_in(cluster, namespace, cluster.unique("tx"))
    inbox, asked = Inbox(), list[str]()
    consumer = consumer_in(cluster, namespace, cluster.unique("g"))
    consumer.listen(topic)(inbox.take)

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        asked.append(message.topic)
        return rmq.TransactionState.COMMIT

    async def unknown(message: rmq.Message, argument: object) -> rmq.TransactionState:
        return rmq.TransactionState.UNKNOWN

    producer = rmq.TransactionProducer(
        cluster.name_servers, group=cluster.unique("p"), namespace=namespace, check=check, send_msg_timeout=20.0
    )
    async with producer, consumer:
        async with producer.transaction(rmq.Message(topic, b"committed")):
            pass
        await producer.send_in_transaction(rmq.Message(topic, b"checked"), unknown, None)
        await inbox.has(2, 90)
    assert set(inbox.bodies) == {b"committed", b"checked"}
    assert {message.topic for message in inbox.messages} == {topic}
    assert set(asked) == {topic}


@pytest.mark.feature("L11")
async def test_admin_clients_and_blocking_clients_live_in_a_namespace(cluster: Cluster) -> None:
    namespace, topic = cluster.unique("ns"), cluster.unique("made")

    def blocking() -> tuple[str, list[str]]:
        received = list[str]()
        consumer = rmq.sync.PushConsumer(cluster.name_servers, group=cluster.unique("g"), namespace=namespace, start_from=FIRST)
        done = consumer.listen(topic)(lambda message: received.append(message.topic))
        with rmq.sync.Producer(cluster.name_servers, namespace=namespace, send_msg_timeout=20.0) as producer, consumer:
            queue = [producer.send(rmq.Message(topic, b"x")) for _ in range(12)][-1].queue
            deadline = 600
            while len(received) < 12 and (deadline := deadline - 1):
                asyncio.run(asyncio.sleep(0.05))
        assert done is not None
        return queue.topic, received

    async with rmq.AdminClient(cluster.name_servers, namespace=namespace, mq_client_api_timeout=20.0) as admin:
        await admin.topics.create(topic, queues=1)
        assert topic in await admin.topics.list()
        assert not [name for name in await admin.topics.list() if "%" in name and not name.startswith("%")]
        queue_topic, received = await asyncio.to_thread(blocking)
        assert (queue_topic, received) == (topic, [topic] * 12)
        (queue,) = await admin.topics.queues(topic)
        assert queue.topic == topic
        assert await admin.offsets.max(queue) == 12
        assert {message.topic for message in (await admin.messages.read(queue, 0)).messages} == {topic}
        stats = await admin.topics.stats(topic)
        assert [each.topic for each in stats.queues] == [topic]
    async with rmq.AdminClient(cluster.name_servers, mq_client_api_timeout=20.0) as outside:
        assert f"{namespace}%{topic}" in await outside.topics.list()
