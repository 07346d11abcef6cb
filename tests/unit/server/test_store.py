"""The store: offsets, commits by tick, failures that leave no trace, memory before disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from aiorocketmq.errors import ConfigError, MessageIllegalError, RocketMQError, ServiceNotAvailableError
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage, QueueLog, RecentMessages, StoredRecord
from aiorocketmq.server.store.schema import open_database
from aiorocketmq.server.store.store import Store
from tests.unit.server.harness import NOW, settle

Outcome = tuple[PendingMessage, RocketMQError | None]


@pytest.fixture(autouse=True)
async def _closed_stores() -> AsyncIterator[None]:
    yield
    while Bench.made:
        database = await Bench.made.pop().store.close()
        if database is not None:
            database.close()


class Bench:
    made: ClassVar[list[Bench]] = []

    def __init__(self, path: Path | None = None, **settings: object) -> None:
        self.now = NOW
        self.outcomes: list[Outcome] = []
        self.store = Store(path, store_host=(b"\x7f\x00\x00\x01", 10911), now_ms=lambda: self.now, **settings)  # type: ignore[arg-type]
        self.store.open()
        Bench.made.append(self)

    def put(self, topic: str = "t", queue_id: int = 0, body: bytes = b"x", **fields: object) -> PendingMessage:
        message = PendingMessage(topic, queue_id, body, b"", done=lambda *outcome: self.outcomes.append(outcome), **fields)  # type: ignore[arg-type]
        self.store.append(message)
        return message

    def bodies(self, topic: str = "t", queue_id: int = 0, offset: int = 0, count: int = 1000) -> list[bytes]:
        queue = self.store.queue(topic, queue_id)
        records = self.store.read(queue, offset, count) if queue is not None else []
        return [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records]


async def test_a_tick_is_one_commit() -> None:
    bench = Bench()
    statements: list[str] = []
    bench.store._db.set_trace_callback(statements.append)
    for number in range(50):
        bench.put(queue_id=number % 2, body=b"%d" % number)
    bench.store.put_offset("g", "t", 0, 7)
    assert not bench.outcomes, "nothing may be acknowledged before the commit"
    await settle()
    assert statements.count("COMMIT") == 1
    assert [(message.queue_offset, error) for message, error in bench.outcomes[:4]] == [(0, None), (0, None), (1, None), (1, None)]
    assert bench.bodies(queue_id=1) == [b"%d" % number for number in range(1, 50, 2)]
    assert bench.store.bounds("t", 0) == (0, 25)


async def test_offsets_of_the_log_lead_to_the_records() -> None:
    bench = Bench()
    messages = [bench.put(body=bytes(size)) for size in (1, 1000, 5)]
    await settle()
    for message in messages:
        record = bench.store.record_at(message.physical_offset)
        assert record is not None
        found = decode_message(record, broker_name="", max_body=0)
        assert (found.commit_log_offset, found.stored_body) == (message.physical_offset, message.body)
        assert bench.store.next_physical_offset >= message.physical_offset + len(record)
    assert bench.store.record_at(messages[1].physical_offset + 1) is None


@pytest.mark.parametrize("flush", ["async", "sync"])
async def test_all_comes_back_from_the_file(tmp_path: Path, flush: str) -> None:
    path = tmp_path / "b.db"
    first = Bench(path, flush=flush)
    for number in range(10):
        first.put(body=b"%d" % number, keys=(f"k{number % 3}",))
    first.put("parked", deliver_at=NOW + 5)
    first.store.put_offset("g", "t", 0, 3)
    first.store.put_setting("topic", "t", "{}")
    await first.store.close()
    assert len(first.outcomes) == 11, "close() commits what came before it"

    second = Bench(path, flush=flush)
    assert second.bodies() == [b"%d" % number for number in range(10)]
    assert list(second.store.offsets()) == [("g", "t", 0, 3)]
    assert second.store.settings("topic") == {"t": "{}"}
    assert len(second.store.find_by_key("t", "k0", 0, NOW * 2, 32)) == 4
    assert [entry.at for entry in second.store.scheduled_between(0, NOW * 2)] == [NOW + 5]
    again = second.put(body=b"10")
    await second.store.close()
    assert again.queue_offset == 10
    assert again.physical_offset > max(message.physical_offset for message, _ in first.outcomes)


async def test_what_is_not_committed_is_gone_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    first = Bench(path)
    first.put(body=b"kept")
    await settle()
    first.put(body=b"lost")
    first.store.abandon()
    await settle()
    assert [error is None for _, error in first.outcomes] == [True]
    second = Bench(path)
    assert second.bodies() == [b"kept"]
    await second.store.close()


async def test_a_full_disk_refuses_writes_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    bench = Bench(path)
    bench.put(body=b"first")
    bench.store.put_offset("g", "t", 0, 1)
    await settle()
    pages = bench.store._db.execute("PRAGMA page_count").fetchone()[0]
    bench.store._db.execute(f"PRAGMA max_page_count={pages}")
    bench.put(body=bytes(200_000))
    bench.put("new", body=bytes(200_000))
    bench.store.put_offset("g", "t", 0, 2)
    await settle()
    errors = [error for _, error in bench.outcomes[1:]]
    assert all(isinstance(error, ServiceNotAvailableError) and error.retriable for error in errors) and len(errors) == 2
    assert bench.bodies() == [b"first"]
    assert bench.store.queue("new", 0) is None

    bench.store._db.execute("PRAGMA max_page_count=1000000")
    later = bench.put(body=b"second")
    await settle()
    assert bench.outcomes[-1] == (later, None) and later.queue_offset == 1
    assert bench.bodies() == [b"first", b"second"]
    await bench.store.close()
    second = Bench(path)
    assert list(second.store.offsets()) == [("g", "t", 0, 1)], "what was refused does not come back with a later commit"
    await second.store.close()


async def test_after_an_io_error_nothing_is_called_good_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path / "b.db")
    bench.put(body=b"good")
    await settle()

    def broken(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr("aiorocketmq.server.store.store.write_changes", broken)
    bench.put(body=b"bad")
    await settle()
    monkeypatch.undo()
    bench.put(body=b"later")
    await settle()
    assert [error is None for _, error in bench.outcomes] == [True, False, False]
    assert bench.bodies() == [b"good"], "reading goes on"
    await bench.store.close()


async def test_one_impossible_message_does_not_fail_its_tick() -> None:
    bench = Bench()
    bench.put(body=b"a")
    bench.put("other", flag=1 << 40)
    bench.put(body=b"b")
    bench.put("third", body=b"c")
    await settle()
    failed = {message.topic: error for message, error in bench.outcomes if error is not None}
    assert list(failed) == ["other"] and isinstance(failed["other"], MessageIllegalError)
    assert bench.bodies() == [b"a", b"b"] and bench.bodies("third") == [b"c"]
    assert bench.store.bounds("other", 0) == (0, 0)


async def test_an_answer_that_fails_does_not_keep_others_from_theirs() -> None:
    bench = Bench()

    def broken(*_: object) -> None:
        raise RuntimeError("in an answer")

    bench.store.append(PendingMessage("t", 0, b"a", b"", done=broken))
    bench.put(body=b"b")
    await settle()
    assert bench.outcomes[0][1] is None and bench.bodies() == [b"a", b"b"]


async def test_old_messages_leave_memory_and_are_read_from_the_database() -> None:
    bench = Bench(recent_bytes=5000)
    for number in range(3000):
        bench.put(body=b"%05d" % number, queue_id=number % 2)
        if number % 100 == 0:
            await settle(1)
    await settle()
    queue = bench.store.queue("t", 0)
    assert queue is not None
    assert 0 < queue.next_offset - queue.first_recent_offset < 30
    assert len(queue.recent) < 1100, "the list is compacted"
    expected = [b"%05d" % number for number in range(0, 3000, 2)]
    assert bench.bodies(count=2000) == expected
    for start in (0, 700, queue.first_recent_offset - 1, queue.first_recent_offset, 1499):
        assert bench.bodies(offset=start, count=5) == expected[start : start + 5]
    assert bench.store.store_timestamp_at(queue, 3) == NOW
    assert bench.store.store_timestamp_at(queue, 1500) == -1


async def test_store_times_never_fall_within_a_queue() -> None:
    bench = Bench()
    bench.put()
    await settle()
    bench.now -= 60_000
    later = bench.put()
    await settle()
    assert later.store_timestamp == NOW


async def test_a_dropped_topic_starts_again_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    bench = Bench(path)
    old = [bench.put(body=b"old", keys=("k",)) for _ in range(3)]
    await settle()
    bench.store.drop_topic("t")
    new = bench.put(body=b"new")
    await settle()
    assert (new.queue_offset, bench.bodies()) == (0, [b"new"])
    assert new.physical_offset > old[-1].physical_offset, "an old message id must not find a new message"
    assert bench.store.find_by_key("t", "k", 0, NOW * 2, 32) == []
    await bench.store.close()
    second = Bench(path)
    assert second.bodies() == [b"new"]
    second.store.drop_topic("t")
    await second.store.close()
    third = Bench(path)
    assert third.store.bounds("t", 0) == (0, 0)
    assert third.store.next_physical_offset > new.physical_offset
    await third.store.close()


async def test_a_delivery_and_the_end_of_its_schedule_entry_are_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    told: list[DueEntry] = []
    bench.store.on_scheduled = told.append
    parked = bench.put("parked", deliver_at=NOW + 1)
    await settle()
    entry = DueEntry(NOW + 1, DELAY, parked.physical_offset)
    assert told == [entry] == bench.store.scheduled_between(0, NOW * 2)
    bench.store.inject_error = "full"
    bench.put("real", delivers=entry)
    await settle()
    assert bench.store.scheduled_between(0, NOW * 2) == [entry] and bench.bodies("real") == []
    bench.store.inject_error = ""
    bench.put("real", delivers=entry)
    await settle()
    assert bench.store.scheduled_between(0, NOW * 2) == [] and bench.bodies("real") == [b"x"]


async def test_a_sync_store_answers_after_its_own_thread_has_committed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "b.db", flush="sync")
    assert bench.store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    done = asyncio.Event()
    first = bench.put(body=b"a")
    bench.store.after_commit(lambda error: done.set())
    await asyncio.sleep(0)
    second = bench.put(body=b"b")  # while the first commit may still run
    await asyncio.wait_for(done.wait(), 10)
    closed = await bench.store.close()
    assert closed is None
    assert bench.outcomes == [(first, None), (second, None)] and second.queue_offset == 1


async def test_an_async_store_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "b.db")
    assert bench.store._db.execute("PRAGMA synchronous").fetchone()[0] == 1
    await bench.store.close()


async def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    bench = Bench(path)
    with pytest.raises(ConfigError, match="stop the other server"):
        open_database(path, sync=False)
    await bench.store.close()
    open_database(path, sync=False).close()


def test_foreign_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_bytes(b"this is no database at all, but a text that is long enough to be one")
    with pytest.raises(ConfigError, match=r"data_dir: .*text\.db"):
        open_database(text, sync=False)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(ConfigError, match="schema version 0"):
        open_database(other, sync=False)
    with sqlite3.connect(other) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    database.close()


async def test_a_memory_store_can_be_handed_on() -> None:
    first = Bench()
    first.put(body=b"a")
    await settle()
    database = first.store.abandon()
    assert database is not None
    second = Store(None, store_host=(b"\x7f\x00\x00\x01", 10911), now_ms=lambda: NOW)
    second.open(database)
    assert second.bounds("t", 0) == (0, 1)
    again = await second.close()
    assert again is database
    database.close()


@pytest.mark.parametrize("recent_bytes", [0, 1 << 20], ids=["database", "memory"])
async def test_reading_stops_at_its_bytes(recent_bytes: int) -> None:
    bench = Bench(recent_bytes=recent_bytes)
    for size in (5000, 100, 100, 9000, 100):
        bench.put(body=bytes(size))
    await settle()
    queue = bench.store.queue("t", 0)
    assert queue is not None
    longest = max(len(each.record) for each in bench.store.read(queue, 0, 9))
    fetched: list[int] = []
    make = StoredRecord._make

    def counting(row: tuple[int, int, bytes]) -> StoredRecord:
        fetched.append(len(row[2]))
        return make(row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoredRecord, "_make", counting)
        tries = ((0, 100), (0, longest), (1, 1000), (3, 10), (3, 1 << 20))
        counts = [len(bench.store.read(queue, offset, 9, limit)) for offset, limit in tries]
    assert counts == [1, 3, 2, 1, 2]
    assert recent_bytes or len(fetched) <= sum(counts) + 2, "rows beyond the limit are not read"


def test_messages_that_left_memory_before_their_turn_do_not_take_others_with_them() -> None:
    queue, recent = QueueLog(1, "t", 0), RecentMessages(5 * 1000)
    record = StoredRecord(0, 1, bytes(500))
    for _ in range(2):
        recent.append(queue, record)
    queue.skip(3, 1)  # a large batch, which does not stay in memory
    for _ in range(2):
        recent.append(queue, record)
    other = QueueLog(2, "t", 1)
    for _ in range(5):
        recent.append(other, record)  # two have to leave memory, the oldest: they are gone already
    assert queue.recent_from(5, 2) == [record, record]
    assert (queue.first_recent_offset, queue.next_offset) == (5, 7)
