"""The loops of `tail` and `consume`: counts are kept exactly, and pauses are made, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Self

import pytest

from aiorocketmq.cli import consume, produce, tail
from aiorocketmq.cli.options import Cluster
from aiorocketmq.cli.render import OutputError
from aiorocketmq.errors import ConnectError
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from tests.support.virtual_loop import virtual_time

CLUSTER = Cluster(name_servers="ns:9876", output="json")
QUEUE = MessageQueue("orders", "broker-a", 0)
FORM = Cluster(output="json")


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the commands print."""
    shown: list[object] = []
    for module in (tail, consume):
        monkeypatch.setattr(module, "print_message", lambda form, message: shown.append(message))
    return shown


def test_tail_prints_no_more_than_its_count(printed: list[object]) -> None:
    sink = tail._Sink(FORM, 2, sort=False)
    sink.take([1, 2, 3])  # type: ignore[list-item]  # messages are only handed on
    sink.take([4])  # type: ignore[list-item]
    assert printed == [1, 2] and sink.full.is_set()


def test_tail_that_sorts_prints_no_more_than_its_count(printed: list[object]) -> None:
    sink = tail._Sink(FORM, 2, sort=True)
    late, early, middle = (SimpleNamespace(store_timestamp=at) for at in (3, 1, 2))
    sink.take([late, early])  # type: ignore[list-item]
    sink.take([middle])  # type: ignore[list-item]
    assert printed == []
    sink.finish()
    assert printed == [early, middle]


@virtual_time
async def test_tail_pauses_while_the_broker_is_away_and_loses_nothing(printed: list[object]) -> None:
    class Admin:
        def __init__(self) -> None:
            self.messages = self
            self.asked: list[tuple[float, int]] = []

        async def read(self, queue: MessageQueue, offset: int, **_: object) -> Any:
            self.asked.append((asyncio.get_running_loop().time(), offset))
            if 2 <= len(self.asked) <= 4:
                raise ConnectError("nobody there", address="broker-a:1")
            await asyncio.sleep(0.5)
            return SimpleNamespace(messages=[offset], next_offset=offset + 1)

    admin = Admin()
    sink = tail._Sink(FORM, 3, sort=False)
    await tail._all([tail._follow(admin, QUEUE, 7, "*", sink)], sink.full)  # type: ignore[arg-type]
    assert printed == [7, 8, 9]
    assert admin.asked[:6] == [(0.0, 7), (0.5, 8), (1.5, 8), (2.5, 8), (3.5, 8), (4.0, 9)]


@virtual_time
async def test_tail_begins_with_the_newest_messages_of_all_queues_together() -> None:
    queues = [MessageQueue("orders", "broker-a", number) for number in range(3)]
    stored = {queues[0]: [1, 2, 3, 10, 11], queues[1]: [4, 12], queues[2]: []}

    class Admin:
        def __init__(self) -> None:
            self.messages = self.topics = self

        async def stats(self, topic: str) -> Any:
            return SimpleNamespace(queues={queue: SimpleNamespace(min_offset=0, max_offset=len(times)) for queue, times in stored.items()})

        async def read(self, queue: MessageQueue, offset: int, **_: object) -> Any:
            assert offset >= 0
            found = [
                SimpleNamespace(queue=queue, queue_offset=at, store_timestamp=stored[queue][at]) for at in range(offset, len(stored[queue]))
            ]
            return SimpleNamespace(messages=found[:2], next_offset=offset + len(found[:2]))

    for last, offsets in ((3, [3, 1, 0]), (4, [3, 0, 0]), (5, [2, 0, 0]), (100, [0, 0, 0])):
        found = await tail.starting_offsets(Admin(), "orders", tail.Start(last=last))  # type: ignore[arg-type]
        assert found == dict(zip(queues, offsets, strict=True)), last


@virtual_time
async def test_tail_that_does_not_follow_stops_where_the_queue_ended_when_it_began(printed: list[object]) -> None:
    class Admin:
        def __init__(self) -> None:
            self.messages = self.offsets = self

        async def max(self, queue: MessageQueue) -> int:
            return 3

        async def read(self, queue: MessageQueue, offset: int, **_: object) -> Any:
            # More has come meanwhile: an answer may hold it, too.
            messages = [SimpleNamespace(queue_offset=number, store_timestamp=number) for number in range(offset, offset + 2)]
            return SimpleNamespace(messages=messages, next_offset=offset + 2)

    sink = tail._Sink(FORM, None, sort=True)
    await tail._read_to_end(Admin(), QUEUE, 0, "*", sink)  # type: ignore[arg-type]
    sink.finish()
    assert [message.queue_offset for message in printed] == [0, 1, 2]  # type: ignore[attr-defined]


class Producer:
    """A `Producer` that takes its time for each message, and counts how many are on their way."""

    most = 0

    def __init__(self, **_: object) -> None:
        self.under_way = 0

    async def send_nowait(self, message: object, **_: object) -> SendResult:
        self.under_way += 1
        Producer.most = max(Producer.most, self.under_way)
        await asyncio.sleep(0.1)
        self.under_way -= 1
        return SendResult(SendStatus.SEND_OK, "id", "offset id", QUEUE, 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.parametrize(("key", "most"), [("eu", 1), (None, 5)])
def test_produce_sends_messages_of_one_sharding_key_one_by_one(key: str | None, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        await produce._produce(CLUSTER, "orders", "x", 5, "g", produce.Fields(sharding_key=key))

    monkeypatch.setattr(produce, "Producer", Producer)
    Producer.most = 0
    run()
    assert Producer.most == most, "brokers store what is on its way at the same time in any order"


class Consumer:
    """A `PushConsumer` whose messages come when the test says; listeners that do not end are cancelled at the end."""

    def __init__(self, script: Callable[[Consumer], Coroutine[Any, Any, None]]) -> None:
        self._script = script
        self.calls: list[asyncio.Task[None]] = []
        self.consumed = 0
        self.assigned = {QUEUE}

    def listen(self, topic: str, expression: object) -> Callable[[Any], Any]:
        def keep(listener: Any) -> Any:
            self.listener = listener
            return listener

        return keep

    def deliver(self, message: object) -> None:
        task = asyncio.ensure_future(self.listener(message))
        self.calls.append(task)

    async def __aenter__(self) -> Self:
        self._running = asyncio.ensure_future(self._script(self))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running
        self.consumed = sum(task.done() for task in self.calls)
        for task in self.calls:
            task.cancel()


def consuming(consumer: Consumer, monkeypatch: pytest.MonkeyPatch, count: int | None, idle: float | None) -> Coroutine[Any, Any, None]:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(consume, "time", SimpleNamespace(monotonic=loop.time))
    return consume._consume(consumer, "orders", "*", count, idle, FORM)  # type: ignore[arg-type]


def test_consume_leaves_what_it_does_not_print(printed: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(consumer: Consumer) -> None:
        for number in range(5):
            consumer.deliver(number)
        await asyncio.sleep(1)

    @virtual_time
    async def check() -> None:
        consumer = Consumer(script)
        await consuming(consumer, monkeypatch, 2, None)
        assert printed == [0, 1]
        assert consumer.consumed == 2, "what was not printed is left for the next run"

    check()


def test_consume_is_idle_since_the_last_message(printed: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(consumer: Consumer) -> None:
        for number in range(3):
            await asyncio.sleep(2)
            consumer.deliver(number)

    @virtual_time
    async def check() -> None:
        await consuming(Consumer(script), monkeypatch, None, 3.0)
        assert printed == [0, 1, 2]
        assert asyncio.get_running_loop().time() == pytest.approx(9.0)

    check()


def test_consume_leaves_what_it_cannot_print(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def broken(form: object, message: object) -> None:
        tried.append(message)
        raise OutputError(OSError(28, "No space left on device"))

    async def script(consumer: Consumer) -> None:
        for number in range(3):
            consumer.deliver(number)
        await asyncio.sleep(1)

    @virtual_time
    async def check() -> None:
        consumer = Consumer(script)
        with pytest.raises(OutputError, match="No space left"):
            await consuming(consumer, monkeypatch, None, None)
        assert (tried, consumer.consumed) == ([0], 0)

    monkeypatch.setattr(consume, "print_message", broken)
    check()
