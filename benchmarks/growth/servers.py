"""The servers that rows run against: a real broker, or the embedded server in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.growth import forms, probe
from benchmarks.growth.bench import Options, tail
from tests.support import raw_remoting
from tests.support.processes import StartError
from tests.support.real_cluster import SERVER_JVM, RealCluster
from tests.support.waiting import eventually_sync

REAL: Final = "real"
EMBEDDED: Final = "embedded"
_READY_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running name server and broker.

    Attributes:
        kind: `REAL` or `EMBEDDED`.
        name_servers: What clients take.
        broker: `host:port` of the broker.
        pid: The broker's process, the ancestor of all that belongs to it.
        home: Folder of its files.
        start_seconds: From the start of its process until it was ready.
    """

    kind: str
    name_servers: str
    broker: str
    pid: int
    home: Path
    start_seconds: float

    async def create_topics(self, topics: Sequence[str], queues: int) -> None:
        """Create topics, and wait until the name server knows the last one."""
        await asyncio.to_thread(self._create_topics, topics, queues)

    def _create_topics(self, topics: Sequence[str], queues: int) -> None:
        for topic in topics:
            raw_remoting.create_topic(self.broker, topic, queues=queues)
        for topic in topics:
            eventually_sync(lambda topic=topic: self._has(topic, queues), 60.0, message=f"route of {topic} with {queues} queues")  # type: ignore[misc]

    def _has(self, topic: str, queues: int) -> bool:
        route = raw_remoting.route(self.name_servers, topic)
        return route is not None and any(data["writeQueueNums"] == queues for data in route["queueDatas"])

    def usage(self) -> dict[str, float]:
        """CPU seconds and resident bytes of the broker now."""
        return probe.usage(self.pid)


@contextlib.asynccontextmanager
async def running(kind: str, options: Options) -> AsyncIterator[Server]:
    """A server of a kind, with everything else as it comes."""
    if kind == REAL:
        async with real(options) as server:
            yield server
    else:
        async with embedded(options, options.forms[0]) as server:
            yield server


@contextlib.asynccontextmanager
async def real(options: Options, broker_options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """A real name server and broker.

    Args:
        options: Names the release.
        broker_options: Additions to broker.conf.

    Raises:
        JavaMissingError: Java or Maven is missing.
    """
    cluster = RealCluster(options.version, jvm=SERVER_JVM, broker_heap="1g", broker_options=broker_options)
    began = time.perf_counter()
    await asyncio.to_thread(cluster.start)
    try:
        yield Server(REAL, cluster.name_servers, cluster.broker_address, cluster.broker_pid, cluster.home, time.perf_counter() - began)
    finally:
        await asyncio.to_thread(cluster.stop)


@contextlib.asynccontextmanager
async def embedded(options: Options, form: str, *, data_dir: Path | None = None, flush: str = "async") -> AsyncIterator[Server]:
    """The embedded server, started as a user would: `aiorocketmq server`.

    Args:
        options: Names the folder for its log.
        form: Form to run it in.
        data_dir: Folder of its database; None keeps everything in memory.
        flush: `async` or `sync`.

    Raises:
        StartError: It did not become ready.
    """
    command = [sys.executable, "-m", "aiorocketmq", "server", "--port", "0", "-o", "json", "--flush", flush]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    log = options.folder / f"server-{form}.log"
    with log.open("ab") as errors:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=forms.environment(form, options.folder), cwd=options.folder, start_new_session=True,
        )  # fmt: skip
    try:
        ready = await _ready(process, log)
        seconds = time.perf_counter() - began
        broker = next(iter(ready["brokers"].values()))
        yield Server(EMBEDDED, ready["name_servers"], broker, process.pid, data_dir or options.folder, seconds)
    finally:
        await _stop(process)


async def _ready(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN):
            line = await process.stdout.readline()
    if not line:
        raise StartError(f"the embedded server did not become ready:\n{tail(log)}")
    answer: dict[str, Any] = json.loads(line)
    return answer


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), 20.0)
        except TimeoutError:
            continue
        return
