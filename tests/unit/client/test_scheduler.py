"""Tasks: fixed rate, supervision, restart with back-off, stop in reverse order."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any

import pytest

from aiorocketmq.client.scheduler import RESTART_DELAY_FIRST, RESTART_DELAY_MAX, Scheduler
from aiorocketmq.errors import ClientClosedError, ClientStateError
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_fixed_rate_with_plain_and_async_work() -> None:
    scheduler, plain, later = Scheduler("test"), list[float](), list[float]()

    async def work() -> None:
        later.append(now())
        await asyncio.sleep(1)

    scheduler.every("plain", 3, lambda: plain.append(now()))
    scheduler.every("async", 3, work, first=0.5)
    await asyncio.sleep(10)
    assert plain == pytest.approx([3, 6, 9])
    assert later == pytest.approx([0.5, 3.5, 6.5, 9.5])
    assert scheduler.records["plain"].runs == 3
    await scheduler.stop()


@virtual_time
async def test_a_run_longer_than_the_interval_skips_what_it_missed() -> None:
    scheduler, runs = Scheduler("test"), list[float]()

    async def slow() -> None:
        runs.append(now())
        await asyncio.sleep(7 if len(runs) == 1 else 0)

    scheduler.every("slow", 3, slow)
    await asyncio.sleep(20)
    assert runs == pytest.approx([3, 12, 15, 18])
    await scheduler.stop()


@virtual_time
async def test_a_failing_run_is_told_once_and_does_not_end_the_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scheduler, failing = Scheduler("test"), True

    def work() -> None:
        if failing:
            raise ZeroDivisionError("oops")

    scheduler.every("work", 1, work)
    await asyncio.sleep(5.5)
    record = scheduler.records["work"]
    assert (record.runs, record.failures, record.last_error) == (5, 5, "ZeroDivisionError: oops")
    failing = False
    await asyncio.sleep(3)
    assert (record.runs, record.failures) == (8, 5)
    texts = [entry.getMessage() for entry in caplog.records]
    assert texts == ["work of test failed: ZeroDivisionError: oops", "work of test works again"]
    assert caplog.records[0].exc_info is not None
    await scheduler.stop()


@virtual_time
async def test_a_service_loop_is_restarted_with_growing_delays(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, starts = Scheduler("test"), list[float]()

    async def loop() -> None:
        starts.append(now())
        if len(starts) < 12:
            raise ZeroDivisionError

    scheduler.service("loop", loop)
    await eventually(lambda: not scheduler.running, 60.0)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert 0.05 <= gaps[0] <= 0.1
    assert all(gap <= RESTART_DELAY_MAX for gap in gaps)
    assert gaps[-1] >= RESTART_DELAY_MAX / 2
    assert scheduler.records["loop"].failures == 11
    assert "loop of test ended with an error and starts again" in caplog.text
    assert scheduler.running == ()


@virtual_time
async def test_the_delay_starts_small_again_after_a_long_good_run() -> None:
    scheduler, starts = Scheduler("test"), list[float]()

    async def loop() -> None:
        starts.append(now())
        if len(starts) == 8:
            await asyncio.sleep(100)
        if len(starts) < 10:
            raise ZeroDivisionError

    scheduler.service("loop", loop)
    await eventually(lambda: not scheduler.running, 200.0)
    assert starts[8] - (starts[7] + 100) <= 0.1


@virtual_time
async def test_errors_of_one_shots(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler("test")

    async def fail() -> None:
        raise ZeroDivisionError("oops")

    scheduler.spawn("logged", fail())
    await asyncio.sleep(0.01)
    assert "test:logged failed: ZeroDivisionError: oops" in caplog.text
    caplog.clear()
    task = scheduler.spawn("awaited", fail(), log_errors=False)
    with pytest.raises(ZeroDivisionError):
        await task
    assert not caplog.records


@virtual_time
async def test_gather_gives_results_and_errors_by_name() -> None:
    scheduler = Scheduler("test")

    async def work(number: int) -> float:
        await asyncio.sleep(1)
        return 1 / number

    outcomes = await scheduler.gather("work", {str(number): work(number) for number in range(3)})
    assert now() == pytest.approx(1), "they run at the same time"
    assert isinstance(outcomes["0"], ZeroDivisionError)
    assert (outcomes["1"], outcomes["2"]) == (1, 0.5)
    assert await scheduler.gather("nothing", {}) == {}


@virtual_time
async def test_cancelling_gather_cancels_its_parts() -> None:
    scheduler = Scheduler("test")
    gathering = asyncio.ensure_future(scheduler.gather("work", {"a": asyncio.sleep(100), "b": asyncio.sleep(100)}))
    await asyncio.sleep(1)
    assert len(scheduler.running) == 2
    gathering.cancel()
    await asyncio.wait([gathering])
    await asyncio.sleep(0)
    assert scheduler.running == ()


@virtual_time
async def test_stop_cancels_the_youngest_first_and_waits() -> None:
    scheduler, ended = Scheduler("test"), list[str]()

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            ended.append(name)

    for name in ("a", "b", "c"):
        scheduler.spawn(name, work(name))
    await asyncio.sleep(0)
    await scheduler.stop()
    assert ended == ["c", "b", "a"]
    assert scheduler.closed
    await scheduler.stop()
    late = work("late")
    with pytest.raises(ClientClosedError, match="late"):
        scheduler.spawn("late", late)


@virtual_time
async def test_stop_from_within_a_task_spares_that_task() -> None:
    scheduler, finished = Scheduler("test"), False

    async def work() -> None:
        nonlocal finished
        await scheduler.stop()
        finished = True

    other = scheduler.spawn("other", asyncio.sleep(100))
    await scheduler.spawn("work", work())
    assert finished
    assert other.cancelled()


@virtual_time
async def test_join_shares_a_task() -> None:
    scheduler = Scheduler("test")

    async def answer() -> int:
        await asyncio.sleep(1)
        return 42

    task = scheduler.spawn("answer", answer())
    one, other = asyncio.ensure_future(scheduler.join(task)), asyncio.ensure_future(scheduler.join(task))
    await asyncio.sleep(0.5)
    one.cancel()
    assert await other == 42
    assert one.cancelled()


@virtual_time
async def test_join_of_a_stopped_task_is_an_error_not_a_cancellation() -> None:
    scheduler = Scheduler("test")
    waiting = asyncio.ensure_future(scheduler.join(scheduler.spawn("long", asyncio.sleep(100))))
    await asyncio.sleep(0.5)
    await scheduler.stop()
    with pytest.raises(ClientClosedError, match="test was stopped during long"):
        await waiting


@virtual_time
async def test_stop_leaves_a_task_behind_that_refuses_to_end(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, release = Scheduler("test"), asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = scheduler.spawn("stubborn", stubborn())
    other = scheduler.spawn("other", asyncio.sleep(100))
    await asyncio.sleep(0)
    await scheduler.stop()
    assert now() == pytest.approx(3)
    assert other.cancelled()
    assert "test:stubborn goes on 3 s after its cancellation and is left behind" in caplog.text
    release.set()
    await task


def cancel_everything() -> None:
    """What code outside of the library does that believes that all tasks are its own."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


@virtual_time
async def test_background_work_that_others_cancel_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    scheduler, plain, turns = Scheduler("test"), list[float](), list[float]()

    async def loop() -> None:
        while True:
            turns.append(now())
            await asyncio.sleep(1)

    scheduler.every("plain", 3, lambda: plain.append(now()), first=0.5)
    scheduler.service("loop", loop)
    for _ in range(3):  # it comes back each time, not the first time only
        await asyncio.sleep(5)
        alive = scheduler.running
        before = len(plain), len(turns)
        cancel_everything()
        await asyncio.sleep(4)
        assert sorted(scheduler.running) == sorted(alive)
        assert len(plain) > before[0] and len(turns) >= before[1] + 3
    assert caplog.messages == ["loop, plain of test: cancelled by code outside of the library, and starts again"] * 3
    assert scheduler.records["loop"].failures == 3
    await scheduler.stop()
    await asyncio.sleep(1)
    assert scheduler.running == () and asyncio.all_tasks() == {asyncio.current_task()}


@virtual_time
async def test_a_run_that_is_cancelled_comes_back_too() -> None:
    scheduler, runs = Scheduler("test"), list[float]()

    async def work() -> None:
        runs.append(now())
        await asyncio.sleep(2)
        runs.append(now())

    scheduler.every("work", 1, work)
    await asyncio.sleep(2)
    cancel_everything()
    await asyncio.sleep(4)
    assert runs == pytest.approx([1, 3.1, 5.1])
    await scheduler.stop()


@virtual_time
async def test_what_is_ended_between_its_cancellation_and_its_return_stays_away() -> None:
    scheduler, runs = Scheduler("test"), list[float]()
    scheduler.every("work", 1, lambda: runs.append(now()))
    await asyncio.sleep(1.5)
    cancel_everything()
    await asyncio.sleep(0.05)
    await scheduler.end("work")
    await asyncio.sleep(5)
    assert runs == [1]
    assert scheduler.running == ()
    await scheduler.stop()


@virtual_time
async def test_what_is_ended_or_stopped_does_not_come_back(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler("test")

    async def loop() -> None:
        await asyncio.sleep(1000)

    scheduler.service("loop", loop)
    scheduler.every("one", 1, lambda: None)
    scheduler.every("other", 1, lambda: None)
    await asyncio.sleep(0.5)
    await scheduler.end("loop")
    await scheduler.end("one")
    await scheduler.end("nobody")
    await asyncio.sleep(1)
    assert scheduler.running == ("test:other",)
    cancel_everything()
    await asyncio.sleep(0.01)
    await scheduler.stop()  # while it waits to come back
    await asyncio.sleep(5)
    assert scheduler.running == () and not caplog.records


@pytest.mark.untidy("a task is alive", "Scheduler._kept", "_Kept.timer", why="a loop that ends under a scheduler is what it is about")
def test_the_end_of_the_loop_is_no_reason_to_come_back(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        Scheduler("test").every("plain", 1, lambda: None)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert not caplog.records


@virtual_time
async def test_waiting_for_a_task_that_others_cancel_is_an_error_of_ours() -> None:
    scheduler = Scheduler("test")
    task = scheduler.spawn("query", asyncio.sleep(10), log_errors=False)
    waiting = asyncio.ensure_future(scheduler.join(task))
    gathering = asyncio.ensure_future(scheduler.gather("ask", {"a": asyncio.sleep(10)}))
    await asyncio.sleep(1)
    for each in asyncio.all_tasks():
        if each.get_name().startswith("test:"):
            each.cancel()
    with pytest.raises(ClientStateError, match="query of test was cancelled by code outside"):
        await waiting
    assert isinstance((await gathering)["a"], ClientStateError)


@virtual_time
async def test_task_that_ends_because_its_owner_was_stopped_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler("test")

    async def work() -> None:
        outcome = (await scheduler.gather("part", {"one": asyncio.sleep(100)}))["one"]
        if isinstance(outcome, Exception):
            raise outcome

    task = scheduler.spawn("whole", work())
    await asyncio.sleep(1)
    await scheduler.stop()
    assert isinstance(task.exception(), ClientClosedError)
    assert not caplog.records


@virtual_time
async def test_what_must_be_finished_is_begun_again_until_it_is_through() -> None:
    scheduler, begun = Scheduler("test"), list[float]()

    async def end() -> None:
        begun.append(now())
        await scheduler.stop()
        await asyncio.sleep(1)

    outcome = scheduler.finish("end", end)
    waiting = [asyncio.ensure_future(scheduler.join(outcome)) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0.5)
        cancel_everything()
    assert await scheduler.join(outcome) is None
    assert begun == pytest.approx([0, 0.6, 1.1, 1.6])
    assert all(each.cancelled() for each in waiting)
    await asyncio.sleep(1)
    assert scheduler.running == () and len(begun) == 4


@virtual_time
async def test_an_end_that_fails_is_not_begun_again_and_each_who_waits_has_the_error() -> None:
    scheduler = Scheduler("test")

    async def end() -> None:
        raise ClientStateError("broken")

    outcome = scheduler.finish("end", end)
    errors = await asyncio.gather(scheduler.join(outcome), scheduler.join(outcome), return_exceptions=True)
    assert [str(error) for error in errors] == ["broken"] * 2 and errors[0] is not errors[1]
    assert scheduler.running == ()


@virtual_time
async def test_tasks_begin_in_the_next_turn_whatever_the_factory_of_the_loop_does() -> None:
    def at_once(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        raise AssertionError("the tasks of the library are made without it")

    scheduler, turns = Scheduler("test"), list[str]()

    async def work() -> None:
        turns.append("begun")

    loop = asyncio.get_running_loop()
    loop.set_task_factory(at_once)
    try:
        task = scheduler.spawn("work", work())
    finally:
        loop.set_task_factory(None)
    turns.append("spawned")
    await task
    assert turns == ["spawned", "begun"]


@pytest.mark.untidy("a task is alive", "Scheduler._kept", "_Kept.timer", why="a loop that ends under a scheduler is what it is about")
def test_the_end_of_a_loop_that_takes_long_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    async def slow() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2.5 * RESTART_DELAY_FIRST)

    async def main() -> asyncio.Task[None]:
        Scheduler("test").every("plain", 1, lambda: None)
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        return task

    asyncio.run(main())
    gc.collect()
    assert caplog.messages == ["plain of test: cancelled by code outside of the library, and starts again"]
