"""Retention: by age, by size, with the answers that consumers get behind the smallest offset."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import (
    GetEarliestMsgStoretimeRequestHeader,
    GetMinOffsetRequestHeader,
    QueryConsumerOffsetRequestHeader,
    SearchOffsetRequestHeader,
)
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.broker.retention import Retention
from aiorocketmq.server.store import store as store_module
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage
from aiorocketmq.server.store.store import Store
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.server.harness import NOW, BrokerBench, MakeBench, settle

HOUR = 3600.0


class Bench:
    """A store and its retention, in virtual time."""

    def __init__(
        self, path: Path | None = None, *, max_age: float | None = None, max_bytes: int | None = None, recent_bytes: int = 1 << 20
    ) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        self.now_ms = lambda: NOW + round((loop.time() - start) * 1000)
        self.store = Store(path, store_host=(b"\x7f\x00\x00\x01", 1), now_ms=self.now_ms, recent_bytes=recent_bytes)
        self.store.open()
        self.retention = Retention(self.store, self.now_ms, max_age=max_age, max_bytes=max_bytes, interval=10.0)

    async def put(self, *bodies: bytes, topic: str = "t", keys: bool = False, **fields: int) -> list[PendingMessage]:
        properties = b"UNIQ_KEY\x01" if keys else b""
        messages = [
            PendingMessage(topic, 0, body, properties + body if keys else b"", keys=(body.decode(),) if keys else (), **fields)
            for body in bodies
        ]  # type: ignore[arg-type]
        for message in messages:
            self.store.append(message)
        await settle(2)
        return messages

    def bodies(self, topic: str = "t") -> list[bytes]:
        queue = self.store.queue(topic, 0)
        records = self.store.read(queue, queue.min_offset, 10_000) if queue is not None else []
        return [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records]

    def rows(self, table: str) -> int:
        return int(self.store._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    async def close(self) -> None:
        self.retention.stop()
        database = await self.store.close()
        if database is not None:
            database.close()


@virtual_time
async def test_old_messages_leave_and_young_ones_stay() -> None:
    bench = Bench(max_age=HOUR)
    bench.retention.start()
    await bench.put(b"old0", b"old1", keys=True)
    await bench.put(b"other", topic="u")
    await asyncio.sleep(HOUR / 2)
    await bench.put(b"young", keys=True)
    await asyncio.sleep(HOUR / 2 - 20)
    assert bench.bodies() == [b"old0", b"old1", b"young"], "not before their time"
    await asyncio.sleep(40)
    assert bench.bodies() == [b"young"] and bench.store.bounds("t", 0) == (2, 3)
    assert bench.bodies("u") == [] and bench.store.bounds("u", 0) == (1, 1)
    assert bench.rows("messages") == 1 and bench.rows("message_keys") == 1
    assert bench.store.find_by_key("t", "young", 0, NOW * 2, 5) and not bench.store.find_by_key("t", "old0", 0, NOW * 2, 5)
    await asyncio.sleep(HOUR)
    assert bench.store.bounds("t", 0) == (3, 3) and bench.rows("messages") == 0
    (message,) = await bench.put(b"new")
    assert message.queue_offset == 3 and bench.bodies() == [b"new"]
    await bench.close()


@virtual_time
async def test_the_oldest_of_too_many_leave() -> None:
    bench = Bench(max_bytes=20_000)
    bench.retention.start()
    for number in range(100):
        await bench.put(b"%03d" % number + bytes(900))
        await asyncio.sleep(5)
    await asyncio.sleep(20)
    kept = bench.store.stored_bytes()
    assert 18_000 < kept <= 20_000, "as much as possible, and no more"
    low, high = bench.store.bounds("t", 0)
    assert high == 100 and [body[:3] for body in bench.bodies()] == [b"%03d" % number for number in range(low, 100)]
    bench.store.drop_topic("t")
    await bench.put(*[b"%d" % number + bytes(900) for number in range(15)], topic="u")
    await asyncio.sleep(30)
    assert len(bench.bodies("u")) == 15, "what went with its topic does not count any more"
    await bench.put(*[bytes(900)] * 15, topic="u")
    await asyncio.sleep(30)
    assert 18_000 < bench.store.stored_bytes() <= 20_000
    await bench.close()


@virtual_time
async def test_a_message_that_waits_for_its_delivery_stays() -> None:
    bench = Bench(max_age=HOUR)
    bench.retention.start()
    (parked,) = await bench.put(b"parked", topic="parked", deliver_at=NOW + round(5 * HOUR * 1000))
    await bench.put(b"plain")
    await asyncio.sleep(4 * HOUR)
    assert bench.bodies("parked") == [b"parked"] and bench.bodies() == []
    bench.store.strike(DueEntry(parked.deliver_at, DELAY, parked.physical_offset))
    await asyncio.sleep(60)
    assert bench.rows("messages") == 0
    await bench.close()


@virtual_time
async def test_much_leaves_in_small_steps() -> None:
    bench = Bench(max_age=HOUR)
    for _ in range(20):
        await bench.put(*[b"x"] * 100)
    await bench.put(*[bytes(1 << 20)] * 20)
    await asyncio.sleep(2 * HOUR)
    commits: list[str] = []
    bench.store._db.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    bench.retention.start()
    await asyncio.sleep(5)
    bench.store._db.set_trace_callback(None)
    assert bench.rows("messages") == 0 and len(commits) >= 2000 // 256 + 20 // 4
    await bench.close()


@virtual_time
async def test_what_fails_is_tried_again() -> None:
    bench = Bench(max_age=HOUR)
    await bench.put(b"old")
    await asyncio.sleep(2 * HOUR)
    failures = [sqlite3.OperationalError("interrupted"), ServiceNotAvailableError("cannot be read")]
    oldest = bench.store.oldest

    def failing(limit: int) -> object:
        if failures:
            raise failures.pop()
        return oldest(limit)

    bench.store.oldest = failing  # type: ignore[assignment]
    logging.getLogger("aiorocketmq.server").disabled = True
    try:
        bench.retention.start()
        await asyncio.sleep(25)
        assert bench.rows("messages") == 0 and bench.store.bounds("t", 0) == (1, 1)
        await bench.put(b"second")
        bench.store.inject_error = "disk full"
        await asyncio.sleep(2 * HOUR)
        assert bench.store.bounds("t", 0) == (1, 2), "memory follows the database"
        bench.store.inject_error = ""
        await asyncio.sleep(20)
        assert bench.store.bounds("t", 0) == (2, 2)
    finally:
        logging.getLogger("aiorocketmq.server").disabled = False
    await bench.close()


class SlowCommits:
    """Lets commits of a store with a thread of its own stop when everything is written and nothing committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails = False
        write = store_module.write_changes

        def slow(*arguments: Any) -> None:
            write(*arguments)
            self.written.set()
            assert self.go_on.wait(10)
            if self.fails:
                raise sqlite3.OperationalError("disk full")

        monkeypatch.setattr(store_module, "write_changes", slow)

    def hold(self) -> None:
        self.written.clear()
        self.go_on.clear()

    async def under_way(self) -> None:
        await eventually(self.written.is_set)


@pytest.mark.parametrize("fails", [False, True])
async def test_pulls_see_no_half_of_what_leaves(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    commits = SlowCommits(monkeypatch)
    bench = make_bench(path=tmp_path / "b.db", flush="sync", recent_bytes=0)
    for number in range(20):
        await bench.send("t", b"%02d" % number)
    store = bench.state.store
    retention = Retention(store, lambda: NOW, max_age=None, max_bytes=store.stored_bytes() // 2, interval=100.0)
    await bench.pull("t")  # its group is there from now on
    await eventually(lambda: not store.committing)
    commits.hold()
    retention.start()
    await commits.under_way()
    try:
        answer = await bench.pull("t")
        assert (answer.remark, answer.ext_fields["nextBeginOffset"]) == ("OFFSET_TOO_SMALL", "10"), "neither a part of them, nor too far"
    finally:
        commits.fails = fails
        commits.go_on.set()
    await eventually(lambda: not store.committing)
    retention.stop()
    commits.fails = False
    assert store.bounds("t", 0) == (0 if fails else 10, 20)
    assert len(store.read(store.queue("t", 0), store.bounds("t", 0)[0], 100)) == (20 if fails else 10)  # type: ignore[arg-type]


async def test_pulls_go_past_nothing_while_a_topic_is_deleted(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = SlowCommits(monkeypatch)
    bench = make_bench(path=tmp_path / "b.db", flush="sync", recent_bytes=0)
    await bench.send("t")
    await bench.pull("t")
    await eventually(lambda: not bench.state.store.committing)
    commits.hold()
    bench.state.topics.delete("t")
    await commits.under_way()
    try:
        answer = await bench.pull("t")
        assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_RETRY_IMMEDIATELY, "0"), "it may stay"
    finally:
        commits.fails = True
        commits.go_on.set()
    await eventually(lambda: not bench.state.store.committing)
    commits.fails = False
    assert (await bench.pull("t")).remark == "FOUND"


async def test_what_is_being_stored_is_not_counted_and_does_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = SlowCommits(monkeypatch)
    store = Store(tmp_path / "b.db", store_host=(b"\x7f\x00\x00\x01", 1), now_ms=lambda: NOW, flush="sync")
    store.open()
    retention = Retention(store, lambda: NOW + 60_000, max_age=1.0, max_bytes=None, interval=0.01)
    commits.hold()
    store.append(PendingMessage("new", 0, b"x", b""))
    await commits.under_way()
    try:
        assert store.stored_bytes() == 0
        retention.start()
        await asyncio.sleep(0.05)  # looks for old messages meanwhile
    finally:
        commits.go_on.set()
    await eventually(lambda: store.bounds("new", 0) == (1, 1), timeout=5)
    retention.stop()
    await store.close()


@virtual_time
async def test_without_limits_nothing_leaves_and_nothing_runs() -> None:
    bench = Bench()
    bench.retention.start()
    await bench.put(b"kept")
    await asyncio.sleep(1000 * HOUR)
    assert bench.bodies() == [b"kept"] and bench.retention._timer is None
    await bench.close()


@pytest.mark.parametrize("all_gone", [False, True])
def test_the_bounds_come_back_from_the_file(tmp_path: Path, all_gone: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(tmp_path / "b.db", max_age=HOUR)
        await bench.put(b"a", b"b")
        if not all_gone:
            await asyncio.sleep(HOUR)
            await bench.put(b"c")
        await asyncio.sleep(HOUR / 2)
        if all_gone:
            await asyncio.sleep(HOUR)
        bench.retention.start()
        await asyncio.sleep(1)
        physical = bench.store.next_physical_offset
        bounds = bench.store.bounds("t", 0)
        await bench.close()
        again = Bench(tmp_path / "b.db")
        assert again.store.bounds("t", 0) == bounds == ((2, 2) if all_gone else (2, 3))
        assert again.store.next_physical_offset == physical, "an offset of the log is given once"
        (message,) = await again.put(b"d")
        assert message.queue_offset == bounds[1] and message.physical_offset == physical
        await again.close()

    run()


# -- what clients see -------------------------------------------------------------------------------------------------


async def shortened(make_bench: MakeBench, recent_bytes: int) -> BrokerBench:
    """A queue of ten messages that has lost its first six."""
    bench = make_bench(recent_bytes=recent_bytes, retention_age=10.0)
    for number in range(10):
        await bench.send("t", b"%d" % number)
        bench.clock.advance(1)
    retention = Retention(bench.state.store, lambda: bench.clock.ms, max_age=4.0, max_bytes=None, interval=100.0)
    retention.start()
    await eventually(lambda: bench.state.store.bounds("t", 0)[0] == 6)
    retention.stop()
    return bench


@pytest.mark.parametrize("recent_bytes", [0, 1 << 20], ids=["database", "memory"])
async def test_pulls_outside_the_bounds(make_bench: MakeBench, recent_bytes: int) -> None:
    bench = await shortened(make_bench, recent_bytes)
    seen = {}
    for offset in (0, 5, 6, 9, 10, 11, 1 << 40):
        answer = await bench.pull("t", offset)
        ext = answer.ext_fields
        seen[offset] = (answer.code, answer.remark, int(ext["nextBeginOffset"]), int(ext["minOffset"]), int(ext["maxOffset"]))
    moved, missing = ResponseCode.PULL_OFFSET_MOVED, ResponseCode.PULL_NOT_FOUND
    assert seen == {
        0: (moved, "OFFSET_TOO_SMALL", 6, 6, 10),
        5: (moved, "OFFSET_TOO_SMALL", 6, 6, 10),
        6: (0, "FOUND", 10, 6, 10),
        9: (0, "FOUND", 10, 6, 10),
        10: (missing, "OFFSET_OVERFLOW_ONE", 10, 6, 10),
        11: (moved, "OFFSET_OVERFLOW_BADLY", 10, 6, 10),
        1 << 40: (moved, "OFFSET_OVERFLOW_BADLY", 10, 6, 10),
    }


async def test_offsets_and_times_of_a_shortened_queue(make_bench: MakeBench) -> None:
    bench = await shortened(make_bench, 0)
    low = await bench.ask(RequestCode.GET_MIN_OFFSET, GetMinOffsetRequestHeader("t", 0))
    assert low.ext_fields["offset"] == "6"
    earliest = await bench.ask(RequestCode.GET_EARLIEST_MSG_STORETIME, GetEarliestMsgStoretimeRequestHeader("t", 0))
    assert earliest.ext_fields["timestamp"] == str(NOW + 6000)
    for timestamp, offset in ((0, "6"), (NOW + 3000, "6"), (NOW + 8000, "8"), (NOW * 2, "10")):
        found = await bench.ask(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, SearchOffsetRequestHeader("t", 0, timestamp))
        assert found.ext_fields["offset"] == offset
    new_group = await bench.ask(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetRequestHeader("g", "t", 0))
    assert new_group.code == ResponseCode.QUERY_NOT_FOUND, "not a young topic any more: the client's own start_from decides"


async def test_a_waiting_pull_is_told_when_its_queue_was_emptied(make_bench: MakeBench) -> None:
    bench = await shortened(make_bench, 0)
    bench.clock.advance(100)
    retention = Retention(bench.state.store, lambda: bench.clock.ms, max_age=4.0, max_bytes=None, interval=100.0)
    retention.start()
    await eventually(lambda: bench.state.store.bounds("t", 0)[0] == 10)
    retention.stop()
    assert (await bench.pull("t", 10)).remark == "OFFSET_OVERFLOW_ONE"
    assert (await bench.pull("t", 6)).remark == "OFFSET_TOO_SMALL"
    await bench.send("t", b"new")
    assert await found_from(bench, 10) == [b"new"]


async def found_from(bench: BrokerBench, offset: int) -> list[bytes]:
    answer = await bench.pull("t", offset)
    return [decode_message(answer.body, broker_name="", max_body=0).stored_body]
