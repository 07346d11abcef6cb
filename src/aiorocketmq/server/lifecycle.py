"""Beginnings and ends that nothing may cut in half."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("aiorocketmq.server")


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, even when the caller is cancelled meanwhile; the cancellation goes on after that.

    For what takes a bounded time, and would leave sockets, files or tasks behind when it stopped half-way.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        task.result()
        return
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.error("what was cancelled failed, too: %s", failure)
    raise cancelled
