"""The error tree: one root, attributes that tell the user what happened, texts that name the cure."""

from __future__ import annotations

import copy
import pickle
import ssl
import traceback
from collections.abc import Callable

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
    (1500, errors.ServiceNotAvailableError, True),
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


KINDS = [kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)]


def full(kind: type[errors.RocketMQError]) -> errors.RocketMQError:
    """An error with a value of its own in every field that its constructor takes."""
    fields: dict[str, object] = {
        "hint": "do this", "cause": errors.ConnectError("no way", address="a:1", cause=OSError(111, "refused")), "address": "b:2",
        "maybe_sent": True, "topic": "orders", "code": 77, "broker": "broker-a", "attempts": ("one", "two"), "maybe_stored": True,
        "retriable": False,
    }  # fmt: skip
    while True:
        try:
            return kind("it failed", **fields)  # type: ignore[arg-type]
        except TypeError as error:
            del fields[str(error).split("'")[1]]


def by_pickle(error: errors.RocketMQError) -> errors.RocketMQError:
    made = pickle.loads(pickle.dumps(error))
    assert isinstance(made, errors.RocketMQError)
    return made


@pytest.mark.feature("P9")
@pytest.mark.parametrize("again", [by_pickle, copy.copy, copy.deepcopy, errors.fresh])
@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_pickling_and_copying(
    kind: type[errors.RocketMQError], again: Callable[[errors.RocketMQError], errors.RocketMQError]
) -> None:
    error = full(kind)
    error.add_note("a note")
    made = again(error)
    assert made is not error and type(made) is kind and str(made) == str(error) and made.args == error.args
    assert {**made.__dict__, "cause": None} == {**error.__dict__, "cause": None}
    assert type(made.cause) is errors.ConnectError and made.cause.address == "a:1" and isinstance(made.cause.cause, OSError)
    assert made.cause.cause.errno == 111
    assert made.__traceback__ is None and made.__suppress_context__


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_can_be_made_of_a_text_alone(kind: type[errors.RocketMQError]) -> None:
    error = by_pickle(kind("it failed"))
    assert "it failed" in str(error) and error.cause is None


class Stubborn(Exception):
    """A foreign error that can neither be pickled nor copied."""

    def __init__(self, *, needed: object) -> None:
        super().__init__("stubborn")
        self.needed = needed


class Mute(Exception):
    """A foreign error without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def local_text() -> str:
    class Local(str):
        __slots__ = ()

    return Local("text")


def with_field(error: Exception, value: object) -> Exception:
    error.field = value  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("cause", "kind", "text"),
    [
        (Stubborn(needed=lambda: 0), errors.RocketMQError, "Stubborn: stubborn"),
        (ValueError(object()), errors.RocketMQError, "ValueError: <object"),
        (Mute(), errors.RocketMQError, "Mute: (its text cannot be read)"),
        (ValueError(Mute()), errors.RocketMQError, "ValueError: (its text cannot be read)"),
        (ValueError(local_text()), errors.RocketMQError, "ValueError: text"),
        (with_field(ValueError("x"), lambda: 0), errors.RocketMQError, "ValueError: x"),
        (with_field(ValueError("x"), ["plain", 1]), ValueError, "x"),
        (ExceptionGroup("g", [Stubborn(needed=1)]), errors.RocketMQError, "ExceptionGroup: g"),
        (ssl.SSLError(1, "handshake"), ssl.SSLError, "handshake"),
        (ConnectionRefusedError(111, "no"), ConnectionRefusedError, "no"),
        (KeyError("msgId"), KeyError, "msgId"),
    ],
)
def test_a_foreign_cause_is_no_obstacle(cause: Exception, kind: type[Exception], text: str) -> None:
    error = errors.SendError("it failed", topic="t", cause=cause)
    made = by_pickle(error)
    assert type(made.cause) is kind and text in str(made.cause)
    assert copy.copy(error).cause is cause and copy.deepcopy(error).cause is cause


@pytest.mark.parametrize("again", [by_pickle, copy.deepcopy])
def test_causes_that_lead_back_are_no_obstacle(again: Callable[[errors.RocketMQError], errors.RocketMQError]) -> None:
    error, other = errors.SendError("it failed"), errors.ConnectError("no way")
    error.cause = error
    made = again(error)
    assert made is not error and made.cause is made
    error.cause, other.cause = other, error
    made = again(error)
    assert type(made.cause) is errors.ConnectError and made.cause is not other and made.cause.cause is made


def test_foreign_errors_of_several_brokers_are_no_obstacle() -> None:
    error = errors.PartialError("half", result={"a": 1}, errors={"b": Mute(), "c": KeyError("k"), "d": errors.ConnectError("no way")})
    made = by_pickle(error)
    assert isinstance(made, errors.PartialError) and made.result == {"a": 1}
    assert [type(each) for each in made.errors.values()] == [errors.RocketMQError, KeyError, errors.ConnectError]


@pytest.mark.feature("P9")
def test_a_long_remark_is_shown_in_part_and_on_one_line() -> None:
    remark = "first line\r\n\tat Some.java\x1b[31m " + "x" * 100_000
    error = errors.broker_error(1, remark, broker="broker-a")
    assert error.remark == remark and by_pickle(error).remark == remark  # type: ignore[attr-defined]
    assert len(str(error)) < 1200 and str(error).isprintable() and "first line at Some.java [31m xxx" in str(error)
    assert "BrokerBusyError" in str(errors.broker_error(2, "\n"))


def test_a_foreign_error_is_not_copied() -> None:
    foreign = ValueError("x")
    assert errors.fresh(foreign) is foreign


def test_a_copy_may_differ() -> None:
    error = errors.ConnectionLostError("gone", address="a:1")
    assert error.maybe_sent and not errors.fresh(error, maybe_sent=False).maybe_sent and error.maybe_sent


def test_no_error_shows_another_traceback() -> None:
    def low() -> None:
        raise OSError("the lowest")

    def high() -> None:
        try:
            low()
        except OSError as error:
            raise errors.ConnectError(f"no way: {error}", cause=error) from None

    def by_mistake() -> None:
        try:
            low()
        except OSError:
            raise errors.ConnectError("no way")  # noqa: B904 - what compiled code makes of `from None`

    for call in (high, by_mistake):
        with pytest.raises(errors.ConnectError) as caught:
            call()
        assert "the lowest" not in "".join(traceback.format_exception(caught.value)).replace("no way: the lowest", "")


FOUR = (errors.UsageError, errors.UnreachableError, errors.RefusedError, TimeoutError)


@pytest.mark.feature("P9")
@pytest.mark.parametrize(
    ("kind", "families"),
    [
        (errors.ConfigError, [errors.UsageError]),
        (errors.ClientClosedError, [errors.UsageError]),
        (errors.ListenerError, [errors.UsageError]),
        (errors.ConnectError, [errors.UnreachableError]),
        (errors.TLSError, [errors.UnreachableError]),
        (errors.NoNameServerError, [errors.UnreachableError]),
        (errors.TopicNotFoundError, [errors.UnreachableError]),
        (errors.SendUnreachableError, [errors.UnreachableError]),
        (errors.BrokerBusyError, [errors.RefusedError]),
        (errors.SendRefusedError, [errors.RefusedError]),
        (errors.MessageRefusedError, [errors.UsageError, errors.RefusedError]),
        (errors.RequestTimeoutError, [TimeoutError]),
        (errors.SendTimeoutError, [TimeoutError]),
        (errors.ConnectionLostError, []),
    ],
)
def test_the_class_tells_whose_fault_it_is(kind: type[Exception], families: list[type[Exception]]) -> None:
    assert [family for family in FOUR if issubclass(kind, family)] == families


@pytest.mark.feature("P9")
@pytest.mark.parametrize(
    ("cause", "maybe_stored", "timed_out", "kind"),
    [
        (errors.ConnectError("refused"), False, True, errors.SendUnreachableError),
        (errors.ConnectError("refused"), False, False, errors.SendUnreachableError),
        (errors.TopicNotFoundError("unknown"), False, True, errors.SendUnreachableError),
        (errors.ConnectError("refused"), True, True, errors.SendTimeoutError),
        (errors.ConnectError("refused"), True, False, errors.SendError),
        (errors.broker_error(2, "busy"), False, False, errors.SendRefusedError),
        (errors.broker_error(13, "delay too long"), False, False, errors.MessageRefusedError),
        (errors.broker_error(2, "busy"), False, True, errors.SendTimeoutError),
        (errors.broker_error(2, "busy"), True, False, errors.SendError),
        (errors.RequestTimeoutError("silent"), True, False, errors.SendTimeoutError),
        (errors.ConnectionLostError("gone"), True, False, errors.SendError),
        (None, False, True, errors.SendTimeoutError),
    ],
)
def test_the_kind_of_a_failed_send(
    cause: errors.RocketMQError | None, maybe_stored: bool, timed_out: bool, kind: type[errors.SendError]
) -> None:
    assert errors.send_error_kind(cause, maybe_stored=maybe_stored, timed_out=timed_out) is kind


def test_one_text_for_every_look_up_of_a_broker() -> None:
    assert str(errors.broker_not_found("b")) == "broker 'b' has no address in any route (check that the broker runs)"
    error = errors.broker_not_found("b", topic="t", master=True, hint="wait")
    assert str(error) == "broker 'b' has no master address in the route of topic 't' (wait)" and error.topic == "t"


@pytest.mark.feature("P9")
def test_a_note_on_a_copy_is_no_note_on_the_others() -> None:
    error = errors.SendError("it failed")
    error.add_note("first")
    copies = [copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error)), errors.fresh(error)]
    for each in copies:
        each.add_note("second")
    assert error.__notes__ == ["first"] and all(each.__notes__ == ["first", "second"] for each in copies)
