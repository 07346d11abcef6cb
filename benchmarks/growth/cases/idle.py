"""Cases `topics` and `queues`: start, idle CPU and holdings of a consumer of many topics, and of many queues of one topic.

The forms of a row start one after another, each while the others do nothing, and are then idle side by side: each of them takes so little
that the others do not feel it, and all of them have the same broker in the same minute.
"""

from __future__ import annotations

import contextlib
from typing import Final

from benchmarks.growth import probe, servers
from benchmarks.growth.bench import Bench, Row, unique
from benchmarks.growth.servers import Server

IDLE_WINDOW: Final = 60.0
"""Seconds: a common multiple of everything periodic (long polls 15, rebalance 20, routes and heartbeats 30, offsets 5)."""
QUICK_WINDOW: Final = 3.0
LIMIT_AT: Final = {"topics": 1000, "queues": 1024}
LIMIT_CPU: Final = 1.0
"""Percent of a core that an idle consumer of so many may use; 1,000 topics of one queue are 1,000 queues."""
_FULL_TOPICS: Final = (1, 10, 100, 1000)
_QUICK_TOPICS: Final = (1, 10)
_FULL_QUEUES: Final = (1, 64, 256, 1024, 4096)
_QUICK_QUEUES: Final = (1, 64)
_PATIENCE: Final = 360.0


async def topics(bench: Bench) -> Row:
    """One consumer of many topics with one queue each, and one producer that has sent to all of them."""
    sizes = bench.sizes(_FULL_TOPICS, _QUICK_TOPICS)
    names = [f"growth_topic_{number:04d}" for number in range(max(sizes))]
    rows = []
    for kind in bench.options.servers:
        async with servers.running(kind, bench.options) as server:
            await server.create_topics(names, 1)
            for size in sizes:
                rows += await _rows(bench, server, dict.fromkeys(bench.options.forms, names[:size]), 1, {"topics": size})
    return {"rows": rows}


async def queues(bench: Bench) -> Row:
    """One consumer of one topic with many queues."""
    rows = []
    for kind in bench.options.servers:
        async with servers.running(kind, bench.options) as server:
            for size in bench.sizes(_FULL_QUEUES, _QUICK_QUEUES):
                topics = {form: [f"growth_queues_{size}_{form}"] for form in bench.options.forms}
                for names in topics.values():
                    await server.create_topics(names, size)
                rows += await _rows(bench, server, topics, size, {"queues": size})
    return {"rows": rows}


async def _rows(bench: Bench, server: Server, topics: dict[str, list[str]], queues: int, key: Row) -> list[Row]:
    """One row for each form, with its topics."""
    idle = bench.options.idle or bench.pick(IDLE_WINDOW, QUICK_WINDOW)
    request = {"name_servers": server.name_servers, "queues": queues, "settle": bench.pick(5.0, 1.0), "idle": idle}
    rows = []
    async with contextlib.AsyncExitStack() as stack:
        processes = {}
        for form, names in topics.items():
            own = {**request, "topics": names, "group": unique("idle")}
            processes[form] = await stack.enter_async_context(bench.process("idle", form, own))
            await processes[form].ready(_PATIENCE)
        before = server.usage()
        for process in processes.values():
            process.go()
        for form, process in processes.items():
            rows.append({**key, "server": server.kind, "form": form, **await process.result(_PATIENCE + idle)})
        after = server.usage()
    for row in rows:
        row["server_cpu_seconds"] = after["cpu_seconds"] - before["cpu_seconds"]  # for all of them together
        bench.tell(
            f"{key} {server.kind} {row['form']}: all queues after {row['start_seconds']:.2f} s, "
            f"idle {row['idle_cpu_percent']:.2f} % of a core, {row['rss'] / probe.MIB:.1f} MiB, "
            f"{row['tasks']} tasks, {row['timers']} timers, {row['in_flight']} in flight"
        )
    return rows
