"""The rows of the report: which of our workloads is held against which one of another client, with its floors and goals.

A floor is the least that may be; a goal is what is aimed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RATE: Final = "rate"
CPU: Final = "cpu"
P50: Final = "p50"
P99: Final = "p99"
SECONDS: Final = "seconds"
MEMORY: Final = "memory"

METRICS = {
    RATE: "rate",
    CPU: "CPU per message",
    P50: "p50",
    P99: "p99",
    SECONDS: "time",
    MEMORY: "resident memory",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One figure of a row.

    Attributes:
        metric: What is compared; of a rate more is better, of everything else less.
        against: The peer that ours is divided by; "" for the plain figure (seconds).
        floor: Worst value that may be; None when the figure is only shown.
        goal: Value that is aimed at, if any.
    """

    metric: str
    against: str
    floor: float | None = None
    goal: float | None = None

    def reaches(self, value: float, limit: float) -> bool:
        """True when a value is as good as a limit, or better."""
        return value >= limit if self.metric == RATE else value <= limit


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: Short name for the command line.
        title: Text for people.
        peer: Which face of ours.
        workload: What it runs.
        reference: What the others run.
        marks: The figures.
    """

    name: str
    title: str
    peer: str
    workload: str
    reference: str
    marks: tuple[Mark, ...]


def _speed(rate: tuple[float, float], cpu: tuple[float, float], go: float | None) -> tuple[Mark, ...]:
    marks = (Mark(RATE, "java", *rate), Mark(CPU, "java", *cpu))
    return marks if go is None else (*marks, Mark(RATE, "go", go), Mark(CPU, "go"))


GRPC = (Mark(RATE, "grpc", 20.0), Mark(CPU, "grpc", 1 / 20))

ROWS = {
    row.name: row
    for row in (
        Row(
            "send",
            "send, one at a time, `await`",
            "asyncio",
            "send_one_at_a_time",
            "send_one_at_a_time",
            _speed((0.95, 1.2), (0.75, 0.5), 1.1),
        ),
        Row(
            "send_sync",
            "send, one at a time, sync facade",
            "sync",
            "send_one_at_a_time",
            "send_one_at_a_time",
            _speed((0.85, 1.1), (1.0, 0.7), 1.0),
        ),
        Row(
            "send_threads",
            "send from 16 threads, sync facade",
            "sync",
            "send_threads",
            "send_threads",
            _speed((0.75, 1.0), (1.3, 0.9), 1.0),
        ),
        Row(
            "send_in_flight",
            "send, 256 in flight (`send_nowait`)",
            "asyncio",
            "send_in_flight",
            "send_in_flight",
            _speed((1.1, 1.5), (0.7, 0.35), 1.7),
        ),
        Row("send_batches", "batches of 32", "asyncio", "send_batches", "send_batches", _speed((0.85, 1.1), (1.3, 0.9), 0.95)),
        Row(
            "send_auto_batched",
            "single sends with auto-batching, 256 in flight, ÷ Java's 256 in flight",
            "asyncio",
            "send_auto_batched",
            "send_in_flight",
            _speed((1.5, 2.5), (0.6, 0.3), None),
        ),
        Row(
            "push",
            "push consume, concurrent, one message per call, `async def`",
            "asyncio",
            "push_concurrent",
            "push_concurrent",
            _speed((0.75, 1.2), (1.2, 0.6), 1.3),
        ),
        Row(
            "push_plain",
            "the same with a plain `def` listener on worker threads",
            "asyncio",
            "push_plain",
            "push_concurrent",
            _speed((0.55, 1.0), (1.8, 1.0), 1.0),
        ),
        Row("push_ordered", "push consume, ordered", "asyncio", "push_ordered", "push_ordered", _speed((0.65, 1.1), (1.5, 0.8), 1.2)),
        Row(
            "latency",
            "send → listener latency at 200/s",
            "asyncio",
            "latency",
            "latency",
            (Mark(P50, "java", 0.7, 0.5), Mark(P99, "java", 0.8, 0.5), Mark(P50, "go"), Mark(P99, "go")),
        ),
        Row(
            "first_message",
            "`start()` → first message of a backlog",
            "asyncio",
            "first_message",
            "first_message",
            (Mark(SECONDS, "java", 0.3), Mark(SECONDS, "go")),
        ),
        Row(
            "first_message_ordered",
            "the same, ordered",
            "asyncio",
            "first_message_ordered",
            "first_message_ordered",
            (Mark(SECONDS, "", 0.5), Mark(SECONDS, "java"), Mark(SECONDS, "go")),
        ),
        Row(
            "memory",
            "resident memory, idle producer + consumer",
            "asyncio",
            "idle_memory",
            "idle_memory",
            (Mark(MEMORY, "java", 0.35), Mark(MEMORY, "go")),
        ),
        Row("grpc_send", "send, one at a time, ÷ Python gRPC", "asyncio", "send_one_at_a_time", "send_one_at_a_time", GRPC),
        Row("grpc_in_flight", "send, 256 in flight, ÷ Python gRPC", "asyncio", "send_in_flight", "send_in_flight", GRPC),
    )
}
