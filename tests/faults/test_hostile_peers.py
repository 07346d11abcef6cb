"""The embedded server and peers that mean it no good: what they cost others is bounded, in memory and in time on the loop."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aiorocketmq.server import LocalCluster

pytestmark = pytest.mark.feature("O4", "O13")

MIB = 1024 * 1024


def frame(code: int, ext: dict[str, str] | None = None, body: bytes = b"", opaque: int = 1) -> bytes:
    header = json.dumps({"code": code, "language": "JAVA", "version": 453, "opaque": opaque, "flag": 0, "extFields": ext or {}}).encode()
    return struct.pack(">iI", 4 + len(header) + len(body), len(header)) + header + body


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    (total,) = struct.unpack(">i", await reader.readexactly(4))
    data = await reader.readexactly(total)
    (mark,) = struct.unpack(">I", data[:4])
    return json.loads(data[4 : 4 + mark]), data[4 + mark :]


def send_fields(topic: str, queue: int = 0) -> dict[str, str]:
    now = str(int(time.time() * 1000))
    return {"a": "g", "b": topic, "c": "TBW102", "d": "4", "e": str(queue), "f": "0", "g": now, "h": "0", "i": "", "j": "0", "k": "false"}


def pull_fields(topic: str, offset: int, suspend: int) -> dict[str, str]:
    return {
        "consumerGroup": "TOOLS_CONSUMER", "topic": topic, "queueId": "0", "queueOffset": str(offset), "maxMsgNums": "32", "sysFlag": "6",
        "commitOffset": "0", "suspendTimeoutMillis": str(suspend), "subVersion": "0", "subscription": "*",
    }  # fmt: skip


class Peer:
    """One raw connection to the broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: str) -> Peer:
        host, port = address.rsplit(":", 1)
        return cls(*await asyncio.open_connection(host, int(port), limit=64 * MIB))

    async def ask(self, code: int, ext: dict[str, str] | None = None, body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        self.writer.write(frame(code, ext, body))
        return await asyncio.wait_for(read_frame(self.reader), 30)

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


class Watch:
    """How long the loop stood still, in CPU time of its thread: that of others on the machine does not count. Memory as well."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._memory = _memory()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.worst = max(self.worst, time.thread_time() - before)

    def grown(self) -> int:
        """Bytes by which the process is larger than in the beginning, at this moment."""
        return _memory() - self._memory


def _memory(pid: int | str = "self") -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bound() -> float:
    """CPU time that the loop may stand still: a quarter of a second on a machine on which the probe takes 50 ms."""
    before = time.thread_time()
    for _ in range(20):
        json.loads(json.dumps(list(range(20_000))))
    return max(0.25, 5 * (time.thread_time() - before))


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")


@pytest.fixture
async def broker() -> AsyncIterator[str]:
    """Address of a broker in this process, which must be well in the end."""
    async with LocalCluster() as cluster:
        address = cluster.brokers[0].address
        peer = await Peer.open(address)
        assert (await peer.ask(310, send_fields("orders"), b"first"))[0]["code"] == 0
        yield address
        assert (await peer.ask(310, send_fields("orders"), b"last"))[0]["code"] == 0
        await peer.close()


@needs_proc
async def test_halves_of_frames_on_many_connections() -> None:
    """240 MB of frames that never end. The server is a process of its own, so that its memory is not that of the writers."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiorocketmq", "server", "--port", "0", "-o", "json", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        address = json.loads(await asyncio.wait_for(server.stdout.readline(), 30))["brokers"]["broker-a"]
        other = await Peer.open(address)
        before = _memory(server.pid)
        header = b'{"code":310}'
        half = struct.pack(">iI", 4 + len(header) + 16 * MIB - 100, len(header)) + header + bytes(12 * MIB)
        peers = [await Peer.open(address) for _ in range(20)]
        for peer in peers:
            peer.writer.write(half)
            assert (await other.ask(310, send_fields("orders"), b"x"))[0]["code"] == 0
        await asyncio.wait_for(peers[0].reader.read(), 30)
        assert (await other.ask(310, send_fields("orders"), bytes(3 * MIB)))[0]["code"] == 0, "honest large frames find room"
        assert _memory(server.pid) - before < 128 * MIB
        for peer in (*peers, other):
            await peer.close()
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), 30)


async def test_a_flood_of_expensive_questions(broker: str) -> None:
    """A thousand looks at the topic with the most queues, in one chunk: minutes of work. Another client is served meanwhile."""
    greedy, other = await Peer.open(broker), await Peer.open(broker)
    async with Watch() as watch:
        greedy.writer.write(b"".join([frame(202, {"topic": "BenchmarkTest"}, opaque=number) for number in range(1000)]))
        await asyncio.wait_for(read_frame(greedy.reader), 30)
        for _ in range(5):
            assert (await other.ask(310, send_fields("orders"), b"x"))[0]["code"] == 0
        assert watch.worst < bound()
    await greedy.close()
    await other.close()


async def test_a_large_heartbeat_in_the_dialect_is_refused_at_once(broker: str) -> None:
    peer = await Peer.open(broker)
    for unit in (b"'a':1,", b"'k':{'a':[1,2]},", b"'\\u0041\\u0041':1,"):
        async with Watch() as watch:
            body = b"{" + unit * (MIB // len(unit)) + b"'z':1}"
            answer, _ = await peer.ask(34, body=body)
            assert answer["code"] != 0
            assert watch.worst < bound()
    await peer.close()


@needs_proc
async def test_parked_pulls_of_a_peer_that_does_not_read(broker: str) -> None:
    lazy, writer = await Peer.open(broker), await Peer.open(broker)
    async with Watch() as watch:
        lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
        lazy.writer.write(b"".join([frame(11, pull_fields("orders", 1, 2**62)) for _ in range(1500)]))
        await lazy.writer.drain()
        await asyncio.sleep(0.5)
        item = b"z" * 7900
        batch = (struct.pack(">iiiii", 22 + len(item), 0, 0, 0, len(item)) + item + struct.pack(">h", 0)) * 32
        assert (await writer.ask(320, send_fields("orders"), batch))[0]["code"] == 0
        await asyncio.sleep(0.5)
        assert watch.worst < bound()
        assert watch.grown() < 64 * MIB
    await lazy.close()
    await writer.close()


@needs_proc
async def test_a_search_that_would_fill_the_memory(broker: str) -> None:
    peer = await Peer.open(broker)
    for _ in range(24):
        fields = send_fields("orders") | {"i": "KEYS\x01same\x02"}
        assert (await peer.ask(310, fields, bytes(MIB)))[0]["code"] == 0
    query = {"topic": "orders", "key": "same", "maxNum": "1000", "beginTimestamp": "0", "endTimestamp": str(2**62)}
    answer, body = await peer.ask(12, query)
    assert answer["code"] == 0 and MIB < len(body) < 16 * MIB, "as much as one frame can carry"
    await peer.close()
