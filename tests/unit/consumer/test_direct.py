"""One message that an operator hands to a consumer: what its listener makes of it is told, and nothing else happens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from aiorocketmq.model.enums import ConsumeResult
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry, Suspend
from aiorocketmq.protocol.bodies import ConsumeMessageDirectlyResult
from aiorocketmq.protocol.codes import RequestCode
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED
from tests.unit.consumer.world import GROUP, RETRY, TOPIC, ScriptedBroker, consuming, record, virtual_time

FIELDS = {"consumerGroup": GROUP, "clientId": "c", "msgId": "m", "brokerName": "broker-a"}


async def hand_over(broker: ScriptedBroker, message: bytes | None = None) -> ConsumeMessageDirectlyResult:
    message = record(TOPIC, 77, b"handed") if message is None else message
    [answer] = await broker.peer.push(RequestCode.CONSUME_MESSAGE_DIRECTLY, FIELDS, message)
    assert answer.code == 0, answer.remark
    return ConsumeMessageDirectlyResult.decode(answer.body)


def fail() -> None:
    raise ValueError("no such order")


CONCURRENT: list[tuple[Callable[[], object], str, str]] = [
    (lambda: None, "CR_SUCCESS", ""),
    (lambda: ConsumeResult.SUCCESS, "CR_SUCCESS", ""),
    (lambda: Retry(acknowledged=1), "CR_SUCCESS", ""),
    (lambda: {"done": 1}, "CR_SUCCESS", "returned a dict"),
    (lambda: Retry(), "CR_LATER", ""),
    (lambda: ConsumeResult.RECONSUME_LATER, "CR_LATER", ""),
    (fail, "CR_THROW_EXCEPTION", "ValueError: no such order"),
    (lambda: (number for number in ()), "CR_RETURN_NULL", "returned a generator"),
    (lambda: ConsumeResult.COMMIT, "CR_RETURN_NULL", "returned a ConsumeResult"),
    (lambda: Suspend(), "CR_RETURN_NULL", "returned a Suspend"),
]
ORDERED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: None, "CR_SUCCESS", ""),
    (lambda: ConsumeResult.COMMIT, "CR_COMMIT", ""),
    (lambda: ConsumeResult.ROLLBACK, "CR_ROLLBACK", ""),
    (lambda: ConsumeResult.SUSPEND_CURRENT_QUEUE_A_MOMENT, "CR_LATER", ""),
    (lambda: Suspend(1.0), "CR_LATER", ""),
    (lambda: Retry(), "CR_LATER", ""),
    (fail, "CR_THROW_EXCEPTION", "ValueError: no such order"),
    (lambda: (number for number in ()), "CR_RETURN_NULL", "returned a generator"),
]
CASES = [(False, *case) for case in CONCURRENT] + [(True, *case) for case in ORDERED]


@pytest.mark.feature("F41", "N6")
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize(("ordered", "answer", "result", "remark"), CASES)
async def test_results(ordered: bool, answer: Callable[[], object], result: str, remark: str, plain: bool, batch: int) -> None:
    broker, seen = ScriptedBroker(), list[Any]()

    def take(payload: ReceivedMessage | list[ReceivedMessage]) -> object:
        seen.append(payload)
        return answer()

    async def take_async(payload: ReceivedMessage | list[ReceivedMessage]) -> object:
        return take(payload)

    async with consuming(broker, take if plain else take_async, ordered=ordered, batch=batch, auto_commit=not ordered) as runtime:
        told = await hand_over(broker)
        assert (told.consume_result, told.order, told.auto_commit) == (result, ordered, not ordered)
        assert remark in told.remark if remark and told.remark is not None else told.remark is None, told.remark
        [payload] = seen
        message = payload[0] if batch > 1 else payload
        assert (message.body, message.topic, message.queue.broker_name, message.queue_offset) == (b"handed", TOPIC, "broker-a", 77)
        assert isinstance(payload, list) == (batch > 1)
        assert runtime.subscriptions_table.listeners and all(not each.calls for each in runtime.subscriptions_table.listeners)
        assert not broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)
        assert runtime.offsets(TOPIC) == {}


@pytest.mark.feature("F41", "N6")
@virtual_time
async def test_time_is_told_and_a_message_of_the_retry_topic_goes_to_the_listener_of_its_own() -> None:
    broker, topics = ScriptedBroker(), list[str]()

    async def listener(message: ReceivedMessage) -> None:
        topics.append(message.topic)
        await asyncio.sleep(2.5)

    async with consuming(broker, listener):
        retried = record(RETRY, 0, b"again", b"RETRY_TOPIC\x01orders\x02")
        assert (await hand_over(broker, retried)).spent_time_mills == 2500
        dead = record(f"%DLQ%{GROUP}", 0, b"dead", b"RETRY_TOPIC\x01orders\x02")
        assert (await hand_over(broker, dead)).consume_result == "CR_SUCCESS"
        assert topics[0] == TOPIC
        [answer] = await broker.peer.push(RequestCode.CONSUME_MESSAGE_DIRECTLY, FIELDS, record("bills", 0, b"x"))
        assert answer.code == 1 and "no listener" in (answer.remark or "")


@pytest.mark.feature("F41", "N6")
@virtual_time
async def test_message_is_consumed_beside_listeners_that_are_all_busy() -> None:
    broker, gate = ScriptedBroker(), asyncio.Event()
    broker.append(b"0", b"1")
    begun: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        begun.append(message.body)
        if message.body != b"handed":
            await gate.wait()

    async with consuming(broker, listener, concurrency=1, ordered=True):
        await asyncio.sleep(SETTLED)
        assert begun == [b"0"]
        assert (await hand_over(broker)).consume_result == "CR_SUCCESS"
        assert begun == [b"0", b"handed"]
        gate.set()


@pytest.mark.feature("F41", "N6", "F30")
@pytest.mark.parametrize("patient", [True, False])
@virtual_time
async def test_stop_waits_for_a_message_that_was_handed_over_as_for_any_other(patient: bool) -> None:
    broker, ended = ScriptedBroker(), asyncio.Event()

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.sleep(3)
        ended.set()

    async with consuming(broker, listener, await_termination_when_shutdown=5.0 if patient else 1.0):
        told = asyncio.ensure_future(broker.peer.push(RequestCode.CONSUME_MESSAGE_DIRECTLY, FIELDS, record(TOPIC, 0, b"0")))
        await asyncio.sleep(0.5)
    [answer] = await told
    assert ended.is_set() == patient
    assert answer.code == (0 if patient else 1)
    assert patient or "is being stopped" in (answer.remark or "")


@pytest.mark.feature("F41", "N6")
@virtual_time
async def test_listener_that_ends_its_own_task_has_failed() -> None:
    broker = ScriptedBroker()

    async def listener(message: ReceivedMessage) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with consuming(broker, listener):
        told = await hand_over(broker)
        assert told.consume_result == "CR_THROW_EXCEPTION" and "CancelledError" in (told.remark or "")


@pytest.mark.feature("F41", "N6")
async def test_plain_listener_that_hangs_does_not_hold_up_the_next_message() -> None:
    broker, gate, begun = ScriptedBroker(), threading.Event(), list[int]()

    def listener(message: ReceivedMessage) -> None:
        begun.append(message.queue_offset)
        if message.queue_offset == 1:
            gate.wait(20)

    async with consuming(broker, listener):
        hanging = asyncio.ensure_future(hand_over(broker, record(TOPIC, 1, b"hangs")))
        await eventually(lambda: begun == [1])
        assert (await hand_over(broker, record(TOPIC, 2, b"goes on"))).consume_result == "CR_SUCCESS"
        gate.set()
        assert (await hanging).consume_result == "CR_SUCCESS"
