"""The settings of one push consumer, checked (Java: the fields of `DefaultMQPushConsumer` and `checkConfig`). Features F5-F15, F22, F23."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiorocketmq.consumer.offset_store import OffsetStore
from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import INT32_MAX, duration, flag, member, whole
from aiorocketmq.model.enums import MessageModel, StartFrom
from aiorocketmq.model.names import DEFAULT_CONSUMER_GROUP, check_group
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_MAX_RECONSUME_TIMES: Final = 16
START_TIMESTAMP_BACK: Final = 30 * 60.0
"""With `StartFrom.TIMESTAMP` and no `start_timestamp`: this many seconds before the consumer was made."""
MIB: Final = 1024 * 1024

MessageQueueListener: TypeAlias = Callable[[str, frozenset[MessageQueue], frozenset[MessageQueue]], Any]
"""Called with a topic, all its queues and the queues this consumer owns now, whenever either changed. Must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """What `PushConsumer` was told besides its `ClientConfig`; see there for the meaning of each field.

    Raises:
        ConfigError: A field has a value that cannot work.
        InvalidNameError: The group has an illegal name.
    """

    group: str
    ordered: bool = False
    start_from: StartFrom = StartFrom.LAST
    start_timestamp: datetime | float | None = None
    message_model: MessageModel = MessageModel.CLUSTERING
    concurrency: int | tuple[int, int] = 20
    max_reconsume_times: int = -1
    consume_timeout: float = 15 * 60.0
    auto_commit: bool = True
    suspend_current_queue_time: float = 1.0
    pull_batch_size: int = 32
    pull_batch_size_in_bytes: int = 256 * 1024
    pull_interval: float = 0.0
    pull_threshold_for_queue: int = 1000
    pull_threshold_size_for_queue: int = 100 * MIB
    pull_threshold_for_topic: int = -1
    pull_threshold_size_for_topic: int = -1
    consume_concurrently_max_span: int = 2000
    post_subscription_when_pull: bool = False
    connect_broker_by_user: bool = False
    default_broker_id: int = 0
    skip_damaged_messages: bool = False
    await_termination_when_shutdown: float = 30.0
    allocate: AllocateStrategy = field(default_factory=AllocateAveragely)
    offset_store: OffsetStore | None = None
    local_offset_store_dir: str | Path | None = None
    message_queue_listener: MessageQueueListener | None = None

    def __post_init__(self) -> None:
        check_group(self.group)
        if self.group == DEFAULT_CONSUMER_GROUP:
            raise ConfigError(
                f"group {self.group!r} is the default name, which every consumer would share", hint="give a group of your own"
            )
        self._check_kinds()
        self._check_numbers()
        self._check_durations()

    def _check_kinds(self) -> None:
        member("start_from", self.start_from, StartFrom)
        member("message_model", self.message_model, MessageModel)
        for name in ("ordered", "auto_commit", "post_subscription_when_pull", "connect_broker_by_user", "skip_damaged_messages"):
            flag(name, getattr(self, name))
        if not isinstance(self.allocate, AllocateStrategy):
            raise ConfigError(
                f"allocate {self.allocate!r} is no strategy",
                hint="give an object with `name` and `allocate(group, client_id, queues, client_ids)`",
            )
        if self.offset_store is not None and not isinstance(self.offset_store, OffsetStore):
            raise ConfigError(f"offset_store {self.offset_store!r} is no store", hint="give an object with the methods of OffsetStore")
        if self.message_queue_listener is not None and not callable(self.message_queue_listener):
            raise ConfigError(
                f"message_queue_listener {self.message_queue_listener!r} cannot be called", hint="give a function (topic, all, owned)"
            )
        if self.start_timestamp is not None:
            if self.start_from is not StartFrom.TIMESTAMP:
                raise ConfigError(
                    f"start_timestamp is given with start_from={self.start_from.name}",
                    hint="use start_from=StartFrom.TIMESTAMP, or leave it out",
                )
            if isinstance(self.start_timestamp, datetime) and self.start_timestamp.tzinfo is None:
                raise ConfigError(
                    f"start_timestamp {self.start_timestamp!r} has no time zone", hint="use an aware datetime, or seconds since the epoch"
                )
        if not self.auto_commit and not self.ordered:
            raise ConfigError("auto_commit=False works for ordered consumers only", hint="use ordered=True, or leave it out")

    def _check_numbers(self) -> None:
        low, high = self.workers
        whole("concurrency", low, 1, 1000)
        whole("concurrency", high, 1, 1000)
        if low > high:
            raise ConfigError(f"concurrency {self.concurrency!r} has its minimum above its maximum", hint="give (minimum, maximum)")
        whole("max_reconsume_times", self.max_reconsume_times, -1, INT32_MAX)
        whole("pull_batch_size", self.pull_batch_size, 1, 1024)
        whole("pull_batch_size_in_bytes", self.pull_batch_size_in_bytes, 1, INT32_MAX)
        whole("pull_threshold_for_queue", self.pull_threshold_for_queue, 1, 65535)
        whole("pull_threshold_size_for_queue", self.pull_threshold_size_for_queue, 1, 1024 * MIB)
        whole("consume_concurrently_max_span", self.consume_concurrently_max_span, 1, 65535)
        whole("default_broker_id", self.default_broker_id, 0, INT32_MAX)
        if self.pull_threshold_for_topic != -1:
            whole("pull_threshold_for_topic", self.pull_threshold_for_topic, 1, 6553500)
        if self.pull_threshold_size_for_topic != -1:
            whole("pull_threshold_size_for_topic", self.pull_threshold_size_for_topic, 1, 102400 * MIB)

    def _check_durations(self) -> None:
        put = object.__setattr__
        for name, low, high in (
            ("consume_timeout", 0.001, float("inf")),
            ("suspend_current_queue_time", 0.01, 30.0),
            ("pull_interval", 0.0, 65.535),
            ("await_termination_when_shutdown", 0.0, float("inf")),
        ):
            put(self, name, duration(name, getattr(self, name), low, high))

    @property
    def workers(self) -> tuple[int, int]:
        """Fewest and most workers (Java: consumeThreadMin, consumeThreadMax)."""
        given = self.concurrency
        if isinstance(given, tuple):
            if len(given) != 2:
                raise ConfigError(f"concurrency {given!r} is no pair", hint="give one number, or (minimum, maximum)")
            return given
        return given, given

    @property
    def max_tries(self) -> int:
        """How often a message comes back before it goes to the dead-letter topic; -1 is without end (ordered only)."""
        if self.max_reconsume_times == -1 and not self.ordered:
            return DEFAULT_MAX_RECONSUME_TIMES
        return self.max_reconsume_times

    @property
    def broadcasting(self) -> bool:
        return self.message_model is MessageModel.BROADCASTING

    def start_time_ms(self, made_at: float) -> int:
        """Where `StartFrom.TIMESTAMP` starts, in milliseconds since the epoch.

        Args:
            made_at: When the consumer was made, in seconds since the epoch.
        """
        given = self.start_timestamp
        if given is None:
            return int((made_at - START_TIMESTAMP_BACK) * 1000)
        return int((given.timestamp() if isinstance(given, datetime) else float(given)) * 1000)
