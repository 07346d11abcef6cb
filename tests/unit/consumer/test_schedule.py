"""Calls for each queue: one at a time, whatever happens to the queue meanwhile, and not more than allowed for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.schedule import Plan, Schedule
from aiorocketmq.model.queue import MessageQueue
from tests.unit.consumer.world import virtual_time

pytestmark = pytest.mark.feature("J6")
QUEUES = [MessageQueue("orders", "broker-a", number) for number in range(4)]


@asynccontextmanager
async def scheduled(function: Callable[[MessageQueue], Any], concurrency: int = 20, every: float = 1.0) -> AsyncIterator[Schedule]:
    scheduler = Scheduler("test")
    schedule = Schedule({"orders": Plan(function, every)}, scheduler, concurrency, "g")
    try:
        yield schedule
    finally:
        schedule.close()
        await scheduler.stop()


@virtual_time
async def test_a_queue_that_comes_back_waits_for_the_call_that_still_runs() -> None:
    running: list[MessageQueue] = []
    calls = 0

    async def work(queue: MessageQueue) -> None:
        nonlocal calls
        calls += 1
        assert queue not in running
        running.append(queue)
        await asyncio.sleep(5)
        running.remove(queue)

    async with scheduled(work) as schedule:
        assigned = AssignedQueue(QUEUES[0], 0.0)
        schedule.begin(QUEUES[0])
        await asyncio.sleep(1)
        assert schedule.in_hand(assigned)
        schedule.let_go(assigned)
        schedule.begin(QUEUES[0])
        schedule.begin(QUEUES[0])
        await asyncio.sleep(3)
        assert calls == 1
        await asyncio.sleep(2)
        assert calls == 2
        schedule.let_go(assigned)
        await asyncio.sleep(20)
        assert (calls, running, schedule.busy) == (2, [], False)


@virtual_time
async def test_no_more_calls_run_than_allowed_and_none_is_forgotten() -> None:
    now = most = 0
    seen: list[int] = []

    async def work(queue: MessageQueue) -> float:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1
        seen.append(queue.queue_id)
        return 100.0

    async with scheduled(work, concurrency=3) as schedule:
        for queue in QUEUES:
            schedule.begin(queue)
        schedule.begin(MessageQueue("others", "broker-a", 0))
        await asyncio.sleep(50)
        assert (most, sorted(seen)) == (3, [0, 1, 2, 3])
        await asyncio.sleep(60)
        assert sorted(seen) == sorted([0, 1, 2, 3] * 2)


@virtual_time
async def test_a_call_that_is_cut_off_by_the_user_is_a_failure_and_not_the_end() -> None:
    calls: list[float] = []

    async def work(_: MessageQueue) -> None:
        calls.append(asyncio.get_running_loop().time())
        raise asyncio.CancelledError

    async with scheduled(work, every=0.0) as schedule:
        schedule.begin(QUEUES[0])
        await asyncio.sleep(3.5)
    assert len(calls) == 4
    assert calls[1] - calls[0] >= 1.0
