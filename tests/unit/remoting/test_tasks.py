"""Tasks begin after their makers have remembered them, whatever makes the tasks of a loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from aiorocketmq.remoting.tasks import TaskSet, begin


def marked(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """A task factory of the user's."""
    task = asyncio.Task(work, loop=loop, **options)
    task.set_name(f"marked {task.get_name()}")
    return task


FACTORIES = [None, marked] if sys.version_info < (3, 12) else [None, marked, asyncio.eager_task_factory]


@pytest.mark.parametrize("factory", FACTORIES)
async def test_a_task_begins_in_a_later_turn(factory: Any) -> None:
    begun = False

    async def work() -> int:
        nonlocal begun
        begun = True
        return 7

    asyncio.get_running_loop().set_task_factory(factory)
    task = begin("its name", work())
    assert not begun and task.get_name() == "its name"
    assert await task == 7
    begun = False
    tasks = TaskSet()
    task = tasks.spawn("another", work())
    assert not begun and len(tasks) == 1
    await task
    await asyncio.sleep(0)
    assert len(tasks) == 0
