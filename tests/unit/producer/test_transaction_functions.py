"""The user's functions in transactions: what they raise, how long they run, who gives them up, and which are refused."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.producer.decisions import Decisions
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.test_transaction import COMMIT, END, MESSAGE, ROLLBACK, UNKNOWN, Check, ask, ends, producer_of
from tests.unit.producer.world import TOPIC, Broker, SendWorld

pytestmark = pytest.mark.feature("C2", "C3")


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("the text of an error")


@pytest.fixture
def broker(world: SendWorld) -> Broker:
    (broker,) = world.route_to("broker-a")
    broker.peer.on(END, lambda request, connection: None)
    return broker


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(1), Unreadable(), ValueError("x" * 20_000_000), ValueError("\udcff\n")])
async def test_whatever_a_check_on_a_thread_raises_the_next_one_is_answered(world: SendWorld, broker: Broker, error: BaseException) -> None:
    def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        if message.message_id != "good":
            raise error
        return COMMIT

    async with producer_of(check, topics=[TOPIC], check_concurrency=1):  # type: ignore[arg-type]
        await eventually(lambda: broker.peer.connections)
        ask(broker, "bad", 1)
        ask(broker, "good", 2)
        await eventually(lambda: ends(broker) == [(1, 0, True), (2, 8, True)], 10)
    remark = broker.peer.of(END)[0].command.remark
    assert remark is not None
    assert remark.startswith("check failed: ")
    assert len(remark) < 1_100


@pytest.mark.parametrize("error", [StopIteration(), Unreadable(), ValueError("x" * 20_000_000), ValueError("\udcff\n")])
async def test_whatever_a_local_transaction_on_a_thread_raises_is_told(world: SendWorld, broker: Broker, error: Exception) -> None:
    def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        raise error

    async with producer_of(Check()) as producer:
        result = await asyncio.wait_for(producer.send_in_transaction(MESSAGE, execute), 10)
        assert (result.state, result.told) == (UNKNOWN, True)
        assert error in (result.error, result.error.__cause__ if result.error else None)
        await broker.peer.wait_for(END)
    assert len(broker.peer.of(END)[0].command.remark or "") < 1_100


class Slow:
    """A local transaction on a thread, that ends when it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.ids: list[str] = []
        self.end = threading.Event()

    def __call__(self, message: rmq.HalfMessage, arg: object) -> Any:
        self.ids.append(message.transaction_id)
        self.end.wait(60)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def given_up(producer: rmq.TransactionProducer, execute: Slow) -> str:
    task = asyncio.create_task(producer.send_in_transaction(MESSAGE, execute))
    await eventually(lambda: execute.ids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return execute.ids[0]


@pytest.mark.parametrize(("answer", "bits"), [(COMMIT, 8), (ROLLBACK, 12)])
async def test_local_transaction_that_was_given_up_is_under_way_until_its_thread_ends(
    world: SendWorld, broker: Broker, answer: rmq.TransactionState, bits: int
) -> None:
    """A check that looks before that would find nothing, and roll back what is committed a moment later."""
    check, execute = Check(ROLLBACK), Slow(answer)
    async with producer_of(check) as producer:
        try:
            transaction_id = await given_up(producer, execute)
            ask(broker, transaction_id, 1)
            await eventually(lambda: ends(broker) == [(1, 0, True)])
        finally:
            execute.end.set()
        await eventually(lambda: [(bit, asked) for _, bit, asked in ends(broker)[1:]] == [(bits, False)])
        ask(broker, transaction_id, 2)
        await eventually(lambda: (2, bits, True) in ends(broker))
    assert check.asked == []


@pytest.mark.parametrize("answer", [UNKNOWN, None, ValueError("away")])
async def test_local_transaction_that_was_given_up_and_does_not_know_is_left_to_check(
    world: SendWorld, broker: Broker, answer: object
) -> None:
    check, execute = Check(COMMIT), Slow(answer)
    async with producer_of(check) as producer:
        try:
            transaction_id = await given_up(producer, execute)
        finally:
            execute.end.set()
        await eventually(lambda: producer._decisions.known(transaction_id) is None)
        ask(broker, transaction_id, 1)
        await eventually(lambda: ends(broker) == [(1, 8, True)])


async def test_local_transaction_that_was_given_up_before_its_thread_was_free_does_not_run(world: SendWorld, broker: Broker) -> None:
    from concurrent.futures import ThreadPoolExecutor

    first, second = Slow(COMMIT), Slow(COMMIT)
    with ThreadPoolExecutor(1) as executor:
        async with producer_of(Check(ROLLBACK), executor=executor) as producer:
            running = asyncio.create_task(producer.send_in_transaction(MESSAGE, first))
            try:
                await eventually(lambda: first.ids)
                waiting = asyncio.create_task(producer.send_in_transaction(MESSAGE, second))
                await eventually(lambda: len(broker.headers) == 2)
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            finally:
                first.end.set()
                second.end.set()
            assert (await running).state is COMMIT
            await asyncio.get_running_loop().run_in_executor(executor, int)  # the thread is through with what has waited
    assert second.ids == []


async def test_thread_that_outlives_its_producer_ends_quietly(world: SendWorld, broker: Broker) -> None:
    execute = Slow(COMMIT)
    try:
        async with producer_of(Check()) as producer:
            transaction_id = await given_up(producer, execute)
    finally:
        execute.end.set()
    await eventually(lambda: producer._decisions.known(transaction_id) is COMMIT)
    assert ends(broker) == []


@virtual_time
async def test_checks_that_do_not_end_are_told(world: SendWorld, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    check = Check(COMMIT)
    check.gate = asyncio.Event()
    async with producer_of(check, topics=[TOPIC], check_concurrency=2):
        await eventually(lambda: broker.peer.connections)
        ask(broker, "first")
        await eventually(lambda: check.asked)
        await asyncio.sleep(20)
        ask(broker, "first")
        ask(broker, "second")
        await eventually(lambda: len(check.asked) == 2)
        assert "has been running" not in caplog.text
        await asyncio.sleep(20)
        ask(broker, "third")
        await eventually(lambda: "the check of transaction first has been running for 40 s, 2 of 2 run and 2 wait" in caplog.text)
        check.gate.set()
        await eventually(lambda: len(ends(broker)) == 3)


def with_yield(message: rmq.ReceivedMessage) -> Any:
    yield COMMIT


async def async_with_yield(message: rmq.ReceivedMessage) -> Any:
    yield COMMIT


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: COMMIT, "cannot be called with one argument: too many positional"),
        (lambda message, arg: COMMIT, "cannot be called with one argument: missing a required argument: 'arg'"),
        (with_yield, "has a yield in it"),
        (async_with_yield, "has a yield in it"),
    ],
)
def test_check_that_could_never_answer_is_refused_before_it_is_needed(check: Any, said: str) -> None:
    with pytest.raises(rmq.ConfigError, match=said):
        rmq.TransactionProducer("a:1", group="pay", check=check)


@pytest.mark.feature("C9")
@pytest.mark.parametrize("hook", [None, 5, object(), print])
def test_what_is_no_hook_is_refused(hook: Any) -> None:
    producer = producer_of(Check())
    with pytest.raises(rmq.ConfigError, match="none of the methods end_transaction"):
        producer.register_end_transaction_hook(hook)


@virtual_time
async def test_transaction_is_entered_once_even_at_the_same_time(world: SendWorld, broker: Broker) -> None:
    async with producer_of(Check()) as producer:
        tx = producer.transaction(MESSAGE)
        first, second = await asyncio.gather(tx.__aenter__(), tx.__aenter__(), return_exceptions=True)
        assert first is tx
        assert isinstance(second, rmq.UsageError)
        await tx.__aexit__(None, None, None)
    assert len(broker.headers) == 1


@pytest.mark.parametrize(("decided", "known"), [(None, None), (COMMIT, COMMIT), (ROLLBACK, ROLLBACK)])
@virtual_time
async def test_transaction_that_nobody_can_leave_any_more_is_not_under_way(
    world: SendWorld, broker: Broker, decided: rmq.TransactionState | None, known: rmq.TransactionState | None
) -> None:
    async with producer_of(Check()) as producer:
        tx = await producer.transaction(MESSAGE).__aenter__()
        if decided is not None:
            tx.decide(decided)
        transaction_id = tx.transaction_id
        assert producer._decisions.known(transaction_id) is UNKNOWN
        del tx
        gc.collect()
        assert producer._decisions.known(transaction_id) is known


def test_decision_is_there_before_the_transaction_is_not_under_way_any_more() -> None:
    """A check on the loop between the two steps of a thread would ask the user about what is decided."""
    decisions = Decisions("pay")
    seen: list[rmq.TransactionState | None] = []

    class Watched(set[str]):
        def discard(self, element: object) -> None:
            seen.append(decisions._made.get(str(element)))
            super().discard(element)

    decisions._under_way = Watched()
    decisions.begin("TX")
    decisions.decide("TX", COMMIT)
    assert seen == [COMMIT]
