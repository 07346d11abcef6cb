"""The rows of the report: which of our workloads is held against which one of another client, and by which figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RATE: Final = "rate"
CPU: Final = "cpu"
P50: Final = "p50"
P99: Final = "p99"
SECONDS: Final = "seconds"
MEMORY: Final = "memory"

METRICS = {RATE: "rate", CPU: "CPU per message", P50: "p50", P99: "p99", SECONDS: "time", MEMORY: "resident memory"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: Short name for the command line.
        title: Text for people.
        peer: Which face of ours.
        workload: What it runs.
        reference: What the others run.
        metrics: What is compared; of a rate more is better, of everything else less.
        against: The peers that ours is divided by; none for a row of our own figures.
    """

    name: str
    title: str
    peer: str
    workload: str
    reference: str
    metrics: tuple[str, ...] = (RATE, CPU)
    against: tuple[str, ...] = ("java", "go")


def _row(name: str, title: str, workload: str = "", *, peer: str = "asyncio", reference: str = "", **more: tuple[str, ...]) -> Row:
    found = workload or name
    return Row(name, title, peer, found, reference or found, **more)


ROWS = {
    row.name: row
    for row in (
        _row("send", "send, one at a time, `await`", "send_one_at_a_time"),
        _row("send_sync", "send, one at a time, sync facade", "send_one_at_a_time", peer="sync"),
        _row("send_threads", "send from 16 threads, sync facade", peer="sync"),
        _row("send_in_flight", "send, 256 in flight (`send_nowait`)"),
        _row("send_batches", "batches of 32"),
        _row(
            "send_auto_batched",
            "single sends with auto-batching, 256 in flight, ÷ Java's 256 in flight",
            reference="send_in_flight",
            against=("java",),
        ),
        _row(
            "send_signed",
            "signed sends (ACL), 256 in flight, ÷ our unsigned ones",
            reference="send_in_flight",
            against=("asyncio",),
        ),
        _row("send_tls", "send over TLS, 256 in flight", against=("java",)),
        _row("transaction", "transaction: half message and commit, one at a time", "send_in_transaction", against=("java",)),
        _row("request_reply", "request → reply of a consumer in the same process, one at a time", against=("java",)),
        _row("push", "push consume, concurrent, one message per call, `async def`", "push_concurrent"),
        _row("push_plain", "the same with a plain `def` listener on worker threads", reference="push_concurrent"),
        _row("push_ordered", "push consume, ordered"),
        _row("lite_pull", "lite pull consume, `async for`, ÷ Java's `poll()`", against=("java",)),
        _row("latency", "send → listener latency at 200/s", metrics=(P50, P99)),
        _row("first_message", "`start()` → first message of a backlog", metrics=(SECONDS,)),
        _row("first_message_ordered", "the same, ordered", metrics=(SECONDS,)),
        _row("memory", "resident memory, idle producer + consumer", "idle_memory", metrics=(MEMORY,)),
        _row("cold_start", "exec of a program → its first message", metrics=(SECONDS,), against=()),
        _row("import", "`import aiorocketmq`, over an empty Python", "import_time", metrics=(SECONDS,), against=()),
        _row("local_start", "`LocalCluster.start()` in a new process", metrics=(SECONDS,), against=()),
        _row("grpc_send", "send, one at a time, ÷ Python gRPC", "send_one_at_a_time", against=("grpc",)),
        _row("grpc_in_flight", "send, 256 in flight, ÷ Python gRPC", "send_in_flight", against=("grpc",)),
    )
}
