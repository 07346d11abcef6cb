"""Units of work: what one request changes is stored whole or not at all, and its failure is its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiorocketmq.errors import BrokerError, MessageIllegalError, RocketMQError, ServiceNotAvailableError
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage
from aiorocketmq.server.store.store import Store
from tests.support.waiting import eventually
from tests.unit.server.harness import NOW, settle

BAD = "\udcff"  # has no encoding


class Bench:
    """A store, and everything it told."""

    def __init__(self, path: Path | None, flush: str) -> None:
        self.told: list[tuple[object, RocketMQError | None]] = []
        self.applied: list[object] = []
        self.store = Store(path, store_host=(b"\x7f\x00\x00\x01", 1), now_ms=lambda: NOW, flush=flush)  # type: ignore[arg-type]
        self.store.open()

    @contextmanager
    def request(self, name: object) -> Iterator[Store]:
        """A request that is answered after its commit."""
        self.store.begin()
        yield self.store
        self.store.after_commit(lambda error: self.told.append((name, error)))
        self.store.end()

    def message(self, body: bytes = b"x", topic: str = "t", **fields: object) -> PendingMessage:
        return PendingMessage(topic, 0, body, b"", done=lambda message, error: self.told.append((body, error)), **fields)  # type: ignore[arg-type]

    async def committed(self) -> None:
        await eventually(lambda: not self.store._armed and self.store._committing is None)

    def bodies(self, topic: str = "t") -> list[bytes]:
        queue = self.store.queue(topic, 0)
        records = self.store.read(queue, 0, 10_000) if queue is not None else []
        return [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records]

    def errors(self) -> dict[object, type[RocketMQError] | None]:
        return {name: type(error) if error is not None else None for name, error in self.told}


@pytest.fixture(params=["memory", "file", "sync"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(None if request.param == "memory" else tmp_path / "b.db", "sync" if request.param == "sync" else "async")
    yield made
    database = await made.store.close()
    if database is not None:
        database.close()


@pytest.mark.parametrize("bad", ["text", "number"])
async def test_a_change_that_cannot_be_stored_fails_alone_and_never_comes_back(bench: Bench, bad: str) -> None:
    bench.store.append(bench.message(b"before"))
    with bench.request("good") as store:
        store.put_setting("topic", "good", "{}")
    with bench.request("bad") as store:
        store.put_setting("topic", "half", "{}", lambda: bench.applied.append("half"))
        if bad == "text":
            store.put_setting("group", BAD, None)
        else:
            store.put_offset("g", "t", 0, 1 << 70)
    bench.store.append(bench.message(b"after"))
    bench.store.put_offset("g", "t", 0, 3)
    await bench.committed()
    assert bench.errors() == {b"before": None, "good": None, "bad": BrokerError, b"after": None}
    for _ in range(3):
        bench.store.append(bench.message(b"later"))
        await bench.committed()
    assert bench.bodies() == [b"before", b"after", b"later", b"later", b"later"]
    assert bench.store.settings("topic") == {"good": "{}"} and bench.applied == []
    assert list(bench.store.offsets()) == [("g", "t", 0, 3)]


async def test_a_message_stands_and_falls_with_what_its_request_wrote_before(bench: Bench) -> None:
    with bench.request("bad setting") as store:
        store.put_setting("topic", BAD, "{}")
        store.append(bench.message(b"with a bad setting"))
    with bench.request("bad message") as store:
        store.put_setting("topic", "of a bad message", "{}")
        store.append(bench.message(b"bad", flag=1 << 40))
    with bench.request("well") as store:
        store.put_setting("topic", "t", "{}")
        store.append(bench.message(b"well"))
    await bench.committed()
    assert bench.errors() == {
        b"with a bad setting": BrokerError, "bad setting": BrokerError, b"bad": MessageIllegalError, "bad message": MessageIllegalError,
        b"well": None, "well": None,
    }  # fmt: skip
    assert bench.bodies() == [b"well"] and bench.store.bounds("t", 0) == (0, 1)
    assert bench.store.settings("topic") == {"t": "{}"}


async def test_messages_that_come_together_are_stored_together(bench: Bench) -> None:
    bench.store.append_all([bench.message(b"a0"), bench.message(b"a1")])
    bench.store.append_all([bench.message(b"b0"), bench.message(b"b1", flag=1 << 40), bench.message(b"b2", "u")])
    bench.store.append_all([bench.message(b"c0"), bench.message(b"c1")])
    await bench.committed()
    assert bench.bodies() == [b"a0", b"a1", b"c0", b"c1"] and bench.store.queue("u", 0) is None
    assert {body for body, error in bench.told if isinstance(error, MessageIllegalError)} == {b"b0", b"b1", b"b2"}


async def test_a_message_that_only_the_database_refuses_fails_alone(bench: Bench) -> None:
    bench.store.append(bench.message(b"a"))
    bench.store.append(bench.message(b"key", keys=(BAD,)))
    bench.store.append(bench.message(b"due", deliver_at=1 << 70))
    bench.store.append(bench.message(b"b"))
    await bench.committed()
    assert bench.errors() == {b"a": None, b"key": MessageIllegalError, b"due": MessageIllegalError, b"b": None}
    assert bench.bodies() == [b"a", b"b"]


async def test_a_topic_without_an_encoding(bench: Bench) -> None:
    bench.store.append(bench.message(b"a"))
    bench.store.append(bench.message(b"bad", BAD))
    await bench.committed()
    assert bench.errors() == {b"a": None, b"bad": MessageIllegalError}


async def test_memory_follows_the_commit_and_comes_before_the_answers(bench: Bench) -> None:
    order: list[str] = []
    bench.store.begin()
    bench.store.put_setting("topic", "t", "{}", lambda: order.append("applied"))
    bench.store.after_commit(lambda error: order.append("told"))
    bench.store.append(PendingMessage("t", 0, b"x", b"", done=lambda message, error: order.append("message")))
    bench.store.end()
    bench.store.on_arrival = lambda queue, messages: order.append("arrived")
    assert order == []
    await bench.committed()
    assert order == ["applied", "message", "told", "arrived"]


async def test_when_nothing_can_be_written_everybody_is_refused_and_nothing_remains(bench: Bench) -> None:
    bench.store.put_offset("g", "t", 0, 5)
    await bench.committed()
    bench.store.inject_error = "disk full"
    with bench.request("put") as store:
        store.put_setting("topic", "t", "{}", lambda: bench.applied.append("put"))
        store.append(bench.message(b"in a request"))
    bench.store.append(bench.message(b"alone"))
    bench.store.put_offset("g", "t", 0, 4, lambda: bench.applied.append("offset"))
    await bench.committed()
    bench.store.inject_error = ""
    assert set(bench.errors().values()) == {ServiceNotAvailableError} and len(bench.told) == 3
    bench.store.put_offset("h", "t", 0, 1)
    await bench.committed()
    assert sorted(bench.store.offsets()) == [("g", "t", 0, 5), ("h", "t", 0, 1)], "an older offset must not come back over a newer one"
    assert bench.store.settings("topic") == {} and bench.bodies() == [] and bench.applied == []


async def test_a_topic_takes_the_messages_of_its_tick_along(bench: Bench) -> None:
    bench.store.append(bench.message(b"old"))
    with bench.request("delete") as store:
        store.put_setting("topic", "t", None)
        store.drop_topic("t")
    bench.store.append(bench.message(b"other", "u"))
    with bench.request("delete again") as store:
        store.drop_topic("t")
    await bench.committed()
    assert bench.errors() == {b"old": None, "delete": None, b"other": None, "delete again": None}
    assert bench.bodies() == [] and bench.bodies("u") == [b"other"]
    bench.store.append(bench.message(b"new"))
    await bench.committed()
    assert bench.bodies() == [b"new"] and bench.told[-1] == (b"new", None)


async def test_due_work_is_added_and_struck_with_its_unit(bench: Bench) -> None:
    told: list[DueEntry] = []
    bench.store.on_scheduled = told.append
    good, bad = DueEntry(NOW, "check", 1), DueEntry(NOW, "check", 2)
    with bench.request("good") as store:
        store.put_due(good)
    with bench.request("bad") as store:
        store.put_due(bad)
        store.put_setting("topic", BAD, "{}")
    await bench.committed()
    assert told == [good] == bench.store.scheduled_between(0, NOW * 2)
    with bench.request("bad") as store:
        store.strike(good)
        store.put_setting("topic", BAD, "{}")
    await bench.committed()
    assert bench.store.scheduled_between(0, NOW * 2) == [good]
    bench.store.append(bench.message(b"parked", deliver_at=NOW + 1))
    bench.store.strike(good, lambda: bench.applied.append("struck"))
    await bench.committed()
    assert [(entry.kind, entry.at) for entry in bench.store.scheduled_between(0, NOW * 2)] == [(DELAY, NOW + 1)]
    assert bench.applied == ["struck"]


async def test_writes_outside_a_request_are_units_by_themselves(bench: Bench) -> None:
    bench.store.put_setting("topic", "a", "{}")
    bench.store.put_setting("topic", BAD, "{}")
    bench.store.put_setting("topic", "b", "{}")
    await bench.committed()
    assert sorted(bench.store.settings("topic")) == ["a", "b"]


async def test_the_loop_goes_on_while_very_many_messages_are_stored(bench: Bench) -> None:
    count = 20_000
    gate = threading.Event()
    bench.store.workers.submit(gate.wait)  # the commit runs on this thread, not before the gate opens
    try:
        bench.store.append_all([bench.message(b"m") for _ in range(count)])
        await settle(1)
        assert bench.store._committing is not None and bench.told == []
        bench.store.append(bench.message(b"meanwhile"))
        await settle(20)
        assert bench.told == []
    finally:
        gate.set()
    await bench.committed()
    assert len(bench.told) == count + 1 and bench.store.bounds("t", 0) == (0, count + 1)
    assert bench.told[-1] == (b"meanwhile", None)


async def test_what_a_request_wrote_is_dropped_when_it_is_refused(bench: Bench) -> None:
    told: list[RocketMQError | None] = []
    bench.store.append(bench.message(b"old"))
    await bench.committed()
    with bench.request("good") as store:
        store.put_setting("topic", "good", "{}", lambda: bench.applied.append("good"))
    store.begin()
    store.put_setting("topic", "bad", "{}", lambda: bench.applied.append("bad")).callbacks.append(told.append)
    store.append(bench.message(b"bad"))
    store.drop_topic("t")
    store.revoke()
    store.revoke()
    store.end()
    assert len(told) == 1 and told[0] is not None
    bench.store.append(bench.message(b"between"))
    store.begin()
    store.append(bench.message(b"bad by itself"))
    store.revoke()
    store.end()
    bench.store.append(bench.message(b"new"))
    await bench.committed()
    assert bench.applied == ["good"]
    assert bench.store.settings("topic") == {"good": "{}"}
    assert bench.bodies() == [b"old", b"between", b"new"]


async def test_a_topic_of_many_messages_goes_on_a_thread_of_its_own(bench: Bench) -> None:
    unit = bench.store.append_all([bench.message(b"x") for _ in range(9000)])
    unit.callbacks.append(lambda error: bench.applied.append(error))
    await eventually(lambda: bench.applied == [None])
    bench.store.drop_topic("t")
    await asyncio.sleep(0)
    assert bench.store.committing
    await bench.committed()
    assert bench.store.bounds("t", 0) == (0, 0)
