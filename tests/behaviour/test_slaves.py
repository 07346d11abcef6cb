"""Slaves of the embedded server: they have what their master has, serve reads without it, and refuse what is to be written."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.broker import following
from aiorocketmq.server.store.copies import Copied
from aiorocketmq.server.store.records import PendingMessage
from aiorocketmq.server.store.store import Store
from tests.faults.load import History, Load
from tests.support import raw_remoting
from tests.support.waiting import eventually

pytestmark = pytest.mark.feature("F35", "K10")
SEND = {
    "a": "p",
    "b": "orders",
    "c": "TBW102",
    "d": "4",
    "e": "0",
    "f": "0",
    "g": "1",
    "h": "0",
    "i": "",
    "j": "0",
    "k": "false",
    "m": "false",
}


def stored(address: str, topic: str, queues: int = 4) -> list[int]:
    """The end of each queue of a topic, as a broker tells it."""
    fields = [{"topic": topic, "queueId": str(queue_id)} for queue_id in range(queues)]
    return [int(raw_remoting.exchange(address, RequestCode.GET_MAX_OFFSET, each)[0]["offset"]) for each in fields]


async def ends(address: str, topic: str) -> list[int]:
    return await asyncio.to_thread(stored, address, topic)


async def delete(cluster: LocalCluster, topic: str) -> None:
    address = cluster.broker("broker-a").address
    await asyncio.to_thread(raw_remoting.invoke, address, RequestCode.DELETE_TOPIC_IN_BROKER, {"topic": topic})


async def test_the_route_names_the_slaves_and_what_is_acknowledged_is_on_them() -> None:
    async with LocalCluster(brokers=2, slaves=2) as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        assert [(broker.name, broker.broker_id) for broker in cluster.brokers] == [
            (name, broker_id) for broker_id in range(3) for name in ("broker-a", "broker-b")
        ]
        await cluster.create_topic("orders")
        found = await asyncio.to_thread(raw_remoting.addresses, cluster.name_servers, "orders")
        assert found == {
            name: {str(broker_id): cluster.broker(name, broker_id).address for broker_id in range(3)} for name in ("broker-a", "broker-b")
        }
        for number in range(40):
            await producer.send(rmq.Message("orders", b"%d" % number, keys=["k"]))
        total = 0
        for name in ("broker-a", "broker-b"):
            counts = [await ends(cluster.broker(name, broker_id).address, "orders") for broker_id in range(3)]
            assert counts == [counts[0]] * 3
            total += sum(counts[0])
        assert total == 40


async def test_a_slave_serves_while_its_master_is_away_under_load() -> None:
    history = History()
    async with LocalCluster(brokers=2, slaves=1) as cluster:
        await cluster.create_topic("orders")
        consumer = rmq.PushConsumer(cluster.name_servers, group="g", start_from=rmq.StartFrom.FIRST)

        @consumer.listen("orders")
        async def handle(message: rmq.ReceivedMessage) -> None:
            history.deliver(message)

        async with consumer, rmq.Producer(cluster.name_servers, group="p", topics=["orders"]) as producer:
            load = Load(producer, "orders", history, size=64)
            await eventually(lambda: len(history.delivered) > 300 and len(history.brokers) == 2, 30.0)
            consumer.suspend()
            await asyncio.sleep(0.3)  # so that something is left for the slave
            backlog = set(history.brokers["broker-b"]) - history.delivered.keys()
            assert backlog
            await cluster.kill_broker("broker-b")
            killed = time.monotonic()
            consumer.resume()
            await eventually(lambda: backlog <= history.delivered.keys(), 30.0, message="the slave serves what it holds")
            await asyncio.sleep(1.0)
            starting = time.monotonic()
            assert [number for number, at in history.brokers["broker-b"].items() if killed + 0.1 < at] == []
            await cluster.start_broker("broker-b")
            await eventually(lambda: history.first_after(history.brokers["broker-b"], starting) < 60.0, 30.0)
            await load.stop()
            await eventually(lambda: not history.lost(), 30.0, message="every acknowledged message is delivered")
    assert history.failed == {}


async def test_a_slave_that_was_away_catches_up_and_wakes_who_waits(tmp_path: Path) -> None:
    async with LocalCluster(slaves=1, data_dir=tmp_path) as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        await cluster.create_topic("orders")
        slave = cluster.broker("broker-a", 1)
        await producer.send(rmq.Message("orders", b"before"), queue=rmq.MessageQueue("orders", "broker-a", 0))
        await cluster.stop_broker("broker-a", 1)
        for number in range(1500):
            await producer.send(rmq.Message("orders", b"%d" % number), queue=rmq.MessageQueue("orders", "broker-a", 0))
        await cluster.start_broker("broker-a", 1)
        assert (await ends(slave.address, "orders"))[0] == 1501
        pull = {
            "consumerGroup": "TOOLS_CONSUMER", "topic": "orders", "queueId": "0", "queueOffset": "1501", "maxMsgNums": "32", "sysFlag": "6",
            "commitOffset": "0", "suspendTimeoutMillis": "15000", "subscription": "*", "subVersion": "0", "expressionType": "TAG",
        }  # fmt: skip
        waiting = asyncio.create_task(asyncio.to_thread(raw_remoting.exchange, slave.address, RequestCode.PULL_MESSAGE, pull))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await producer.send(rmq.Message("orders", b"news"), queue=rmq.MessageQueue("orders", "broker-a", 0))
        fields, body = await waiting
        assert time.monotonic() - began < 5.0
        assert b"news" in body
        assert fields["suggestWhichBrokerId"] == "0"


async def test_a_topic_that_is_deleted_and_made_anew_in_one_commit_is_new_on_the_slave() -> None:
    async with LocalCluster(slaves=1) as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        await cluster.create_topic("orders", queues=2)
        master, slave = cluster.broker("broker-a").state, cluster.broker("broker-a", 1).state
        for number in range(10):
            await producer.send(rmq.Message("orders", b"%d" % number))
        master.offsets.commit("TOOLS_CONSUMER", "orders", 0, 4)
        slave.offsets.commit("TOOLS_CONSUMER", "orders", 0, 4)
        known = master.topics.require("orders")
        master.topics.delete("orders")
        master.offsets.drop(topic="orders")
        master.topics.put(known)
        master.store.append(PendingMessage("orders", 1, b"new", b""))
        await eventually(lambda: master.store.bounds("orders", 1) == (0, 1))
        await eventually(lambda: slave.offsets.query("TOOLS_CONSUMER", "orders", 0) == -1)
        assert [slave.store.bounds("orders", queue_id) for queue_id in range(2)] == [(0, 0), (0, 1)]


async def test_a_slave_that_is_far_behind_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_TURN", 0.0)
    monkeypatch.setattr(following, "_STEP", 4)
    turn, turns = 0, list[int]()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def taken(store: Store, copies: Sequence[Copied]) -> None:
        turns.append(turn)
        take_over(store, copies)

    take_over = Store.take_over
    async with LocalCluster(slaves=1) as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        await cluster.create_topic("orders", queues=1)
        await cluster.stop_broker("broker-a", 1)
        for number in range(40):
            await producer.send(rmq.Message("orders", b"%d" % number))
        monkeypatch.setattr(Store, "take_over", taken)
        counting = asyncio.create_task(count())
        await cluster.start_broker("broker-a", 1)
        store = cluster.broker("broker-a", 1).state.store
        assert store.bounds("orders", 0) == (0, 40), "whoever starts it finds everything there"
        assert len(turns) >= 10
        assert len(set(turns)) >= len(turns) - 1, "two at its start"
        turns.clear()
        await producer.send_batch([rmq.Message("orders", b"x") for _ in range(8)])
        assert store.bounds("orders", 0) == (0, 48), "what is acknowledged from then on is there at once"
        assert len(turns) == 2 and len(set(turns)) == 1
        counting.cancel()


async def test_topics_groups_and_offsets_of_the_master_come_to_the_slave() -> None:
    async with LocalCluster(slaves=1, slave_sync_interval=0.2) as cluster:
        master, slave = cluster.broker("broker-a"), cluster.broker("broker-a", 1)
        await cluster.create_topic("orders", queues=2)
        await cluster.create_topic("doomed")
        assert await asyncio.to_thread(raw_remoting.knows_topic, slave.address, "doomed")
        body = json.dumps({"groupName": "workers", "consumeEnable": True, "retryQueueNums": 3, "retryMaxTimes": 5}).encode()
        await asyncio.to_thread(raw_remoting.invoke, master.address, RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {}, body)
        await asyncio.to_thread(raw_remoting.commit_offset, master.address, "workers", "orders", 1, 17)

        async def kept(group: str, queue_id: int) -> int | None:
            return await asyncio.to_thread(raw_remoting.committed_offset, slave.address, group, "orders", queue_id)

        async def taken() -> bool:
            return await kept("workers", 1) == 17

        async def deleted() -> bool:
            return not await asyncio.to_thread(raw_remoting.knows_topic, slave.address, "doomed")

        await eventually(taken, 10.0)
        group = slave.state.groups.get("workers")
        assert group is not None
        assert group.retry_queue_nums == 3
        await delete(cluster, "doomed")
        await eventually(deleted, 10.0)
        # An offset that only the slave knows stays, as on a real one.
        await asyncio.to_thread(raw_remoting.commit_offset, slave.address, "TOOLS_CONSUMER", "orders", 0, 3)
        await asyncio.sleep(0.5)
        assert await kept("TOOLS_CONSUMER", 0) == 3


async def test_what_was_deleted_and_how_groups_consume_follows_too() -> None:
    async with LocalCluster(slaves=1, slave_sync_interval=0.2) as cluster:
        master, slave = cluster.broker("broker-a"), cluster.broker("broker-a", 1)
        await cluster.create_topic("orders", queues=1)
        for group in ("workers", "others"):
            body = json.dumps({"groupName": group}).encode()
            await asyncio.to_thread(raw_remoting.invoke, master.address, RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {}, body)
            await asyncio.to_thread(raw_remoting.commit_offset, master.address, group, "orders", 0, 17)
        mode = json.dumps({"topic": "orders", "consumerGroup": "workers", "mode": "POP", "popShareQueueNum": 1}).encode()
        await asyncio.to_thread(raw_remoting.invoke, master.address, RequestCode.SET_MESSAGE_REQUEST_MODE, {}, mode)
        offsets = slave.state.offsets
        await eventually(lambda: offsets.query("workers", "orders", 0) == offsets.query("others", "orders", 0) == 17)
        await eventually(lambda: slave.state.request_modes.get("orders", "workers").pop_share_queue_num == 1)

        fields = {"groupName": "workers", "cleanOffset": "true"}
        await asyncio.to_thread(raw_remoting.invoke, master.address, RequestCode.DELETE_SUBSCRIPTIONGROUP, fields)
        await eventually(lambda: slave.state.groups.get("workers") is None)
        await eventually(lambda: offsets.query("workers", "orders", 0) == -1)
        assert offsets.query("others", "orders", 0) == 17
        await delete(cluster, "orders")
        await eventually(lambda: offsets.query("others", "orders", 0) == -1)


async def test_what_a_master_acknowledges_is_on_its_slave_whatever_that_does(tmp_path: Path) -> None:
    """Also while the slave has something of its own to write: its commits are done when its master tells its callers."""
    async with (
        LocalCluster(slaves=1, data_dir=tmp_path, flush="sync") as cluster,
        rmq.Producer(cluster.name_servers, group="p") as producer,
    ):
        slave = cluster.broker("broker-a", 1)
        await cluster.create_topic("orders", queues=1)
        for number in range(60):
            commit = asyncio.to_thread(raw_remoting.commit_offset, slave.address, "TOOLS_CONSUMER", "orders", 0, number)
            committing = asyncio.ensure_future(commit)
            for _ in range(3):
                result = await producer.send(rmq.Message("orders", b"x"))
                assert slave.state.store.bounds("orders", 0)[1] == result.queue_offset + 1
            await committing


async def test_a_topic_that_begins_anew_does_so_on_the_slave() -> None:
    queue = rmq.MessageQueue("orders", "broker-a", 0)
    async with LocalCluster(slaves=1) as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        slave = cluster.broker("broker-a", 1)
        await cluster.create_topic("orders")
        for _ in range(5):
            await producer.send(rmq.Message("orders", b"old"), queue=queue)
        assert (await ends(slave.address, "orders"))[0] == 5
        await cluster.stop_broker("broker-a", 1)  # it misses all of it
        await delete(cluster, "orders")
        await cluster.create_topic("orders")
        await producer.send(rmq.Message("orders", b"new"), queue=queue)
        await cluster.start_broker("broker-a", 1)
        assert (await ends(slave.address, "orders"))[0] == 1


@pytest.mark.parametrize(
    ("request_code", "fields", "code", "remark"),
    [
        (RequestCode.SEND_MESSAGE_V2, SEND, ResponseCode.SYSTEM_BUSY, "[REJECTREQUEST]system busy, start flow control for a while"),
        (
            RequestCode.CONSUMER_SEND_MSG_BACK,
            {"offset": "0", "group": "g", "delayLevel": "0", "originMsgId": "x", "originTopic": "t", "unitMode": "false"},
            ResponseCode.SYSTEM_BUSY,
            "[REJECTREQUEST]system busy, start flow control for a while",
        ),
        (
            RequestCode.SEND_REPLY_MESSAGE_V2,
            SEND | {"b": "DefaultCluster_REPLY_TOPIC"},
            ResponseCode.SYSTEM_BUSY,
            "[REJECTREQUEST]system busy, start flow control for a while",
        ),
        (
            RequestCode.END_TRANSACTION,
            {"producerGroup": "p", "tranStateTableOffset": "0", "commitLogOffset": "0", "commitOrRollback": "8", "msgId": "x"},
            ResponseCode.SLAVE_NOT_AVAILABLE,
            "",
        ),
    ],
    ids=["send", "send_back", "reply", "end_transaction"],
)
async def test_what_is_to_be_written_is_refused_as_by_a_real_slave(
    request_code: RequestCode, fields: dict[str, str], code: ResponseCode, remark: str
) -> None:
    async with LocalCluster(slaves=1) as cluster:
        await cluster.create_topic("orders")
        with pytest.raises(raw_remoting.RawAnswerError) as refused:
            await asyncio.to_thread(raw_remoting.exchange, cluster.broker("broker-a", 1).address, request_code, fields, b"x")
        assert refused.value.code == code
        assert str(refused.value) == f"code {int(code)}: {remark}"


async def test_nothing_but_its_masters_messages_is_stored_by_a_slave() -> None:
    async with LocalCluster(slaves=1) as cluster:
        store = cluster.broker("broker-a", 1).state.store
        outcome: list[Exception | None] = []
        store.append(PendingMessage("orders", 0, b"x", b"", done=lambda message, error: outcome.append(error)))
        await eventually(lambda: bool(outcome))
        assert isinstance(outcome[0], ServiceNotAvailableError)
        assert store.bounds("orders", 0) == (0, 0)


async def test_each_broker_tells_its_part() -> None:
    async def parts(cluster: LocalCluster) -> list[str]:
        bodies = [
            await asyncio.to_thread(raw_remoting.exchange, broker.address, RequestCode.GET_BROKER_CONFIG, {}) for broker in cluster.brokers
        ]
        lines = [line for _, body in bodies for line in body.decode().splitlines()]
        return [line for line in lines if line.startswith("brokerRole")]

    async with LocalCluster(slaves=1) as cluster:
        assert await parts(cluster) == ["brokerRole=SYNC_MASTER", "brokerRole=SLAVE"]
    async with LocalCluster() as cluster:
        assert await parts(cluster) == ["brokerRole=ASYNC_MASTER"]


def test_the_blocking_twin_has_slaves_too() -> None:
    with aiorocketmq.sync.LocalCluster(slaves=1) as cluster:
        cluster.create_topic("orders")
        with aiorocketmq.sync.Producer(cluster.name_servers, group="p") as producer:
            producer.send(rmq.Message("orders", b"1"))
        cluster.kill_broker("broker-a")
        assert sum(stored(cluster.broker("broker-a", 1).address, "orders")) == 1
        cluster.start_broker("broker-a")
        cluster.stop_broker("broker-a", 1)


async def test_an_unknown_slave_is_named_with_those_that_there_are() -> None:
    async with LocalCluster(slaves=1) as cluster:
        with pytest.raises(rmq.ConfigError, match=r"no broker 'broker-a' with id 2.*broker-a:0, broker-a:1"):
            cluster.broker("broker-a", 2)
    with pytest.raises(rmq.ConfigError, match="slaves"):
        LocalCluster(slaves=-1)
