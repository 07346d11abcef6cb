"""Case `soak`: full load for many minutes; memory, tasks and descriptors must stay flat, nothing may be lost, every limit must hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.growth import probe, servers
from benchmarks.growth.bench import Bench, MeasureError, Row, unique
from benchmarks.growth.probe import MIB
from benchmarks.growth.servers import Server

BODY_SIZE: Final = 64
WINDOW: Final = 256
QUEUES: Final = 8
QUEUE_LIMIT: Final = 500
PULL_BATCH: Final = 32
BACKLOG: Final = 20_000
MINUTES: Final = 20.0
JUDGED_FROM: Final = 5.0
"""Minutes; a shorter soak says nothing about growth."""
DRIFT: Final = {"rss": 4 * MIB, "tasks": 1.0, "timers": 2.0, "descriptors": 1.0, "threads": 1.0, "objects": 5_000.0}
"""How far the line through the second half of the samples may rise from its beginning to its end."""
_STORED: Final = 300
"""Bytes that the broker writes for one message, its indexes included, rounded up."""
_DISK: Final = 12_000_000_000
_DISK_KEPT_FREE: Final = 20_000_000_000


async def run(bench: Bench) -> Row:
    """One row for each form."""
    rows = []
    seconds = 60 * (bench.options.minutes or bench.pick(MINUTES, 0.25))
    for form in bench.options.forms:
        async with servers.real(bench.options) as server:
            rows.append(await _row(bench, server, form, seconds))
    return {"rows": rows, "body_size": BODY_SIZE, "queue_limit": QUEUE_LIMIT, "window": WINDOW}


async def _row(bench: Bench, server: Server, form: str, seconds: float) -> Row:
    topic = "growth_soak"
    await server.create_topics([topic], QUEUES)
    disk = min(_DISK, shutil.disk_usage(server.home).free - _DISK_KEPT_FREE)
    if disk <= 0:
        raise MeasureError(f"less than {_DISK_KEPT_FREE / 1e9:.0f} GB are free where the broker writes")
    request = {
        "name_servers": server.name_servers, "topic": topic, "group": unique("soak"), "seconds": seconds,
        "interval": bench.pick(5.0, 1.0), "size": BODY_SIZE, "window": WINDOW, "backlog": BACKLOG, "queue_limit": QUEUE_LIMIT,
        "max_rate": int(disk / seconds / _STORED), "halt_every": bench.pick(60.0, 4.0), "halt": bench.pick(2.0, 1.0),
    }  # fmt: skip
    result = await bench.measure("soak", form, request, timeout=seconds + 180.0, report=_watch(bench, server, form, disk))
    row = {"form": form, "max_rate": request["max_rate"], "disk_bytes": probe.disk_bytes(server.home), **result}
    row["checks"] = checks(row)
    for check in row["checks"]:
        bench.tell(f"{form}: {check['what']}: {check['value']:,.1f}, limit {check['limit']:,.1f}: {'kept' if check['met'] else 'NOT KEPT'}")
    return row


def _watch(bench: Bench, server: Server, form: str, disk: float) -> Callable[[Row], None]:
    """Shows the samples, and ends the soak before the disk is full."""

    def watch(sample: Row) -> None:
        used = probe.disk_bytes(server.home)
        bench.tell(
            f"{form} {sample['seconds']:6.0f} s: {sample['received']:,} received, backlog {sample['backlog']:,}, "
            f"{sample['rss'] / MIB:.1f} MiB, {sample['tasks']} tasks, {sample['descriptors']} descriptors, {sample['objects']:,} objects, "
            f"disk {used / 1e9:.2f} GB"
        )
        if used > 1.25 * disk:
            raise MeasureError(f"the broker has written {used / 1e9:.1f} GB, {disk / 1e9:.1f} GB were meant for it")

    return watch


def drift(samples: Sequence[Row], name: str) -> float:
    """How far the straight line through the second half of the samples rises over that half (least squares).

    Samples from a halt of the listeners are left out: what they hold depends on how long it has lasted, not on the time of the soak.
    """
    half = [sample for sample in samples[len(samples) // 2 :] if not sample["halted"]]
    if len(half) < 2:
        return 0.0
    times = [float(sample["seconds"]) for sample in half]
    values = [float(sample[name]) for sample in half]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    slope = sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True)) / sum(
        (time - middle) ** 2 for time in times
    )
    return slope * (times[-1] - times[0])


def checks(row: Row) -> list[dict[str, Any]]:
    """Everything that a soak must keep: what, the value seen, the limit, and whether it was kept."""
    highest = row["highest"]
    bounded: list[tuple[str, float, float]] = [
        ("messages lost", row["lost"], 0),
        ("sends failed", sum(row["failures"].values()), 0),
        ("unanswered sends, highest", highest["unanswered"], WINDOW),
        ("unfinished messages of a queue, highest", highest["queue_messages"], QUEUE_LIMIT + PULL_BATCH),
        ("pulls in flight, highest", highest["pulls"], QUEUES + 1),  # and one of the retry topic
    ]
    judged = row["seconds"] >= 60 * JUDGED_FROM
    if judged:
        bounded += [(f"drift of {name} over the second half", drift(row["samples"], name), limit) for name, limit in DRIFT.items()]
    return [{"what": what, "value": float(value), "limit": float(limit), "met": value <= limit} for what, value, limit in bounded]
