"""What is measured: workloads in families.

The members of a family share one topic, and all programs that run any of them take turns round by round. A new workload is an entry
here, and a command in the peers that can run it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.rows import MEMORY, P50, RATE, SECONDS
from benchmarks.servers import EMBEDDED, REAL

KIB, MIB = 1024, 1024 * 1024
BODY_SIZE = 1024
QUEUES = 8
ALL = ("java", "go", "asyncio")
OURS = ("asyncio",)
CPU_PERCENT = "idle_cpu_percent"


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
        topics: So many topics, whose names begin with the one that the program is told, and end in `_0000` and so on.
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
    topics: int = 1
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
        group: What it is a part of, when it is measured on request only: `MATRIX` or a series; these have fewer rounds.
        server: Kind of server that it runs on.
    """

    name: str
    workloads: tuple[Workload, ...]
    queues: int = QUEUES
    backlog: int = 0
    group: str = ""
    server: str = REAL

    def scaled(self, factor: float) -> Family:
        """The same with fewer or more messages per round; the backlog of distinct messages follows."""
        workloads = tuple(each.scaled(factor) for each in self.workloads)
        backlog = next((each.count for each in workloads if each.distinct), self.backlog)
        return replace(self, workloads=workloads, backlog=backlog)


WINDOW = {"window": 256}
CONSUMED = 200_000

FAMILIES = (
    Family(
        "send_one_at_a_time", (Workload("send_one_at_a_time", "send, one at a time", "send_one_at_a_time", (*ALL, "sync", "grpc"), 12_000),)
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
            Workload("send_tls", "send, TLS, 256 in flight", "send_tls", ("java", "asyncio"), 100_000, variant="TLS", arguments=WINDOW),
            Workload("send_signed", "send, signed, 256 in flight", "send_signed", OURS, 100_000, variant="signed", arguments=WINDOW),
        ),
    ),
    Family("send_batches", (Workload("send_batches", "batches of 32", "send_batches", (*ALL, "sync"), 150_000, arguments={"batch": 32}),)),
    Family(
        "send_in_transaction",
        (Workload("send_in_transaction", "half message + commit, one at a time", "send_in_transaction", ("java", "asyncio"), 8_000),),
    ),
    Family(
        "request_reply",
        (Workload("request_reply", "request and reply, one at a time", "request_reply", ("java", "asyncio"), 4_000, fresh_topic=True),),
    ),
    Family("send_oneway", (Workload("send_oneway", "one-way sends, as stored", "send_oneway", ALL, 100_000, stored=True),)),
    Family(
        "push_concurrent",
        (
            Workload("push_concurrent", "push consume, concurrent", "push_concurrent", ALL, CONSUMED, distinct=True),
            Workload(
                "push_plain", "push consume, plain def listener", "push_plain", ("asyncio",), CONSUMED, distinct=True, variant="plain def"
            ),
            Workload("lite_pull", "lite pull consume", "lite_pull", ("java", "asyncio"), CONSUMED, distinct=True, variant="lite pull"),
        ),
        backlog=CONSUMED,
    ),
    Family(
        "push_ordered", (Workload("push_ordered", "push consume, ordered", "push_ordered", ALL, CONSUMED, distinct=True),), backlog=CONSUMED
    ),
    Family(
        "latency",
        (Workload("latency", "send → listener at 200/s", "latency", ALL, 2_000, fresh_topic=True, figure=P50, arguments={"rate": 200}),),
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
    Family(
        "starts",
        (
            Workload("cold_start", "exec of a program → first message", "cold_start", OURS, 1, figure=SECONDS),
            Workload("import_time", "import aiorocketmq, over an empty Python", "import_time", OURS, 1, figure=SECONDS),
            Workload("local_start", "LocalCluster.start()", "local_start", OURS, 1, fresh_process=True, figure=SECONDS),
        ),
        backlog=2_000,
    ),
)

MATRIX = "matrix"
MATRIX_SIZES = (1, 128, 1024, 16 * KIB, 128 * KIB, MIB, 4 * MIB - 4 * KIB)
"""Brokers refuse empty bodies, and records of more than 4 MiB with the other fields of the message."""
MATRIX_QUEUES = (1, 8, 64)
_EVERY_QUEUES = (128, 1024, 16 * KIB)
"""Sizes that are measured with each number of queues, the others with `QUEUES`."""
_MATRIX_COUNTS = {"send_in_flight": 30_000, "send_one_at_a_time": 3_000, "push_concurrent": 40_000}
_MATRIX_BYTES = 128 * MIB
"""Bodies of a round together, at most."""
_MATRIX_WINDOW_BYTES = 32 * MIB


def matrix_name(command: str, size: int, queues: int) -> str:
    """Name of a workload of the matrix."""
    return f"{command}/{size}B/{queues}q"


def _matrix() -> tuple[Family, ...]:
    families = []
    for command, most in _MATRIX_COUNTS.items():
        consumes = command == "push_concurrent"
        for size in MATRIX_SIZES:
            count = min(most, _MATRIX_BYTES // size)
            for queues in MATRIX_QUEUES if size in _EVERY_QUEUES else (QUEUES,):
                name = matrix_name(command, size, queues)
                arguments = {"window": max(4, min(256, _MATRIX_WINDOW_BYTES // size))} if command == "send_in_flight" else {}
                workload = Workload(name, name, command, ALL, count, size, distinct=consumes, arguments=arguments)
                families.append(Family(name, (workload,), queues, count if consumes else 0, MATRIX))
    return tuple(families)


IDLE = {"settle": 5.0, "idle": 60.0}
"""Seconds; the window is a common multiple of everything periodic (long polls 15, rebalance 20, routes and heartbeats 30, offsets 5)."""


def _idle(series: str, size: int) -> Family:
    topics, queues = (size, 1) if series == "topics" else (1, size)
    name = f"{series}/{size}"
    workload = Workload(name, name, "idle", OURS, 1, topics=topics, fresh_topic=True, fresh_process=True, figure=CPU_PERCENT)
    return Family(name, (replace(workload, arguments={"topics": topics, "queues": queues, **IDLE}),), queues, group=series)


def _producers(size: int) -> Family:
    arguments = {**WINDOW, "producers": size}
    name = f"producers/{size}"
    return Family(
        name, (Workload(name, name, "send_in_flight", OURS, 100_000, fresh_process=True, arguments=arguments),), group="producers"
    )


def _on_server(kind: str) -> Family:
    loads: tuple[tuple[str, str, dict[str, int]], ...] = (("send", "send_in_flight", WINDOW), ("consume", "push_concurrent", {}))
    workloads = tuple(
        Workload(
            f"embedded/{kind}/{load}", f"embedded/{kind}/{load}", command, OURS, 50_000, distinct=load == "consume", arguments=arguments
        )
        for load, command, arguments in loads
    )
    return Family(f"embedded/{kind}", workloads, backlog=50_000, group="embedded", server=kind)


_SOAK = Workload("soak/20", "soak/20", "soak", OURS, 1, 64, fresh_topic=True, fresh_process=True, arguments={**WINDOW, "minutes": 20.0})

GROUPS: dict[str, tuple[Family, ...]] = {
    MATRIX: _matrix(),
    "topics": tuple(_idle("topics", size) for size in (1, 10, 100, 1000)),
    "queues": tuple(_idle("queues", size) for size in (1, 64, 256, 1024, 4096)),
    "producers": tuple(map(_producers, (1, 4, 16, 64))),
    "embedded": tuple(map(_on_server, (*EMBEDDED, REAL))),
    "soak": (Family("soak", (_SOAK,), group="soak"),),
}
"""Families that are measured on request, by the group that they are asked for with."""
WORKLOADS = {workload.name: workload for family in (*FAMILIES, *sum(GROUPS.values(), ())) for workload in family.workloads}


def group_of(name: str) -> str:
    """The group of a workload, "" for those that are always measured."""
    if "/" not in name:
        return ""
    first = name.partition("/")[0]
    return first if first in GROUPS else MATRIX
