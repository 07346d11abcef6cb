"""Listeners: how they are declared, and what their answers mean."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.listener import RETRY, SUSPEND, Listener, concurrent_outcome, ordered_outcome


async def coroutine(message: Any) -> None: ...


def plain(message: Any) -> None: ...


class Handler:
    async def method(self, message: Any) -> None: ...

    async def __call__(self, message: Any) -> None: ...


LISTENER = Listener("t", plain)


@pytest.mark.feature("F51")
def test_kinds_of_functions() -> None:
    assert Listener("t", coroutine).is_async
    assert Listener("t", Handler().method).is_async
    assert Listener("t", Handler()).is_async
    assert Listener("t", functools.partial(coroutine)).is_async
    assert not Listener("t", plain).is_async
    assert not Listener("t", print).is_async
    assert not Listener("t", lambda message: None).is_async


@pytest.mark.parametrize("function", [lambda: None, lambda a, b: None, 3, None, coroutine(0)])
def test_function_that_cannot_be_called_with_one_argument_is_refused(function: Any) -> None:
    with pytest.raises(rmq.ListenerError, match="topic 't'") as caught:
        Listener("t", function)
    assert caught.value.hint
    if hasattr(function, "close"):
        function.close()


def generator(message: Any) -> Iterator[None]:
    yield


async def async_generator(message: Any) -> AsyncIterator[None]:
    yield


class Generates:
    def __call__(self, message: Any) -> Iterator[None]:
        yield


@pytest.mark.parametrize("function", [generator, async_generator, Generates(), functools.partial(generator)])
def test_function_with_a_yield_is_refused_because_nothing_of_it_would_run(function: Any) -> None:
    with pytest.raises(rmq.ListenerError, match="yield"):
        Listener("t", function)


class Unbound:
    """As the proxies of web frameworks: what they stand for is not there."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")


class Unshowable(int):
    def __repr__(self) -> str:
        raise ValueError("no text")


@pytest.mark.feature("F26")
@pytest.mark.parametrize("kind", [Unbound, Unshowable])
def test_answer_that_raises_when_it_is_looked_at_means_nothing_too(kind: type, caplog: pytest.LogCaptureFixture) -> None:
    answer = kind()
    assert concurrent_outcome(Listener("t", plain), answer) is None
    assert ordered_outcome(Listener("t", plain), answer) is rmq.ConsumeResult.SUCCESS
    assert kind.__name__ in caplog.text


@pytest.mark.parametrize("answer", [generator(1), async_generator(1)])
def test_generator_is_work_that_nobody_has_done(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    assert concurrent_outcome(LISTENER, answer) is RETRY
    assert ordered_outcome(LISTENER, answer) is SUSPEND
    assert "yield" in caplog.text


def test_listener_that_cannot_show_itself_is_named_by_its_type() -> None:
    class Silent:
        def __call__(self, message: Any) -> None: ...

        def __repr__(self) -> str:
            raise ValueError("no text")

    assert "a Silent" in repr(Listener("t", Silent()))


# The fields of compiled classes refuse other types, and take a bool for a number, before anything of ours can look at them.
BOOL = () if rmq.compiled else (True,)
REFUSED = (rmq.ConfigError, TypeError) if rmq.compiled else rmq.ConfigError


@pytest.mark.parametrize("value", [1.5, "3", None, -2, 19, *BOOL])
def test_retry_takes_whole_numbers_only(value: Any) -> None:
    with pytest.raises(REFUSED, match=r"delay_level|object expected"):
        rmq.Retry(value)
    if value != 19:
        with pytest.raises(REFUSED, match=r"acknowledged|object expected"):
            rmq.Retry(0, value)


@pytest.mark.parametrize("value", ["1", timedelta(seconds=1), float("nan"), 31, *BOOL])
def test_suspend_takes_seconds_only(value: Any) -> None:
    with pytest.raises(REFUSED, match=r"delay|object expected"):
        rmq.Suspend(value)


@pytest.mark.parametrize("expression", [5, b"a", ["a"]])
def test_expression_that_is_no_text_is_refused_by_name(expression: Any) -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    with pytest.raises(rmq.ConfigError, match=r"subscription .* of topic 'orders'"):
        consumer.listen("orders", expression)(plain)


@pytest.mark.feature("F7")
@pytest.mark.parametrize("batch", [0, 1025, "2", True])
def test_batch_out_of_range_is_refused(batch: Any) -> None:
    with pytest.raises(rmq.ConfigError, match="batch"):
        Listener("t", plain, batch)


@pytest.mark.feature("F1", "F26")
def test_answers_of_concurrent_listeners() -> None:
    assert concurrent_outcome(LISTENER, None) is None
    assert concurrent_outcome(LISTENER, rmq.ConsumeResult.SUCCESS) is None
    assert concurrent_outcome(LISTENER, rmq.ConsumeResult.RECONSUME_LATER) is RETRY
    retry = rmq.Retry(3, 2)
    assert concurrent_outcome(LISTENER, retry) is retry


@pytest.mark.feature("F2", "F3")
def test_answers_of_ordered_listeners() -> None:
    result = rmq.ConsumeResult
    assert ordered_outcome(LISTENER, None) is result.SUCCESS
    assert ordered_outcome(LISTENER, result.COMMIT) is result.COMMIT
    assert ordered_outcome(LISTENER, result.ROLLBACK) is result.ROLLBACK
    assert ordered_outcome(LISTENER, result.SUSPEND_CURRENT_QUEUE_A_MOMENT) is SUSPEND
    assert ordered_outcome(LISTENER, result.RECONSUME_LATER) is SUSPEND
    suspend = rmq.Suspend(2.0)
    assert ordered_outcome(LISTENER, suspend) is suspend


@pytest.mark.feature("F26")
@pytest.mark.parametrize("answer", [True, False, 0, "card 4711", object()])
def test_what_means_nothing_is_consumed_and_said_once(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    for outcome in (concurrent_outcome, ordered_outcome):
        caplog.clear()
        listener = Listener("orders", plain)
        for _ in range(3):
            assert outcome(listener, answer) in (None, rmq.ConsumeResult.SUCCESS)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "plain" in record.getMessage()
        assert "card 4711" not in caplog.text, "values of users do not go into the log"


@pytest.mark.parametrize("answer", [rmq.Suspend(), rmq.ConsumeResult.ROLLBACK, rmq.ConsumeResult.COMMIT])
def test_answer_for_ordered_consumers_is_a_failure_of_others_that_says_what_to_return(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert concurrent_outcome(LISTENER, answer) is RETRY
    assert "return None" in caplog.text


def test_coroutine_of_a_plain_function_is_named_as_such(caplog: pytest.LogCaptureFixture) -> None:
    assert concurrent_outcome(LISTENER, coroutine(1)) is RETRY
    assert ordered_outcome(LISTENER, coroutine(1)) is SUSPEND
    assert "will come again" in caplog.text
    assert "async def" in caplog.text


def test_decorator_gives_the_function_back_and_refuses_a_second_listener() -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    assert consumer.listen("orders")(plain) is plain
    with pytest.raises(rmq.ConfigError, match="'orders' has a listener"):
        consumer.listen("orders")
    with pytest.raises(rmq.InvalidNameError, match="topic"):
        consumer.listen("bad topic")(plain)
    with pytest.raises(rmq.ListenerError, match="subscribed by itself"):
        consumer.listen("%RETRY%g")(plain)
    with pytest.raises(rmq.ConfigError, match="no tag"):
        consumer.listen("bills", "||")(plain)


@pytest.mark.feature("F18")
def test_sql_filter_goes_out_with_its_type() -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    consumer.listen("orders", rmq.SQL("price > 10"))(plain)
    data = {each.topic: each for each in consumer._subscriptions.all}
    assert (data["orders"].expression_type, data["orders"].expression) == ("SQL92", "price > 10")
    assert data["%RETRY%g"].expression == "*"


async def test_start_without_a_listener_is_refused() -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    with pytest.raises(rmq.ListenerError, match="no listener") as caught:
        await consumer.start()
    assert "@consumer.listen" in caught.value.hint
