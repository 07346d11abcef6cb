"""The send half of a load on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.growth.measured import load


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Send.

    Args:
        request: `name_servers`, `topic`, `group`, `size`, `count`, `window`.
        tell: Not used.
    """
    body = b"x" * request["size"]
    async with load.producer(request["name_servers"], request["group"] + "_p", request["window"]) as producer:
        return load.figures(await load.send_in_flight([producer], request["topic"], body, request["count"], request["window"]), len(body))
