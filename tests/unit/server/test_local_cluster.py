"""The whole embedded cluster over real sockets of the loopback: start, death and return of brokers, faults, bad bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ConfigError, ConnectError, ConnectionLostError, InvalidNameError, RemotingError, RequestTimeoutError
from aiorocketmq.protocol.bodies import decode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeader
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.server import LocalCluster, run_server
from aiorocketmq.server.broker.faults import Faults
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


async def brokers_of(client: RemotingClient, topic: str) -> set[str]:
    answer = await client.invoke(None, RemotingCommand.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic}), 5)
    return {broker.broker_name for broker in decode_topic_route(answer.body).broker_datas} if answer.code == 0 else set()


async def send(client: RemotingClient, address: str, body: bytes = b"x", topic: str = "t", timeout: float = 5.0) -> RemotingCommand:
    header = SendMessageRequestHeader("p", topic, "TBW102", 1, 0, 0, NOW, 0, "", reconsume_times=0).to_v2()
    return await client.invoke(address, RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, body), timeout)


async def pull(client: RemotingClient, address: str, **fields: Any) -> RemotingCommand:
    return await client.invoke(address, RemotingCommand.request(RequestCode.PULL_MESSAGE, pull_header("t", **fields)), 5)


async def test_a_cluster_is_ready_when_start_returns() -> None:
    async with LocalCluster(brokers=2) as cluster, dialled(cluster) as client:
        assert [broker.name for broker in cluster.brokers] == ["broker-a", "broker-b"]
        assert await brokers_of(client, "TBW102") == {"broker-a", "broker-b"}
        await cluster.create_topic("both", queues=3)
        await cluster.create_topic("one", brokers=["broker-b"])
        assert await brokers_of(client, "both") == {"broker-a", "broker-b"}
        assert await brokers_of(client, "one") == {"broker-b"}
        for broker in cluster.brokers:
            assert (await send(client, broker.address)).code == 0
        await eventually(lambda: brokers_of(client, "t"), message="an automatic topic reaches the name server")


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "file"])
async def test_a_broker_dies_and_comes_back(tmp_path: Path, durable: bool) -> None:
    async with LocalCluster(brokers=2, data_dir=tmp_path if durable else None) as cluster, dialled(cluster) as client:
        await cluster.create_topic("t", queues=1)
        address = cluster.broker("broker-a").address
        assert (await send(client, address, b"kept")).code == 0
        waiting = asyncio.ensure_future(pull(client, address, offset=1, suspend=20_000))
        await eventually(lambda: len(cluster.broker("broker-a").state.polling))
        await cluster.kill_broker("broker-a")
        with pytest.raises(ConnectionLostError):
            await waiting
        with pytest.raises(ConnectError):
            await send(client, address)
        await eventually(lambda: _only(client, "broker-b"), message="the name server notices the lost connection")
        await cluster.start_broker("broker-a")
        assert cluster.broker("broker-a").address == address
        assert await brokers_of(client, "t") == {"broker-a", "broker-b"}
        answer = await pull(client, address)
        assert (answer.code, b"kept" in answer.body) == (0, True)
        assert (await send(client, address)).ext_fields["queueOffset"] == "1"


async def _only(client: RemotingClient, name: str) -> bool:
    return await brokers_of(client, "t") == {name}


async def test_a_folder_is_taken_up_again(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    async with LocalCluster(data_dir=folder, flush="sync") as cluster, dialled(cluster) as client:
        assert (await send(client, cluster.brokers[0].address, b"kept")).code == 0
    async with LocalCluster(data_dir=folder) as cluster, dialled(cluster) as client:
        assert b"kept" in (await pull(client, cluster.brokers[0].address)).body
        with pytest.raises(ConfigError, match="stop the other server"):
            await LocalCluster(data_dir=folder).start()


async def test_name_servers_may_come_late() -> None:
    cluster = LocalCluster()
    await cluster.start()
    try:
        async with dialled(cluster) as client:
            address = cluster.name_server.address
            await cluster.name_server.stop()
            assert (await send(client, cluster.brokers[0].address)).code == 0
            await cluster.name_server.start()
            assert cluster.name_server.address == address
            await eventually(lambda: brokers_of(client, "t"), message="the broker registers again, with the topic made meanwhile")
    finally:
        await cluster.stop()


async def test_faults() -> None:
    async with LocalCluster() as cluster, dialled(cluster) as client:
        broker = cluster.brokers[0]
        await cluster.create_topic("t", queues=1)
        broker.faults.answer_with(ResponseCode.SYSTEM_BUSY, request=RequestCode.SEND_MESSAGE_V2, times=2)
        assert [(await send(client, broker.address)).code for _ in range(3)] == [2, 2, 0]
        broker.faults.drop_next(request=RequestCode.SEND_MESSAGE_V2)
        with pytest.raises(RequestTimeoutError):
            await send(client, broker.address, timeout=0.2)
        broker.faults.lose_answers(request=RequestCode.SEND_MESSAGE_V2)
        with pytest.raises(RequestTimeoutError):
            await send(client, broker.address, timeout=0.2)
        slow = broker.faults.delay(0.3, request=RequestCode.SEND_MESSAGE_V2)
        with pytest.raises(RequestTimeoutError):
            await send(client, broker.address, timeout=0.1)
        assert (await send(client, broker.address)).code == 0
        broker.faults.remove(slow)
        broker.faults.answer_with(14)
        assert (await pull(client, broker.address)).code == 14
        broker.faults.clear()
        assert not broker.faults.armed
        # Stored: the third send, the one whose answer was lost, and both slow ones.
        assert (await send(client, broker.address)).ext_fields["queueOffset"] == "4"


async def test_faults_meet() -> None:
    async with LocalCluster() as cluster, dialled(cluster) as client:
        broker = cluster.brokers[0]
        faults = broker.faults
        await cluster.create_topic("t", queues=1)
        faults.delay(0.05)
        faults.delay(timedelta(seconds=0.05), request=RequestCode.SEND_MESSAGE_V2)
        faults.drop_next(request=RequestCode.SEND_MESSAGE_V2)
        faults.lose_answers(request=RequestCode.SEND_MESSAGE_V2)
        faults.answer_with(2, request=RequestCode.SEND_MESSAGE_V2, times=1)
        for _ in range(2):
            with pytest.raises(RequestTimeoutError):
                await send(client, broker.address, timeout=0.3)
        started = asyncio.get_running_loop().time()
        assert (await send(client, broker.address)).code == 2
        assert asyncio.get_running_loop().time() - started > 0.09, "the delays add up"
        assert (await send(client, broker.address)).ext_fields["queueOffset"] == "1", "the second was stored, the others were not"
        faults.clear()


@pytest.mark.parametrize(
    ("kind", "arguments", "field"),
    [
        ("drop_next", (0,), "times 0"), ("lose_answers", (-1,), "times -1"), ("drop_next", ("x",), "times 'x'"),
        ("delay", ("1",), "seconds '1'"), ("delay", (-1,), "seconds -1"), ("delay", (float("nan"),), "seconds nan"),
        ("answer_with", ("2",), "code '2'"), ("answer_with", (1 << 40,), "code"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_faults_are_refused(kind: str, arguments: tuple[Any, ...], field: str) -> None:
    faults = Faults()
    with pytest.raises(ConfigError, match=field):
        getattr(faults, kind)(*arguments)
    for options in ({"request": "310"}, {"remark": None}, {"times": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            faults.answer_with(2, **options)  # type: ignore[arg-type]
    assert not faults.armed


NONSENSE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "giant": struct.pack(">ii", 0x7FFFFFFF, 0),
    "negative": struct.pack(">ii", -1, 0),
    "tiny": struct.pack(">ii", 3, 0),
    "header beyond the frame": struct.pack(">ii", 20, 0x00FFFFFF) + bytes(16),
    "serialize type": struct.pack(">iI", 20, 0x05000010) + bytes(16),
    "json": struct.pack(">ii", 4 + 5, 5) + b"{nope",
    "deep json": struct.pack(">ii", 4 + 100_000, 100_000) + b"[" * 100_000,
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE.keys())
async def test_bad_bytes_close_their_own_connection_only(data: bytes) -> None:
    async with LocalCluster() as cluster, dialled(cluster) as client:
        assert (await send(client, cluster.brokers[0].address)).code == 0
        for address in (cluster.name_servers, cluster.brokers[0].address):
            host, port = address.split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b"", "closed without an answer"
            writer.close()
        assert (await send(client, cluster.brokers[0].address)).code == 0
        assert await brokers_of(client, "TBW102")


async def test_waiting_pulls_end_with_their_connection(embedded: tuple[LocalCluster, RemotingClient]) -> None:
    cluster, client = embedded
    broker = cluster.brokers[0]
    await cluster.create_topic("t", queues=1)
    waiting = asyncio.ensure_future(pull(client, broker.address, suspend=2**40))
    await eventually(lambda: len(broker.state.polling) == 1)
    await client.close()
    with pytest.raises(RemotingError):
        await waiting
    await eventually(lambda: len(broker.state.polling) == 0)


async def test_unknown_codes(embedded: tuple[LocalCluster, RemotingClient]) -> None:
    cluster, client = embedded
    for address in (cluster.name_servers, cluster.brokers[0].address):
        answer = await client.invoke(address, RemotingCommand.request(4711), 5)
        assert (answer.code, answer.remark) == (ResponseCode.REQUEST_CODE_NOT_SUPPORTED, " request type 4711 not supported")


@pytest.fixture
async def embedded() -> AsyncIterator[tuple[LocalCluster, RemotingClient]]:
    async with LocalCluster() as cluster, dialled(cluster) as client:
        yield cluster, client


async def test_it_listens_on_the_loopback_only(embedded: tuple[LocalCluster, RemotingClient]) -> None:
    cluster, _ = embedded
    assert cluster.name_servers.startswith("127.0.0.1:")
    assert all(broker.address.startswith("127.0.0.1:") for broker in cluster.brokers)


async def test_open_clusters_name_an_address_that_can_be_dialled() -> None:
    async with LocalCluster(host="0.0.0.0", advertised_host="127.0.0.1") as cluster, dialled(cluster) as client:
        assert cluster.name_servers.startswith("127.0.0.1:")
        assert (await send(client, cluster.brokers[0].address)).code == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_a_cluster_that_is_open_by_ipv6_names_an_address_of_that() -> None:
    async with LocalCluster(host="::") as cluster, dialled(cluster) as client:
        assert cluster.name_servers.startswith("[")
        assert await brokers_of(client, "TBW102") == {"broker-a"}
        assert (await send(client, cluster.brokers[0].address)).code == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_address_that_nobody_can_dial_is_not_advertised(host: str) -> None:
    cluster = LocalCluster(advertised_host=host)
    with pytest.raises(ConfigError, match="advertised_host"):
        await cluster.start()
    with pytest.raises(ConfigError, match="was not started"):
        _ = cluster.name_servers


async def test_a_broker_that_may_not_be_written_to_says_so_of_all_its_topics(embedded: tuple[LocalCluster, RemotingClient]) -> None:
    cluster, client = embedded
    address = cluster.brokers[0].address
    await cluster.create_topic("t", perm=6)

    async def perm(topic: str) -> int:
        answer = await client.invoke(None, RemotingCommand.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic}), 5)
        return decode_topic_route(answer.body).queue_datas[0].perm

    for number, expected in ((4, (4, 4)), (2, (2, 2)), (6, (6, 7))):
        change = RemotingCommand.request(RequestCode.UPDATE_BROKER_CONFIG, body=b"brokerPermission=%d" % number)
        assert (await client.invoke(address, change, 5)).code == 0
        assert (await perm("t"), await perm("TBW102")) == expected
    assert cluster.brokers[0].state.topics.require("t").perm == 6


async def test_names_of_hosts_are_resolved() -> None:
    async with LocalCluster(host="localhost") as cluster, dialled(cluster) as client:
        assert (await send(client, cluster.brokers[0].address)).code == 0
    with pytest.raises(ConfigError, match="has no address"):
        await LocalCluster(host="no.such.host.invalid").start()


async def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(port)):
            await LocalCluster(port=port).start()
        failing = LocalCluster(broker_port=port)
        with pytest.raises(OSError, match=str(port)):
            await failing.start()
        with pytest.raises(ConfigError, match="was not started"):
            _ = failing.name_servers
    async with LocalCluster(broker_port=port) as cluster:
        assert cluster.brokers[0].address == f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"brokers": 0}, "brokers 0"),
        ({"port": 70000}, "port 70000"),
        ({"flush": "never"}, "flush 'never'"),
        ({"delay_levels": (5, 1)}, "delay_levels"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LocalCluster(**settings)


async def test_bad_topics(embedded: tuple[LocalCluster, RemotingClient]) -> None:
    cluster, _ = embedded
    for name in (None, 5, b"bytes", ""):
        for call in (cluster.create_topic, partial(cluster.create_topic, exist_ok=True), cluster.update_topic):
            with pytest.raises(ConfigError, match="topic"):
                await call(name)  # type: ignore[operator]
    with pytest.raises(InvalidNameError):
        await cluster.create_topic("a b")
    with pytest.raises(ConfigError, match="queues 0"):
        await cluster.create_topic("t", queues=0)
    with pytest.raises(ConfigError, match="no broker 'broker-x'"):
        await cluster.kill_broker("broker-x")


async def test_a_cluster_that_was_not_started_says_so() -> None:
    cluster = LocalCluster()
    for ask in (cluster.kill_broker, cluster.start_broker, cluster.pause_broker, cluster.resume_broker):
        with pytest.raises(ConfigError, match="the cluster was not started"):
            await ask("broker-a")


async def test_a_server_runs_until_it_is_told_to_stop() -> None:
    ready: asyncio.Future[LocalCluster] = asyncio.get_running_loop().create_future()
    server = asyncio.ensure_future(run_server(ready=ready.set_result))
    cluster = await asyncio.wait_for(ready, 10)
    async with dialled(cluster) as client:
        assert await brokers_of(client, "TBW102")
    os.kill(os.getpid(), 15)
    await asyncio.wait_for(server, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_process_is_small() -> None:
    program = (
        "import asyncio, pathlib, re\n"
        "from aiorocketmq.server import LocalCluster\n"
        "async def main():\n"
        "    async with LocalCluster():\n"
        # Not ru_maxrss: that begins with what the parent used when it forked.
        "        peak = re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())\n"
        "        print(int(peak[1]) // 1024)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 60, "megabytes"
