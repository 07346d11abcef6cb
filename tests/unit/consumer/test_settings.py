"""Settings of the push consumer: every bad value is refused with its name and a cure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.settings import PushSettings
from aiorocketmq.core.allocate import AllocateAveragely
from tests.unit.consumer.test_queue_life import Flaky as Store


async def coroutine(*args: object) -> None: ...


class Uncallable:
    name = "strategy"
    allocate = load = update_offset = update_and_freeze_offset = read_offset = 5
    persist_all = persist = remove_offset = clone_offset_table = 5


class Async:
    name = "async"

    async def allocate(self, *args: object) -> list[object]:
        return []


@pytest.mark.feature("P5")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0), ("concurrency", 1001), ("concurrency", (3, 2)), ("concurrency", (1, 2, 3)), ("concurrency", True),
        ("max_reconsume_times", -2), ("consume_timeout", 0), ("consume_timeout", "15"),
        ("suspend_current_queue_time", 0.001), ("suspend_current_queue_time", 31),
        ("pull_batch_size", 0), ("pull_batch_size", 1025), ("pull_batch_size_in_bytes", 0), ("pull_interval", -1), ("pull_interval", 66),
        ("pull_threshold_for_queue", 0), ("pull_threshold_for_queue", 65536), ("pull_threshold_size_for_queue", 0),
        ("pull_threshold_for_topic", 0), ("pull_threshold_size_for_topic", -2), ("consume_concurrently_max_span", 0),
        ("await_termination_when_shutdown", -1), ("await_termination_when_shutdown", float("inf")), ("default_broker_id", -1),
        ("start_from", "FIRST"), ("message_model", "CLUSTERING"), ("ordered", 1), ("allocate", "AVG"), ("message_queue_listener", 3),
        ("offset_store", "broker"), ("offset_store", Store), ("offset_store", Uncallable()), ("allocate", AllocateAveragely),
        ("allocate", Uncallable()), ("allocate", Async()), ("message_queue_listener", coroutine), ("local_offset_store_dir", 5),
        ("local_offset_store_dir", b"x"), ("local_offset_store_dir", "a\0b"),
        ("auto_commit", False),
    ],
)  # fmt: skip
def test_value_out_of_range_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(rmq.ConfigError, match=field) as caught:
        PushSettings(group="g", **{field: value})
    assert caught.value.hint


@pytest.mark.feature("F50", "P2")
@pytest.mark.parametrize("group", ["", " ", "a b", "g" * 121, "DEFAULT_CONSUMER", "é"])
def test_illegal_group_is_refused(group: str) -> None:
    with pytest.raises((rmq.InvalidNameError, rmq.ConfigError), match="group"):
        rmq.PushConsumer("127.0.0.1:9876", group=group)


@pytest.mark.feature("F23", "F5", "F7", "F8", "F10")
def test_defaults_are_javas() -> None:
    settings = PushSettings(group="g")
    assert settings.workers == (20, 20)
    assert settings.max_tries == 16
    assert PushSettings(group="g", ordered=True).max_tries == -1
    assert PushSettings(group="g", max_reconsume_times=3).max_tries == 3
    assert (settings.pull_batch_size, settings.pull_batch_size_in_bytes) == (32, 262144)
    assert (settings.pull_threshold_for_queue, settings.pull_threshold_size_for_queue) == (1000, 100 * 1024 * 1024)
    assert settings.consume_concurrently_max_span == 2000
    assert settings.consume_timeout == 900.0
    assert settings.suspend_current_queue_time == 1.0
    assert settings.await_termination_when_shutdown == 30.0
    assert settings.allocate.name == "AVG"
    assert settings.start_from is rmq.StartFrom.LAST


def test_durations_may_be_timedeltas() -> None:
    assert PushSettings(group="g", consume_timeout=timedelta(minutes=1)).consume_timeout == 60.0  # type: ignore[arg-type]


@pytest.mark.feature("F15")
def test_start_timestamp() -> None:
    stamp = rmq.StartFrom.TIMESTAMP
    assert PushSettings(group="g", start_from=stamp).start_time_ms(10_000.0) == 8_200_000, "30 minutes before"
    assert PushSettings(group="g", start_from=stamp, start_timestamp=1.5).start_time_ms(0) == 1500
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert PushSettings(group="g", start_from=stamp, start_timestamp=moment).start_time_ms(0) == int(moment.timestamp() * 1000)
    with pytest.raises(rmq.ConfigError, match="time zone"):
        PushSettings(group="g", start_from=stamp, start_timestamp=datetime(2026, 1, 1))
    with pytest.raises(rmq.ConfigError, match="start_timestamp"):
        PushSettings(group="g", start_timestamp=1.0)


@pytest.mark.feature("F15")
@pytest.mark.parametrize(
    "value",
    [
        "yesterday", b"1", True, float("nan"), float("inf"), -1, 10**400, 1_700_000_000_000, date(2026, 1, 1), timedelta(days=1),
        datetime.min.replace(tzinfo=UTC),
    ],
)  # fmt: skip
def test_start_timestamp_that_is_no_time_is_refused_by_name(value: Any) -> None:
    with pytest.raises(rmq.ConfigError, match=r"start_timestamp .*seconds"):
        rmq.PushConsumer("127.0.0.1:9876", group="g", start_from=rmq.StartFrom.TIMESTAMP, start_timestamp=value)


def test_unknown_field_is_named() -> None:
    with pytest.raises(rmq.ConfigError, match="'pull_batchsize'"):
        rmq.PushConsumer("127.0.0.1:9876", group="g", pull_batchsize=3)


def test_client_fields_are_passed_on() -> None:
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g", heartbeat_broker_interval=7)
    assert consumer.config.heartbeat_broker_interval == 7.0
    assert consumer.config.name_servers == ("127.0.0.1:9876",)
