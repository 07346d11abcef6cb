"""The error tree: one root, attributes that tell the user what happened, texts that name the cure."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from aiorocketmq import errors

CODES = [
    (2, errors.BrokerBusyError, True),
    (3, errors.UnsupportedRequestError, False),
    (13, errors.MessageIllegalError, False),
    (14, errors.ServiceNotAvailableError, True),
    (16, errors.NoPermissionError, False),
    (17, errors.TopicNotExistError, False),
    (22, errors.QueryNotFoundError, False),
    (23, errors.SubscriptionError, False),
    (24, errors.SubscriptionError, False),
    (25, errors.SubscriptionError, False),
    (26, errors.GroupNotExistError, False),
    (29, errors.InvalidParameterError, False),
    (206, errors.ConsumerNotOnlineError, False),
    (1, errors.BrokerError, False),
    (4711, errors.BrokerError, False),
]


@pytest.mark.feature("P9")
def test_every_error_has_the_one_root() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            assert issubclass(kind, errors.RocketMQError), name


@pytest.mark.feature("P9")
def test_no_error_is_named_like_a_builtin() -> None:
    import builtins

    assert not [name for name in errors.__all__ if hasattr(builtins, name)]


@pytest.mark.feature("P9")
def test_every_public_error_is_exported_by_the_package() -> None:
    for name in errors.__all__:
        if isinstance(getattr(errors, name), type):
            assert getattr(rmq, name) is getattr(errors, name)
            assert name in rmq.__all__


@pytest.mark.feature("P7", "P9")
@pytest.mark.parametrize(("code", "kind", "retriable"), CODES)
def test_a_response_code_becomes_its_class(code: int, kind: type[errors.BrokerError], retriable: bool) -> None:
    error = errors.broker_error(code, "the remark", broker="broker-a", topic="orders")
    assert type(error) is kind
    assert (error.code, error.broker, error.topic, error.remark, error.retriable) == (code, "broker-a", "orders", "the remark", retriable)
    assert str(code) in str(error) and "broker-a" in str(error) and "the remark" in str(error)


def test_a_missing_remark_still_gives_a_text() -> None:
    assert "BrokerBusyError" in str(errors.broker_error(2, None))


def test_the_hint_is_part_of_the_text() -> None:
    assert str(errors.RocketMQError("it failed", hint="do this")) == "it failed (do this)"
    assert str(errors.RocketMQError("it failed", hint="")) == "it failed"
    assert str(errors.NoNameServerError("none answers")).endswith("check that the name server runs)")


@pytest.mark.feature("P9")
@pytest.mark.parametrize("kind", [errors.RequestTimeoutError, errors.SendTimeoutError])
def test_timeouts_are_also_builtin_timeouts(kind: type[Exception]) -> None:
    assert issubclass(kind, TimeoutError)


@pytest.mark.parametrize("kind", [errors.ConfigError, errors.InvalidMessageError, errors.InvalidNameError])
def test_wrong_arguments_are_also_value_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, ValueError)


def test_remoting_errors_say_whether_bytes_may_have_left() -> None:
    assert not errors.ConnectError("x").maybe_sent
    assert not errors.TooManyRequestsError("x").maybe_sent
    assert errors.ConnectionLostError("x").maybe_sent
    assert errors.RequestTimeoutError("x").maybe_sent
    assert not errors.RequestTimeoutError("x", maybe_sent=False).maybe_sent


def test_only_a_failed_send_can_have_stored_something() -> None:
    assert errors.SendError("x", topic="t", maybe_stored=True).maybe_stored
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            assert kind.maybe_stored is False


def test_a_send_error_carries_its_story() -> None:
    error = errors.SendError("x", topic="t", attempts=("a", "b"), maybe_stored=True, code=2, broker="broker-a", retriable=False)
    assert (error.topic, error.attempts, error.maybe_stored, error.code, error.broker) == ("t", ("a", "b"), True, 2, "broker-a")
    assert not error.retriable
