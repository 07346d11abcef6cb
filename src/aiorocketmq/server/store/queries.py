"""What can be asked of a store.

Queues and their offsets show what is committed, and nothing else. While a `flush="sync"` store commits on its own thread, searches by key
or by offset of the log may find a message a moment before it is acknowledged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.server.store.records import QueueLog, ScheduleEntry, StoredRecord


class Queries:
    """The reading half of `Store`: from memory where possible, else from the database."""

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._queues: dict[tuple[str, int], QueueLog] = {}
        self._next_physical = 0

    @property
    def closed(self) -> bool:
        return self._database is None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._database is None:
            raise ServiceNotAvailableError("the store is closed")
        return self._database

    def queue(self, topic: str, queue_id: int) -> QueueLog | None:
        """The queue, or None while nothing was ever stored in it."""
        return self._queues.get((topic, queue_id))

    def bounds(self, topic: str, queue_id: int) -> tuple[int, int]:
        """Smallest offset kept, and the offset that the next message gets."""
        queue = self._queues.get((topic, queue_id))
        return (queue.min_offset, queue.next_offset) if queue is not None else (0, 0)

    def read(self, queue: QueueLog, offset: int, count: int, max_bytes: int | None = None) -> list[StoredRecord]:
        """Committed messages from `offset` on, from memory where possible.

        Args:
            queue: Where to read.
            offset: The first one wanted, not below the queue's smallest.
            count: How many at most.
            max_bytes: Bytes of their records at most, but for a first one that is larger; None for any number. No further row is read
                from the database then.
        """
        count = min(count, queue.next_offset - offset)
        if count <= 0:
            return []
        rows: Iterable[StoredRecord]
        if offset >= queue.first_recent_offset:
            rows = queue.recent_from(offset, count)
        else:
            cursor = self._db.execute(
                "SELECT tags_code, store_timestamp, record FROM messages WHERE queue = ? AND queue_offset >= ? AND queue_offset < ?"
                " ORDER BY queue_offset",
                (queue.key, offset, offset + count),
            )
            rows = map(StoredRecord._make, cursor)
        if max_bytes is None:
            return list(rows)
        found: list[StoredRecord] = []
        for row in rows:
            max_bytes -= len(row.record)
            if found and max_bytes < 0:
                break
            found.append(row)
            if max_bytes <= 0:
                break
        return found

    def record_at(self, physical_offset: int) -> bytes | None:
        """The message that starts at this offset of the log, or None."""
        row = self._db.execute("SELECT record FROM messages WHERE physical_offset = ?", (physical_offset,)).fetchone()
        return row[0] if row else None

    def store_timestamp_at(self, queue: QueueLog, offset: int) -> int:
        """Store time of the message at `offset` in ms, or -1 when there is none."""
        if not queue.min_offset <= offset < queue.next_offset:
            return -1
        if offset >= queue.first_recent_offset:
            return queue.recent_from(offset, 1)[0].store_timestamp
        row = self._db.execute("SELECT store_timestamp FROM messages WHERE queue = ? AND queue_offset = ?", (queue.key, offset)).fetchone()
        return row[0] if row else -1

    def find_by_key(self, topic: str, key: str, begin_ms: int, end_ms: int, limit: int) -> list[bytes]:
        """The newest messages of a topic with this key or unique id, stored within [begin, end]."""
        rows = self._db.execute(
            "SELECT record FROM message_keys JOIN messages USING (physical_offset) WHERE topic = ? AND key = ?"
            " AND store_timestamp BETWEEN ? AND ? ORDER BY physical_offset DESC LIMIT ?",
            (topic, key, begin_ms, min(end_ms, 0x7FFFFFFFFFFFFFFF), limit),
        )
        return [row[0] for row in rows]

    def scheduled_between(self, begin_ms: int, end_ms: int) -> list[ScheduleEntry]:
        """Parked messages that are due in [begin, end), in order."""
        rows = self._db.execute(
            "SELECT deliver_at, physical_offset FROM scheduled WHERE deliver_at >= ? AND deliver_at < ?"
            " ORDER BY deliver_at, physical_offset",
            (begin_ms, end_ms),
        )
        return [ScheduleEntry(*row) for row in rows]

    def offsets(self) -> Iterator[tuple[str, str, int, int]]:
        """All committed offsets: group, topic, queue id, offset."""
        return iter(self._db.execute("SELECT consumer_group, topic, queue_id, committed FROM consumer_offsets").fetchall())

    def setting(self, kind: str, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM settings WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return row[0] if row else None

    def settings(self, kind: str) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM settings WHERE kind = ?", (kind,)).fetchall())

    @property
    def next_physical_offset(self) -> int:
        return self._next_physical
