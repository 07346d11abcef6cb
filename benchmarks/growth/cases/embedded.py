"""Case `embedded`: what the embedded server does and costs under the same client load as the real broker beside it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.growth import probe, servers
from benchmarks.growth.bench import Bench, Row, unique
from benchmarks.growth.servers import EMBEDDED, REAL, Server

BODY_SIZE: Final = 1024
WINDOW: Final = 256
_QUEUES: Final = 8
STORES: Final = {"memory": "in memory", "async": "durable, flush async", "sync": "durable, flush sync"}
"""Kind of store → what the report calls it."""


async def run(bench: Bench) -> Row:
    """One row for each form and kind of store, and one for the real broker; the client has the same form in all."""
    rows: list[Row] = []
    for form in bench.options.forms:
        rows += [await _measured(bench, EMBEDDED, form, store) for store in STORES]
    rows.append(await _measured(bench, REAL, "", "async"))
    starts = []
    for form in bench.options.forms:
        result = await bench.measure("local", form, {"times": int(bench.pick(20, 3))}, timeout=60.0)
        starts.append({"form": form, **result})
    return {"rows": rows, "starts": starts, "body_size": BODY_SIZE, "window": WINDOW, "client": bench.options.forms[0]}


async def _measured(bench: Bench, kind: str, form: str, store: str) -> Row:
    async with _server(bench, kind, form, store) as server:
        row = {"server": kind, "form": form, "store": store, **await _load(bench, server)}
    bench.tell(
        f"{kind} {form} {store}: ready in {row['start_seconds']:.2f} s, {row['send']['rate']:,.0f} sends/s at "
        f"{row['send']['server_cpu_us']:.1f} µs, {row['consume']['rate']:,.0f} deliveries/s at {row['consume']['server_cpu_us']:.1f} µs, "
        f"{row['rss_idle'] / probe.MIB:.1f} MiB"
    )
    return row


@asynccontextmanager
async def _server(bench: Bench, kind: str, form: str, store: str) -> AsyncIterator[Server]:
    if kind == REAL:
        async with servers.real(bench.options) as server:
            yield server
        return
    folder = None if store == "memory" else bench.options.folder / f"data-{form}-{store}"
    try:
        async with servers.embedded(bench.options, form, data_dir=folder, flush="sync" if store == "sync" else "async") as server:
            yield server
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


async def _load(bench: Bench, server: Server) -> Row:
    topic, count = "growth_embedded", int(bench.pick(100_000, 4_000))
    await server.create_topics([topic, "growth_warm_up"], _QUEUES)
    idle = server.usage()
    request = {"name_servers": server.name_servers, "size": BODY_SIZE, "window": WINDOW}
    await bench.warm_up({**request, "topic": "growth_warm_up"}, 100_000 if server.kind == REAL and not bench.options.quick else 1_000)
    before = server.usage()
    form = bench.options.forms[0]
    row = {**request, "topic": topic, "count": count, "group": unique("embedded")}
    sent = await bench.measure("send", form, row, timeout=300.0)
    between = server.usage()
    received = await bench.measure("consume", form, row, timeout=300.0)
    after = server.usage()
    return {
        "start_seconds": server.start_seconds,
        "rss_idle": idle["rss"],
        "rss_stored": between["rss"],
        "disk_bytes": probe.disk_bytes(server.home) if _has_files(server) else 0,
        "send": sent | {"server_cpu_us": _per_message(before, between, count)},
        "consume": received | {"server_cpu_us": _per_message(between, after, count)},
    }


def _per_message(before: dict[str, float], after: dict[str, float], count: int) -> float:
    return (after["cpu_seconds"] - before["cpu_seconds"]) / count * 1e6


def _has_files(server: Server) -> bool:
    return server.kind == REAL or server.home.name.startswith("data-")
