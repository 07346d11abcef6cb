"""Where a POP consumer takes its messages from, whom it wakes, and what a cancelled caller leaves to the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.acking import Clocks
from aiorocketmq.consumer.popping import ORDERED_LOOK, Popping
from aiorocketmq.errors import NoPermissionError, RequestTimeoutError
from aiorocketmq.model.filters import SubscriptionData, build_subscription
from aiorocketmq.protocol.headers_pop import NotificationResponseHeader
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.consumer.test_acking import NOW, popped


class Api:
    """A broker for each name: what it has, and what it is asked for."""

    def __init__(self) -> None:
        self.stored: dict[str, deque[Any]] = {"b": deque(), "c": deque()}
        self.errors: dict[str, Exception] = {}
        self.told: dict[str, asyncio.Event] = {}
        self.pops: list[tuple[str, int]] = []
        self.attempts: list[str | None] = []
        self.questions: list[str] = []
        self.took = 0.001
        self.lies = False

    async def pop(self, subscription: SubscriptionData, broker_name: str, *, max_messages: int, attempt: str | None, **_: Any) -> Any:
        self.pops.append((broker_name, max_messages))
        self.attempts.append(attempt)
        await asyncio.sleep(self.took)
        if broker_name in self.errors:
            raise self.errors[broker_name]
        stored = self.stored[broker_name]
        return [stored.popleft() for _ in range(min(max_messages, len(stored)))]

    async def notification(
        self, subscription: SubscriptionData, broker_name: str, *, wait: float, ordered: bool, queue_id: int
    ) -> NotificationResponseHeader:
        self.questions.append(broker_name)
        if broker_name in self.errors:
            raise self.errors[broker_name]
        event = self.told.setdefault(broker_name, asyncio.Event())
        if self.lies or self.stored[broker_name]:
            return NotificationResponseHeader(True)
        try:
            await asyncio.wait_for(event.wait(), wait)
        except TimeoutError:
            return NotificationResponseHeader(False)
        event.clear()
        return NotificationResponseHeader(True)

    def put(self, broker_name: str, count: int) -> None:
        self.stored[broker_name].extend(popped(count, broker=broker_name))
        self.told.setdefault(broker_name, asyncio.Event()).set()


class Case:
    def __init__(self, *brokers: str, ordered: bool = False, expression: str = "*") -> None:
        self.api, self.scheduler = Api(), Scheduler("test")
        ids = iter("123456789")
        self.popping = Popping(
            self.api, None, self.scheduler, Clocks(lambda: NOW), ordered=ordered, make_attempt=lambda: next(ids)  # type: ignore[arg-type]
        )  # fmt: skip
        self.popping.follow({("orders", broker): build_subscription("orders", expression, 1) for broker in brokers or ("b",)})

    async def take(self, limit: int = 32, wait: float = 60.0) -> list[bytes]:
        return [message.body for message in await self.popping.take(limit, wait, 60.0)]

    async def end(self) -> None:
        self.popping.close()
        await self.scheduler.stop()
        self.popping.end()


@pytest.mark.feature("H1")
@virtual_time
async def test_sources_are_asked_in_turn() -> None:
    case = Case("b", "c")
    for broker in ("b", "c"):
        case.api.put(broker, 40)
    assert [len(await case.take()) for _ in range(4)] == [32, 32, 8, 8]
    assert [name for name, _ in case.api.pops] == ["b", "c", "b", "c"]
    await case.end()


@pytest.mark.feature("H5")
@virtual_time
async def test_who_waits_takes_nothing_and_is_woken_alone() -> None:
    case = Case()
    waiting = [asyncio.create_task(case.take(1)) for _ in range(5)]
    await asyncio.sleep(5)
    assert case.api.questions == ["b"], "one question for all of them"
    asked = len(case.api.pops)
    case.api.put("b", 1)
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    await asyncio.sleep(1)
    assert len(case.api.pops) <= asked + 2
    case.api.put("b", 4)
    assert [len(found) for found in await asyncio.gather(*waiting)] == [1] * 5
    await case.end()


@virtual_time
async def test_nothing_in_time_is_an_empty_list() -> None:
    case = Case()
    loop = asyncio.get_running_loop()
    assert await case.take(wait=0) == [] and loop.time() < 0.1
    assert await case.take(wait=40) == [] and 40 <= loop.time() < 41
    await case.end()


@pytest.mark.feature("H13")
@virtual_time
async def test_what_came_for_a_cancelled_caller_goes_to_the_next_one() -> None:
    case = Case()
    case.api.put("b", 3)
    task = asyncio.create_task(case.take())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await case.take(2) == [b"0", b"1"] and await case.take() == [b"2"]
    await case.end()


@virtual_time
async def test_a_woken_caller_who_is_cancelled_wakes_another_one() -> None:
    case = Case()
    first, second = asyncio.create_task(case.take()), asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.api.put("b", 1)
    await eventually(lambda: any(future.done() for future in case.popping._waiters), interval=0)
    first.cancel()
    assert await second == [b"0"]
    await case.end()


@virtual_time
async def test_a_broker_that_announces_what_it_does_not_give_is_asked_ever_more_seldom() -> None:
    case = Case()
    case.api.lies = True
    assert await case.take(wait=30) == []
    assert 30 <= len(case.api.pops) < 60
    await case.end()


@virtual_time
async def test_one_broker_that_fails_holds_nobody_up_and_all_that_fail_are_an_error() -> None:
    case = Case("b", "c")
    case.api.errors["b"] = RequestTimeoutError("no answer")
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(10)
    case.api.put("c", 1)
    assert await waiting == [b"0"]
    case.api.errors["c"] = RequestTimeoutError("no answer")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(RequestTimeoutError):
        await case.take(wait=10)
    assert 9.9 <= loop.time() - began < 12
    case.api.errors = dict.fromkeys("bc", NoPermissionError("no", code=16))
    with pytest.raises(NoPermissionError):
        await case.take(wait=10)
    assert loop.time() - began < 14, "waiting does not help"
    case.api.errors.clear()
    case.api.put("c", 1)
    assert await case.take() == [b"0"]
    await case.end()


@pytest.mark.feature("H10")
@virtual_time
async def test_an_ordered_request_without_an_answer_is_repeated_with_its_id() -> None:
    case = Case(ordered=True)
    case.api.errors["b"] = RequestTimeoutError("no answer")
    with pytest.raises(RequestTimeoutError):
        await case.take(wait=0)
    case.api.errors.clear()
    case.api.put("b", 1)
    assert await case.take() == [b"0"]
    assert case.api.attempts == ["1", "1"]
    assert await case.take(wait=0) == []
    assert case.api.attempts[2:] == ["2"]
    await case.end()


@pytest.mark.feature("H10")
@virtual_time
async def test_in_order_it_is_looked_again_after_an_acknowledgement_and_every_second() -> None:
    case = Case(ordered=True)
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(0.5)
    case.api.stored["b"].extend(popped(1))
    case.popping.look_again()
    assert await waiting == [b"0"]
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(0.5)
    case.api.stored["b"].extend(popped(1))
    began = asyncio.get_running_loop().time()
    assert await waiting == [b"0"]
    assert asyncio.get_running_loop().time() - began <= ORDERED_LOOK + 0.1
    await case.end()


@virtual_time
async def test_a_stop_ends_every_wait() -> None:
    case = Case()
    waiting = [asyncio.create_task(case.take()) for _ in range(3)]
    await asyncio.sleep(1)
    case.popping.close()
    assert await asyncio.gather(*waiting) == [[]] * 3
    await case.end()


@virtual_time
async def test_a_topic_that_comes_later_is_asked_at_once() -> None:
    case = Case()
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.api.stored["c"].extend(popped(1))
    case.popping.follow({("orders", broker): build_subscription("orders", "*", 1) for broker in "bc"})
    assert await waiting == [b"0"]
    await case.end()


@pytest.mark.feature("H13")
@virtual_time
async def test_what_a_cancelled_caller_leaves_is_for_all_who_wait() -> None:
    case = Case()
    case.api.took = 5.0
    case.api.put("b", 2)
    first = asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.api.took = 0.001
    stored, case.api.stored["b"] = case.api.stored["b"], deque()
    waiting = [asyncio.create_task(case.take(1)) for _ in range(2)]
    await asyncio.sleep(1)
    case.api.stored["b"] = stored
    first.cancel()
    assert sorted(await asyncio.gather(*waiting)) == [[b"0"], [b"1"]]
    assert asyncio.get_running_loop().time() < 6
    await case.end()


@pytest.mark.feature("H5")
@virtual_time
async def test_a_woken_caller_who_is_cancelled_while_he_asks_leaves_somebody_who_looks() -> None:
    case = Case()
    first, second = asyncio.create_task(case.take()), asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.api.took = 0.5
    case.api.told["b"].set()  # what was there, another member has taken
    await asyncio.sleep(0.2)
    first.cancel()
    await asyncio.sleep(2)
    case.api.put("b", 1)
    assert await second == [b"0"]
    assert asyncio.get_running_loop().time() < 5, "not only when its time was over"
    await case.end()


@pytest.mark.feature("H5")
@virtual_time
async def test_a_caller_whose_time_is_over_leaves_somebody_who_looks() -> None:
    case = Case()
    first, second = asyncio.create_task(case.take(wait=1.4)), asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.api.took = 0.5
    case.api.told["b"].set()
    assert await first == []
    await asyncio.sleep(2)
    case.api.put("b", 1)
    assert await second == [b"0"]
    assert asyncio.get_running_loop().time() < 5, "not only when its time was over"
    await case.end()


@virtual_time
async def test_who_waits_waits_for_the_new_filter_when_it_changes() -> None:
    case = Case(expression="a")
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(1)
    case.popping.follow({("orders", "b"): build_subscription("orders", "*", 2)})
    await asyncio.sleep(1)
    assert case.api.questions == ["b", "b"], "the broker holds the question with the old one"
    assert len(case.api.pops) == 2
    case.api.put("b", 1)
    assert await waiting == [b"0"]
    await case.end()


@pytest.mark.feature("H13")
@virtual_time
async def test_what_comes_after_the_end_has_begun_is_left_to_be_given_back() -> None:
    case = Case("b", "c")
    case.api.took = 0.5
    case.api.put("b", 3)
    waiting = [asyncio.create_task(case.take()) for _ in range(2)]
    await asyncio.sleep(0.1)
    waiting[1].cancel()
    case.popping.close()
    await case.popping.settle()
    assert [message.body for message in case.popping.take_left()] == [b"0", b"1", b"2"]
    assert await waiting[0] == [] and {name for name, _ in case.api.pops} == {"b"}, "nothing is asked for any more"
    await case.end()


@virtual_time
async def test_a_stop_ends_the_wait_of_who_asks_just_then() -> None:
    case = Case()
    case.api.took = 0.5
    waiting = asyncio.create_task(case.take())
    await asyncio.sleep(0.1)
    case.popping.close()
    assert await waiting == []
    assert asyncio.get_running_loop().time() < 1
    await case.end()
