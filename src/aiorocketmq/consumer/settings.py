"""The settings of consumers, checked (Java: the fields of `DefaultMQPushConsumer` and `checkConfig`). Features F5-F15, F22, F23."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiorocketmq.client.pull import BROKER_SUSPEND_MAX_TIME, CONSUMER_TIMEOUT_WHEN_SUSPEND
from aiorocketmq.consumer.offset_store import OffsetStore
from aiorocketmq.core.allocate import AllocateAveragely, AllocateStrategy
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import INT32_MAX, YEAR_10000, checked_hooks, duration, flag, member, whole
from aiorocketmq.model.enums import MessageModel, StartFrom
from aiorocketmq.model.names import DEFAULT_CONSUMER_GROUP, check_group, check_topic
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_MAX_RECONSUME_TIMES: Final = 16
START_TIMESTAMP_BACK: Final = 30 * 60.0
"""With `StartFrom.TIMESTAMP` and no `start_timestamp`: this many seconds before the consumer was made."""
MIN_INVISIBLE: Final = 1.0
MAX_INVISIBLE: Final = 12 * 3600.0
"""Bounds in seconds of the time for which popped messages are invisible to others."""
STORE_METHODS: Final = tuple(name for name in vars(OffsetStore) if not name.startswith("_"))
BROKER_STRATEGIES: Final = ("AVG", "AVG_BY_CIRCLE")
"""Names of the strategies that brokers share queues by."""
HOOK_METHODS: Final = ("before_consume", "after_consume", "keep")
MIB: Final = 1024 * 1024

MessageQueueListener: TypeAlias = Callable[[str, frozenset[MessageQueue], frozenset[MessageQueue]], Any]
"""Called with a topic, all its queues and the queues this consumer owns now, whenever either changed. Must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSettings:
    """What every member of a group that pulls queues was told; see `PushConsumer` for the meaning of each field.

    Raises:
        ConfigError: A field has a value that cannot work.
        InvalidNameError: The group has an illegal name.
    """

    group: str
    ordered: bool = False
    start_from: StartFrom = StartFrom.LAST
    start_timestamp: datetime | float | None = None
    message_model: MessageModel = MessageModel.CLUSTERING
    pull_batch_size: int = 32
    pull_batch_size_in_bytes: int = 256 * 1024
    pull_interval: float = 0.0
    pull_threshold_for_queue: int = 1000
    pull_threshold_size_for_queue: int = 100 * MIB
    pull_threshold_for_topic: int = -1
    pull_threshold_size_for_topic: int = -1
    post_subscription_when_pull: bool = False
    connect_broker_by_user: bool = False
    default_broker_id: int = 0
    skip_damaged_messages: bool = False
    stuck_after: float = 60.0
    allocate: AllocateStrategy = field(default_factory=AllocateAveragely)
    offset_store: OffsetStore | None = None
    local_offset_store_dir: str | Path | None = None
    message_queue_listener: MessageQueueListener | None = None
    hooks: tuple[Any, ...] = ()
    user_info: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_group(self.group)
        if self.group == DEFAULT_CONSUMER_GROUP:
            raise ConfigError(
                f"group {self.group!r} is the default name, which every consumer would share", hint="give a group of your own"
            )
        member("start_from", self.start_from, StartFrom)
        member("message_model", self.message_model, MessageModel)
        for name in ("ordered", "post_subscription_when_pull", "connect_broker_by_user", "skip_damaged_messages"):
            flag(name, getattr(self, name))
        self._check_users_objects()
        self._check_start_timestamp()
        self._check_pulls()

    @property
    def broadcasting(self) -> bool:
        return self.message_model is MessageModel.BROADCASTING

    @property
    def max_span(self) -> int:
        """Distance between the oldest and the newest unfinished offset of a queue that stops pulling."""
        return INT32_MAX

    @property
    def lite(self) -> bool:
        """The consumer asks for its messages: brokers serve its pulls apart from those of others."""
        return False

    @property
    def hold(self) -> tuple[float, float]:
        """Seconds that brokers may hold a pull for which there is no message, and after which one without an answer has failed."""
        return BROKER_SUSPEND_MAX_TIME, CONSUMER_TIMEOUT_WHEN_SUSPEND

    @property
    def commits_with_pulls(self) -> bool:
        """Pulls tell the brokers what is consumed."""
        return not self.broadcasting

    @property
    def asks_brokers(self) -> bool:
        """Brokers say which queues fall to it."""
        return False

    def _check_users_objects(self) -> None:
        """What the user gives us to call; the protocols see names only, so that classes and what is not to be called pass them."""
        strategy, store, listener, directory = self.allocate, self.offset_store, self.message_queue_listener, self.local_offset_store_dir
        if not isinstance(strategy, AllocateStrategy) or not _has_methods(strategy, ("allocate",)) or not isinstance(strategy.name, str):
            raise ConfigError(
                f"allocate {strategy!r} is no strategy",
                hint="give an object with `name` and `allocate(group, client_id, queues, client_ids)`",
            )
        if inspect.iscoroutinefunction(strategy.allocate):
            raise ConfigError(f"allocate {strategy!r} has an async def allocate()", hint="make it a def: it must not wait for anything")
        if store is not None and not (isinstance(store, OffsetStore) and _has_methods(store, STORE_METHODS)):
            raise ConfigError(f"offset_store {store!r} is no store", hint="give an object with the methods of OffsetStore")
        if listener is not None and not callable(listener):
            raise ConfigError(f"message_queue_listener {listener!r} cannot be called", hint="give a function (topic, all, owned)")
        if inspect.iscoroutinefunction(listener):
            raise ConfigError(
                f"message_queue_listener {listener!r} is an async def, which nobody would await", hint="give a def that makes a task of it"
            )
        if directory is not None and (not isinstance(directory, str | PathLike) or "\0" in str(directory)):
            raise ConfigError(f"local_offset_store_dir {directory!r} is no path", hint="give the path of a directory, as str or Path")

    def _check_start_timestamp(self) -> None:
        given = self.start_timestamp
        if given is None:
            return
        if self.start_from is not StartFrom.TIMESTAMP:
            raise ConfigError(
                f"start_timestamp is given with start_from={self.start_from.name}",
                hint="use start_from=StartFrom.TIMESTAMP, or leave it out",
            )
        if isinstance(given, datetime):
            if given.tzinfo is None:
                raise ConfigError(f"start_timestamp {given!r} has no time zone", hint="use an aware datetime, or seconds since the epoch")
        elif isinstance(given, bool) or not isinstance(given, int | float):
            raise ConfigError(f"start_timestamp {given!r} is no time", hint="use an aware datetime, or seconds since the epoch")
        seconds = given.timestamp() if isinstance(given, datetime) else given
        if not 0 <= seconds <= YEAR_10000:
            raise ConfigError(
                f"start_timestamp {str(given)[:40]} is out of range",
                hint="use an aware datetime, or seconds (not milliseconds) since the epoch",
            )

    def _check_pulls(self) -> None:
        whole("pull_batch_size", self.pull_batch_size, 1, 1024)
        whole("pull_batch_size_in_bytes", self.pull_batch_size_in_bytes, 1, INT32_MAX)
        whole("pull_threshold_for_queue", self.pull_threshold_for_queue, 1, 65535)
        whole("pull_threshold_size_for_queue", self.pull_threshold_size_for_queue, 1, 1024 * MIB)
        whole("default_broker_id", self.default_broker_id, 0, INT32_MAX)
        if self.pull_threshold_for_topic != -1:
            whole("pull_threshold_for_topic", self.pull_threshold_for_topic, 1, 6553500)
        if self.pull_threshold_size_for_topic != -1:
            whole("pull_threshold_size_for_topic", self.pull_threshold_size_for_topic, 1, 102400 * MIB)
        self._convert("pull_interval", 0.0, 65.535)
        self._convert("stuck_after", 1.0, float("inf"))

    def _convert(self, name: str, low: float, high: float) -> None:
        """Check a duration, and keep it in seconds."""
        object.__setattr__(self, name, duration(name, getattr(self, name), low, high))

    def start_time_ms(self, made_at: float) -> int:
        """Where `StartFrom.TIMESTAMP` starts, in milliseconds since the epoch.

        Args:
            made_at: When the consumer was made, in seconds since the epoch.
        """
        given = self.start_timestamp
        if given is None:
            return int((made_at - START_TIMESTAMP_BACK) * 1000)
        return int((given.timestamp() if isinstance(given, datetime) else float(given)) * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings(ConsumerSettings):
    """What `PushConsumer` was told besides its `ClientConfig`; see there for the meaning of each field."""

    concurrency: int | tuple[int, int] = 20
    client_rebalance: bool = True
    pop_invisible_time: float = 60.0
    pop_threshold_for_queue: int = 96
    pop_batch_nums: int = 32
    max_reconsume_times: int = -1
    consume_timeout: float = 15 * 60.0
    auto_commit: bool = True
    suspend_current_queue_time: float = 1.0
    consume_concurrently_max_span: int = 2000
    await_termination_when_shutdown: float = 30.0
    rate_limit: float | None = None
    enable_trace: bool = False
    trace_topic: str | None = None

    def __post_init__(self) -> None:
        ConsumerSettings.__post_init__(self)  # not super(): a dataclass with slots is another class than the one that is written here
        flag("auto_commit", self.auto_commit)
        if not self.auto_commit and not self.ordered:
            raise ConfigError("auto_commit=False works for ordered consumers only", hint="use ordered=True, or leave it out")
        self._check_client_rebalance()
        self._check_observers()
        self._check_numbers()
        self._convert("pop_invisible_time", 5.0, 300.0)
        self._convert("consume_timeout", 0.001, float("inf"))
        self._convert("suspend_current_queue_time", 0.01, 30.0)
        self._convert("await_termination_when_shutdown", 0.0, float("inf"))

    @property
    def asks_brokers(self) -> bool:
        """See `ConsumerSettings.asks_brokers`."""
        return not self.client_rebalance

    @property
    def max_span(self) -> int:
        """See `ConsumerSettings.max_span`; where there is an order, no message overtakes another one."""
        return INT32_MAX if self.ordered else self.consume_concurrently_max_span

    @property
    def observed(self) -> bool:
        """Somebody looks at the calls of listeners."""
        return self.enable_trace or bool(self.hooks)

    def _check_client_rebalance(self) -> None:
        flag("client_rebalance", self.client_rebalance)
        if self.client_rebalance:
            return
        if self.ordered or self.broadcasting:
            kind = "ordered=True" if self.ordered else "message_model=BROADCASTING"
            raise ConfigError(f"client_rebalance=False is given with {kind}: brokers share no such queues", hint="leave one of them out")
        if self.allocate.name not in BROKER_STRATEGIES:
            raise ConfigError(
                f"client_rebalance=False is given with allocation strategy {self.allocate.name!r}, which no broker has",
                hint=f"brokers have {' and '.join(BROKER_STRATEGIES)}: use one of these, or client_rebalance=True",
            )

    def _check_observers(self) -> None:
        if self.hooks != ():
            object.__setattr__(self, "hooks", checked_hooks(self.hooks, HOOK_METHODS, "ConsumeHook or a FilterHook"))
        flag("enable_trace", self.enable_trace)
        if self.trace_topic is not None:
            check_topic(self.trace_topic)
            if not self.enable_trace:
                raise ConfigError("trace_topic is given without enable_trace=True", hint="set enable_trace=True, or leave it out")

    def _check_numbers(self) -> None:
        low, high = self.workers
        whole("concurrency", low, 1, 1000)
        whole("concurrency", high, 1, 1000)
        if low > high:
            raise ConfigError(f"concurrency {self.concurrency!r} has its minimum above its maximum", hint="give (minimum, maximum)")
        whole("pop_threshold_for_queue", self.pop_threshold_for_queue, 1, 65535)
        whole("pop_batch_nums", self.pop_batch_nums, 1, 32)
        whole("max_reconsume_times", self.max_reconsume_times, -1, INT32_MAX)
        whole("consume_concurrently_max_span", self.consume_concurrently_max_span, 1, 65535)
        if self.rate_limit is not None:
            object.__setattr__(self, "rate_limit", messages_a_second("rate_limit", self.rate_limit))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LitePullSettings(ConsumerSettings):
    """What `LitePullConsumer` was told besides its `ClientConfig`; see there for the meaning of each field."""

    post_subscription_when_pull: bool = True
    auto_commit: bool = True
    auto_commit_interval: float = 5.0
    poll_timeout: float = 5.0
    pull_threshold_for_all: int = 10_000
    consume_max_span: int = 2000
    retries: bool = False
    max_reconsume_times: int = DEFAULT_MAX_RECONSUME_TIMES
    broker_suspend_max_time: float = 20.0
    consumer_timeout_when_suspend: float = 30.0

    def __post_init__(self) -> None:
        ConsumerSettings.__post_init__(self)
        flag("auto_commit", self.auto_commit)
        self._convert("auto_commit_interval", 1.0, float("inf"))
        self._convert("poll_timeout", 0.0, float("inf"))
        whole("pull_threshold_for_all", self.pull_threshold_for_all, 1, INT32_MAX)
        whole("consume_max_span", self.consume_max_span, 1, 65535)
        flag("retries", self.retries)
        if self.retries and self.broadcasting:
            raise ConfigError("retries=True is given with message_model=BROADCASTING", hint="a group that broadcasts has no retries")
        whole("max_reconsume_times", self.max_reconsume_times, 0, INT32_MAX)
        self._convert("broker_suspend_max_time", 0.1, 45.0)
        self._convert("consumer_timeout_when_suspend", 0.1, 55.0)
        if self.consumer_timeout_when_suspend <= self.broker_suspend_max_time:
            raise ConfigError(
                f"consumer_timeout_when_suspend {self.consumer_timeout_when_suspend:g} is not above broker_suspend_max_time "
                f"{self.broker_suspend_max_time:g}",
                hint="brokers may answer a held pull 5 s late: leave 10 s between the two",
            )

    @property
    def hold(self) -> tuple[float, float]:
        """See `ConsumerSettings.hold`."""
        return self.broker_suspend_max_time, self.consumer_timeout_when_suspend

    @property
    def max_span(self) -> int:
        """See `ConsumerSettings.max_span`."""
        return self.consume_max_span

    @property
    def lite(self) -> bool:
        """See `ConsumerSettings.lite`."""
        return True

    @property
    def commits_with_pulls(self) -> bool:
        """See `ConsumerSettings.commits_with_pulls`: what was pulled is far ahead of what was given."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSettings(ConsumerSettings):
    """What `PullConsumer` was told besides its `ClientConfig`; see there for the meaning of each field."""

    consumer_pull_timeout: float = 10.0
    concurrency: int = 20
    await_termination_when_shutdown: float = 30.0
    max_reconsume_times: int = DEFAULT_MAX_RECONSUME_TIMES

    def __post_init__(self) -> None:
        ConsumerSettings.__post_init__(self)
        whole("max_reconsume_times", self.max_reconsume_times, 0, INT32_MAX)
        self._convert("consumer_pull_timeout", 0.001, float("inf"))
        whole("concurrency", self.concurrency, 1, 1000)
        self._convert("await_termination_when_shutdown", 0.0, float("inf"))

    @property
    def commits_with_pulls(self) -> bool:
        """See `ConsumerSettings.commits_with_pulls`: the program says what is consumed."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PopSettings(ConsumerSettings):
    """What `PopConsumer` was told besides its `ClientConfig`; see there for the meaning of each field."""

    invisible: float = 60.0

    def __post_init__(self) -> None:
        ConsumerSettings.__post_init__(self)
        self._convert("invisible", MIN_INVISIBLE, MAX_INVISIBLE)


def messages_a_second(name: str, rate: object) -> float:
    """A limit on the rate of consuming.

    Raises:
        ConfigError: It is no number, or not above 0.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise ConfigError(f"{name} {str(rate)[:40]} is no rate", hint="give messages a second, a number above 0; None is no limit")
    return float(rate)


def _has_methods(given: object, names: Iterable[str]) -> bool:
    return not isinstance(given, type) and all(callable(getattr(given, name)) for name in names)
