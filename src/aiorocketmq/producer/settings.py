"""The settings of one producer, checked (Java: the fields of `DefaultMQProducer`). Features B1, B8-B13, B17-B20."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiorocketmq.core.fault import LATENCY_MAX, NOT_AVAILABLE
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import INT32_MAX, checked_hooks, duration, flag, member, whole
from aiorocketmq.model.enums import CompressionType
from aiorocketmq.model.names import AUTO_CREATE_TOPIC_KEY, DEFAULT_PRODUCER_GROUP, check_group, check_topic
from aiorocketmq.protocol.compression import LEVELS, Compressor

DEFAULT_RETRY_RESPONSE_CODES = frozenset({17, 14, 1, 2, 16, 204, 205, 1500})
"""TOPIC_NOT_EXIST, SERVICE_NOT_AVAILABLE, SYSTEM_ERROR, SYSTEM_BUSY, NO_PERMISSION, NO_BUYER_ID, NOT_IN_CURRENT_UNIT, GO_AWAY."""
MAX_QUEUE_NUMS = 65535
FRAME_OVERHEAD = 256 * 1024
"""Bytes of a frame left for its header; 32 KiB of properties take up to six times as much in JSON."""
HOOK_METHODS = ("check_forbidden", "before_send", "after_send")
MIN_BATCH_DELAY = 0.001
MAX_BATCH_DELAY = 30.0
MAX_BATCH_BYTES = 2 * 1024 * 1024
_WHOLE: tuple[tuple[str, int, int | None], ...] = (
    ("retry_times_when_send_failed", 0, None),
    ("retry_times_when_send_async_failed", 0, None),
    ("max_message_size", 1, None),
    ("compress_msg_body_over_howmuch", 1, None),
    ("default_topic_queue_nums", 1, MAX_QUEUE_NUMS),
    ("max_in_flight", 1, None),
    ("max_in_flight_bytes", 1, None),
    ("batch_max_bytes", 1, MAX_BATCH_BYTES),
    ("total_batch_max_bytes", 1, None),
)
"""Whole numbers: field, smallest and largest value."""


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
    compress_type: CompressionType = CompressionType.ZLIB
    compress_level: int | None = None
    compress_batches: bool = False
    compressor: Compressor = field(init=False, compare=False)
    create_topic_key: str = AUTO_CREATE_TOPIC_KEY
    default_topic_queue_nums: int = 4
    max_in_flight: int = 1024
    max_in_flight_bytes: int = 100 * 1024 * 1024
    auto_batch: bool = False
    batch_max_delay: float = 0.010
    batch_max_bytes: int = 32 * 1024
    total_batch_max_bytes: int = 32 * 1024 * 1024
    send_latency_enable: bool = False
    latency_max: tuple[float, ...] = LATENCY_MAX
    not_available_duration: tuple[float, ...] = NOT_AVAILABLE
    start_detector_enable: bool = False
    detect_timeout: float = 0.2
    detect_interval: float = 2.0
    hooks: tuple[Any, ...] = ()
    enable_trace: bool = False
    trace_topic: str | None = None
    trace_recalls: bool = False

    @property
    def observed(self) -> bool:
        """Somebody looks at the sends."""
        return self.enable_trace or bool(self.hooks)

    def __post_init__(self) -> None:
        put = object.__setattr__
        check_group(self.group)
        if isinstance(self.topics, str) or not isinstance(self.topics, Iterable):
            raise ConfigError(f"topics {self.topics!r} is not a list of names", hint="use a list, for example topics=['orders']")
        put(self, "topics", tuple(self.topics))
        if isinstance(self.retry_response_codes, str | bytes) or not isinstance(self.retry_response_codes, Iterable):
            raise ConfigError(
                f"retry_response_codes {self.retry_response_codes!r} is not a list of codes", hint="use a list, for example [1, 14]"
            )
        for topic in self.topics:
            check_topic(topic)
        check_topic(self.create_topic_key)
        put(self, "send_msg_timeout", duration("send_msg_timeout", self.send_msg_timeout))
        if self.send_msg_max_timeout_per_request is not None:
            per_request = duration("send_msg_max_timeout_per_request", self.send_msg_max_timeout_per_request)
            put(self, "send_msg_max_timeout_per_request", per_request)
        put(self, "batch_max_delay", duration("batch_max_delay", self.batch_max_delay, MIN_BATCH_DELAY, MAX_BATCH_DELAY))
        for name, low, high in _WHOLE:
            put(self, name, whole(name, getattr(self, name), low, high))
        flag("retry_another_broker_when_not_store_ok", self.retry_another_broker_when_not_store_ok)
        for name in ("auto_batch", "compress_batches", "send_latency_enable", "start_detector_enable", "enable_trace", "trace_recalls"):
            flag(name, getattr(self, name))
        for name in ("detect_timeout", "detect_interval"):
            put(self, name, duration(name, getattr(self, name)))
        self._check_latencies()
        self._check_observers()
        level = self.compress_level
        kind = member("compress_type", self.compress_type, CompressionType)
        put(self, "compressor", Compressor(kind, None if level is None else whole("compress_level", level, *LEVELS[kind])))
        put(self, "retry_response_codes", frozenset(map(retry_code, self.retry_response_codes)))

    def check_frame(self, frame_max_length: int) -> None:
        """Refuse messages that no frame of the client can carry."""
        if self.max_message_size > frame_max_length - FRAME_OVERHEAD:
            raise ConfigError(
                f"max_message_size {self.max_message_size} does not fit into a frame of frame_max_length {frame_max_length} bytes",
                hint=f"leave {FRAME_OVERHEAD} bytes for header and properties",
            )

    def _check_observers(self) -> None:
        if self.hooks != ():
            object.__setattr__(self, "hooks", checked_hooks(self.hooks, HOOK_METHODS, "SendHook or a CheckForbiddenHook"))
        if self.trace_topic is not None:
            check_topic(self.trace_topic)
        for name in ("trace_topic", "trace_recalls"):
            if getattr(self, name) and not self.enable_trace:
                raise ConfigError(f"{name} is given without enable_trace=True", hint="set enable_trace=True, or leave it out")

    def _check_latencies(self) -> None:
        for name in ("latency_max", "not_available_duration"):
            given = getattr(self, name)
            if isinstance(given, str | bytes) or not isinstance(given, Iterable):
                raise ConfigError(f"{name} {given!r} is not a list of durations", hint="use a list of seconds, for example [0.1, 1, 5]")
            object.__setattr__(self, name, tuple([duration(f"{name}[{place}]", each, 0.0) for place, each in enumerate(given)]))
        if len(self.latency_max) != len(self.not_available_duration) or not self.latency_max:
            raise ConfigError(
                f"latency_max has {len(self.latency_max)} and not_available_duration {len(self.not_available_duration)} entries",
                hint="give one duration for each latency, and at least one",
            )
        if list(self.latency_max) != sorted(set(self.latency_max)):
            raise ConfigError(f"latency_max {self.latency_max} does not ascend", hint="begin with the smallest latency")


def retry_code(code: object) -> int:
    """A response code after which sends are tried again.

    Raises:
        ConfigError: It is none.
    """
    return whole("retry_response_codes", code, -INT32_MAX - 1, INT32_MAX)
