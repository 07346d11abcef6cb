"""The consuming half of a load on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.growth.measured import load


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Take what was sent.

    Args:
        request: `name_servers`, `topic`, `group`, `size`, `count`.
        tell: Not used.
    """
    body = b"x" * request["size"]
    measured = await load.consume(request["name_servers"], request["topic"], body, request["count"], request["group"], 120.0)
    return load.figures(measured, len(body))
