"""The order of a run: every workload in rounds, the peers alternating within a round, on one broker.

The first round of each peer is cold (a JVM compiles, sockets and routes are made). A peer's warm rate is its best later round: noise
only ever slows a round down.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.peers import PEERS, REFERENCE
from benchmarks.workloads import BODY_SIZE, QUEUES, Workload
from tests.support.line_program import LineProgram
from tests.support.real_cluster import SERVER_JVM, RealCluster


@dataclass(frozen=True, slots=True)
class Round:
    """What one peer did in one round."""

    workload: str
    peer: str
    number: int
    count: int
    failed: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds of the client's process per message."""
        return self.cpu_seconds / self.count * 1e6


def warm(rounds: Sequence[Round]) -> Round:
    """The best round after the first (the first when there is no other)."""
    return max(rounds[1:] or rounds, key=lambda each: each.rate)


async def measure(
    version: str, workloads: Sequence[Workload], peers: Sequence[str], rounds: int, tell: Callable[[Round], None]
) -> list[Round]:
    """Start a cluster of a release, run everything, and answer all rounds."""
    cluster = RealCluster(version, jvm=SERVER_JVM)
    await asyncio.to_thread(cluster.start)
    try:
        async with contextlib.AsyncExitStack() as stack:
            running = {peer: await stack.enter_async_context(PEERS[peer](cluster)) for peer in (REFERENCE, *peers) if peer in PEERS}
            measured: list[Round] = []
            for workload in workloads:
                topic = f"bench_{workload.name}"
                await asyncio.to_thread(cluster.create_topic, topic, queues=QUEUES)
                await _preload(running[REFERENCE], topic, workload)
                for number in range(rounds):
                    for peer in peers:
                        result = await _round(running[peer], peer, workload, topic, number)
                        tell(result)
                        measured.append(result)
            return measured
    finally:
        await asyncio.to_thread(cluster.stop)


async def _preload(filler: LineProgram, topic: str, workload: Workload) -> None:
    missing = workload.preload
    while missing:  # a broker that is short of CPU refuses some sends; every round waits for the full count
        answer = await filler.call("send_in_flight", topic=topic, size=BODY_SIZE, count=missing, window=64, timeout=300.0)
        missing = answer["failed"]


async def _round(program: LineProgram, peer: str, workload: Workload, topic: str, number: int) -> Round:
    group = f"bench_{uuid.uuid4().hex[:8]}"  # a new group reads the topic from its beginning
    arguments = {"topic": topic, "size": BODY_SIZE, "count": workload.count, "group": group, **workload.arguments}
    answer = await program.call(workload.name, timeout=300.0, **arguments)
    return Round(workload.name, peer, number, answer["count"], answer["failed"], answer["seconds"], answer["cpu_seconds"])
