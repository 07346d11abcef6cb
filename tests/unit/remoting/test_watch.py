"""The timer of a channel, the age of incomplete frames, the log that does not flood, and the set of tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import pytest

from aiorocketmq.errors import ConnectionLostError
from aiorocketmq.remoting.endpoint import SparseLog, UnfinishedFrames
from aiorocketmq.remoting.tasks import TaskSet
from aiorocketmq.remoting.watch import NEVER, LazyTimer, PartialFrame
from tests.support.virtual_loop import virtual_time
from tests.unit.remoting.harness import records


@virtual_time
async def test_the_timer_fires_for_the_earliest_moment_and_asks_for_the_next() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []
    following = iter([7.0, 7.001, NEVER])

    def check(now: float) -> float:
        fired.append(now)
        return next(following)

    timer = LazyTimer(check, lambda now, late: None)
    timer.arm(5.0)
    timer.arm(9.0)
    timer.arm(2.0)
    await asyncio.sleep(20)
    assert fired == [2.0, 7.0, pytest.approx(7.01)]  # moments closer than 10 ms share one look
    assert timer.at == NEVER
    timer.arm(loop.time() + 1)
    timer.stop()
    timer.arm(loop.time() + 1)
    await asyncio.sleep(5)
    assert len(fired) == 3


@virtual_time
async def test_a_late_timer_waits_for_one_look_at_the_sockets() -> None:
    loop = asyncio.get_running_loop()
    events: list[tuple[str, float]] = []

    def check(now: float) -> float:
        events.append(("check", now))
        return NEVER

    timer = LazyTimer(check, lambda now, late: events.append(("stall", late)))
    timer.arm(1.0)
    loop._virtual_now = 4.0  # type: ignore[attr-defined]
    await asyncio.sleep(1)
    assert events == [("stall", 3.0), ("check", pytest.approx(4.01))]


@virtual_time
async def test_every_standstill_of_the_loop_is_forgiven() -> None:
    loop = asyncio.get_running_loop()
    events: list[str] = []

    def check(now: float) -> float:
        events.append("check")
        return NEVER

    timer = LazyTimer(check, lambda now, late: events.append("stall"))
    for _ in range(3):
        timer.arm(loop.time() + 1.0)
        loop._virtual_now = loop.time() + 4.0  # type: ignore[attr-defined]
        await asyncio.sleep(1)
    assert events == ["stall", "check"] * 3, "the second one is none of the peer's faults either"


class Half:
    """A connection that holds an unfinished frame."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.aborted = False

    def abort(self, error: ConnectionLostError | None = None) -> None:
        self.aborted = True


def test_the_oldest_unfinished_frame_goes_and_not_the_oldest_connection() -> None:
    unfinished = UnfinishedFrames(1000)
    busy, slow, late = Half("busy:1"), Half("slow:1"), Half("late:1")
    unfinished.grew(busy, 500, fresh=True)
    unfinished.grew(slow, 300, fresh=True)
    unfinished.grew(busy, 100, fresh=True)  # the frame before is whole, the next one has begun
    unfinished.grew(slow, 400, fresh=False)
    unfinished.grew(late, 700, fresh=True)
    assert (busy.aborted, slow.aborted, late.aborted) == (False, True, False)
    unfinished.grew(late, 900, fresh=False)
    assert not busy.aborted, "what the closed one held is room again"


def test_an_incomplete_frame_is_overdue_unless_it_grows() -> None:
    partial = PartialFrame(30.0)
    assert not partial.overdue(1000.0)
    partial.grew(0.0, 10, fresh=True)
    for second in range(29):
        partial.grew(float(second), 1, fresh=False)
    assert not partial.overdue(29.9)
    assert partial.overdue(30.0)
    partial.complete()
    assert not partial.overdue(1000.0)
    partial.grew(1000.0, 10, fresh=False)
    partial.grew(1010.0, 40_000, fresh=False)
    assert not partial.overdue(1030.0)
    assert partial.due == 1060.0
    assert partial.overdue(1060.0)


def test_a_frame_that_begins_anew_has_its_whole_time() -> None:
    partial = PartialFrame(30.0)
    partial.grew(0.0, 10, fresh=True)
    partial.grew(29.0, 10, fresh=True)
    assert not partial.overdue(31.0)
    assert partial.due == 59.0


def test_records_of_one_subject_are_spaced_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    log = SparseLog(10.0)
    for second in range(25):
        log.record(float(second), "a", "a %d", second)
        if second < 2:
            log.record(float(second), "b", "b")
    assert [record.getMessage() for record in records(caplog)] == [
        "a 0",
        "b",
        "a 10 (and 9 more like this since the last record)",
        "a 20 (and 9 more like this since the last record)",
    ]


def test_the_memory_of_subjects_is_bounded() -> None:
    log = SparseLog(10.0, logging.DEBUG)
    for number in range(10_000):
        log.record(0.0, str(number), "x")
    assert len(log._seen) <= 1024


async def test_tasks_end_with_their_owner_and_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def stubborn() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            tasks.spawn("left behind", endless())

    async def endless() -> None:
        await asyncio.get_running_loop().create_future()

    tasks = TaskSet()
    tasks.spawn("failing", fail())
    tasks.spawn("stubborn", stubborn())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(tasks) == 1
    await tasks.stop()
    assert len(tasks) == 0
    assert len(asyncio.all_tasks()) == 1
    assert [record.getMessage() for record in records(caplog)] == ["task failing failed"]
    assert records(caplog)[0].exc_info is not None


async def test_what_was_spawned_just_now_begins_before_it_is_cancelled() -> None:
    tasks = TaskSet()
    begun: list[int] = []

    async def inner(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(60)

    async def outer(work: Awaitable[None]) -> None:
        await work  # a coroutine that is never awaited is told to the world

    for number in range(3):
        tasks.spawn(f"task {number}", outer(inner(number)))
    await tasks.stop()
    assert begun == [0, 1, 2] and len(tasks) == 0
