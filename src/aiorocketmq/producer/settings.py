"""The settings of one producer, checked (Java: the fields of `DefaultMQProducer`). Features B1, B8-B13, B17, B18."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from aiorocketmq.config import seconds
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, DEFAULT_PRODUCER_GROUP, check_group, check_topic

DEFAULT_RETRY_RESPONSE_CODES = frozenset({17, 14, 1, 2, 16, 204, 205, 1500})
"""TOPIC_NOT_EXIST, SERVICE_NOT_AVAILABLE, SYSTEM_ERROR, SYSTEM_BUSY, NO_PERMISSION, NO_BUYER_ID, NOT_IN_CURRENT_UNIT, GO_AWAY."""
MAX_QUEUE_NUMS = 65535
MIN_BATCH_DELAY = 0.001
MAX_BATCH_DELAY = 30.0
MAX_BATCH_BYTES = 2 * 1024 * 1024


def _whole(name: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"{low} to {high}"
        raise ConfigError(f"{name} {value!r} is out of range", hint=f"use a whole number, {limits}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} {value!r} is not a bool", hint="use True or False")


def duration(name: str, value: object) -> float:
    """A time-out as float seconds.

    Raises:
        ConfigError: It is not a positive, finite number of seconds or timedelta.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise ConfigError(f"{name} {value!r} is not a duration", hint="use seconds as a number, or a timedelta")
    amount = seconds(value)
    if not 0 < amount < float("inf"):
        raise ConfigError(f"{name} {value!r} is out of range", hint="use a duration greater than 0 seconds")
    return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """What `Producer` was told besides its `ClientConfig`; see there for the meaning of each field.

    Raises:
        ConfigError: A field has a value that cannot work.
        InvalidNameError: The group or a topic has an illegal name.
    """

    group: str = DEFAULT_PRODUCER_GROUP
    topics: tuple[str, ...] = ()
    send_msg_timeout: float = 3.0
    send_msg_max_timeout_per_request: float | None = None
    retry_times_when_send_failed: int = 2
    retry_times_when_send_async_failed: int = 2
    retry_another_broker_when_not_store_ok: bool = False
    retry_response_codes: frozenset[int] = DEFAULT_RETRY_RESPONSE_CODES
    max_message_size: int = 4 * 1024 * 1024
    compress_msg_body_over_howmuch: int = 4096
    compress_level: int = 5
    create_topic_key: str = AUTO_CREATE_TOPIC_KEY
    default_topic_queue_nums: int = 4
    max_in_flight: int = 1024
    max_in_flight_bytes: int = 100 * 1024 * 1024
    auto_batch: bool = False
    batch_max_delay: float = 0.010
    batch_max_bytes: int = 32 * 1024
    total_batch_max_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        put = object.__setattr__
        check_group(self.group)
        if isinstance(self.topics, str) or not isinstance(self.topics, Iterable):
            raise ConfigError(f"topics {self.topics!r} is not a list of names", hint="use a list, for example topics=['orders']")
        put(self, "topics", tuple(self.topics))
        for topic in self.topics:
            check_topic(topic)
        check_topic(self.create_topic_key)
        put(self, "send_msg_timeout", duration("send_msg_timeout", self.send_msg_timeout))
        if self.send_msg_max_timeout_per_request is not None:
            per_request = duration("send_msg_max_timeout_per_request", self.send_msg_max_timeout_per_request)
            put(self, "send_msg_max_timeout_per_request", per_request)
        _whole("retry_times_when_send_failed", self.retry_times_when_send_failed, 0)
        _whole("retry_times_when_send_async_failed", self.retry_times_when_send_async_failed, 0)
        _whole("max_message_size", self.max_message_size, 1)
        _whole("compress_msg_body_over_howmuch", self.compress_msg_body_over_howmuch, 1)
        _whole("compress_level", self.compress_level, 0, 9)
        _whole("default_topic_queue_nums", self.default_topic_queue_nums, 1, MAX_QUEUE_NUMS)
        _whole("max_in_flight", self.max_in_flight, 1)
        _whole("max_in_flight_bytes", self.max_in_flight_bytes, 1)
        _flag("retry_another_broker_when_not_store_ok", self.retry_another_broker_when_not_store_ok)
        self._check_batching()
        put(self, "retry_response_codes", frozenset(self.retry_response_codes))
        for code in self.retry_response_codes:
            if isinstance(code, bool) or not isinstance(code, int):
                raise ConfigError(f"retry_response_codes holds {code!r}", hint="use response codes as whole numbers, for example {2, 14}")

    def _check_batching(self) -> None:
        _flag("auto_batch", self.auto_batch)
        delay = duration("batch_max_delay", self.batch_max_delay)
        if not MIN_BATCH_DELAY <= delay <= MAX_BATCH_DELAY:
            raise ConfigError(f"batch_max_delay {self.batch_max_delay!r} is out of range", hint="use 0.001 to 30 seconds")
        object.__setattr__(self, "batch_max_delay", delay)
        _whole("batch_max_bytes", self.batch_max_bytes, 1, MAX_BATCH_BYTES)
        _whole("total_batch_max_bytes", self.total_batch_max_bytes, 1)
