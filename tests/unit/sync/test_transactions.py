"""Local transactions of blocking producers that end in an unusual way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

import aiorocketmq.sync as rmq
from tests.unit.sync.scripted import TOPIC, Site

pytestmark = pytest.mark.feature("C1")
COMMIT, ROLLBACK, UNKNOWN = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK, rmq.TransactionState.UNKNOWN


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_local_transaction_that_is_interrupted_is_left_to_check(site: Site) -> None:
    ids: list[str] = []
    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: COMMIT, topics=[TOPIC]) as producer:
        known = producer._async._decisions.known

        def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
            ids.append(message.transaction_id)
            assert known(message.transaction_id) is rmq.TransactionState.UNKNOWN, "it is under way"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute)
        assert [known(each) for each in ids] == [None], "now the user has to tell"


def test_a_local_transaction_is_not_run_when_its_half_message_is_not_safe(site: Site) -> None:
    run: list[object] = []

    def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        run.append(message)
        return COMMIT

    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: COMMIT, topics=[TOPIC]) as producer:
        site.broker.answers = [10]
        result = producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute)
        assert (result.half.status, result.state) == (rmq.SendStatus.FLUSH_DISK_TIMEOUT, rmq.TransactionState.ROLLBACK)
        assert run == []
        assert producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute).state is COMMIT
    assert len(run) == 1


Interrupt = Callable[[Callable[[], object]], object]
"""Stands for a call that is waited for; an interrupt comes to the waiting thread, not to the loop."""


def before(call: Callable[[], object]) -> object:
    raise KeyboardInterrupt


def after(call: Callable[[], object]) -> object:
    call()
    raise KeyboardInterrupt


@contextmanager
def interrupted(producer: rmq.TransactionProducer, how: Interrupt, number: int) -> Iterator[None]:
    """Interrupt the waiting thread in one of its calls."""
    original, calls = producer._call, iter(range(100))

    def call(function: Any, *args: Any) -> Any:
        work = partial(original, function, *args)
        return how(work) if next(calls) == number else work()

    producer._call = call  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del producer._call  # type: ignore[method-assign]


@pytest.mark.parametrize("how", [before, after])
@pytest.mark.parametrize("state", [COMMIT, ROLLBACK])
@pytest.mark.parametrize("by_function", [True, False])
def test_a_decision_stands_when_the_thread_is_interrupted_while_a_broker_is_told(
    site: Site, how: Interrupt, state: rmq.TransactionState, by_function: bool
) -> None:
    """Ctrl-C after the local transaction has ended: the broker asks, and is not told that it is under way until it gives up."""
    ids: list[str] = []

    def execute(message: rmq.HalfMessage, arg: object) -> rmq.TransactionState:
        ids.append(message.transaction_id)
        return state

    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: UNKNOWN, topics=[TOPIC]) as producer:
        with interrupted(producer, how, 1), pytest.raises(KeyboardInterrupt):
            if by_function:
                producer.send_in_transaction(rmq.Message(TOPIC, b"x"), execute)
            else:
                with producer.transaction(rmq.Message(TOPIC, b"x")) as tx:
                    ids.append(tx.transaction_id)
                    tx.decide(state)
        assert [producer._async._decisions.known(each) for each in ids] == [state]


@pytest.mark.parametrize("by_function", [True, False])
def test_a_half_message_whose_thread_is_interrupted_is_not_under_way(site: Site, by_function: bool) -> None:
    with rmq.TransactionProducer(site.name_server.address, group="pay", check=lambda message: COMMIT, topics=[TOPIC]) as producer:
        transaction = producer.transaction(rmq.Message(TOPIC, b"x"))
        with interrupted(producer, after, 0), pytest.raises(KeyboardInterrupt):
            if by_function:
                producer.send_in_transaction(rmq.Message(TOPIC, b"x"), lambda message, arg: COMMIT)
            else:
                with transaction:
                    raise AssertionError("it was not entered")
        assert producer._async._decisions._under_way == set()
