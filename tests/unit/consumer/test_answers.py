"""Listeners that get a list and answer for each message of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.hooks import ConsumeContext
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode
from tests.unit.consumer.test_pulling import SETTLED
from tests.unit.consumer.world import TOPIC, ScriptedBroker, consuming, virtual_time

RESULT = rmq.ConsumeResult


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def sent_back(broker: ScriptedBroker) -> list[tuple[int, int]]:
    """Offset and delay level of each message that was given back."""
    fields = [request.command.ext_fields for request in broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)]
    return sorted((int(each["offset"]) // 1000, int(each["delayLevel"])) for each in fields)


@pytest.mark.feature("F26", "F7")
@virtual_time
async def test_each_message_gets_its_own_answer(caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    broker.append(*numbered(6))
    answers = [None, rmq.Retry(3), RESULT.SUCCESS, LookupError("no such order"), RESULT.RECONSUME_LATER, rmq.Retry(-1)]

    async def listener(messages: list[ReceivedMessage]) -> object:
        return answers[: len(messages)]

    async with consuming(broker, listener, batch=8) as runtime:
        await asyncio.sleep(SETTLED)
        counters = runtime.instance.stats.counters("workers", TOPIC)
        await runtime.persist_offsets()
        assert (counters.ok, counters.failed) == (2, 4)
    assert sent_back(broker) == [(1, 3), (3, 0), (4, 0), (5, -1)]
    assert broker.offsets[TOPIC] == 6
    assert "no such order" in caplog.text


@pytest.mark.feature("F26", "F51")
@virtual_time
async def test_what_gather_gives_is_an_answer() -> None:
    broker = ScriptedBroker()
    broker.append(*numbered(4))

    async def one(message: ReceivedMessage) -> int:
        if message.body in (b"1", b"2"):
            raise LookupError(message.body)
        return 7

    async def listener(messages: list[ReceivedMessage]) -> object:
        return await asyncio.gather(*map(one, messages), return_exceptions=True)

    async with consuming(broker, listener, batch=8):
        await asyncio.sleep(SETTLED)
    assert sent_back(broker) == [(1, 0), (2, 0)]


@pytest.mark.feature("F26")
@pytest.mark.parametrize(
    ("answer", "back"),
    [
        ([rmq.Retry()], 3),
        ([None, None, ValueError("x"), None], 3),
        ((RESULT.SUCCESS,), 3),
        ([], 0),
        ([True, 7], 0),
        ([1, "a", object()], 0),
        ((None, rmq.Suspend(1.0), None), 1),
        ("abc", 0),
    ],
)
@virtual_time
async def test_answers_that_do_not_fit_lose_nothing(answer: object, back: int) -> None:
    broker = ScriptedBroker()
    broker.append(*numbered(3))

    async def listener(messages: list[ReceivedMessage]) -> object:
        return answer

    async with consuming(broker, listener, batch=8):
        await asyncio.sleep(SETTLED)
    assert len(sent_back(broker)) == back
    assert broker.offsets[TOPIC] == 3


@pytest.mark.feature("F26")
@virtual_time
async def test_a_list_means_nothing_where_one_message_was_given() -> None:
    broker = ScriptedBroker()
    broker.append(b"0")

    async def listener(message: ReceivedMessage) -> object:
        return [rmq.Retry()]

    async with consuming(broker, listener):
        await asyncio.sleep(SETTLED)
    assert sent_back(broker) == []


@pytest.mark.feature("F26", "F29")
@pytest.mark.parametrize("failure", [rmq.Suspend(2.0), LookupError("no"), RESULT.SUSPEND_CURRENT_QUEUE_A_MOMENT, RESULT.ROLLBACK])
@virtual_time
async def test_in_order_the_first_failure_decides(failure: object) -> None:
    broker, calls = ScriptedBroker(), list[tuple[float, list[bytes]]]()
    broker.append(*numbered(5))
    clock = asyncio.get_running_loop().time

    async def listener(messages: list[ReceivedMessage]) -> object:
        calls.append((clock(), [message.body for message in messages]))
        return [None, RESULT.COMMIT, failure, None, LookupError("later")] if len(calls) == 1 else [None] * len(messages)

    async with consuming(broker, listener, batch=8, ordered=True):
        await asyncio.sleep(SETTLED + 5)
    assert [bodies for _, bodies in calls] == [numbered(5), numbered(5)[2:]]
    assert calls[1][0] - calls[0][0] == pytest.approx(2.0 if isinstance(failure, rmq.Suspend) else 1.0)
    assert broker.offsets[TOPIC] == 5


@pytest.mark.feature("F26", "E4")
def test_hooks_see_that_a_message_of_the_list_failed() -> None:
    seen: list[bool] = []

    class Hook:
        def before_consume(self, context: ConsumeContext) -> None: ...

        def after_consume(self, context: ConsumeContext) -> None:
            seen.append(context.success)

    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g", hooks=[Hook()])
    given: list[Any] = [[None, None], [None, rmq.Retry()], [ValueError("x"), None], [7, 8]]

    @consumer.listen(TOPIC, batch=2)
    def handle(messages: list[ReceivedMessage]) -> Any:
        return given[len(seen)]

    listener = consumer._subscriptions.listener(TOPIC)
    assert listener is not None
    stored: list[Any] = [object(), object()]
    for _ in given:
        listener.function(stored)
    assert seen == [True, False, False, True]
