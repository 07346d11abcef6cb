"""The settings that all producers take, for the signatures of those that have more (Java: `DefaultMQProducer` as a base class)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from aiorocketmq.config.fields import ClientFields
from aiorocketmq.model.enums import CompressionType

if TYPE_CHECKING:
    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.producer.hooks import CheckForbiddenHook, SendHook


class ProducerFields(ClientFields, total=False):
    """The keyword arguments of `Producer`, but for `group` and `config`; see there."""

    topics: Iterable[str]
    send_msg_timeout: float | timedelta
    send_msg_max_timeout_per_request: float | timedelta | None
    retry_times_when_send_failed: int
    retry_times_when_send_async_failed: int
    retry_another_broker_when_not_store_ok: bool
    retry_response_codes: Iterable[int]
    max_message_size: int
    compress_msg_body_over_howmuch: int
    compress_type: CompressionType
    compress_level: int | None
    compress_batches: bool
    create_topic_key: str
    default_topic_queue_nums: int
    max_in_flight: int
    max_in_flight_bytes: int
    auto_batch: bool
    batch_max_delay: float | timedelta
    batch_max_bytes: int
    total_batch_max_bytes: int
    send_latency_enable: bool
    latency_max: Sequence[float | timedelta]
    not_available_duration: Sequence[float | timedelta]
    start_detector_enable: bool
    detect_timeout: float | timedelta
    detect_interval: float | timedelta
    hooks: Iterable[SendHook | CheckForbiddenHook]
    enable_trace: bool
    trace_topic: str | None
    trace_recalls: bool
    on_state_change: StateListener | None
