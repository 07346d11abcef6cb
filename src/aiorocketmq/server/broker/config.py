"""Settings of an embedded broker (Java: `BrokerConfig`, `MessageStoreConfig`): the ones that its features need, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import duration, flag, whole
from aiorocketmq.server.access import AccessRules
from aiorocketmq.server.store.store import Flush

if TYPE_CHECKING:
    import ssl

DELAY_LEVELS: Final = (1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200)
"""Seconds of delay levels 1 to 18 (Java: `messageDelayLevel`)."""
MAX_MESSAGE_SIZE: Final = 4 * 1024 * 1024

Duration = float | timedelta
"""Seconds, or a timedelta."""

_LONGEST: Final = 100 * 365 * 24 * 3600.0
"""Seconds of any duration at most: milliseconds of it are still far from the end of 64 bits."""
_SHORTEST: Final = 0.001
"""Seconds of any duration at least: a shorter pause between two looks would keep the event loop busy with nothing else."""
_MOST_LEVELS: Final = 1024
_LONGEST_NAME: Final = 127
"""Characters of a name that topics are named after, and that every message carries."""


_DURATIONS: Final = (
    "timer_max_delay", "transaction_timeout", "transaction_check_interval", "client_expiry", "client_scan_interval", "register_interval",
    "lock_expiry", "retention_interval", "slave_sync_interval",
)  # fmt: skip


_SWITCHES: Final = (
    "auto_create_topics", "auto_create_groups", "recall_messages", "reject_transactions", "long_polling", "server_side_reset",
    "pop_retry_v2",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class BrokerConfig:
    """One embedded broker. Mutable: request 25 changes the switches that it may change.

    Durations are of a millisecond at least, but for delay levels, and of a hundred years at most.

    Attributes:
        name: Broker name.
        cluster: Cluster name.
        broker_id: 0 for a master, more for a slave of the master of its name.
        host: Address to listen on and to be known by.
        port: Port to listen on; 0 takes a free one, which is kept for the broker's life.
        name_servers: Addresses (`host:port`) to register with.
        path: Database file; None keeps everything in memory.
        flush: `"async"` or `"sync"`, see `server.store.store`.
        auto_create_topics: Unknown topics are created from `TBW102` when a producer sends to them.
        auto_create_groups: Unknown consumer groups are created when they are first used.
        max_message_size: Bytes of the largest body.
        default_topic_queues: Queues that `TBW102` offers.
        region_id: Sent as `MSG_REGION`.
        delay_levels: Seconds of each delay level.
        timer_max_delay: Seconds that a message may ask to be delayed at most.
        recall_messages: Producers may take such messages back. Java's `recallMessageEnable`, which is false by default.
        reject_transactions: Half messages are refused. Java's `rejectTransactionMessage`.
        transaction_timeout: Seconds after which a producer is asked about a half message that nobody decided, unless the message says
            otherwise. Java's `transactionTimeOut`.
        transaction_check_interval: Seconds until it is asked again.
        transaction_check_max: How often it is asked, before the message moves to `TRANS_CHECK_MAX_TIME_TOPIC`.
        client_expiry: Seconds after its last heartbeat at which a client is forgotten.
        client_scan_interval: Seconds between two looks for such clients.
        register_interval: Seconds between two registrations with the name servers.
        lock_expiry: Seconds after its last renewal at which a queue lock falls.
        recent_bytes: Memory for recent messages.
        retention_age: Seconds for which messages are kept; None keeps them for ever. Java's `fileReservedTime`.
        retention_bytes: Bytes of stored messages beyond which the oldest leave; None for any number.
        retention_interval: Seconds between two looks for messages that may leave.
        slave_sync_interval: Seconds between two moments at which a slave takes over its master's consumer offsets.
        long_polling: False answers pulls that find nothing after one second at most.
        server_side_reset: Members hear of new offsets by the answer to their next pull; False asks them to set them, as 4.x brokers do.
            Java's `useServerSideResetOffset`.
        pop_threshold: Messages of one queue that a group may have taken and not acknowledged before it gets no more of it; None for any
            number. Java's `popInflightMessageThreshold`.
        pop_retry_v2: Messages that come back go to retry topics named `%RETRY%<group>+<topic>`, not `%RETRY%<group>_<topic>`; those of the
            older form are still emptied. Java's `enableRetryTopicV2`.
        pop_retry_first: How many of 100 pops look at the retry topic first. Java's `popFromRetryProbability`.
        acl: Who may do what; None lets everybody do everything.
        tls: The TLS contexts that listen, and by which parts of the server reach each other; None for plain connections.
    """

    name: str = "broker-a"
    cluster: str = "DefaultCluster"
    broker_id: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    name_servers: tuple[str, ...] = ()
    path: Path | None = None
    flush: Flush = "async"
    auto_create_topics: bool = True
    auto_create_groups: bool = True
    max_message_size: int = MAX_MESSAGE_SIZE
    default_topic_queues: int = 8
    region_id: str = "DefaultRegion"
    delay_levels: tuple[float, ...] = DELAY_LEVELS
    timer_max_delay: float = 3 * 24 * 3600
    recall_messages: bool = True
    reject_transactions: bool = False
    transaction_timeout: float = 6.0
    transaction_check_interval: float = 30.0
    transaction_check_max: int = 15
    client_expiry: float = 120.0
    client_scan_interval: float = 10.0
    register_interval: float = 30.0
    lock_expiry: float = 60.0
    recent_bytes: int = 8 * 1024 * 1024
    retention_age: float | None = 72 * 3600.0
    retention_bytes: int | None = None
    retention_interval: float = 10.0
    slave_sync_interval: float = 10.0
    long_polling: bool = True
    server_side_reset: bool = True
    pop_threshold: int | None = None
    pop_retry_v2: bool = False
    pop_retry_first: int = 20
    acl: AccessRules | None = None
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def __post_init__(self) -> None:
        if self.flush not in ("async", "sync"):
            raise ConfigError(f"flush {self.flush!r} is unknown", hint='use "async" or "sync"')
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port!r} is out of range", hint="use 0 (any free port) to 65535")
        for name in _DURATIONS:
            setattr(self, name, duration(name, getattr(self, name), _SHORTEST, _LONGEST))
        whole("transaction_check_max", self.transaction_check_max, 1)
        if self.retention_age is not None:
            self.retention_age = duration("retention_age", self.retention_age, _SHORTEST, _LONGEST)
        if self.retention_bytes is not None:
            whole("retention_bytes", self.retention_bytes, 0)
        whole("max_message_size", self.max_message_size, 1, 0x7FFFFFFF)
        whole("default_topic_queues", self.default_topic_queues, 1, 65535)
        whole("recent_bytes", self.recent_bytes, 0)
        if self.pop_threshold is not None:
            whole("pop_threshold", self.pop_threshold, 1)
        whole("pop_retry_first", self.pop_retry_first, 0, 100)
        for name in _SWITCHES:
            flag(name, getattr(self, name))
        check_text("cluster_name", self.cluster, _LONGEST_NAME)
        check_text("region_id", self.region_id, _LONGEST_NAME)
        if not isinstance(self.delay_levels, Sequence) or isinstance(self.delay_levels, str):
            raise ConfigError(f"delay_levels {self.delay_levels!r} is no list", hint="give seconds in ascending order")
        if len(self.delay_levels) > _MOST_LEVELS:
            raise ConfigError(f"delay_levels has {len(self.delay_levels)} levels", hint=f"give {_MOST_LEVELS} at most")
        self.delay_levels = tuple(duration("delay_levels", seconds, 0.0, _LONGEST) for seconds in self.delay_levels)
        if not self.delay_levels or any(later < earlier for earlier, later in pairwise(self.delay_levels)):
            raise ConfigError(f"delay_levels {self.delay_levels!r} do not grow", hint="give seconds in ascending order")


class BrokerSettings(TypedDict, total=False):
    """The fields of `BrokerConfig` that a `LocalCluster` takes besides its own arguments."""

    max_message_size: int
    default_topic_queues: int
    region_id: str
    auto_create_groups: bool
    delay_levels: Sequence[float]
    timer_max_delay: Duration
    recall_messages: bool
    reject_transactions: bool
    transaction_timeout: Duration
    transaction_check_interval: Duration
    transaction_check_max: int
    client_expiry: Duration
    client_scan_interval: Duration
    register_interval: Duration
    lock_expiry: Duration
    recent_bytes: int
    retention_age: Duration | None
    retention_bytes: int | None
    retention_interval: Duration
    slave_sync_interval: Duration
    long_polling: bool
    server_side_reset: bool
    pop_threshold: int | None
    pop_retry_v2: bool
    pop_retry_first: int


def check_text(name: str, value: object, most: int = 255) -> None:
    """Do nothing when this is a text that names something.

    Args:
        name: The setting.
        value: What it was given.
        most: Characters of the longest one.

    Raises:
        ConfigError: It is no string, is empty, too long, or holds what no header can carry.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} {value!r} is no name", hint="give a string of at least one character")
    if len(value) > most:
        raise ConfigError(f"{name} {value[:32]!r}... has {len(value)} characters", hint=f"give {most} at most")
    try:
        value.encode()
    except UnicodeEncodeError:
        illegal = True
    else:
        illegal = any(ord(character) < 32 or ord(character) == 127 for character in value)
    if illegal:
        raise ConfigError(f"{name} {value!r} holds what no header can carry", hint="use printable characters")


def refuse_unknown(settings: Iterable[str]) -> None:
    """Do nothing when all of these are settings of a cluster's brokers.

    Raises:
        ConfigError: One is not; names the one that may be meant.
    """
    for name in settings:
        if name not in BrokerSettings.__annotations__:
            from difflib import get_close_matches

            near = get_close_matches(name, BrokerSettings.__annotations__, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(BrokerSettings.__annotations__))}"
            raise ConfigError(f"{name!r} is not a setting of LocalCluster", hint=hint)
