"""Parked pulls: each is removed by itself, whatever ends it; limits, peers that do not read, pauses."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

import pytest

from aiorocketmq.server.broker.long_polling import MAX_SUSPEND, LongPolling, ParkedPull
from tests.support.virtual_loop import virtual_time
from tests.unit.server.harness import FakeChannel

ALL: frozenset[int] = frozenset()


class Bench:
    """A service and what it was asked to answer."""

    def __init__(self, **limits: int) -> None:
        self.polling = LongPolling(**limits)
        self.answered: list[object] = []

    def park(
        self,
        name: object,
        after: float = 10.0,
        *,
        topic: str = "t",
        queue_id: int = 0,
        codes: frozenset[int] = ALL,
        owner: FakeChannel | None = None,
    ) -> ParkedPull:
        pull = ParkedPull(codes, asyncio.get_running_loop().time() + after, lambda: self.answered.append(name), owner)
        assert self.polling.park(topic, queue_id, pull)
        return pull

    def assert_empty(self) -> None:
        polling = self.polling
        assert len(polling) == 0
        assert not any((polling._parked, polling._queues, polling._owned, polling._woken, polling._unread))
        assert all(pull.done for _, _, pull in polling._deadlines)


@virtual_time
async def test_each_deadline_is_kept_the_later_ones_too() -> None:
    bench = Bench()
    for after in (2.0, 1.0, 3.0):
        bench.park(after, after)
    await asyncio.sleep(1.5)
    assert bench.answered == [1.0]
    await asyncio.sleep(5)
    assert bench.answered == [1.0, 2.0, 3.0]
    bench.assert_empty()


@virtual_time
async def test_pulls_of_an_idle_queue_leave_one_by_one() -> None:
    """Two groups whose deadlines take turns: the queue is never without a live pull, and keeps none that has ended."""
    bench = Bench()

    def again(name: str) -> None:
        loop = asyncio.get_running_loop()
        bench.polling.park("t", 0, ParkedPull(ALL, loop.time() + 20, lambda: again(name)))

    again("a")
    await asyncio.sleep(10)
    again("b")
    await asyncio.sleep(10_000)
    assert len(bench.polling) == 2
    assert len(bench.polling._parked["t", 0]) == 2
    assert len(bench.polling._deadlines) <= 64 + 2 * 2 + 1
    bench.polling.stop()


@virtual_time
async def test_an_expiry_does_not_look_at_other_queues() -> None:
    """Counted, not timed: what one expiry touches does not grow with the queues that wait."""

    class Counting(dict):  # type: ignore[type-arg]
        looks = 0

        def items(self):  # type: ignore[no-untyped-def]
            Counting.looks += 1
            return super().items()

        def __iter__(self):  # type: ignore[no-untyped-def]
            Counting.looks += 1
            return super().__iter__()

    bench = Bench()
    bench.polling._parked = Counting()
    for queue_id in range(1000):
        bench.park(queue_id, 1.0 + queue_id % 100, queue_id=queue_id)
    await asyncio.sleep(50.5)
    assert len(bench.answered) == 500
    assert Counting.looks == 0
    bench.polling.stop()


@virtual_time
async def test_a_pull_can_be_cancelled_once() -> None:
    bench = Bench()
    first, _ = bench.park("first"), bench.park("second")
    assert bench.polling.cancel(first) and not bench.polling.cancel(first)
    bench.polling.arrived("t", 0, [0])
    assert bench.answered == ["second"]
    assert not bench.polling.cancel(first)
    bench.assert_empty()


@virtual_time
async def test_a_connection_takes_its_pulls_along() -> None:
    bench = Bench()
    gone, stays = FakeChannel(), FakeChannel()
    for queue_id in range(5):
        bench.park("gone", queue_id=queue_id, owner=gone)
        bench.park(queue_id, queue_id=queue_id, owner=stays)
    assert bench.polling.cancel_all(gone) == 5
    assert bench.polling.cancel_all(gone) == 0
    assert len(bench.polling) == 5
    bench.polling.wake("t")
    assert bench.answered == [0, 1, 2, 3, 4]
    bench.assert_empty()


@virtual_time
async def test_limits_for_a_connection_and_in_all() -> None:
    bench = Bench(per_owner=2, in_all=3)
    greedy, other = FakeChannel(), FakeChannel()
    later = asyncio.get_running_loop().time() + 10

    def tries(owner: FakeChannel) -> bool:
        return bench.polling.park("t", 0, ParkedPull(ALL, later, lambda: bench.answered.append(owner), owner))

    assert [tries(greedy) for _ in range(3)] == [True, True, False]
    assert [tries(other) for _ in range(2)] == [True, False]
    bench.polling.cancel_all(greedy)
    assert tries(other)
    await asyncio.sleep(20)
    assert bench.answered == [other, other]
    bench.assert_empty()


@virtual_time
async def test_no_pull_waits_for_longer_than_the_limit() -> None:
    bench = Bench()
    bench.park("for ever", 2.0**62)
    await asyncio.sleep(MAX_SUSPEND + 1)
    assert bench.answered == ["for ever"]


@virtual_time
async def test_a_peer_that_does_not_read_is_not_answered_before_it_does() -> None:
    bench = Bench()
    deaf, well = FakeChannel(), FakeChannel()
    deaf.reading = False
    for number in range(3):
        bench.park(f"deaf {number}", owner=deaf)
    bench.park("well", owner=well)
    bench.polling.arrived("t", 0, [0])
    assert bench.answered == ["well"]
    bench.park("well again", owner=well)
    bench.polling.arrived("t", 0, [0])
    assert bench.answered == ["well", "well again"], "others do not wait for it"
    await asyncio.sleep(30)
    assert len(bench.answered) == 2 and len(bench.polling) == 3, "not at their deadline either"
    deaf.reading = True
    await asyncio.sleep(1)
    assert bench.answered[2:] == ["deaf 0", "deaf 1", "deaf 2"]
    bench.assert_empty()


@virtual_time
async def test_a_peer_that_does_not_read_and_goes_leaves_nothing() -> None:
    bench = Bench()
    deaf = FakeChannel()
    deaf.reading = False
    bench.park("deaf", owner=deaf)
    bench.polling.arrived("t", 0, [0])
    bench.polling.cancel_all(deaf)
    await asyncio.sleep(1)
    assert bench.answered == []
    bench.assert_empty()


@virtual_time
async def test_many_that_are_woken_at_once_take_turns_with_others() -> None:
    bench = Bench()
    for number in range(1000):
        bench.park(number)
    bench.polling.arrived("t", 0, [0])
    seen = [len(bench.answered)]
    while len(bench.answered) < 1000:
        await asyncio.sleep(0)
        seen.append(len(bench.answered))
    assert len(seen) >= 4 and bench.answered == list(range(1000))
    bench.assert_empty()


@virtual_time
async def test_one_answer_that_fails_does_not_keep_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def broken() -> None:
        raise RuntimeError("in an answer")

    bench.polling.park("t", 0, ParkedPull(ALL, asyncio.get_running_loop().time() + 1, broken))
    bench.park("well", 1.0)
    with caplog.at_level(logging.ERROR, "aiorocketmq.server"):
        await asyncio.sleep(2)
    assert bench.answered == ["well"] and "could not be answered" in caplog.text
    bench.assert_empty()


@virtual_time
async def test_only_tags_that_match_wake_and_the_others_stay() -> None:
    bench = Bench()
    bench.park("a", codes=frozenset({1}))
    bench.park("b", codes=frozenset({2}))
    bench.polling.arrived("t", 0, [2, 3])
    assert bench.answered == ["b"] and len(bench.polling) == 1
    bench.polling.arrived("t", 1, [1])
    bench.polling.arrived("t", 0, [1])
    assert bench.answered == ["b", "a"]
    bench.assert_empty()


@virtual_time
async def test_waking_a_topic_leaves_other_topics_alone() -> None:
    bench = Bench()
    for topic in ("t", "u"):
        for queue_id in (0, 1):
            bench.park((topic, queue_id), topic=topic, queue_id=queue_id)
    bench.polling.wake("t", 1)
    assert bench.answered == [("t", 1)]
    bench.polling.wake("t")
    assert bench.answered == [("t", 1), ("t", 0)] and len(bench.polling) == 2
    bench.polling.stop()
    bench.assert_empty()


@virtual_time
async def test_a_pause_holds_everything_back() -> None:
    bench = Bench()
    bench.polling.pause()
    bench.park("due", 1.0)
    bench.park("woken", 100.0, queue_id=1)
    bench.polling.arrived("t", 1, [0])
    await asyncio.sleep(5)
    assert bench.answered == []
    bench.polling.proceed()
    await asyncio.sleep(0.1)
    assert sorted(map(str, bench.answered)) == ["due", "woken"]
    bench.assert_empty()


@virtual_time
async def test_what_was_woken_in_a_pause_is_answered_at_its_end_and_not_at_its_deadline() -> None:
    bench = Bench()
    for name in range(2):
        bench.park(name, 10.0)
    bench.polling.pause()
    bench.polling.arrived("t", 0, [0])
    await asyncio.sleep(1)
    bench.polling.proceed()
    await asyncio.sleep(0.1)
    assert bench.answered == [0, 1]
    bench.assert_empty()


@virtual_time
@pytest.mark.parametrize("why", ["gone", "closed", "deaf"])
async def test_one_that_was_chosen_and_does_not_look_hands_the_turn_on(why: str) -> None:
    bench = Bench()
    first = FakeChannel()
    pull = bench.park("first", owner=first)
    for name in ("second", "third"):
        bench.park(name)
    bench.polling.pause()
    assert bench.polling.wake_some("t", 0, 1, [0]) == 1
    if why == "gone":
        bench.polling.cancel(pull)
    elif why == "closed":
        first.reading, first.closed = False, True
    else:
        first.reading = False
    bench.polling.proceed()
    assert bench.answered == ["second"]
    first.reading = True
    await asyncio.sleep(1)
    assert bench.answered == (["second", "first"] if why == "deaf" else ["second"])
    await asyncio.sleep(30)
    assert "third" in bench.answered
    bench.assert_empty()


@virtual_time
async def test_a_stopped_service_has_no_timer_left() -> None:
    bench = Bench()
    deaf = FakeChannel()
    deaf.reading = False
    bench.park("deaf", 1.0, owner=deaf)
    bench.polling.arrived("t", 0, [0])
    bench.park("later", 1.0)
    bench.polling.stop()
    await asyncio.sleep(10)
    assert bench.answered == []
    bench.assert_empty()


@virtual_time
async def test_slow_filters_and_slow_answers_hold_up_nobody() -> None:
    bench = Bench()
    asked: list[bytes] = []

    def busy() -> None:
        stop = time.thread_time() + 0.004
        while time.thread_time() < stop:
            pass

    def wants(properties: bytes) -> bool:
        asked.append(properties)
        busy()
        return False

    def answer(name: int) -> None:
        busy()
        bench.answered.append(name)

    deadline = asyncio.get_running_loop().time() + 10
    for number in range(20):
        assert bench.polling.park("t", 0, ParkedPull(ALL, deadline, partial(answer, number), None, wants))
    bench.polling.arrived("t", 0, [0], [b"properties"] * 3)
    assert len(asked) <= 4, "the others are woken without being asked"
    assert 0 < len(bench.answered) <= 4
    await asyncio.sleep(1)
    assert len(bench.answered) >= 18
    bench.polling.stop()
    bench.assert_empty()
