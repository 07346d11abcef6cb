"""How clients are, on real brokers and on the embedded one: all is well, the broker is killed, and comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually, eventually_sync

FIRST = rmq.StartFrom.FIRST
PATIENCE = 60.0


@pytest.mark.feature("U2")
async def test_every_client_tells_how_it_is(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "health", 2), cluster.unique("g")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST)
    consumer.listen(topic)(inbox.take)
    producer, admin = cluster.producer(topics=[topic]), cluster.admin()
    transactions = cluster.transaction_producer(lambda message: rmq.TransactionState.UNKNOWN, topics=[topic])
    clients = (producer, transactions, consumer, admin)
    assert {client.health().status for client in clients} == {rmq.HealthStatus.DOWN}
    async with producer, transactions, consumer, admin:
        await send(producer, topic, numbered(10))
        await owns(consumer, topic, 2)
        await eventually(lambda: len(inbox.bodies) == 10, PATIENCE)
        await eventually(lambda: all(client.health().ok for client in clients), PATIENCE)
        await eventually(lambda: consumer.health().lag == 0, PATIENCE)
        for client in (producer, transactions, consumer):
            health = client.health()
            assert health.reasons == () and health.state is rmq.ServiceState.RUNNING
            assert health.client_id == client.client_id
            assert [server.reachable for server in health.name_servers] == [True]
            [broker] = health.brokers
            assert (broker.name, broker.broker_id, broker.address) == (cluster.broker_name, 0, cluster.broker_address)
            assert (broker.connected, broker.reachable) == (True, True)
            assert [route.topic for route in health.routes if route.known][-1] == topic
        await eventually(lambda: producer.health().brokers[0].version != "", PATIENCE)
        assert producer.health().brokers[0].version == ("V4_9_7" if cluster.kind == "4.9.7" else "V5_5_0")
        queues = [queue for queue in consumer.health().queues if queue.queue.topic == topic]
        assert sum(queue.position for queue in queues) == 10
        assert all(queue.owned and not queue.stuck for queue in queues)
        json.dumps(consumer.health().as_dict())
    assert {client.health().status for client in clients} == {rmq.HealthStatus.DOWN}


@pytest.mark.feature("U2")
async def test_a_killed_broker_and_its_return(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "health", 2), cluster.unique("g")
    inbox = Inbox()
    at_consumer: list[rmq.StateChange] = []

    async def hear(change: rmq.StateChange) -> None:
        at_consumer.append(change)
        raise ValueError("harms nobody")

    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, on_state_change=hear)
    consumer.listen(topic)(inbox.take)
    at_producer: list[rmq.StateChange] = []
    producer = cluster.producer(topics=[topic], on_state_change=at_producer.append)
    async with producer, consumer:
        await send(producer, topic, numbered(4))
        await owns(consumer, topic, 2)
        await eventually(lambda: producer.health().ok and consumer.health().ok, PATIENCE)
        await cluster.kill_broker()
        for client in (producer, consumer):
            await eventually(lambda client=client: client.health().status is rmq.HealthStatus.DOWN, PATIENCE)  # type: ignore[misc]
            health = client.health()
            assert health.reasons[0] == "no broker can be reached"
            assert health.brokers[0].reachable is False and health.brokers[0].error
        for told in (at_producer, at_consumer):
            await heard(told, rmq.StateChangeKind.BROKERS_LOST)
        await cluster.start_broker()
        await send(producer, topic, numbered(4))
        await eventually(lambda: len(inbox.bodies) >= 8, PATIENCE)
        await eventually(lambda: producer.health().ok and consumer.health().ok, PATIENCE)
        for told in (at_producer, at_consumer):
            await heard(told, rmq.StateChangeKind.BROKERS_REGAINED)
            await eventually(lambda told=told: told[-1].health.ok, PATIENCE)  # type: ignore[misc]
            assert any(cluster.broker_address in subject for change in told for subject in change.subjects)
    counts = len(at_producer), len(at_consumer)
    await asyncio.sleep(1.5)  # longer than from one look to the next
    assert (len(at_producer), len(at_consumer)) == counts, "a client that has stopped tells nothing"


async def heard(told: list[rmq.StateChange], kind: rmq.StateChangeKind) -> None:
    await eventually(lambda: kind in [change.kind for change in told], PATIENCE)


@pytest.mark.feature("U2")
async def test_a_listener_that_hangs_and_its_lag(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "health", 1), cluster.unique("g")
    gate = asyncio.Event()
    told: list[rmq.StateChange] = []
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=FIRST, ordered=True, stuck_after=1.0, on_state_change=told.append
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await gate.wait()

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(5))
        await eventually(lambda: any("made no progress" in reason for reason in consumer.health().reasons), PATIENCE)
        [queue] = [queue for queue in consumer.health().queues if queue.queue.topic == topic]
        assert (queue.position, queue.stuck) == (0, True)
        assert queue.lag is not None and queue.lag >= 1
        await heard(told, rmq.StateChangeKind.QUEUES_STUCK)
        gate.set()
        await heard(told, rmq.StateChangeKind.QUEUES_MOVING)
        await eventually(lambda: consumer.health().ok and consumer.offsets(topic).popitem()[1] == 5, PATIENCE)


@pytest.mark.feature("U2")
async def test_a_consumer_that_is_not_asked_for_its_messages(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "health", 2)
    told: list[rmq.StateChange] = []
    consumer = rmq.LitePullConsumer(
        cluster.name_servers, group=cluster.unique("g"), topics=topic, start_from=FIRST, stuck_after=1.0, on_state_change=told.append
    )
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(6))
        await heard(told, rmq.StateChangeKind.QUEUES_STUCK)
        health = consumer.health()
        assert health.status is rmq.HealthStatus.DEGRADED
        await eventually(lambda: consumer.health().lag == 6, PATIENCE)

        async def emptied() -> bool:
            await consumer.poll(timeout=0.2)
            return consumer.health().ok and consumer.health().lag == 0

        await eventually(emptied, PATIENCE)
        await heard(told, rmq.StateChangeKind.QUEUES_MOVING)
    assert consumer.health().status is rmq.HealthStatus.DOWN


@pytest.mark.feature("U2")
def test_the_blocking_twins_tell_the_same(cluster: Cluster) -> None:
    topic = asyncio.run(new_topic(cluster, "health", 1))
    told: list[rmq.StateChange] = []
    listening = {"group": cluster.unique("g"), "start_from": FIRST, "on_state_change": told.append}
    consumer = aiorocketmq.sync.PushConsumer(cluster.name_servers, **listening)  # type: ignore[arg-type]
    got: list[bytes] = []
    consumer.listen(topic)(lambda message: got.append(message.body))
    producer, admin = cluster.sync_producer(topics=[topic]), cluster.sync_admin()
    clients: list[tuple[str, Callable[[], rmq.Health]]] = [("p", producer.health), ("c", consumer.health), ("a", admin.health)]
    with producer, consumer, admin:
        for _ in range(20):
            producer.send(rmq.Message(topic, b"x"))
        eventually_sync(lambda: len(got) == 20, PATIENCE)
        for name, health in clients:
            eventually_sync(lambda health=health: health().ok, PATIENCE, message=name)  # type: ignore[misc]
        eventually_sync(lambda: rmq.StateChangeKind.STATUS in [change.kind for change in told], PATIENCE)
        assert producer.health().in_flight == 0
        assert producer.health().client_id == producer.client_id
    assert [health().status for _, health in clients] == [rmq.HealthStatus.DOWN] * 3


@pytest.mark.feature("U2")
async def test_one_broker_of_two_dies_and_is_missed_though_the_name_server_forgets_it(embedded_cluster: Cluster) -> None:
    """On a cluster of its own: the fixture only says on which."""
    from aiorocketmq.server import LocalCluster

    told: list[rmq.StateChange] = []
    async with LocalCluster(brokers=2) as cluster:
        await cluster.create_topic("orders")
        doomed = cluster.brokers[1]
        producer = rmq.Producer(
            cluster.name_servers, group="shop", topics=["orders"], poll_name_server_interval=0.5, on_state_change=told.append
        )
        async with producer:
            for _ in range(8):
                await producer.send(rmq.Message("orders", b"x"))
            await eventually(lambda: producer.health().ok and len(producer.health().brokers) == 2, PATIENCE)
            await cluster.kill_broker(doomed.name)
            await eventually(lambda: producer.health().status is rmq.HealthStatus.DEGRADED, PATIENCE)
            await eventually(lambda: [broker.routed for broker in producer.health().brokers] == [True, False], PATIENCE)
            [reason] = producer.health().reasons
            assert f"broker {doomed.name} (master, {doomed.address}) cannot be reached, and the name servers leave it out" in reason
            await producer.send(rmq.Message("orders", b"x"))
            await heard(told, rmq.StateChangeKind.BROKERS_LOST)
            await cluster.start_broker(doomed.name)
            await eventually(lambda: [broker.routed for broker in producer.health().brokers] == [True, True], PATIENCE)

            async def sent() -> bool:
                await producer.send(rmq.Message("orders", b"x"))
                return producer.health().ok

            await eventually(sent, PATIENCE)
            await heard(told, rmq.StateChangeKind.BROKERS_REGAINED)
    assert rmq.StateChangeKind.BROKERS_GONE not in [change.kind for change in told]


@pytest.mark.feature("U2")
async def test_a_broker_that_says_nothing_any_more_is_seen(embedded_cluster: Cluster) -> None:
    """As above."""
    from aiorocketmq.server import LocalCluster

    async with LocalCluster() as cluster:
        [broker] = cluster.brokers
        producer = rmq.Producer(cluster.name_servers, group="shop", mq_client_api_timeout=0.5, heartbeat_broker_interval=0.5)
        async with producer:
            await producer.send(rmq.Message("orders", b"x"))
            await eventually(lambda: producer.health().ok and producer.health().brokers[0].heartbeat_ago is not None, PATIENCE)
            await cluster.pause_broker(broker.name)
            await eventually(lambda: producer.health().status is rmq.HealthStatus.DOWN, PATIENCE)
            assert producer.health().brokers[0].error
            await cluster.resume_broker(broker.name)
            await eventually(lambda: producer.health().ok, PATIENCE)
