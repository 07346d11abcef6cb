"""What acknowledges popped messages: together what leaves together, and nothing that is too late or not ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.acking import Acker, Clocks
from aiorocketmq.errors import BrokerError, ReceiptError, RequestTimeoutError, UnsupportedRequestError
from aiorocketmq.model.receipt import Receipt
from aiorocketmq.protocol.headers_pop import PopMessageResponseHeader
from aiorocketmq.protocol.message_codec import decode_messages, encode_stored_message
from aiorocketmq.protocol.pop import give_receipts

NOW = 1_700_000_000_000


def popped(
    count: int, *, topic: str = "orders", group: str = "g", broker: str = "b", start: int = 10, at: int = NOW, first: int = 10
) -> Any:
    """Messages of one pop, of one queue."""
    records = b"".join(
        encode_stored_message(
            topic, b"%d" % number, b"", queue_id=1, queue_offset=first + number, commit_log_offset=0, born_timestamp=0, born_ip=bytes(4),
            born_port=1, store_timestamp=0, store_ip=bytes(4), store_port=1,
        )
        for number in range(count)
    )  # fmt: skip
    messages = decode_messages(records, broker_name=broker, max_body=100)
    offsets = ",".join(str(first + number) for number in range(count))
    header = PopMessageResponseHeader(at, 5000, 3, 0, f"0 1 {start}", f"0 1 {offsets}")
    give_receipts(messages, header, broker_name=broker, popped=topic, more=f"ORIGIN_GROUP\x01{group}\x02")
    return messages


class Api:
    """Notes what it is asked for."""

    wrapped_group = "g"

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.errors: list[Exception] = []
        self.together = True

    async def ack(self, topic: str, receipt: Receipt) -> None:
        self.calls.append(("one", receipt.offset))
        await self._fail()

    async def ack_all(self, broker_name: str, receipts: Sequence[tuple[str, Receipt]]) -> None:
        self.calls.append((broker_name, [receipt.offset for _, receipt in receipts]))
        if not self.together:
            raise UnsupportedRequestError("no", code=3)
        await self._fail()

    async def change_invisible(self, topic: str, receipt: Receipt, invisible: float) -> Receipt:
        self.calls.append(("change", invisible))
        await self._fail()
        return receipt.changed(NOW + 7, 9000, 5)

    async def _fail(self) -> None:
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)


class Case:
    def __init__(self) -> None:
        self.api = Api()
        self.now = NOW + 1000.0
        self.scheduler = Scheduler("test")
        self.clocks = Clocks(lambda: self.now)
        self.acker = Acker(self.api, self.scheduler, self.clocks, "g")  # type: ignore[arg-type]


@pytest.mark.feature("H2", "H3")
async def test_what_is_acknowledged_in_one_step_leaves_in_one_request_for_each_broker() -> None:
    case = Case()
    here, there = popped(3), popped(2, broker="c")
    await asyncio.gather(*[case.acker.ack([message]) for message in here], case.acker.ack(there))
    assert case.api.calls == [("b", [10, 11, 12]), ("c", [10, 11])]
    await case.acker.ack(here[:1])
    assert case.api.calls[2:] == [("one", 10)]


@pytest.mark.feature("H3")
async def test_a_broker_that_takes_none_together_gets_them_one_by_one() -> None:
    case = Case()
    case.api.together = False
    messages = popped(2)
    await case.acker.ack(messages)
    await case.acker.ack(messages)
    assert case.api.calls == [("b", [10, 11]), *[("one", 10), ("one", 11)] * 2]


@pytest.mark.feature("H12")
async def test_nothing_is_sent_when_the_time_is_over_by_the_clock_of_the_broker() -> None:
    case = Case()
    (message,) = popped(1)
    case.clocks.learn("b", NOW - 60_000)  # our clock is a minute ahead of the broker's
    case.now = NOW + 61_000.0 + 4_900
    await case.acker.ack([message])
    case.now += 200
    with pytest.raises(ReceiptError, match=r"of 5 s of .* is over since 0.1 s"):
        await case.acker.ack([message])
    with pytest.raises(ReceiptError):
        await case.acker.change(message, 5.0)
    assert case.api.calls == [("one", 10)]


@pytest.mark.feature("H2")
async def test_one_that_cannot_be_acknowledged_holds_none_of_the_others_up() -> None:
    case = Case()
    with pytest.raises(ReceiptError, match=r"2 of 5 messages .* was received by group 'other'") as caught:
        await case.acker.ack([*popped(1, group="other"), *popped(3), *popped(1, at=NOW - 10_000)])
    assert caught.value.hint
    assert case.api.calls == [("b", [10, 11, 12])]


@pytest.mark.feature("H2")
@pytest.mark.parametrize("code", [13, 208])
async def test_a_receipt_that_the_broker_does_not_know_is_an_error_about_it(code: int) -> None:
    case = Case()
    case.api.errors = [BrokerError("gone", code=code, broker="b")]
    with pytest.raises(ReceiptError, match=r"has no message of topic 'orders' with the receipt '10 .*': .*gone"):
        await case.acker.ack(popped(1))
    case.api.errors = [BrokerError("gone", code=code, broker="b")]
    with pytest.raises(ReceiptError):
        await case.acker.change(popped(1)[0], 1.0)


async def test_each_of_those_who_wait_gets_an_error_of_his_own() -> None:
    case = Case()
    case.api.errors = [RequestTimeoutError("late")]
    errors = await asyncio.gather(*[case.acker.ack([message]) for message in popped(2)], return_exceptions=True)
    assert [type(error) for error in errors] == [RequestTimeoutError] * 2 and errors[0] is not errors[1]


async def test_a_caller_who_is_cancelled_takes_nothing_back() -> None:
    case = Case()
    task = asyncio.create_task(case.acker.ack(popped(2)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.01)
    assert case.api.calls == [("b", [10, 11])]


async def test_a_stop_ends_the_wait() -> None:
    case = Case()
    task = asyncio.create_task(case.acker.ack(popped(2)))
    await asyncio.sleep(0)
    await case.scheduler.stop()
    with pytest.raises(Exception, match="was stopped"):
        await task


@pytest.mark.feature("H4")
async def test_a_changed_time_gives_another_receipt() -> None:
    case = Case()
    (message,) = popped(1, first=12)
    await case.acker.change(message, 9.0)
    assert message.receipt_handle == f"12 {NOW + 7} 9000 5 0 b 1 12"
    case.now = NOW + 8000.0
    await case.acker.ack([message])


@pytest.mark.feature("H3")
async def test_offsets_far_apart_are_not_joined() -> None:
    case = Case()
    near, far = popped(1), popped(1, first=200_000)
    await case.acker.ack([*near, *far, *near])
    assert case.api.calls == [("b", [10, 10]), ("one", 200_000)]


@pytest.mark.feature("H2")
async def test_a_stop_waits_for_what_was_acknowledged_before_it() -> None:
    case = Case()
    acks = [asyncio.create_task(case.acker.ack(popped(2, broker=broker))) for broker in "bc"]
    await asyncio.sleep(0)
    assert not case.api.calls
    await case.acker.settle()
    await case.scheduler.stop()
    await asyncio.gather(*acks)
    assert case.api.calls == [("b", [10, 11]), ("c", [10, 11])]


@pytest.mark.feature("H12")
def test_a_wall_clock_that_is_set_ends_no_invisible_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks()
    clocks.learn("b", NOW)
    wall = time.time
    for step in (3600.0, -3600.0):
        monkeypatch.setattr(time, "time", lambda step=step: wall() + step)
        assert 0 <= clocks.now("b") - NOW < 60_000
