"""What is measured: workloads in families.

The members of a family share one topic, and all programs that run any of them take turns round by round. A new workload is an entry
here, and a command in the peers that can run it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.rows import MEMORY, P50, RATE, SECONDS

BODY_SIZE = 1024
QUEUES = 8
ALL = ("java", "go", "asyncio")


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure.

    Attributes:
        name: Unique name, also in stored results.
        title: Name for people.
        command: What the peers are asked for.
        peers: Who can run it.
        count: Messages per round.
        size: Bytes of each body.
        distinct: The backlog holds the numbers 0 to count - 1 once each, and consumers prove that they got all of them.
        stored: Messages are counted in the broker, not by the client.
        fresh_topic: Each round has a topic of its own.
        fresh_process: Each round has a process of its own, and there is nothing to warm up.
        figure: The metric that the workload is about.
        variant: What is special about it, beside the first of its family.
        arguments: More fields of the request.
    """

    name: str
    title: str
    command: str
    peers: tuple[str, ...]
    count: int
    size: int = BODY_SIZE
    distinct: bool = False
    stored: bool = False
    fresh_topic: bool = False
    fresh_process: bool = False
    figure: str = RATE
    variant: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def scaled(self, factor: float) -> Workload:
        """The same with fewer or more messages per round."""
        return replace(self, count=max(1, int(self.count * factor))) if self.count > 1 else self


@dataclass(frozen=True, slots=True)
class Family:
    """Workloads that share a topic and take turns.

    Attributes:
        name: Name of the family and of its topic.
        workloads: Members.
        queues: Queues of the topic.
        backlog: Messages that the topic holds before the first round.
        matrix: Part of the matrix of body sizes and queues, which has fewer rounds.
    """

    name: str
    workloads: tuple[Workload, ...]
    queues: int = QUEUES
    backlog: int = 0
    matrix: bool = False

    def scaled(self, factor: float) -> Family:
        """The same with fewer or more messages per round; the backlog of distinct messages follows."""
        workloads = tuple(each.scaled(factor) for each in self.workloads)
        backlog = workloads[0].count if workloads[0].distinct else self.backlog
        return replace(self, workloads=workloads, backlog=backlog)


WINDOW = {"window": 256}
CONSUMED = 200_000

FAMILIES = (
    Family(
        "send_one_at_a_time",
        (Workload("send_one_at_a_time", "send, one at a time", "send_one_at_a_time", (*ALL, "sync", "grpc", "wire"), 12_000),),
    ),
    Family(
        "send_threads",
        (
            Workload(
                "send_threads", "send from 16 threads", "send_threads", ("java", "go", "sync", "grpc"), 30_000, arguments={"threads": 16}
            ),
        ),
    ),
    Family(
        "send_in_flight",
        (
            Workload("send_in_flight", "send, 256 in flight", "send_in_flight", (*ALL, "grpc"), 100_000, arguments=WINDOW),
            Workload(
                "send_auto_batched",
                "send, auto-batching, 256 in flight",
                "send_auto_batched",
                ("java", "asyncio"),
                100_000,
                variant="auto-batching",
                arguments=WINDOW,
            ),
        ),
    ),
    Family(
        "send_batches",
        (Workload("send_batches", "batches of 32", "send_batches", (*ALL, "sync"), 150_000, arguments={"batch": 32}),),
    ),
    Family("send_oneway", (Workload("send_oneway", "one-way sends, as stored", "send_oneway", ALL, 100_000, stored=True),)),
    Family(
        "push_concurrent",
        (
            Workload("push_concurrent", "push consume, concurrent", "push_concurrent", ALL, CONSUMED, distinct=True),
            Workload(
                "push_plain", "push consume, plain def listener", "push_plain", ("asyncio",), CONSUMED, distinct=True, variant="plain def"
            ),
        ),
        backlog=CONSUMED,
    ),
    Family(
        "push_ordered",
        (Workload("push_ordered", "push consume, ordered", "push_ordered", ALL, CONSUMED, distinct=True),),
        backlog=CONSUMED,
    ),
    Family(
        "latency",
        (
            Workload(
                "latency",
                "send → listener at 200/s",
                "latency",
                (*ALL, "wire"),
                2_000,
                fresh_topic=True,
                figure=P50,
                arguments={"rate": 200},
            ),
        ),
    ),
    Family(
        "first_message",
        (
            Workload("first_message", "start() → first message", "first_message", ALL, 1, figure=SECONDS, arguments={"ordered": False}),
            Workload(
                "first_message_ordered",
                "start() → first message, ordered",
                "first_message",
                ALL,
                1,
                figure=SECONDS,
                arguments={"ordered": True},
            ),
        ),
        backlog=2_000,
    ),
    Family(
        "idle_memory", (Workload("idle_memory", "idle producer and consumer", "idle_memory", ALL, 1, fresh_process=True, figure=MEMORY),)
    ),
)

MATRIX_SIZES = (128, 1024, 16 * 1024)
MATRIX_QUEUES = (1, 8, 64)
_MATRIX_COUNTS = {"send_in_flight": (30_000, 30_000, 8_000), "send_one_at_a_time": (3_000,) * 3, "push_concurrent": (40_000, 40_000, 8_000)}


def in_matrix(name: str) -> bool:
    """True for the name of a workload of the matrix."""
    return "/" in name


def matrix_name(command: str, size: int, queues: int) -> str:
    """Name of a workload of the matrix."""
    return f"{command}/{size}B/{queues}q"


def _matrix() -> tuple[Family, ...]:
    families = []
    for command, counts in _MATRIX_COUNTS.items():
        consumes = command == "push_concurrent"
        for size, count in zip(MATRIX_SIZES, counts, strict=True):
            for queues in MATRIX_QUEUES:
                name = matrix_name(command, size, queues)
                arguments = WINDOW if command == "send_in_flight" else {}
                workload = Workload(name, name, command, ALL, count, size, distinct=consumes, arguments=arguments)
                families.append(Family(name, (workload,), queues, count if consumes else 0, matrix=True))
    return tuple(families)


MATRIX = _matrix()
WORKLOADS = {workload.name: workload for family in (*FAMILIES, *MATRIX) for workload in family.workloads}
