"""Starts and stops of a cluster that are cut off, pauses, and topics as their owner creates and changes them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ClientStateError, ConfigError, RequestTimeoutError
from aiorocketmq.protocol.bodies import HeartbeatData, ProducerData
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import SendMessageRequestHeader
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.broker.config import BrokerConfig, BrokerSettings
from aiorocketmq.server.lifecycle import to_its_end
from tests.support.waiting import eventually
from tests.unit.server.harness import NOW, pull_header


@contextlib.asynccontextmanager
async def dialled(cluster: LocalCluster) -> AsyncIterator[RemotingClient]:
    client = RemotingClient(ClientConfig(name_servers=cluster.name_servers))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def send(client: RemotingClient, address: str, body: bytes = b"x", queue_id: int = 0, timeout: float = 5.0) -> int:
    header = SendMessageRequestHeader("p", "t", "TBW102", 4, queue_id, 0, NOW, 0, "", reconsume_times=0).to_v2()
    answer = await client.invoke(address, RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, body), timeout)
    return answer.code


async def pull(client: RemotingClient, address: str, **fields: Any) -> RemotingCommand:
    return await client.invoke(address, RemotingCommand.request(RequestCode.PULL_MESSAGE, pull_header("t", **fields)), 10)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ports_of(cluster: LocalCluster) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in (cluster.name_servers, *(broker.address for broker in cluster.brokers))]


async def cut_off(work: asyncio.Task[None], turns: int) -> bool:
    """Cancel after some turns of the loop; True when that came before the end."""
    for _ in range(turns):
        await asyncio.sleep(0)
    early = work.cancel()
    await asyncio.wait([work], timeout=20)
    assert work.done()
    return early


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "file"])
async def test_a_stop_that_is_cancelled_anywhere_is_complete(tmp_path: Path, durable: bool) -> None:
    before = asyncio.all_tasks()
    turns, early = 0, True
    while early:
        cluster = LocalCluster(brokers=2, data_dir=tmp_path if durable else None, flush="sync")
        await cluster.start()
        ports, brokers = ports_of(cluster), cluster.brokers
        early = await cut_off(asyncio.ensure_future(cluster.stop()), turns)
        if early and turns:
            assert not any(broker.running for broker in brokers) and not any(map(listening, ports))
            assert asyncio.all_tasks() == before
        await cluster.stop()
        assert cluster.brokers == () and not any(broker.running for broker in brokers)
        assert not any(map(listening, ports)) and asyncio.all_tasks() == before
        turns = turns + 1 if turns < 12 else turns * 2
    assert turns > 8


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "file"])
async def test_a_start_that_is_cancelled_anywhere_leaves_nothing(tmp_path: Path, durable: bool) -> None:
    before = asyncio.all_tasks()
    turns, early = 0, True
    while early:
        cluster = LocalCluster(brokers=2, data_dir=tmp_path if durable else None)
        early = await cut_off(asyncio.ensure_future(cluster.start()), turns)
        if early:
            assert cluster.brokers == () and asyncio.all_tasks() == before
            with pytest.raises(ConfigError, match="was not started"):
                _ = cluster.name_servers
            await cluster.start()  # on the same ports, with the same files
        assert all(broker.running for broker in cluster.brokers) and all(map(listening, ports_of(cluster)))
        ports = ports_of(cluster)
        await cluster.stop()
        assert not any(map(listening, ports)) and asyncio.all_tasks() == before
        turns = turns + 1 if turns < 12 else turns * 2
    assert turns > 8


async def test_stops_and_starts_at_once_take_turns() -> None:
    cluster = LocalCluster()
    await asyncio.gather(cluster.start(), cluster.start(), cluster.stop(), cluster.stop())
    assert cluster.brokers == ()
    await asyncio.gather(cluster.stop(), cluster.start())
    assert [broker.running for broker in cluster.brokers] == [True]
    await cluster.stop()


@pytest.mark.parametrize("end", ["stop", "kill", "start"])
async def test_a_brokers_life_is_not_cut_in_half(tmp_path: Path, end: str) -> None:
    async with LocalCluster(data_dir=tmp_path) as cluster, dialled(cluster) as client:
        broker = cluster.brokers[0]
        turns, early = 0, True
        while early:
            assert await send(client, broker.address) == 0
            if end == "start":
                await broker.stop()
            early = await cut_off(asyncio.ensure_future(getattr(broker, end)()), turns)
            if end != "start":
                assert broker.running == (early and turns == 0)  # it was cancelled before it began
            elif early:
                assert not broker.running and broker._state is None
            await broker.stop()
            await broker.start()
            turns = turns + 1 if turns < 8 else turns * 2
        answer = await pull(client, broker.address)
        assert answer.body.count(b"x") >= 3


async def test_what_is_awaited_to_its_end() -> None:
    done: list[str] = []

    async def work(fails: bool) -> None:
        await asyncio.sleep(0.01)
        done.append("done")
        if fails:
            raise ClientStateError("failed")

    await to_its_end(work(False))
    with pytest.raises(ClientStateError):
        await to_its_end(work(True))
    for fails in (False, True):
        task = asyncio.ensure_future(to_its_end(work(fails)))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(done) == 4
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await to_its_end(work(False))
    assert len(done) == 5


# -- settings ---------------------------------------------------------------------------------------------------------


def test_a_mistyped_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="'lock_expiree' is not a setting of LocalCluster") as caught:
        LocalCluster(lock_expiree=5)  # type: ignore[call-arg]
    assert caught.value.hint == "did you mean 'lock_expiry'?"
    with pytest.raises(ConfigError) as caught:
        LocalCluster(zzz=1)  # type: ignore[call-arg]
    assert "retention_age" in (caught.value.hint or "")
    with pytest.raises(ConfigError, match="'path'"):
        LocalCluster(path=Path("x"))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "settings",
    [
        {"lock_expiry": "5"}, {"lock_expiry": 0}, {"lock_expiry": float("nan")}, {"retention_age": -1}, {"retention_age": True},
        {"retention_bytes": -1}, {"retention_bytes": 1.5}, {"retention_interval": 0}, {"max_message_size": 0}, {"recent_bytes": None},
        {"default_topic_queues": 0}, {"long_polling": 1}, {"delay_levels": ()}, {"delay_levels": (2, 1)}, {"delay_levels": ("1s",)},
        {"client_expiry": None}, {"brokers": True}, {"brokers": 27}, {"port": -1}, {"broker_port": "x"}, {"broker_port": -1},
        {"host": None}, {"host": ""}, {"host": "\udc80"}, {"advertised_host": 5},
        {"cluster_name": None}, {"cluster_name": ""}, {"cluster_name": "a\x01"},
        {"region_id": 7}, {"region_id": "\x02"}, {"delay_levels": 5}, {"delay_levels": None}, {"delay_levels": "12"}, {"data_dir": 5},
        {"data_dir": b"x"}, {"data_dir": "a\0b"}, {"data_dir": ""},
        {"lock_expiry": 1e18}, {"retention_age": timedelta.max}, {"client_scan_interval": 1e-6}, {"register_interval": 1e-9},
        {"retention_interval": timedelta(microseconds=1)}, {"delay_levels": [1e300]}, {"delay_levels": [1] * 2000},
        {"cluster_name": "x" * 128}, {"region_id": "x" * 1000},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        LocalCluster(**settings)


def test_every_setting_of_a_broker_is_one_of_the_cluster() -> None:
    own = {"name", "cluster", "broker_id", "host", "port", "name_servers", "path", "flush", "auto_create_topics", "acl", "tls"}
    assert set(BrokerSettings.__annotations__) | own == set(BrokerConfig.__dataclass_fields__)
    cluster = LocalCluster(lock_expiry=timedelta(seconds=5), retention_age=None, retention_bytes=0, delay_levels=[0, 0.5])
    assert (cluster._configs[0].lock_expiry, cluster._configs[0].delay_levels) == (5.0, (0.0, 0.5))


# -- pauses -----------------------------------------------------------------------------------------------------------


async def test_a_paused_broker_is_silent_and_forgets_nothing() -> None:
    async with LocalCluster(delay_levels=(0.05,)) as cluster, dialled(cluster) as client:
        await cluster.create_topic("t", queues=1)
        address = cluster.brokers[0].address
        assert await send(client, address, b"before") == 0
        waiting = asyncio.ensure_future(pull(client, address, offset=1, suspend=100))
        await eventually(lambda: len(cluster.brokers[0].state.polling) == 1)
        await cluster.pause_broker("broker-a")
        await cluster.pause_broker("broker-a")
        with pytest.raises(RequestTimeoutError):
            await send(client, address, b"during", timeout=0.3)
        assert not waiting.done(), "nor is a pull answered whose time has come"
        other = asyncio.ensure_future(send(client, address, b"patient"))
        await asyncio.sleep(0.05)
        await cluster.resume_broker("broker-a")
        assert await other == 0
        assert (await waiting).code in (0, 19)
        await eventually(lambda: cluster.brokers[0].state.store.bounds("t", 0) == (0, 3))
        await cluster.resume_broker("broker-a")


@pytest.mark.parametrize("end", ["stop", "kill_broker"])
async def test_a_paused_broker_can_be_ended(end: str) -> None:
    async with LocalCluster() as cluster, dialled(cluster) as client:
        address = cluster.brokers[0].address
        await cluster.pause_broker("broker-a")
        hanging = asyncio.ensure_future(send(client, address))
        await asyncio.sleep(0.05)
        if end == "kill_broker":
            await cluster.kill_broker("broker-a")
            with pytest.raises(ClientStateError, match="does not run"):
                await cluster.pause_broker("broker-a")
            await cluster.start_broker("broker-a")
            assert await send(client, address) == 0, "it does not come back paused"
        else:
            await cluster.stop()
        with pytest.raises(Exception, match="connection"):
            await hanging


async def test_a_paused_broker_reads_no_more_and_goes_on_in_turns() -> None:
    async with LocalCluster() as cluster:
        broker = cluster.brokers[0]
        await cluster.create_topic("t", queues=1)
        await cluster.pause_broker("broker-a")
        host, _, port = broker.address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        header = SendMessageRequestHeader("p", "t", "TBW102", 4, 0, 0, NOW, 0, "", reconsume_times=0).to_v2()
        frame = encode(RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, bytes(1 << 20), oneway=True))
        sent = 0
        while sent < 64:
            writer.write(frame)
            sent += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.3)
            if writer.transport.get_write_buffer_size() > 1 << 20:
                break
        assert sent < 64, "the buffers of the sockets are full: nobody reads"
        assert broker.state.store.bounds("t", 0) == (0, 0)
        await cluster.resume_broker("broker-a")
        await eventually(lambda: broker.state.store.bounds("t", 0) == (0, sent))
        writer.close()
        await writer.wait_closed()


async def test_delayed_messages_and_members_outlast_a_pause() -> None:
    async with LocalCluster(delay_levels=(0.2,), client_expiry=0.3, client_scan_interval=0.05) as cluster, dialled(cluster) as client:
        broker = cluster.brokers[0]
        await cluster.create_topic("t", queues=1)
        header = SendMessageRequestHeader("p", "t", "TBW102", 4, 0, 0, NOW, 0, "DELAY\x011\x02", reconsume_times=0).to_v2()
        await client.invoke(broker.address, RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, b"late"), 5)
        await cluster.pause_broker("broker-a")
        await asyncio.sleep(0.5)
        assert broker.state.store.bounds("t", 0) == (0, 0)
        await cluster.resume_broker("broker-a")
        await eventually(lambda: broker.state.store.bounds("t", 0) == (0, 1))


async def test_heartbeats_that_came_during_a_pause_count() -> None:
    async with LocalCluster(client_expiry=0.3, client_scan_interval=0.05) as cluster, dialled(cluster) as client:
        broker = cluster.brokers[0]
        beat = RemotingCommand.request(RequestCode.HEART_BEAT, body=HeartbeatData("me", [ProducerData("writers")]).encode())
        assert (await client.invoke(broker.address, beat, 5)).code == 0
        await cluster.pause_broker("broker-a")
        await asyncio.sleep(0.35)
        beat = RemotingCommand.request(RequestCode.HEART_BEAT, body=HeartbeatData("me", [ProducerData("writers")]).encode())
        waiting = asyncio.ensure_future(client.invoke(broker.address, beat, 5))
        await asyncio.sleep(0.05)
        await cluster.resume_broker("broker-a")
        assert (await waiting).code == 0
        assert "writers" in broker.state.clients.producers
        await eventually(lambda: "writers" not in broker.state.clients.producers)  # those who say nothing are looked for again


# -- topics -----------------------------------------------------------------------------------------------------------


async def test_creating_refuses_what_exists_and_changes_nothing() -> None:
    async with LocalCluster(brokers=2) as cluster, dialled(cluster) as client:
        await cluster.create_topic("t", queues=8, brokers=["broker-b"])
        address = cluster.broker("broker-b").address
        assert await send(client, address, b"in the last queue", queue_id=7) == 0
        with pytest.raises(ConfigError, match="'t' exists on broker-b, with 8 queues") as caught:
            await cluster.create_topic("t", queues=4)
        assert "update_topic()" in (caught.value.hint or "")
        assert "t" not in cluster.broker("broker-a").state.topics, "not on the others either"
        await cluster.create_topic("t", exist_ok=True)
        queues = [broker.state.topics.require("t").write_queue_nums for broker in cluster.brokers]
        assert queues == [4, 8]
        assert b"in the last queue" in (await pull(client, address, queue_id=7)).body


async def test_updating_changes_what_is_given() -> None:
    async with LocalCluster(brokers=2) as cluster:
        await cluster.create_topic("t", queues=8, order=True, brokers=["broker-a"])
        topics = cluster.broker("broker-a").state.topics
        await cluster.update_topic("t", perm=4)
        topic = topics.require("t")
        assert (topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.order) == (8, 8, 4, True)
        await cluster.update_topic("t", queues=2)
        topic = topics.require("t")
        assert (topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.order) == (2, 2, 4, True)
        assert "t" not in cluster.broker("broker-b").state.topics
        with pytest.raises(ConfigError, match="'missing' does not exist"):
            await cluster.update_topic("missing", perm=4)
        with pytest.raises(ConfigError, match="queues 0"):
            await cluster.update_topic("t", queues=0)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"perm": 99}, "perm 99"), ({"perm": -1}, "perm -1"), ({"perm": 8}, "perm 8"), ({"perm": "6"}, "perm '6'"),
        ({"order": "yes"}, "order 'yes'"), ({"brokers": []}, "brokers names no broker"),
        ({"brokers": "broker-a"}, "brokers 'broker-a' is one name"),
    ],
    ids=str,
)  # fmt: skip
async def test_impossible_values_of_topics_are_refused_and_harm_nobody(tmp_path: Path, values: dict[str, Any], field: str) -> None:
    async with LocalCluster(data_dir=tmp_path) as cluster:
        with pytest.raises(ConfigError, match=re.escape(field)):
            await cluster.create_topic("t", **values)
        assert "t" not in cluster.brokers[0].state.topics
        await cluster.create_topic("t")
        before = cluster.brokers[0].state.topics.require("t")
        with pytest.raises(ConfigError, match=re.escape(field)):
            await cluster.update_topic("t", **values)
        assert cluster.brokers[0].state.topics.require("t") == before
        await cluster.kill_broker("broker-a")
        await cluster.start_broker("broker-a")


async def test_topics_need_a_broker_that_runs_and_are_not_its_own() -> None:
    cluster = LocalCluster()
    for change in (cluster.create_topic, cluster.update_topic):
        with pytest.raises(ConfigError, match="was not started"):
            await change("t")
    async with cluster:
        with pytest.raises(ConfigError, match="'SCHEDULE_TOPIC_XXXX' is the broker's own"):
            await cluster.update_topic("SCHEDULE_TOPIC_XXXX", queues=1)
        await cluster.kill_broker("broker-a")
        for change in (cluster.create_topic, cluster.update_topic):
            with pytest.raises(ClientStateError, match="none of the cluster's brokers runs"):
                await change("t")


async def test_a_topic_that_cannot_be_stored_is_an_error() -> None:
    async with LocalCluster() as cluster:
        cluster.brokers[0].state.store.inject_error = "disk full"
        with pytest.raises(Exception, match="disk full"):
            await cluster.create_topic("t")
        cluster.brokers[0].state.store.inject_error = ""
        assert "t" not in cluster.brokers[0].state.topics
        await cluster.create_topic("t")


async def test_nobody_waits_for_a_topic_of_a_dead_broker() -> None:
    async with LocalCluster() as cluster:
        creating = asyncio.ensure_future(cluster.create_topic("t"))
        await asyncio.sleep(0)
        await cluster.kill_broker("broker-a")
        await asyncio.wait([creating], timeout=5)
        assert creating.done() and isinstance(creating.exception(), ClientStateError)
