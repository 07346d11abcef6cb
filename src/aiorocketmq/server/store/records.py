"""What goes into the store and what comes out: pending messages, queues with their recent messages, units of work and their commits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from aiorocketmq.errors import RocketMQError

_RECENT_OVERHEAD: Final = 160
"""Bytes that a message in memory costs besides its record."""


class PendingMessage:
    """A message on its way into the store (Java: `MessageExtBrokerInner`). Mutable: made once per send, completed by the store.

    Attributes:
        topic, queue_id: The queue it is stored in; for a delayed message the parking queue.
        record_topic: The topic in its record where that is another one, as in light queues; else "".
        properties: The property string as it is stored, UTF-8.
        tags_code: Java hash code of the tag, 0 without one.
        keys: Words by which the message can be found, its unique id included.
        deliver_at: Milliseconds since the epoch at which it moves to its real queue, or is looked at; 0 for messages that are not parked.
        due_kind: Kind of the due work that a parked message waits with.
        delivers: Due work that this message fulfils; removed in the same transaction.
        done: Called once with this message and None after the commit, or with the error that kept it from being stored.
        unit: What it is stored together with, or not at all; None for a message by itself. Set by the store.
        error: Why it alone is refused. Set by the store.
        queue_offset, physical_offset, store_timestamp: Set by the store before `done` is called without an error.
    """

    __slots__ = (
        "body",
        "born_host",
        "born_port",
        "born_timestamp",
        "deliver_at",
        "delivers",
        "done",
        "due_kind",
        "error",
        "flag",
        "keys",
        "physical_offset",
        "prepared_offset",
        "properties",
        "queue_id",
        "queue_offset",
        "reconsume_times",
        "record_topic",
        "store_timestamp",
        "sys_flag",
        "tags_code",
        "topic",
        "unit",
    )

    def __init__(
        self,
        topic: str,
        queue_id: int,
        body: bytes,
        properties: bytes,
        *,
        flag: int = 0,
        sys_flag: int = 0,
        born_timestamp: int = 0,
        born_host: bytes = b"\x7f\x00\x00\x01",
        born_port: int = 0,
        reconsume_times: int = 0,
        prepared_offset: int = 0,
        tags_code: int = 0,
        keys: tuple[str, ...] = (),
        deliver_at: int = 0,
        delivers: DueEntry | None = None,
        done: Callable[[PendingMessage, RocketMQError | None], None] | None = None,
    ) -> None:
        self.topic = topic
        self.queue_id = queue_id
        self.body = body
        self.properties = properties
        self.flag = flag
        self.sys_flag = sys_flag
        self.born_timestamp = born_timestamp
        self.born_host = born_host
        self.born_port = born_port
        self.reconsume_times = reconsume_times
        self.prepared_offset = prepared_offset
        self.tags_code = tags_code
        self.keys = keys
        self.deliver_at = deliver_at
        self.due_kind = DELAY
        self.delivers = delivers
        self.done = done
        self.record_topic = ""
        self.queue_offset = -1
        self.physical_offset = -1
        self.store_timestamp = 0
        self.unit: Unit | None = None
        self.error: RocketMQError | None = None


class DueEntry(NamedTuple):
    """Something to be done at a time.

    Attributes:
        at: Milliseconds since the epoch.
        kind: What is to be done, for example `DELAY`.
        key: What it is to be done with; for a delayed message the offset of the log at which it is parked.
    """

    at: int
    kind: str
    key: int


DELAY: Final = "delay"
"""Kind of due work: a parked message moves to its queue."""
HALF: Final = "half"
"""Kind of due work: nobody has decided about a half message."""


class StoredRecord(NamedTuple):
    """A committed message: its bytes are exactly what pulls return."""

    tags_code: int
    store_timestamp: int
    record: bytes


class QueueLog:
    """One queue: its bounds, and its newest messages in memory (Java: `ConsumeQueue` plus the page cache).

    Mutable: only the store changes it, and only with what is committed. `recent[head:]` ends at `next_offset`.
    """

    # fmt: off
    __slots__ = ("forgotten", "head", "key", "last_store_timestamp", "min_offset", "next_offset", "queue_id", "recent", "topic")
    # fmt: on

    def __init__(
        self, key: int, topic: str, queue_id: int, min_offset: int = 0, next_offset: int = 0, last_store_timestamp: int = 0
    ) -> None:
        self.key = key
        self.topic = topic
        self.queue_id = queue_id
        self.min_offset = min_offset
        self.next_offset = next_offset
        self.last_store_timestamp = last_store_timestamp
        self.recent: list[StoredRecord | None] = []
        self.head = 0
        self.forgotten = 0  # messages that left memory before their turn

    @property
    def first_recent_offset(self) -> int:
        """Offset of the oldest message in memory; `next_offset` when there is none."""
        return self.next_offset - (len(self.recent) - self.head)

    def append(self, record: StoredRecord) -> None:
        self.recent.append(record)
        self.next_offset += 1
        self.last_store_timestamp = record.store_timestamp

    def skip(self, count: int, last_store_timestamp: int) -> None:
        """Take messages that do not stay in memory; those before them cannot stay either."""
        self.forgotten += len(self.recent) - self.head
        self.recent.clear()
        self.head = 0
        self.next_offset += count
        self.last_store_timestamp = last_store_timestamp

    def recent_from(self, offset: int, count: int) -> list[StoredRecord]:
        """Up to `count` messages from `offset` on, which must not lie before `first_recent_offset`."""
        start = len(self.recent) - (self.next_offset - offset)
        return [record for record in self.recent[start : start + count] if record is not None]

    def forget_oldest(self) -> None:
        """Drop the oldest message from memory; the list is compacted now and then, so that this stays cheap."""
        if self.forgotten:
            self.forgotten -= 1
            return
        self.recent[self.head] = None
        self.head += 1
        if self.head >= 1024 and self.head * 2 > len(self.recent):
            del self.recent[: self.head]
            self.head = 0


class RecentMessages:
    """Bounds the messages that all queues together keep in memory: beyond the limit the oldest go first.

    Args:
        limit: Bytes of the records, with what they cost besides.
    """

    __slots__ = ("_limit", "_order", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._order: deque[tuple[QueueLog, int]] = deque()

    def append(self, queue: QueueLog, record: StoredRecord) -> None:
        """Add a committed message to its queue."""
        queue.append(record)
        size = len(record.record) + _RECENT_OVERHEAD
        self._order.append((queue, size))
        self._size += size
        while self._size > self._limit:
            oldest, size = self._order.popleft()
            oldest.forget_oldest()
            self._size -= size

    def clear(self) -> None:
        self._order.clear()
        self._size = 0


class Unit:
    """What one request changes: written whole or not at all, whatever becomes of the others in its commit. Mutable while it is filled.

    Attributes:
        writes: Statements and their parameters, in order.
        applied: Called after the commit, before anybody is told: tables in memory follow the database, never the other way round.
        callbacks: Called at the end with None, or with the error that kept the unit from being written.
        needs: Earlier units that it builds on: it is refused when one of them was.
        error: Why it was refused.
    """

    __slots__ = ("applied", "callbacks", "error", "needs", "writes")

    def __init__(self) -> None:
        self.writes: list[tuple[str, Sequence[object]]] = []
        self.applied: list[Callable[[], None]] = []
        self.callbacks: list[Callable[[RocketMQError | None], None]] = []
        self.needs: list[Unit] = []
        self.error: RocketMQError | None = None


class Changes:
    """All that one commit writes; filled during a loop tick.

    Attributes:
        messages: In order of their arrival; some of them belong to a unit.
        units: In order of their first write.
        drops: Topics that end with this commit, and the units that say so. Its messages come after that: they belong to the topic's
            next life.
        callbacks: Called at the end, with the error when nothing was written.
    """

    __slots__ = ("callbacks", "drops", "messages", "units")

    def __init__(self) -> None:
        self.messages: list[PendingMessage] = []
        self.units: list[Unit] = []
        self.drops: dict[str, Unit] = {}
        self.callbacks: list[Callable[[RocketMQError | None], None]] = []

    def dropped(self) -> set[str]:
        """Topics that really end: a unit that is refused drops nothing."""
        return {topic for topic, unit in self.drops.items() if unit.error is None}


class Placed(NamedTuple):
    """Where the messages of a commit go.

    Attributes:
        messages: Those that are stored.
        rows: Their records, in the same order.
        made: Queues that get their first message now.
    """

    messages: list[PendingMessage]
    rows: list[StoredRecord]
    made: dict[tuple[str, int], QueueLog]
