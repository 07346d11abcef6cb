"""The message trace as it lies in its topic."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.server import LocalCluster
from tests.support.clusters import Cluster
from tests.support.waiting import eventually


async def read_records(cluster: Cluster, topic: str, wanted: int) -> tuple[list[list[str]], set[str]]:
    """The records of a trace topic, each as its fields, in order of their names and times; and the keys of their messages."""
    records: list[list[str]] = []
    keys: set[str] = set()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("reader"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def read(message: rmq.ReceivedMessage) -> None:
        keys.update(message.keys)
        records.extend(record.split("\x01") for record in message.body.decode().split("\x02")[:-1])

    async with consumer:
        await eventually(lambda: len(records) >= wanted, 60.0)
    return sorted(records), keys


@pytest.mark.feature("E7", "E8", "E9")
async def test_sends_are_traced_with_all_their_fields(cluster: Cluster) -> None:
    topic, traces = await cluster.create_topic(cluster.unique("traced")), await cluster.create_topic(cluster.unique("traces"))
    group = cluster.unique("traced")
    async with rmq.Producer(cluster.name_servers, group=group, enable_trace=True, trace_topic=traces) as producer:
        sent = await producer.send(rmq.Message(topic, b"12345", tag="TagA", keys=["one", "two"]))
        late = await producer.send(rmq.Message(topic, b"6", delay_level=1))
        await producer.send_oneway(rmq.Message(topic, b"nobody answers this"))
        with pytest.raises(rmq.RocketMQError):
            await producer.send(rmq.Message(topic, b"78"), queue=rmq.MessageQueue(topic, "nowhere", 0), timeout=0.2)
    records, keys = await read_records(cluster, traces, 3)
    assert len(records) == 3  # one-way sends leave none
    by_id = {record[5]: record for record in records}
    assert keys == {*by_id, "one", "two"}
    first = by_id[sent.message_id]
    assert first[:1] + first[2:10] == [
        "Pub", "DefaultRegion", group, topic, sent.message_id, "TagA", "one two", cluster.broker_address, "5",
    ]  # fmt: skip
    assert first[11:] == ["0", sent.offset_message_id, "true"]
    assert abs(int(first[1]) - sent_at(sent)) < 3600_000 and int(first[10]) >= 0
    assert by_id[late.message_id][6:8] + by_id[late.message_id][11:12] == ["null", "null", "3"]
    failed = next(record for record in records if record[5] not in (sent.message_id, late.message_id))
    assert failed[8:10] + failed[11:] == ["", "2", "0", "", "false"]
    assert producer.traces_lost == 0


def sent_at(_: rmq.SendResult) -> int:
    import time

    return time.time_ns() // 1_000_000


@pytest.mark.feature("C9", "E3", "E9")
@pytest.mark.parametrize("state", [rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK])
async def test_transactions_are_traced(cluster: Cluster, state: rmq.TransactionState) -> None:
    topic, traces = await cluster.create_topic(cluster.unique("traced")), await cluster.create_topic(cluster.unique("traces"))
    group = cluster.unique("traced")
    producer = rmq.TransactionProducer(
        cluster.name_servers, group=group, check=lambda _: rmq.TransactionState.UNKNOWN, enable_trace=True, trace_topic=traces
    )  # fmt: skip
    async with producer:
        done = await producer.send_in_transaction(rmq.Message(topic, b"1", tag="TagA"), lambda *_: state)
    (ended, half), _ = await read_records(cluster, traces, 2)
    message_id = done.half.message_id if hasattr(done, "half") else done.message_id
    assert half[:1] + half[5:6] + half[11:12] + half[13:] == ["Pub", message_id, "1", "true"]
    assert ended[:1] + ended[3:] == [
        "EndTransaction", group, topic, message_id, "TagA", "null", cluster.broker_address, "2", message_id, state.value, "false",
    ]  # fmt: skip


@pytest.mark.feature("C5", "C9", "E9")
@pytest.mark.parametrize("state", [rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK])
async def test_answers_to_checks_are_traced(cluster: Cluster, state: rmq.TransactionState) -> None:
    topic, traces = await cluster.create_topic(cluster.unique("traced")), await cluster.create_topic(cluster.unique("traces"))
    producer = cluster.transaction_producer(lambda _: state, enable_trace=True, trace_topic=traces)
    async with producer:
        done = await producer.send_in_transaction(
            rmq.Message(topic, b"1", tag="TagA", keys=["key"]), lambda *_: rmq.TransactionState.UNKNOWN
        )
        records, keys = await read_records(cluster, traces, 3)  # the clusters ask after some seconds
    message_id = done.message_id
    assert keys == {message_id, "key"}
    fields = ["EndTransaction", producer.group, topic, message_id, "TagA", "key", cluster.broker_address, "2", message_id]
    answers = [record for record in records if record[-1] == "true" and record[0] == "EndTransaction"]
    assert [record[:1] + record[3:] for record in records if record[0] == "EndTransaction" and record not in answers] == [
        [*fields, rmq.TransactionState.UNKNOWN.value, "false"]
    ]
    assert answers  # a broker that is slow to take the first answer asks once more
    assert all(record[:1] + record[2:] == ["EndTransaction", "DefaultRegion", *fields[1:], state.value, "true"] for record in answers)


@pytest.mark.feature("E10")
async def test_recalls_are_traced_when_that_is_asked_for(embedded_cluster: Cluster) -> None:
    cluster = embedded_cluster
    topic, traces = await cluster.create_topic(cluster.unique("traced")), await cluster.create_topic(cluster.unique("traces"))
    for asked in (False, True):
        producer = rmq.Producer(
            cluster.name_servers, group=cluster.unique("traced"), enable_trace=True, trace_topic=traces, trace_recalls=asked
        )  # fmt: skip
        async with producer:
            sent = await producer.send(rmq.Message(topic, b"1", delay=3600.0))
            assert sent.recall_handle is not None
            await producer.recall(topic, sent.recall_handle)
    records, _ = await read_records(cluster, traces, 3)
    assert [record[0] for record in records] == ["Pub", "Pub", "Recall"]
    assert records[2][3:] == [producer.group, topic, sent.message_id, "true"]


@pytest.mark.feature("E7", "E9", "F47")
@pytest.mark.parametrize("plain", [True, False])
async def test_what_listeners_do_is_traced_for_each_message(cluster: Cluster, plain: bool) -> None:
    topic, traces = await cluster.create_topic(cluster.unique("traced"), queues=1), await cluster.create_topic(cluster.unique("traces"))
    group, got = cluster.unique("traced"), 0
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, enable_trace=True, trace_topic=traces
    )  # fmt: skip

    def count(messages: list[rmq.ReceivedMessage]) -> None:
        nonlocal got
        got += len(messages)

    async def count_on_loop(messages: list[rmq.ReceivedMessage]) -> None:
        count(messages)

    consumer.listen(topic, batch=8)(count if plain else count_on_loop)
    async with cluster.producer() as producer:
        ids = [(await producer.send(rmq.Message(topic, b"%d" % number, keys=["key"]))).message_id for number in range(4)]
        async with consumer:
            await eventually(lambda: got == 4, 60.0)
    records, keys = await read_records(cluster, traces, 8)
    after, before = records[:4], records[4:]
    assert keys == {*ids, "key"}
    assert sorted(record[5] for record in before) == sorted(record[2] for record in after) == sorted(ids)
    assert {(record[4], record[5]) for record in before} == {(record[1], record[2]) for record in after}
    assert {(record[0], *record[2:4], *record[6:]) for record in before} == {("SubBefore", "DefaultRegion", group, "0", "key")}
    assert {(record[0], *record[4:7], record[8]) for record in after} == {("SubAfter", "true", "key", "0", group)}


@pytest.mark.feature("E7")
async def test_traces_of_a_topic_that_nobody_takes_are_counted_and_a_stop_is_bounded(embedded_cluster: Cluster) -> None:
    cluster = embedded_cluster
    topic = await cluster.create_topic(cluster.unique("traced"))
    # System topics of brokers are refused to clients: no trace gets there.
    producer = rmq.Producer(
        cluster.name_servers, group=cluster.unique("traced"), enable_trace=True, trace_topic="SCHEDULE_TOPIC_XXXX"
    )  # fmt: skip
    async with asyncio.timeout(30.0):
        async with producer:
            for _ in range(25):
                assert (await producer.send(rmq.Message(topic, b"1"))).ok
    assert producer.traces_lost == 25


@pytest.mark.feature("E7", "E8")
@pytest.mark.parametrize("own", [False, True])
async def test_in_a_namespace_records_have_the_names_of_the_user(embedded_cluster: Cluster, own: bool) -> None:
    cluster, space = embedded_cluster, embedded_cluster.unique("space")
    traces = cluster.unique("traces") if own else None
    async with rmq.Producer(
        cluster.name_servers, group="writers", namespace=space, enable_trace=True, trace_topic=traces
    ) as producer:  # fmt: skip
        sent = await producer.send(rmq.Message("orders", b"1"))
    found: list[list[str]] = []
    reader = rmq.PushConsumer(cluster.name_servers, group="readers", namespace=space, start_from=rmq.StartFrom.FIRST)

    @reader.listen(traces or "RMQ_SYS_TRACE_TOPIC")
    async def read(message: rmq.ReceivedMessage) -> None:
        found.extend(record.split("\x01") for record in message.body.decode().split("\x02") if sent.message_id in record)

    async with reader:
        await eventually(lambda: found, 30.0)
    assert found[0][3:6] == ["writers", "orders", sent.message_id]


@pytest.mark.feature("E7")
def test_blocking_clients_are_traced() -> None:
    with aiorocketmq.sync.LocalCluster() as cluster:
        with aiorocketmq.sync.Producer(cluster.name_servers, group="writers", enable_trace=True) as producer:
            sent = [producer.send(rmq.Message("orders", b"1")).message_id for _ in range(20)]
        assert producer.traces_lost == 0
        got: list[str] = []
        consumer = aiorocketmq.sync.PushConsumer(cluster.name_servers, group="readers", start_from=rmq.StartFrom.FIRST)
        consumer.listen("RMQ_SYS_TRACE_TOPIC")(lambda message: got.extend(message.keys))
        with consumer:
            from tests.support.waiting import eventually_sync

            eventually_sync(lambda: len(got) == 20, 30.0)
        assert sorted(got) == sorted(sent)


@pytest.mark.feature("L14", "E8")
async def test_for_a_cloud_service_each_region_has_a_topic(cluster: Cluster) -> None:
    topic, group = await cluster.create_topic(cluster.unique("traced")), cluster.unique("clouds")
    got = asyncio.Event()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=rmq.StartFrom.FIRST, enable_trace=True, access_channel=rmq.AccessChannel.CLOUD
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        got.set()

    async with consumer:
        async with rmq.Producer(
            cluster.name_servers, group=group, enable_trace=True, access_channel=rmq.AccessChannel.CLOUD, send_msg_timeout=20.0
        ) as producer:
            sent = await producer.send(rmq.Message(topic, b"1"))
        await asyncio.wait_for(got.wait(), 60.0)
    own: list[list[str]] = []
    reader = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("reader"), start_from=rmq.StartFrom.FIRST)

    @reader.listen("rmq_sys_TRACE_DATA_DefaultRegion")
    async def read(message: rmq.ReceivedMessage) -> None:
        records = (record.split("\x01") for record in message.body.decode().split("\x02")[:-1])
        own.extend(record for record in records if sent.message_id in record)

    async with reader:
        await eventually(lambda: len(own) >= 3, 60.0)
    assert sorted(record[0] for record in own) == ["Pub", "SubAfter", "SubBefore"]
    (after,) = (record for record in own if record[0] == "SubAfter")
    assert after[2] == sent.message_id and after[4:] == ["true", "null", "0", ""], "neither time nor group"


@pytest.mark.feature("L14", "E8")
async def test_regions_are_those_of_the_brokers() -> None:
    async with LocalCluster(region_id="cn-one") as cluster:
        async with rmq.Producer(cluster.name_servers, group="g", enable_trace=True, access_channel=rmq.AccessChannel.CLOUD) as producer:
            await producer.send(rmq.Message("t", b"1"))
        assert "rmq_sys_TRACE_DATA_cn-one" in await _topics(cluster)
    with pytest.raises(rmq.ConfigError, match="access_channel"):
        rmq.ClientConfig(name_servers="a:1", access_channel="CLOUD")  # type: ignore[arg-type]


async def _topics(cluster: LocalCluster) -> tuple[str, ...]:
    async with rmq.AdminClient(cluster.name_servers) as admin:
        return await admin.topics.list()
