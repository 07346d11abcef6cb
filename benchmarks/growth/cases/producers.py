"""Case `producers`: many producers of different groups in one process, on one client instance, under the same load in all."""

from __future__ import annotations

from typing import Final

from benchmarks.growth import probe, servers
from benchmarks.growth.bench import Bench, Row, unique

BODY_SIZE: Final = 1024
WINDOW: Final = 256
"""Unanswered messages of all producers together."""
_QUEUES: Final = 8
_FULL: Final = (1, 4, 16, 64)
_QUICK: Final = (1, 4)


async def run(bench: Bench) -> Row:
    """One row for each number of producers and each form."""
    rows = []
    count, warm_up = int(bench.pick(200_000, 5_000)), int(bench.pick(20_000, 500))
    async with servers.real(bench.options) as server:
        topic = "growth_producers"
        await server.create_topics([topic], _QUEUES)
        request = {"name_servers": server.name_servers, "topic": topic, "size": BODY_SIZE, "window": WINDOW, "warm_up": warm_up}
        if not bench.options.quick:
            await bench.warm_up(request)
        for size in bench.sizes(_FULL, _QUICK):
            for form in bench.options.forms:
                row = {"producers": size, "count": count, "group": unique("producers")}
                result = await bench.measure("producers", form, request | row, timeout=300.0)
                rows.append({"producers": size, "form": form, **result})
                bench.tell(
                    f"{size} producers {form}: {result['rate']:,.0f}/s, {result['cpu_us']:.1f} µs, {result['failed']} failed, "
                    f"{result['rss'] / probe.MIB:.1f} MiB, {result['connections']} connections"
                )
    return {"rows": rows, "body_size": BODY_SIZE, "window": WINDOW}
