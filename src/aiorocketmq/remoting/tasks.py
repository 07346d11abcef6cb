"""The tasks of the remoting layer: named, held, logged when they fail, cancelled and awaited at stop.

Nothing else in this layer makes a task. Tasks stand for connect attempts and for request processors that are coroutines; requests and
responses themselves need none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("aiorocketmq.remoting")


class TaskSet:
    """Tasks that end together with their owner."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` on its own; an exception that it lets out is logged with its traceback."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def stop(self) -> None:
        """Cancel all tasks and wait until they are gone."""
        while self._tasks:
            try:
                await asyncio.sleep(0)  # the newest have not begun: what they were given would never be awaited
            finally:
                tasks = list(self._tasks)
                for task in tasks:
                    task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            self._tasks.difference_update(tasks)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task %s failed", task.get_name(), exc_info=error)
