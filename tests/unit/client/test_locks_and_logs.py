"""The lock that is waited for only so long, and the log that tells changes of state only."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aiorocketmq.client.locks import LOCK_TIMEOUT, TimedLock
from aiorocketmq.client.statelog import StateLog
from tests.support.virtual_loop import virtual_time


@pytest.mark.feature("K13")
@virtual_time
async def test_waiters_take_turns_and_give_up_after_3_s(caplog: pytest.LogCaptureFixture) -> None:
    lock, order = TimedLock("route"), list[tuple[str, bool, float]]()

    async def hold(name: str, seconds: float) -> None:
        async with lock.hold(f"work {name}") as held:
            order.append((name, held, asyncio.get_running_loop().time()))
            if held:
                await asyncio.sleep(seconds)

    await asyncio.gather(hold("a", 2), hold("b", 4), hold("c", 1), hold("d", 1))
    assert sorted(order) == [("a", True, 0), ("b", True, 2), ("c", False, 3), ("d", False, 3)]
    assert lock.given_up == 2
    assert "work c was given up: the route lock was not free within 3 s" in caplog.messages
    assert LOCK_TIMEOUT == 3.0
    await hold("e", 0)
    assert order[-1][1] is True


@pytest.mark.feature("K13")
@virtual_time
async def test_the_lock_is_released_by_errors_and_cancellation() -> None:
    lock = TimedLock("route")
    with pytest.raises(ZeroDivisionError):
        async with lock.hold("work"):
            raise ZeroDivisionError

    async def forever() -> None:
        async with lock.hold("work"):
            await asyncio.sleep(1000)

    holder, waiter = asyncio.ensure_future(forever()), asyncio.ensure_future(forever())
    await asyncio.sleep(0.1)
    waiter.cancel()
    holder.cancel()
    await asyncio.wait([holder, waiter])
    async with lock.hold("work") as held:
        assert held
    assert lock.given_up == 0


@virtual_time
async def test_a_shorter_wait_can_be_asked_for() -> None:
    lock = TimedLock("route")
    async with lock.hold("outer"), lock.hold("inner", timeout=0.25) as held:
        assert not held
    assert asyncio.get_running_loop().time() == pytest.approx(0.25)


def test_only_changes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    log = StateLog(logging.getLogger("test"))
    log.worked("a", "a works")
    for number in range(3):
        log.failed("a", "a failed %d", number)
    log.failed("b", "b failed")
    for _ in range(3):
        log.worked("a", "a works")
    log.failed("a", "a failed again")
    log.forget("a")
    log.failed("a", "a failed once more")
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [
        ("WARNING", "a failed 0"),
        ("DEBUG", "a failed 1"),
        ("DEBUG", "a failed 2"),
        ("WARNING", "b failed"),
        ("INFO", "a works"),
        ("WARNING", "a failed again"),
        ("WARNING", "a failed once more"),
    ]


@virtual_time
async def test_what_flaps_is_told_six_times_a_minute_and_never_ends_as_failing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    for _ in range(600):
        log.failed("broker", "broken %d", 1)
        log.worked("broker", "works again")
        await asyncio.sleep(0.2)
    told = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert told == ["broken 1", "works again"] * 6  # two minutes
    assert len(caplog.records) == 1200
    assert not log.failing


@virtual_time
async def test_what_lasts_is_known_in_its_last_words() -> None:
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    log.failed("old", "%s cannot be reached", "a")
    assert log.troubles(older=5, within=60) == []
    await asyncio.sleep(5)
    assert log.troubles(older=5, within=60) == ["a cannot be reached"]
    log.failed("old", "%s is silent", "a")
    log.failed("young", "100% new")
    assert log.troubles(older=5, within=60) == ["a is silent"]
    assert log.troubles(older=0, within=60) == ["a is silent", "100% new"]
    await asyncio.sleep(61)
    assert log.troubles(older=5, within=60) == [], "nobody has tried it again"
    log.worked("old", "works")
    log.forget("young")
    assert log.troubles(older=0, within=1000) == []


@virtual_time
async def test_a_failure_that_was_held_back_is_told_as_soon_as_it_may(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    for _ in range(10):
        log.failed("broker", "broken")
        log.worked("broker", "works again")
    caplog.clear()
    for _ in range(90):
        log.failed("broker", "broken for good")
        await asyncio.sleep(1)
    assert caplog.messages == ["broken for good"]
    log.worked("broker", "works again")
    assert caplog.messages == ["broken for good", "works again"]


@virtual_time
async def test_events_have_their_level_six_times_a_minute_by_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    for number in range(120):
        log.note(logging.ERROR, "one", "event %d", number)
        log.note(logging.INFO, f"other {number}", "event of its own")
        await asyncio.sleep(1)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"event {number}" for number in (*range(6), *range(60, 66))
    ]
    assert sum(record.levelno == logging.INFO for record in caplog.records) == 120


@virtual_time
async def test_causes_that_are_over_do_not_add_up() -> None:
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    for number in range(3000):
        log.note(logging.DEBUG, f"cause {number}", "event")
        await asyncio.sleep(1)
    assert len(log._told) <= 400


def test_threads_may_use_it_too(caplog: pytest.LogCaptureFixture) -> None:
    log = StateLog(logging.getLogger("aiorocketmq.client"))
    for _ in range(20):
        log.note(logging.WARNING, "cause", "event")
    assert caplog.messages == ["event"] * 6
