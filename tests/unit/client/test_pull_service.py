"""The waiting list of the pull service."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.pull import DelayedPull, PullService
from aiorocketmq.client.scheduler import Scheduler
from tests.support.virtual_loop import virtual_time


class Task:
    """A queue that counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.delayed: DelayedPull | None = None
        self.active_at = 0.0
        self.pulls: list[float] = []
        self.error = error

    def pull(self) -> None:
        self.pulls.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error

    def restart(self) -> None: ...


@virtual_time
async def test_a_later_wish_replaces_the_earlier_one() -> None:
    service, task = PullService(Scheduler("test")), Task()
    service.pull_later(task, 1.0)
    service.pull_later(task, 2.0)
    await asyncio.sleep(5)
    assert task.pulls == pytest.approx([2.0])


@virtual_time
async def test_one_that_raises_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    service, bad, good, later = PullService(Scheduler("test")), Task(ValueError("oops")), Task(), Task()
    for task in (bad, good):
        service.pull_later(task, 1.0)
    service.pull_later(later, 2.0)
    await asyncio.sleep(5)
    assert good.pulls == pytest.approx([1.0])
    assert later.pulls == pytest.approx([2.0])
    assert "oops" in caplog.text
