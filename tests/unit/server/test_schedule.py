"""Due work: done once, tried again whatever failed, cancelled, in bounded turns."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Callable

import pytest

from aiorocketmq.errors import RocketMQError, ServiceNotAvailableError
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.broker.schedule import Schedule
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage
from aiorocketmq.server.store.store import Store
from tests.support.virtual_loop import virtual_time
from tests.unit.server.harness import NOW


class Bench:
    """A schedule on a store in memory, in virtual time."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.store = Store(None, store_host=(b"\x7f\x00\x00\x01", 1), now_ms=self.now_ms)
        self.now_ms_at = lambda: NOW + round((loop.time() - start) * 1000)
        self.store.open()
        self.schedule = Schedule(self.store, self.now_ms, self.restore)
        self.store.on_scheduled = self.schedule.added
        self.gone = False

    def now_ms(self) -> int:
        return self.now_ms_at()

    def restore(self, record: bytes) -> PendingMessage | None:
        if self.gone:
            return None
        return PendingMessage("real", 0, decode_message(record, broker_name="", max_body=0).stored_body, b"")

    def park(self, body: bytes, seconds: float) -> PendingMessage:
        message = PendingMessage("parked", 0, body, b"", deliver_at=self.now_ms() + round(seconds * 1000))
        self.store.append(message)
        return message

    def delivered(self) -> list[bytes]:
        queue = self.store.queue("real", 0)
        records = self.store.read(queue, 0, 10_000) if queue is not None else []
        return [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records]

    def waiting(self) -> list[DueEntry]:
        return self.store.scheduled_between(0, 1 << 62)

    async def close(self) -> None:
        schedule = self.schedule
        schedule.stop()
        if not self.waiting():
            assert not (schedule._due or schedule._known or schedule._tries), "nothing is left when nothing waits"
        database = await self.store.close()
        assert database is not None
        database.close()


def failing(times: int, what: Callable[..., object], error: Exception) -> Callable[..., object]:
    """`what`, which fails so many times first."""
    left = [times]

    def call(*args: object) -> object:
        if left[0]:
            left[0] -= 1
            raise error
        return what(*args)

    return call


@virtual_time
async def test_each_is_delivered_once_when_it_is_due() -> None:
    bench = Bench()
    bench.schedule.start()
    for seconds in (3, 1, 100, 1):
        bench.park(b"%d" % seconds, seconds)
    await asyncio.sleep(0.9)
    assert bench.delivered() == []
    await asyncio.sleep(0.2)
    assert bench.delivered() == [b"1", b"1"]
    await asyncio.sleep(98.8)
    assert bench.delivered() == [b"1", b"1", b"3"], "not a moment before its time, behind the horizon or not"
    await asyncio.sleep(0.2)
    assert bench.delivered() == [b"1", b"1", b"3", b"100"] and bench.waiting() == []
    await bench.close()


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("interrupted"), ServiceNotAvailableError("cannot be read"), KeyError("a mistake")]
)
@pytest.mark.parametrize("times", [1, 4])
def test_what_cannot_be_read_is_tried_again(error: Exception, times: int, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.store.record_at = failing(times, bench.store.record_at, error)  # type: ignore[assignment]
        bench.schedule.start()
        bench.park(b"late", 1)
        bench.park(b"next", 1.5)
        await asyncio.sleep(20)
        assert sorted(bench.delivered()) == [b"late", b"next"] and bench.waiting() == []
        await bench.close()

    with caplog.at_level(logging.ERROR, "aiorocketmq.server"):
        run()
    assert "next try in 1 s" in caplog.text


@virtual_time
async def test_a_lasting_failure_is_tried_less_and_less_often() -> None:
    bench = Bench()
    tries: list[int] = []

    def broken(offset: int) -> bytes:
        tries.append(bench.now_ms())
        raise ServiceNotAvailableError("cannot be read")

    read, bench.store.record_at = bench.store.record_at, broken  # type: ignore[method-assign]
    bench.schedule.start()
    bench.park(b"late", 0.001)
    await asyncio.sleep(600)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses[:7] == [1000, 2000, 4000, 8000, 16000, 32000, 60000] and set(pauses[7:]) == {60000}
    bench.store.record_at = read  # type: ignore[method-assign]
    await asyncio.sleep(61)
    assert bench.delivered() == [b"late"]
    await bench.close()


@virtual_time
async def test_what_cannot_be_written_is_tried_again() -> None:
    bench = Bench()
    bench.schedule.start()
    bench.park(b"late", 1)
    await asyncio.sleep(0.5)
    bench.store.inject_error = "disk full"
    await asyncio.sleep(5)
    assert bench.delivered() == [] and len(bench.waiting()) == 1
    bench.store.inject_error = ""
    await asyncio.sleep(10)
    assert bench.delivered() == [b"late"] and bench.waiting() == []
    await bench.close()


@virtual_time
async def test_the_table_that_cannot_be_read_is_read_later() -> None:
    bench = Bench()
    bench.park(b"early", 1)
    bench.park(b"late", 200)
    await asyncio.sleep(0)
    read = bench.store.scheduled_between
    bench.store.scheduled_between = failing(3, read, sqlite3.OperationalError("interrupted"))  # type: ignore[assignment]
    bench.schedule.start()
    await asyncio.sleep(10)
    assert bench.delivered() == [b"early"]
    bench.store.scheduled_between = failing(30, read, sqlite3.OperationalError("interrupted"))  # type: ignore[assignment]
    await asyncio.sleep(192)
    assert bench.delivered() == [b"early", b"late"]
    bench.store.scheduled_between = read  # type: ignore[method-assign]
    await bench.close()


@virtual_time
async def test_a_clock_that_jumps_ahead_delays_nothing_new_for_long() -> None:
    bench = Bench()
    bench.schedule.start()
    await asyncio.sleep(1)
    before = bench.now_ms_at
    bench.now_ms_at = lambda: before() + 3_600_000
    bench.park(b"new", 1.0)
    for _ in range(21):
        await asyncio.sleep(0.1)
        bench.park(b"later", 600.0)  # nor do others hold it up
    assert bench.delivered() == [b"new"]
    await bench.close()


@virtual_time
async def test_cancelled_work_is_not_done() -> None:
    bench = Bench()
    bench.schedule.start()
    gone, stays = bench.park(b"gone", 1), bench.park(b"stays", 1)
    await asyncio.sleep(0.1)
    entry = DueEntry(gone.deliver_at, DELAY, gone.physical_offset)
    bench.schedule.cancel(entry)
    await asyncio.sleep(5)
    assert bench.delivered() == [b"stays"] and bench.waiting() == [] and stays.error is None
    await bench.close()


@virtual_time
async def test_a_cancellation_that_fails_changes_nothing() -> None:
    bench = Bench()
    bench.schedule.start()
    message = bench.park(b"stays", 1)
    await asyncio.sleep(0.1)
    bench.store.inject_error = "disk full"
    bench.schedule.cancel(DueEntry(message.deliver_at, DELAY, message.physical_offset))
    await asyncio.sleep(0.1)
    bench.store.inject_error = ""
    await asyncio.sleep(5)
    assert bench.delivered() == [b"stays"]
    await bench.close()


@virtual_time
async def test_other_kinds_of_work_have_their_handlers() -> None:
    bench = Bench()
    done: list[DueEntry] = []
    failures = [True, True, False]

    def check(entry: DueEntry, told: Callable[[RocketMQError | None], None]) -> None:
        if failures.pop(0):
            raise ServiceNotAvailableError("not yet")
        done.append(entry)
        bench.store.strike(entry)
        bench.store.after_commit(told)

    bench.schedule.register("check", check)
    entry, unknown = DueEntry(bench.now_ms() + 1000, "check", 7), DueEntry(bench.now_ms() + 1000, "unheard of", 8)
    bench.store.put_due(entry)
    bench.store.put_due(unknown)
    bench.park(b"delayed", 1)
    bench.schedule.start()
    await asyncio.sleep(1.5)
    assert bench.delivered() == [b"delayed"] and done == []
    await asyncio.sleep(10)
    assert done == [entry] and bench.waiting() == [unknown]
    await bench.close()


@virtual_time
async def test_a_backlog_takes_turns_with_others() -> None:
    bench = Bench()
    for number in range(1000):
        bench.park(b"%d" % number, 1)
    await asyncio.sleep(10)
    bench.schedule.start()
    seen = set()
    while len(bench.delivered()) < 1000:
        await asyncio.sleep(0)
        seen.add(len(bench.delivered()))
    assert len(seen) >= 4 and bench.delivered() == [b"%d" % number for number in range(1000)]
    await asyncio.sleep(1)
    await bench.close()


@virtual_time
async def test_what_has_nowhere_to_go_leaves_the_table() -> None:
    bench = Bench()
    bench.gone = True
    bench.schedule.start()
    bench.park(b"gone", 1)
    await asyncio.sleep(2)
    assert bench.delivered() == [] and bench.waiting() == []
    await bench.close()


@virtual_time
async def test_a_pause_holds_everything_back_and_loses_nothing() -> None:
    bench = Bench()
    bench.schedule.start()
    bench.park(b"a", 1)
    await asyncio.sleep(0.5)
    bench.schedule.stop()
    bench.park(b"b", 1)
    await asyncio.sleep(5)
    assert bench.delivered() == []
    bench.schedule.proceed()
    await asyncio.sleep(0.1)
    assert bench.delivered() == [b"a", b"b"]
    await bench.close()


@virtual_time
async def test_work_that_is_told_of_while_it_is_being_done_is_done_once() -> None:
    bench = Bench()
    ends: list[Callable[[RocketMQError | None], None]] = []
    bench.schedule.register("slow", lambda entry, done: ends.append(done))
    entry = DueEntry(bench.now_ms() + 1000, "slow", 1)
    bench.store.put_due(entry)
    await asyncio.sleep(0.1)
    bench.schedule.start()
    await asyncio.sleep(2)
    assert len(ends) == 1
    bench.schedule.added(entry)  # its commit was under way when it was read from the database
    await asyncio.sleep(5)
    assert len(ends) == 1, "it is still at work"
    bench.store.strike(entry)
    ends[0](None)
    await asyncio.sleep(5)
    assert len(ends) == 1
    await bench.close()


LEVELS = (1.0, 60.0)


@pytest.mark.parametrize("when", ["while it runs", "while it rests"])
@virtual_time
async def test_a_clock_that_is_set_back_holds_up_no_delay_level(when: str, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.schedule = Schedule(bench.store, bench.now_ms, bench.restore, levels=LEVELS, level_topic="parked")
    bench.store.on_scheduled = bench.schedule.added
    bench.schedule.start()
    bench.park(b"one second", 1.0)
    for topic, queue_id, body in (("parked", 1, b"a minute"), ("timer", 0, b"at a time")):
        bench.store.append(PendingMessage(topic, queue_id, body, b"", deliver_at=bench.now_ms() + 60_000))
    await asyncio.sleep(0.1)
    before = bench.now_ms_at
    if when == "while it rests":
        bench.schedule.stop()
    bench.now_ms_at = lambda: before() - 3600_000
    if when == "while it rests":
        bench.schedule.start()
    await asyncio.sleep(1.5)
    assert sorted(bench.delivered()) == [b"a minute", b"one second"]
    bench.park(b"later", 1.0)
    await asyncio.sleep(1.5)
    assert b"later" in bench.delivered()
    assert [each.at - bench.now_ms() > 3500_000 for each in bench.waiting()] == [True]
    await asyncio.sleep(300)
    assert len([record for record in caplog.records if "the wall clock was set back" in record.message]) == 1, "and that is told once"
    bench.schedule.stop()
    bench.schedule._due.clear()
    bench.schedule._known.clear()
    await bench.close()
