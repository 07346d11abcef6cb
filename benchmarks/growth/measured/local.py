"""How long the embedded server takes to start inside a program."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Start and stop a `LocalCluster` a few times.

    Args:
        request: `times`.
        tell: Not used.
    """
    began = time.perf_counter()
    from aiorocketmq.server import LocalCluster

    import_seconds = time.perf_counter() - began
    starts, stops = [], []
    for _ in range(request["times"]):
        cluster = LocalCluster()
        began = time.perf_counter()
        await cluster.start()
        starts.append(time.perf_counter() - began)
        began = time.perf_counter()
        await cluster.stop()
        stops.append(time.perf_counter() - began)
    return {
        "import_seconds": import_seconds,
        "start_seconds": median(starts),
        "first_start_seconds": starts[0],
        "stop_seconds": median(stops),
    }
