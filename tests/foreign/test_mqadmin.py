"""Apache RocketMQ's own command line sees our consumer, and understands the embedded server."""

from __future__ import annotations

from functools import partial

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.enums import MessageRequestMode
from tests.foreign.conftest import MqAdmin
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4, NEWEST
from tests.support.waiting import eventually


@pytest.mark.feature("K1", "K8", "O5")
@pytest.mark.timeout(180)
async def test_consumer_connection_and_progress_show_our_consumer(cluster: Cluster, mqadmin: MqAdmin) -> None:
    topic = await cluster.create_topic(cluster.unique("watched"), queues=2)
    group = cluster.unique("watched")
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, persist_consumer_offset_interval=0.2)
    received: list[bytes] = []

    @consumer.listen(topic, "TagA || TagB")
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message.body)

    version = cluster.kind if cluster.is_real else NEWEST  # mqadmin of 5.x asks 4.x brokers for things they do not know
    async with consumer, cluster.producer() as producer:
        for number in range(10):
            await producer.send(rmq.Message(topic, str(number).encode(), tag="TagA"))
        await eventually(lambda: len(received) == 10, 20.0)

        connections = await mqadmin("consumerConnection", "-n", cluster.name_servers, "-g", group, version=version)
        rows = [line.split() for line in connections.splitlines()]
        assert [row[2:3] for row in rows if row[:1] == [consumer.client_id]] == [["PYTHON"]], connections
        assert [topic, "TagA", "||", "TagB"] in rows
        assert [f"%RETRY%{group}", "*"] in rows
        assert "ConsumeType: CONSUME_PASSIVELY" in connections
        assert "MessageModel: CLUSTERING" in connections
        assert "ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET" in connections

        async def caught_up() -> bool:
            progress = await mqadmin("consumerProgress", "-n", cluster.name_servers, "-g", group, "-s", "true", version=version)
            owned = [line.split() for line in progress.splitlines() if line.startswith(topic)]
            # topic, broker, queue id, broker's offset, consumer's offset, client address, ...
            assert len(owned) == 2, progress
            assert {row[5] for row in owned} == {consumer.client_id.partition("@")[0]}
            return all(row[3] == row[4] for row in owned) and sum(int(row[4]) for row in owned) == 10

        await eventually(caught_up, 60.0)


async def test_topic_list_and_route_on_the_embedded_server(embedded_cluster: Cluster, mqadmin: MqAdmin) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("listed"), queues=3)
    listed = await mqadmin("topicList", "-n", embedded_cluster.name_servers)
    assert topic in listed.split()
    route = await mqadmin("topicRoute", "-n", embedded_cluster.name_servers, "-t", topic)
    assert embedded_cluster.broker_address in route
    assert embedded_cluster.broker_name in route
    assert '"writeQueueNums":3' in route


@pytest.mark.feature("G11", "H1")
@pytest.mark.timeout(180)
async def test_set_consume_mode_reaches_members_that_let_brokers_share_the_queues_out(cluster: Cluster, mqadmin: MqAdmin) -> None:
    if cluster.kind == LAST_OF_4:
        pytest.skip("4.x has no such command")
    topic, group = await cluster.create_topic(cluster.unique("mode"), queues=2), cluster.unique("mode")
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, client_rebalance=False)
    consumer.listen(topic)(lambda message: None)
    async with consumer:
        assert consumer.instance is not None
        ask = partial(consumer.instance.broker_api.query_assignment, cluster.broker_address, topic, group, consumer.client_id, "AVG")
        own = {rmq.MessageQueue(topic, cluster.broker_name, number): MessageRequestMode.PULL for number in range(2)}
        assert await ask() == own
        said = await mqadmin(
            "setConsumeMode", "-n", cluster.name_servers, "-b", cluster.broker_address, "-t", topic, "-g", group, "-m", "POP"
        )
        assert f"topic[{topic}] group[{group}] consume mode[POP]" in said
        assert await ask() == {rmq.MessageQueue(topic, cluster.broker_name, -1): MessageRequestMode.POP}
