"""Apache RocketMQ's own command line sees our consumer, and understands the embedded server."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.enums import MessageRequestMode
from tests.foreign.conftest import MqAdmin
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4, NEWEST
from tests.support.line_program import LineProgram
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


JAVA_ONLY = {
    "adjustThreadPoolNumsThreshold", "clientCallbackExecutorThreads", "clientIP", "concurrentHeartbeatThreadPoolSize", "consumeTimestamp",
    "defaultMQPushConsumerImpl", "detectInterval", "detectTimeout", "enableConcurrentHeartbeat", "enableHeartbeatChannelEventListener",
    "enableStreamRequestType", "log", "maxPageSizeInGetMetadata", "messageListener", "namespaceInitialized", "namesrvAddr", "popBatchNums",
    "popInvisibleTime", "popThresholdForQueue", "sendLatencyEnable", "socksProxyConfig", "startDetectorEnable", "subscription",
    "traceMsgBatchNum", "useHeartbeatV2",
}  # fmt: skip
"""Properties of a Java consumer that ours does not have: fields of its objects, and settings that mean nothing here."""


def sections(status: str) -> dict[str, list[list[str]]]:
    """The rows of an output of consumerStatus, split at blanks, by the title above them; titles of columns are left out."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in status.splitlines():
        if line.startswith("#") and line.endswith("#"):
            rows = found[line.strip("#")] = []
        elif line and not line.startswith("#"):
            rows.append(line.split())
    return found


@pytest.mark.feature("F37", "F40", "F41", "F43", "N3", "N5", "N6")
@pytest.mark.timeout(240)
async def test_operators_see_and_move_our_consumer_as_one_of_java(cluster: Cluster, mqadmin: MqAdmin, peer: LineProgram) -> None:
    version = cluster.kind if cluster.is_real else NEWEST
    topic = await cluster.create_topic(cluster.unique("operated"), queues=2)
    ours, theirs = cluster.unique("ours"), cluster.unique("theirs")
    consumer = rmq.PushConsumer(cluster.name_servers, group=ours, start_from=rmq.StartFrom.FIRST)
    consumer.user_info["release"] = "2.1"
    received: list[bytes] = []

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        received.append(message.body)

    async def java_has(count: int) -> bool:
        at_java.extend((await peer.call("received", id="java"))["messages"])
        return len(at_java) >= count

    at_java: list[object] = []
    where: dict[str, Any] = {"name_servers": cluster.name_servers, "group": theirs, "topic": topic}
    java_id = (await peer.call("consumer", id="java", expression="*", **where))["client_id"]
    async with consumer, cluster.producer() as producer:
        sent = [await producer.send(rmq.Message(topic, b"%d" % number)) for number in range(6)]
        await eventually(lambda: len(received) == 6, 20.0)
        await eventually(lambda: java_has(6), 60.0)

        async def status(group: str, client_id: str) -> str:
            arguments = ("-n", cluster.name_servers, "-g", group, "-i", client_id, "-s")
            return await mqadmin("consumerStatus", *arguments, version=version, may_name_exceptions=True)

        async def hand_over(group: str, client_id: str) -> str:
            message = ("-n", cluster.name_servers, "-i", sent[0].offset_message_id, *(("-t", topic) if version == NEWEST else ()))
            told = await mqadmin("queryMsgById", *message, "-g", group, "-d", client_id, version=version)
            return told.partition("spentTimeMills")[0]

        shown = await asyncio.gather(
            status(ours, consumer.client_id),
            status(theirs, java_id),
            hand_over(ours, consumer.client_id),
            hand_over(theirs, java_id),
            mqadmin("producerConnection", "-n", cluster.name_servers, "-g", producer.group, "-t", topic, version=version),
        )
        our_status, java_status = sections(shown[0]), sections(shown[1])
        assert our_status.keys() == java_status.keys()
        names, java_names = ({row[0] for row in each["Consumer Properties"]} for each in (our_status, java_status))
        assert java_names - names == JAVA_ONLY & java_names
        assert "Consumer RT&TPS" in our_status and "Consumer jstack" in our_status
        for title, columns in (("Consumer Offset", 4), ("Consumer MQ Detail", 4), ("Consumer RT&TPS", 1)):
            rows, java_rows = ([row[:columns] for row in each[title] if row[0] == topic] for each in (our_status, java_status))
            assert rows == java_rows != []
        if version == NEWEST:  # that of 4.x does not show it
            assert our_status["User Consume Info"] == [["release", ":", "2.1"]]
        assert "task consumer" in shown[0]
        assert shown[2] == shown[3] and "consumeResult=CR_SUCCESS" in shown[2], shown
        assert len(received) == 7
        assert producer.client_id in shown[4] and "PYTHON" in shown[4]

        # Brokers reset no queue of which they have no offset; the first ones are saved after some seconds.
        assert consumer.instance is not None
        await consumer.instance.clients.consumers[ours].persist_offsets()
        moved = await mqadmin("resetOffsetByTime", "-n", cluster.name_servers, "-g", ours, "-t", topic, "-s", "0", version=version)
        assert [row[2] for line in moved.splitlines() if len(row := line.split()) == 3 and row[0] == cluster.broker_name] == ["0", "0"]
        for number in range(2):  # a pull that the broker holds hears of it when it ends
            await producer.send(rmq.Message(topic, b"newer"), queue=rmq.MessageQueue(topic, cluster.broker_name, number))
        await eventually(lambda: len(received) >= 15, 40.0)
        assert sorted(received[7:]) == sorted([b"%d" % number for number in range(6)] + [b"newer"] * 2)


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
