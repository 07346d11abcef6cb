"""The tasks of the remoting layer: named, held, logged when they fail, cancelled and awaited at stop.

Nothing else in this layer makes a task. Tasks stand for connect attempts and for request processors that are coroutines; requests and
responses themselves need none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("aiorocketmq.remoting")


def begin(name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A new task, whose first step comes in a later turn of the loop.

    Where the loop has `asyncio.eager_task_factory`, its tasks would run up to their first wait, or to their end, before whoever makes them
    can remember them: what a task does at its end, like clearing the place where it is remembered, would come first.
    """
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        return loop.create_task(work, name=name)
    return asyncio.Task(work, loop=loop, name=name)


class TaskSet:
    """Tasks that end together with their owner."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` on its own; an exception that it lets out is logged with its traceback."""
        task = begin(name, work)
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
