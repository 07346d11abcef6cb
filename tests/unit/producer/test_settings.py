"""The settings of a producer: Java's defaults, and one clear error for each value that cannot work."""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, InvalidNameError
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import CompressionType
from aiorocketmq.producer import Producer
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.protocol import compression
from tests.support.packages import need


@pytest.mark.feature("B1", "B8", "B9", "B10", "B11", "B12", "B13", "B17", "A10")
def test_defaults_are_those_of_java() -> None:
    settings = ProducerSettings()
    assert settings.group == "DEFAULT_PRODUCER" and settings.topics == ()
    assert settings.send_msg_timeout == 3.0 and settings.send_msg_max_timeout_per_request is None
    assert settings.retry_times_when_send_failed == settings.retry_times_when_send_async_failed == 2
    assert settings.retry_another_broker_when_not_store_ok is False
    assert settings.retry_response_codes == {17, 14, 1, 2, 16, 204, 205, 1500}
    assert settings.max_message_size == 4 * 1024 * 1024
    assert settings.compress_msg_body_over_howmuch == 4096 and settings.compress_batches is False
    assert settings.compressor.flags == 0x301 and settings.compressor.compress(b"x" * 99) == zlib.compress(b"x" * 99, 5)
    assert settings.create_topic_key == "TBW102" and settings.default_topic_queue_nums == 4
    assert settings.max_in_flight == 1024 and settings.max_in_flight_bytes == 100 * 1024 * 1024


WRONG = [
    ("send_msg_timeout", 0),
    ("send_msg_timeout", -1),
    ("send_msg_timeout", float("nan")),
    ("send_msg_timeout", "3"),
    ("send_msg_timeout", True),
    ("send_msg_max_timeout_per_request", 0),
    ("retry_times_when_send_failed", -1),
    ("retry_times_when_send_failed", 1.5),
    ("retry_times_when_send_async_failed", True),
    ("retry_another_broker_when_not_store_ok", 1),
    ("retry_response_codes", {"2"}),
    ("retry_response_codes", {True}),
    ("max_message_size", 0),
    ("compress_msg_body_over_howmuch", 0),
    ("compress_level", 10),
    ("compress_level", -1),
    ("compress_level", 5.0),
    ("compress_type", "ZLIB"),
    ("compress_type", None),
    ("compress_batches", 1),
    ("default_topic_queue_nums", 0),
    ("default_topic_queue_nums", 65536),
    ("max_in_flight", 0),
    ("max_in_flight_bytes", 0),
    ("topics", "orders"),
    ("topics", 3),
    ("topics", None),
    ("retry_response_codes", None),
    ("retry_response_codes", 14),
    ("retry_response_codes", "14"),
    ("retry_response_codes", [[14]]),
    ("retry_response_codes", [2**31]),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named_with_its_cure(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        ProducerSettings(**{name: value})  # type: ignore[arg-type]
    assert name in str(caught.value) and caught.value.hint


@pytest.mark.feature("P1", "P2")
@pytest.mark.parametrize("field", [{"group": "a b"}, {"group": ""}, {"topics": ["a b"]}, {"create_topic_key": "a.b"}])
def test_wrong_names_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(InvalidNameError):
        ProducerSettings(**field)  # type: ignore[arg-type]


def test_durations_become_seconds() -> None:
    assert ProducerSettings(send_msg_timeout=timedelta(seconds=1.5)).send_msg_timeout == 1.5  # type: ignore[arg-type]
    assert duration("x", 2) == 2.0


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_the_producer_passes_on_what_it_is_given(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Producer("127.0.0.1:9876", **{name: value})
    producer = Producer("127.0.0.1:9876", topics=iter(["orders"]), retry_response_codes=[1, 1])
    assert producer._settings.topics == ("orders",) and producer._settings.retry_response_codes == {1}


@pytest.mark.parametrize("code", [None, "1", True, 1.0, 2**31, -(2**31) - 1])
def test_a_code_that_is_added_is_checked_alike(code: Any) -> None:
    with pytest.raises(ConfigError, match="retry_response_codes"):
        Producer("127.0.0.1:9876").add_retry_response_code(code)


@pytest.mark.feature("A11")
@pytest.mark.parametrize(
    ("kind", "low", "high"), [(CompressionType.ZLIB, 0, 9), (CompressionType.LZ4, 0, 12), (CompressionType.ZSTD, 1, 22)]
)
def test_each_compression_has_its_levels(kind: CompressionType, low: int, high: int) -> None:
    need(kind)
    for level in (low, high, None):
        ProducerSettings(compress_type=kind, compress_level=level)
    for level in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=rf"compress_level {level} .*from {low} to {high}"):
            ProducerSettings(compress_type=kind, compress_level=level)


@pytest.mark.feature("A11")
@pytest.mark.parametrize("kind", [CompressionType.LZ4, CompressionType.ZSTD])
def test_a_package_that_is_missing_is_told_when_the_producer_is_made(kind: CompressionType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_module", lambda kind: None)
    with pytest.raises(ConfigError, match=rf"compress_type {kind.name} needs a package .*aiorocketmq\[compression\]"):
        Producer("127.0.0.1:9876", compress_type=kind)
