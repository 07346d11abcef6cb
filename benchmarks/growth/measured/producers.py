"""Many producers on one client instance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks.growth import probe
from benchmarks.growth.measured import load


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Start the producers, warm up, then send.

    Args:
        request: `name_servers`, `topic`, `group` (a prefix), `producers`, `size` of a body, `count` of messages, `warm_up` messages before,
            and the `window` of all producers together.
        tell: Not used.
    """
    number, window, body = request["producers"], request["window"], b"x" * request["size"]
    async with contextlib.AsyncExitStack() as stack:
        producers = [
            await stack.enter_async_context(load.producer(request["name_servers"], f"{request['group']}_{index}", window))
            for index in range(number)
        ]
        await load.send_in_flight(producers, request["topic"], body, max(request["warm_up"], number), window)
        measured = await load.send_in_flight(producers, request["topic"], body, request["count"], window)
        return {**load.figures(measured, len(body)), **probe.holdings()}
