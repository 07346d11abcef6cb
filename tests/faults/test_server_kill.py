"""The embedded server is killed with SIGKILL again and again under load (reliability.md row 39): what it acknowledged is still there.

Each round starts a server on the same folder, sends messages, batches and delayed messages and commits offsets from many coroutines at
once, and kills the process at a random moment. After the next start everything that was acknowledged must be found: each message at its
offset with its body, once; each committed offset, not lower than the last acknowledged and not higher than the last one sent; each
delayed message either delivered, once, or still in the schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RocketMQError
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import (
    PullMessageRequestHeader,
    QueryConsumerOffsetRequestHeader,
    SendMessageRequestHeader,
    UpdateConsumerOffsetRequestHeader,
)
from aiorocketmq.protocol.message_codec import BatchItem, decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.remoting.client import RemotingClient
from tests.support.records import encode_batch
from tests.support.waiting import eventually

QUEUES = 4
PLAIN, SOON, LATE = "plain", "soon", "late"
GROUP = "workers"
SOON_LEVEL, LATE_LEVEL = 1, 2
DELAYS = [0.3, 86400.0]
TIMEOUT = 10.0


@dataclass
class Ledger:
    """What the server acknowledged, and what it may know besides."""

    messages: dict[tuple[str, int, int], str] = field(default_factory=dict)
    soon: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    offsets: dict[int, int] = field(default_factory=dict)
    offsets_sent: dict[int, int] = field(default_factory=dict)


class Server:
    """One life of the server, and the connection to it."""

    def __init__(self, pid: int, client: RemotingClient, broker: str) -> None:
        self.pid = pid
        self.client = client
        self.broker = broker

    async def ask(self, code: int, header: object, body: bytes = b"", *, v2: bool = False) -> RemotingCommand:
        wire = header.to_v2() if isinstance(header, SendMessageRequestHeader) and v2 else header
        return await self.client.invoke(self.broker, RemotingCommand.request(code, wire, body), TIMEOUT)  # type: ignore[arg-type]


class StillbornError(Exception):
    """A server died before it was ready."""


class Nursery:
    """The process whose children are the servers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def _line(self) -> list[str]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, "the server process ended by itself"
        return line.decode().split()

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator[Server]:
        """Start a server; at the end it is killed if it lives.

        Raises:
            StillbornError: It died before it was ready.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        word, pid, *addresses = await self._line()
        if word != "ready":
            raise StillbornError
        name_server, broker = addresses
        client = RemotingClient(ClientConfig(name_servers=name_server))
        await client.start()
        try:
            yield Server(int(pid), client, broker)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the load has killed it already
                os.kill(int(pid), signal.SIGKILL)
            await client.close()
            assert (await self._line())[0] == "gone"


@contextlib.asynccontextmanager
async def nursery(folder: Path, flush: str, *flags: str, tracer: Sequence[str] = ()) -> AsyncIterator[Nursery]:
    settings = json.dumps({"data_dir": str(folder), "flush": flush, "delay_levels": DELAYS})
    program = Path(__file__).with_name("server_nursery.py")
    process = await asyncio.create_subprocess_exec(
        *tracer, sys.executable, str(program), settings, *flags, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def body_of(uid: str) -> bytes:
    """A body that only this message has; sizes from 20 bytes to 4 KB."""
    return uid.encode().ljust(20 + zlib.crc32(uid.encode()) % 4000, b".")


def header_of(topic: str, queue_id: int, properties: str) -> SendMessageRequestHeader:
    return SendMessageRequestHeader(
        "killers", topic, "TBW102", QUEUES, queue_id, 0, 1_700_000_000_000, 0, properties, reconsume_times=0, unit_mode=False, batch=False
    )


class Load:
    """Coroutines that keep a server busy until it dies."""

    def __init__(self, server: Server, ledger: Ledger, round_number: int) -> None:
        self._server = server
        self._ledger = ledger
        self._ids = (f"{round_number:03d}-{number:06d}" for number in itertools.count())
        self.acknowledged = 0

    async def run(self, kill_after: float) -> None:
        """Kill the server after so many seconds of load."""
        tasks = await self._start()
        # The clock starts with the first acknowledgement, so that a slow machine makes no empty rounds.
        await eventually(lambda: self.acknowledged > 0, timeout=TIMEOUT, interval=0.002)
        await asyncio.sleep(kill_after)
        os.kill(self._server.pid, signal.SIGKILL)
        await self._end(tasks)

    async def run_until_death(self) -> None:
        """The server dies by itself."""
        with contextlib.suppress(RocketMQError):
            await self._end(await self._start())

    async def _start(self) -> list[asyncio.Future[None]]:
        created = await self._server.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, None, SubscriptionGroupConfig(GROUP).encode())
        assert created.code == 0, created.remark
        workers = [self._plain(queue) for queue in range(QUEUES)] + [self._plain(queue) for queue in range(QUEUES)]
        workers += [self._batch(), self._delayed(SOON, SOON_LEVEL, self._ledger.soon), self._delayed(LATE, LATE_LEVEL, self._ledger.late)]
        workers += [self._commit(queue) for queue in range(QUEUES)]
        return [asyncio.ensure_future(worker) for worker in workers]

    async def _end(self, tasks: list[asyncio.Future[None]]) -> None:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        strange = [outcome for outcome in outcomes if not isinstance(outcome, RocketMQError)]
        assert not strange, f"workers must end by the loss of the connection: {strange}"

    async def _send(self, topic: str, queue_id: int, uid: str, extra: str = "") -> RemotingCommand:
        properties = f"UNIQ_KEY\x01{uid}\x02{extra}"
        response = await self._server.ask(RequestCode.SEND_MESSAGE_V2, header_of(topic, queue_id, properties), body_of(uid), v2=True)
        assert response.code == 0, response.remark
        self.acknowledged += 1
        return response

    async def _plain(self, queue_id: int) -> None:
        for uid in self._ids:
            response = await self._send(PLAIN, queue_id, uid)
            self._ledger.messages[PLAIN, queue_id, int(response.ext_fields["queueOffset"])] = uid

    async def _batch(self) -> None:
        while True:
            uids = list(itertools.islice(self._ids, 10))
            body = encode_batch([BatchItem(0, body_of(uid), f"UNIQ_KEY\x01{uid}\x02".encode()) for uid in uids])
            response = await self._server.ask(RequestCode.SEND_BATCH_MESSAGE, header_of(PLAIN, 0, ""), body, v2=True)
            assert response.code == 0, response.remark
            first = int(response.ext_fields["queueOffset"])
            self._ledger.messages.update({(PLAIN, 0, first + index): uid for index, uid in enumerate(uids)})
            self.acknowledged += len(uids)

    async def _delayed(self, topic: str, level: int, acknowledged: set[str]) -> None:
        for uid in self._ids:
            await self._send(topic, 0, uid, f"DELAY\x01{level}\x02")
            acknowledged.add(uid)

    async def _commit(self, queue_id: int) -> None:
        ledger = self._ledger
        while True:
            offset = max(ledger.offsets_sent.get(queue_id, 0), ledger.offsets.get(queue_id, 0)) + 1
            ledger.offsets_sent[queue_id] = offset
            response = await self._server.ask(
                RequestCode.UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetRequestHeader(GROUP, PLAIN, queue_id, offset)
            )
            assert response.code in (0, ResponseCode.TOPIC_NOT_EXIST), response.remark  # the first send makes the topic
            if response.code == 0:
                ledger.offsets[queue_id] = offset


class Reader:
    """Reads each queue on from where it stopped, over all lives of the server."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}
        self.found: dict[tuple[str, int, int], str] = {}

    async def read_on(self, server: Server, topic: str) -> None:
        for queue_id in range(QUEUES):
            while True:
                start = self._next.get((topic, queue_id), 0)
                flags = PullSysFlag.build(subscription=True)
                header = PullMessageRequestHeader("checker", topic, queue_id, start, 32, flags, 0, 0, 0, "*", "TAG")
                response = await server.ask(RequestCode.PULL_MESSAGE, header)
                if response.code in (ResponseCode.PULL_NOT_FOUND, ResponseCode.TOPIC_NOT_EXIST):
                    break
                assert response.code == 0, f"{topic}:{queue_id} from {start}: {response.code} {response.remark}"
                for message in decode_messages(response.body, broker_name="broker-a", max_body=1 << 20):
                    uid = message.properties["UNIQ_KEY"]
                    assert message.body == body_of(uid), f"the body of {uid} is damaged"
                    assert message.body_crc == zlib.crc32(message.body) & 0x7FFFFFFF
                    self.found[topic, queue_id, message.queue_offset] = uid
                self._next[topic, queue_id] = int(response.ext_fields["nextBeginOffset"])


async def check(server: Server, ledger: Ledger, reader: Reader) -> None:
    """Everything that was acknowledged so far is there."""
    await reader.read_on(server, PLAIN)
    lost = {key: uid for key, uid in ledger.messages.items() if reader.found.get(key) != uid}
    assert not lost, f"{len(lost)} of {len(ledger.messages)} acknowledged messages are lost: {list(lost.items())[:5]}"
    for queue_id, acknowledged in ledger.offsets.items():
        response = await server.ask(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetRequestHeader(GROUP, PLAIN, queue_id, False))
        stored = int(response.ext_fields.get("offset", -1))
        sent = ledger.offsets_sent[queue_id]
        assert acknowledged <= stored <= sent, f"queue {queue_id}: {stored} is stored, {acknowledged} was acknowledged, {sent} was sent"


def still_scheduled(folder: Path) -> set[str]:
    """Unique ids of the messages that the database holds in its schedule."""
    with contextlib.closing(sqlite3.connect(folder / "broker-a.db")) as database:
        records = database.execute("SELECT record FROM due JOIN messages ON physical_offset = key").fetchall()
    parked = [message for (record,) in records for message in decode_messages(record, broker_name="", max_body=0)]
    return {message.properties["UNIQ_KEY"] for message in parked}


async def soon_delivered(server: Server, ledger: Ledger, reader: Reader) -> bool:
    await reader.read_on(server, SOON)
    return ledger.soon <= {uid for (topic, _, _), uid in reader.found.items() if topic == SOON}


async def kill_rounds(folder: Path, flush: str, rounds: int, *flags: str) -> tuple[Ledger, Reader]:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    ledger, reader = Ledger(), Reader()
    async with nursery(folder, flush, *flags) as servers:
        for round_number in range(rounds):
            async with servers.server() as server:
                await check(server, ledger, reader)
                await Load(server, ledger, round_number).run(dice.uniform(0.0, 0.15))
        async with servers.server() as server:
            await check(server, ledger, reader)
            await eventually(lambda: soon_delivered(server, ledger, reader), timeout=30, message="every due delayed message is delivered")
    return ledger, reader


@pytest.mark.parametrize(("flush", "rounds"), [("async", 50), ("sync", 10)])
@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost(tmp_path: Path, flush: str, rounds: int) -> None:
    ledger, reader = await kill_rounds(tmp_path, flush, rounds)
    for topic in (PLAIN, SOON):
        uids = [uid for (name, _, _), uid in reader.found.items() if name == topic]
        assert len(uids) == len(set(uids)), f"{topic}: a message was stored or delivered twice"
    assert ledger.late <= still_scheduled(tmp_path), "a message that is due tomorrow is not in the schedule any more"
    assert not any(topic == LATE for topic, _, _ in reader.found)
    print(f"{len(ledger.messages)} messages, {len(ledger.soon)} + {len(ledger.late)} delayed, offsets {ledger.offsets}")
    assert len(ledger.messages) >= rounds and ledger.soon and ledger.late and len(ledger.offsets) == QUEUES


def tracer(call: str, count: int) -> list[str]:
    """A command prefix that kills the process at its n-th system call of one kind, before the call is carried out."""
    return ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={count}"]


def may_trace() -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    return False


@pytest.mark.timeout(300)
@pytest.mark.skipif(not may_trace(), reason="needs strace and the right to trace processes")
async def test_a_kill_at_the_worst_moments_loses_nothing(tmp_path: Path) -> None:
    ledger, reader = Ledger(), Reader()
    deaths = 0
    # The first few calls belong to the making of the files, later ones to opening them, commits and check points.
    moments = [("pwrite64", count) for count in (1, 5, 20, 2, 3, 8, 22, 101, 400)]
    moments += [("fdatasync", count) for count in (1, 3, 9)]
    async with nursery(tmp_path, "async") as plain:
        for round_number, (call, count) in enumerate(moments):
            flush = "sync" if call == "fdatasync" else "async"
            async with nursery(tmp_path, flush, tracer=tracer(call, count)) as doomed:
                deaths += 1
                with contextlib.suppress(StillbornError):
                    async with doomed.server() as server:
                        try:
                            async with asyncio.timeout(5):
                                await Load(server, ledger, round_number).run_until_death()
                        except TimeoutError:
                            deaths -= 1  # it never came to that call; it is killed all the same
            async with plain.server() as server:
                await check(server, ledger, reader)
    print(f"{deaths} of {len(moments)} died at their call; {len(ledger.messages)} messages")
    assert deaths >= len(moments) // 2 and ledger.messages and ledger.offsets


@pytest.mark.timeout(120)
async def test_the_check_notices_a_server_that_acknowledges_without_storing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="are lost"):
        await kill_rounds(tmp_path, "async", 3, "--forgetful")
