"""The one check of durations, whole numbers, switches and enums: what is taken, and one wording for what is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum, IntEnum

import pytest

import aiorocketmq as rmq
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import duration, flag, member, whole
from aiorocketmq.model.enums import StartFrom


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(("value", "seconds"), [(2, 2.0), (0.5, 0.5), (timedelta(milliseconds=1500), 1.5), (Level.HIGH, 3.0)])
def test_durations_become_plain_seconds(value: object, seconds: float) -> None:
    amount = duration("wait", value)
    assert amount == seconds and type(amount) is float


NO_DURATIONS = [
    0,
    -1,
    0.0,
    True,
    False,
    "3",
    None,
    b"3",
    float("inf"),
    float("-inf"),
    float("nan"),
    timedelta(0),
    timedelta(-1),
    10**400,
    1j,
]


@pytest.mark.parametrize("value", NO_DURATIONS, ids=lambda value: repr(value)[:20])
def test_what_is_no_duration_is_named_with_its_cure(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^wait .* \(use ") as caught:
        duration("wait", value)
    assert len(str(caught.value)) < 200


def test_the_limits_of_durations_belong_to_them() -> None:
    assert duration("wait", 0, 0.0, 2.0) == 0.0 and duration("wait", 2, 0.0, 2.0) == 2.0
    for value in (-0.001, 2.001, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="from 0 to 2"):
            duration("wait", value, 0.0, 2.0)
    with pytest.raises(ConfigError, match="of at least 1"):
        duration("wait", 0.5, 1.0)


def test_whole_numbers_become_plain_ones() -> None:
    number = whole("count", Level.HIGH, 1, 3)
    assert number == 3 and type(number) is int
    assert whole("count", 10**400) == 10**400


@pytest.mark.parametrize("value", [0, 4, -1, True, 1.0, "1", None, float("nan"), 10**6000], ids=lambda value: str(type(value)))
def test_what_is_no_whole_number_is_named_with_its_cure(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^count .*use a whole number from 1 to 3") as caught:
        whole("count", value, 1, 3)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_only_bools_are_switches(value: object) -> None:
    assert flag("on", True) is True and flag("on", False) is False
    with pytest.raises(ConfigError, match=r"^on .*use True or False"):
        flag("on", value)


def test_members_are_listed_when_the_value_is_none() -> None:
    class Other(Enum):
        FIRST = StartFrom.FIRST.value

    assert member("start_from", StartFrom.FIRST, StartFrom) is StartFrom.FIRST
    for value in ("FIRST", Other.FIRST, None):
        with pytest.raises(ConfigError, match=r"start_from .*StartFrom\.FIRST"):
            member("start_from", value, StartFrom)


def _consumer(**settings: object) -> object:
    return rmq.PushConsumer("a:1", group="g", **settings)  # type: ignore[arg-type]


def _producer(**settings: object) -> object:
    return rmq.Producer("a:1", group="g", **settings)  # type: ignore[arg-type]


DURATIONS: list[tuple[Callable[..., object], str]] = [
    (rmq.ClientConfig, "connect_timeout"),
    (_producer, "send_msg_timeout"),
    (_producer, "send_msg_max_timeout_per_request"),
    (_producer, "batch_max_delay"),
    (_consumer, "consume_timeout"),
    (_consumer, "pull_interval"),
    (_consumer, "await_termination_when_shutdown"),
]
COUNTS: list[tuple[Callable[..., object], str]] = [
    (rmq.ClientConfig, "frame_max_length"),
    (_producer, "max_in_flight"),
    (_producer, "retry_times_when_send_failed"),
    (_consumer, "pull_batch_size"),
    (_consumer, "default_broker_id"),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, True, "3", timedelta(-1), 10**400], ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(("make", "name"), DURATIONS, ids=lambda part: part if isinstance(part, str) else "")
def test_every_duration_is_refused_in_the_same_words(make: Callable[..., object], name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} .* \(use (a finite number of )?seconds") as caught:
        make(**{name: value})
    assert caught.value.hint


@pytest.mark.parametrize("value", [-1, True, 1.5, "3", None, float("nan")], ids=repr)
@pytest.mark.parametrize(("make", "name"), COUNTS, ids=lambda part: part if isinstance(part, str) else "")
def test_every_count_is_refused_in_the_same_words(make: Callable[..., object], name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} .* \(use a whole number"):
        make(**{name: value})
