"""mqadmin reads the message trace that our clients write."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from tests.foreign.conftest import MqAdmin
from tests.support.clusters import Cluster
from tests.support.java import NEWEST
from tests.support.waiting import eventually


async def traced(cluster: Cluster, mqadmin: MqAdmin, message_id: str, wanted: list[tuple[str, str, str]], *more: str) -> None:
    """Wait until mqadmin shows rows with this type, group and status for a message."""
    version = cluster.kind if cluster.is_real else NEWEST

    async def complete() -> bool:
        shown = await mqadmin("queryMsgTraceById", "-n", cluster.name_servers, "-i", message_id, *more, version=version)
        rows = [line.split() for line in shown.splitlines()]
        missing = [words for words in wanted if not any((*row[:2], row[-1]) == words for row in rows if row)]
        assert not missing, shown
        return True

    await eventually(complete, 90.0)


@pytest.mark.feature("E7", "E8", "E9", "Q60")
@pytest.mark.timeout(240)
async def test_mqadmin_shows_what_was_sent(cluster: Cluster, mqadmin: MqAdmin) -> None:
    topic, group = await cluster.create_topic(cluster.unique("traced")), cluster.unique("traced")
    async with rmq.Producer(cluster.name_servers, group=group, enable_trace=True) as producer:
        sent = await producer.send(rmq.Message(topic, b"1", tag="TagA", keys=["key"]))
        batch = await producer.send_batch([rmq.Message(topic, b"2"), rmq.Message(topic, b"3")])
    assert producer.traces_lost == 0
    for message_id in (sent.message_id, *batch.message_id.split(",")):
        await traced(cluster, mqadmin, message_id, [("Pub", group, "success")])


@pytest.mark.feature("E7", "E8", "E9", "F47", "Q60")
@pytest.mark.timeout(300)
async def test_mqadmin_shows_what_was_consumed_and_what_failed(cluster: Cluster, mqadmin: MqAdmin) -> None:
    topic, traces = await cluster.create_topic(cluster.unique("traced")), await cluster.create_topic(cluster.unique("traces"))
    groups = cluster.unique("sender"), cluster.unique("receiver"), cluster.unique("thrower")
    consumed: list[str] = []
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=groups[1], start_from=rmq.StartFrom.FIRST, enable_trace=True, trace_topic=traces
    )  # fmt: skip
    thrower = rmq.PushConsumer(
        cluster.name_servers, group=groups[2], start_from=rmq.StartFrom.FIRST, enable_trace=True, trace_topic=traces, max_reconsume_times=0
    )  # fmt: skip

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> None:
        consumed.append(message.message_id)

    @thrower.listen(topic)
    async def throw(message: rmq.ReceivedMessage) -> None:
        consumed.append(message.message_id)
        raise ValueError("not today")

    async with rmq.Producer(cluster.name_servers, group=groups[0], enable_trace=True, trace_topic=traces) as producer:
        sent = await producer.send(rmq.Message(topic, b"1", keys=["key"]))
        async with consumer, thrower:
            await eventually(lambda: consumed == [sent.message_id] * 2, 60.0)
    wanted = [("Pub", groups[0], "success"), ("Sub", groups[1], "success"), ("Sub", groups[2], "failed")]
    await traced(cluster, mqadmin, sent.message_id, wanted, "-t", traces)
    assert (producer.traces_lost, consumer.traces_lost, thrower.traces_lost) == (0, 0, 0)
