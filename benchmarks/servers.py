"""The servers that workloads run on: a real broker, or the embedded server in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import forms
from tests.support import raw_remoting
from tests.support.processes import StartError
from tests.support.real_cluster import SERVER_JVM, RealCluster
from tests.support.waiting import eventually_sync

REAL: Final = "real"
EMBEDDED: Final = {"memory": (), "durable": ("--flush", "async"), "flushed": ("--flush", "sync")}
"""Store of the embedded server → its options besides the folder."""
_GET_MAX_OFFSET: Final = 30
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_READY_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running name server and broker.

    Attributes:
        kind: `REAL`, or a key of `EMBEDDED`.
        name_servers: What clients take.
        broker_address: `host:port` of the broker.
        pid: The broker's process, the ancestor of all that belongs to it.
        home: Folder of its files, and of the programs' logs.
        form: The form of our programs that name none, and of the embedded server.
        start_seconds: From the start of its process until it was ready.
        cluster: What runs it, when it is a real one.
    """

    kind: str
    name_servers: str
    broker_address: str
    pid: int
    home: Path
    form: str
    start_seconds: float
    cluster: RealCluster | None = None

    def create_topic(self, topic: str, queues: int) -> None:
        """Create a topic and wait until the name server knows its queues; blocks."""
        raw_remoting.create_topic(self.broker_address, topic, queues=queues)
        eventually_sync(lambda: self._has(topic, queues), 60.0, interval=0.02, message=f"route of {topic} with {queues} queues")

    def _has(self, topic: str, queues: int) -> bool:
        route = raw_remoting.route(self.name_servers, topic)
        return route is not None and any(data["writeQueueNums"] == queues for data in route["queueDatas"])

    def stored(self, topic: str, queues: int) -> int:
        """Messages that the broker has taken into a topic; blocks."""
        asked = [{"topic": topic, "queueId": str(queue)} for queue in range(queues)]
        return sum(int(raw_remoting.exchange(self.broker_address, _GET_MAX_OFFSET, each)[0]["offset"]) for each in asked)

    def usage(self) -> tuple[float, int]:
        """CPU seconds until now, to 10 ms, and resident bytes of the broker's processes; zeros where there is no /proc."""
        ticks = resident = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
                resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        return ticks / _TICKS, resident


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@contextlib.asynccontextmanager
async def running(kind: str, version: str, form: str) -> AsyncIterator[Server]:
    """A server of a kind; it ends with the context.

    Raises:
        JavaMissingError: A real one is asked for, and Java or Maven is missing.
        StartError: It did not become ready.
    """
    started = real(version, form) if kind == REAL else embedded(kind, form)
    async with started as server:
        yield server


@contextlib.asynccontextmanager
async def real(version: str, form: str) -> AsyncIterator[Server]:
    """A real name server and broker of a release."""
    cluster = RealCluster(version, jvm=SERVER_JVM, broker_heap="1g")
    began = time.perf_counter()
    await asyncio.to_thread(cluster.start)
    try:
        seconds = time.perf_counter() - began
        yield Server(REAL, cluster.name_servers, cluster.broker_address, cluster.broker_pid, cluster.home, form, seconds, cluster)
    finally:
        await asyncio.to_thread(cluster.stop)


@contextlib.asynccontextmanager
async def embedded(kind: str, form: str) -> AsyncIterator[Server]:
    """The embedded server, started as a user would: `aiorocketmq server`."""
    home = Path(tempfile.mkdtemp(prefix="bench-embedded-"))
    options = [*EMBEDDED[kind], *(() if kind == "memory" else ("--data-dir", str(home / "data")))]
    command = [sys.executable, "-m", "aiorocketmq", "server", "--port", "0", "-o", "json", *options]
    log = home / "server.log"
    try:
        with log.open("wb") as errors:
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=forms.environment(form), cwd=home, start_new_session=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            line = b""
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), _READY_WITHIN)
            if not line:
                raise StartError(f"the embedded server did not become ready:\n{log.read_text(errors='replace')[-3000:]}")
            ready, seconds = json.loads(line), time.perf_counter() - began
            yield Server(kind, ready["name_servers"], next(iter(ready["brokers"].values())), process.pid, home, form, seconds)
        finally:
            await _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 20.0)
            return
