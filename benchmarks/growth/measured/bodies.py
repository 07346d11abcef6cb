"""Bodies of one size, sent and then consumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.growth.measured import load


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Send, then consume what was sent.

    Args:
        request: `name_servers`, `topic`, `group`, `size`, `count`, `window`.
        tell: Not used.
    """
    name_servers, topic, size, count = request["name_servers"], request["topic"], request["size"], request["count"]
    body = b"x" * size
    async with load.producer(name_servers, request["group"] + "_p", request["window"]) as producer:
        await load.send_in_flight([producer], topic, body, 1, 1)  # route and connection
        sent = await load.send_in_flight([producer], topic, body, count - 1, request["window"])
    received = await load.consume(name_servers, topic, body, count, request["group"], 120.0)
    return {"send": load.figures(sent, size), "consume": load.figures(received, size)}
