"""Records of the message trace on their way: batches, bounds, threads, and what is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from aiorocketmq.client import trace
from aiorocketmq.client.trace import TraceDispatcher
from aiorocketmq.errors import RouteError
from aiorocketmq.model.enums import AccessChannel
from aiorocketmq.model.names import check_group
from aiorocketmq.protocol.trace import SubAfter, SubBefore
from tests.support.waiting import eventually


def record(number: int, keys: str | None = None) -> SubBefore:
    return SubBefore(1, None, "g", "r", f"id{number}", 0, keys)


class Instance:
    """A client instance that knows who is registered."""

    def __init__(self) -> None:
        self.broker_api = self.routes = None
        self.config = SimpleNamespace(access_channel=AccessChannel.LOCAL, unit_mode=False)
        self.registered: set[Any] = set()

    async def register_producer(self, producer: Any) -> None:
        self.registered.add(producer)

    async def unregister_producer(self, producer: Any) -> None:
        self.registered.discard(producer)


class Sent:
    """What the trace's own producer was to send; `fails` and `holds` say what becomes of it."""

    def __init__(self) -> None:
        self.topics: list[str] = []
        self.bodies: list[str] = []
        self.keys: list[list[str]] = []
        self.fails = False
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, topic: str, body: bytes, properties: Mapping[str, str], *, timeout: float) -> None:
        await self.free.wait()
        if self.fails:
            raise RouteError("no route", topic=topic)
        self.topics.append(topic)
        self.bodies.append(body.decode())
        self.keys.append(properties["KEYS"].split())

    @property
    def count(self) -> int:
        return sum(body.count("\x02") for body in self.bodies)


@pytest.fixture
async def sent() -> Sent:
    return Sent()


@pytest.fixture
async def dispatcher(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TraceDispatcher]:
    made = TraceDispatcher(Instance(), "g" * 120, "PRODUCE", None)  # type: ignore[arg-type]
    monkeypatch.setattr(made._producer, "send", sent.send)
    await made.start()
    yield made
    await made.stop(0)
    assert made._instance.registered == set()  # type: ignore[attr-defined]


@pytest.mark.feature("E7")
async def test_many_records_leave_at_once_and_few_wait(dispatcher: TraceDispatcher, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "LINGER", 3600.0)
    check_group(dispatcher.group)
    dispatcher.add(record(0))
    await asyncio.sleep(0.01)
    assert sent.bodies == []
    for number in range(1, trace.BATCH):
        dispatcher.add(record(number, "same"))
    await eventually(lambda: sent.count == trace.BATCH)
    assert len(sent.bodies) == 1
    assert sent.keys[0] == ["id0", "id1", "same", *[f"id{number}" for number in range(2, trace.BATCH)]]
    for number in range(trace.BATCH):  # and so does the next burst
        dispatcher.add(record(number))
        await asyncio.sleep(0.01 if number == 0 else 0)
    await eventually(lambda: sent.count == 2 * trace.BATCH)
    monkeypatch.setattr(trace, "LINGER", 0.01)
    dispatcher.add(record(99))
    await eventually(lambda: sent.count == 2 * trace.BATCH + 1)


@pytest.mark.feature("E7")
async def test_what_does_not_fit_is_counted(dispatcher: TraceDispatcher, sent: Sent, caplog: pytest.LogCaptureFixture) -> None:
    sent.free.clear()
    for number in range(trace.QUEUE + 7):
        dispatcher.add(record(number))
    assert dispatcher.lost == 7
    assert "trace record(s) of group" in caplog.text and "2048 of them wait already" in caplog.text
    sent.free.set()
    await dispatcher.stop(10.0)
    assert sent.count == trace.QUEUE
    dispatcher.add(record(1))
    assert dispatcher.lost == 8


@pytest.mark.feature("E7")
async def test_one_message_is_bounded_in_its_body_and_its_keys(dispatcher: TraceDispatcher, sent: Sent) -> None:
    dispatcher.add(*[record(number, f"key{number}" + "x" * 1000) for number in range(100)])
    await dispatcher.stop(10.0)
    assert sent.count == 100
    assert max(len(" ".join(keys)) for keys in sent.keys) <= trace.MAX_KEYS
    assert max(len(body.encode()) for body in sent.bodies) <= trace.MAX_BODY
    assert len(sent.bodies) < 10


@pytest.mark.feature("E7")
async def test_records_that_no_broker_takes_are_counted(dispatcher: TraceDispatcher, sent: Sent, caplog: pytest.LogCaptureFixture) -> None:
    sent.fails = True
    dispatcher.add(record(1), record(2))
    await dispatcher.stop(10.0)
    assert dispatcher.lost == 2
    assert "topic RMQ_SYS_TRACE_TOPIC does not take them" in caplog.text


@pytest.mark.feature("E7")
async def test_a_stop_waits_no_longer_than_it_may(dispatcher: TraceDispatcher, sent: Sent) -> None:
    sent.free.clear()
    dispatcher.add(*[record(number) for number in range(30)])
    await asyncio.sleep(0)
    dispatcher.add(*[record(number) for number in range(5)])
    async with asyncio.timeout(10.0):
        await dispatcher.stop(0.05)
    assert sent.bodies == []
    assert dispatcher.lost == 35


@pytest.mark.feature("E7")
async def test_threads_add_without_losing_or_doubling_any(dispatcher: TraceDispatcher, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "LINGER", 0.001)

    def add(start: int) -> None:
        for number in range(start, start + 200):
            dispatcher.add(record(number))

    threads = [threading.Thread(target=add, args=(start,)) for start in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    await eventually(lambda: sent.count == 1600)
    for thread in threads:
        thread.join()
    assert sorted(key for keys in sent.keys for key in keys) == sorted(f"id{number}" for number in range(1600))
    assert dispatcher.lost == 0


@pytest.mark.feature("L14", "E8")
async def test_for_a_cloud_service_no_message_holds_records_of_two_regions(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = Instance()
    instance.config.access_channel = AccessChannel.CLOUD
    made = TraceDispatcher(instance, "g", "CONSUME", "ignored")  # type: ignore[arg-type]
    monkeypatch.setattr(made._producer, "send", sent.send)
    await made.start()
    for number, region in enumerate(("one", "one", "two", None, "one")):
        made.add(SubBefore(1, region, "g", "r", f"id{number}", 0, None), SubAfter("r", f"id{number}", 1, True, None, 0, 1, "g", region))
    await made.stop(5.0)
    assert sent.topics == [f"rmq_sys_TRACE_DATA_{region}" for region in ("one", "two", "DefaultRegion", "one")]
    assert [body.count("\x02") for body in sent.bodies] == [4, 2, 2, 2]
    assert sent.bodies[1].endswith("true\x01null\x010\x01\x02")
    assert made.writes_to("rmq_sys_TRACE_DATA_two") and not made.writes_to("ignored")
