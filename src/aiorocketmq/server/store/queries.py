"""What can be asked of a store.

Queues and their offsets show what is committed, and nothing else. While a store commits on its own thread, the database shows what is under
way already: searches by key or by offset of the log may find a message a moment before it is acknowledged, and rows that are to be removed
may be gone before their queue's smallest offset moves. Whoever removes some moves it first.

Whatever asks the database may raise `ServiceNotAvailableError`: it is closed, or it cannot be read at the moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.model.names import java_hash
from aiorocketmq.server.store.records import DELAY, DueEntry, QueueLog, StoredRecord

MAX_FOUND = 8 * 1024 * 1024
"""Bytes of messages that a search finds at most, but for a first one that is larger."""


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

    def _rows(self, statement: str, *parameters: object) -> Iterator[Any]:
        """Rows as they are needed: those that nobody takes are not read."""
        database = self._db
        try:
            yield from database.execute(statement, parameters)
        except sqlite3.Error as error:
            raise ServiceNotAvailableError(f"the store cannot be read: {error}", cause=error) from None

    def select(self, statement: str, *parameters: object) -> list[Any]:
        """All rows of a question that only one part of the server asks; the statement is that part's own text."""
        return list(self._rows(statement, *parameters))

    def queue(self, topic: str, queue_id: int) -> QueueLog | None:
        """The queue, or None while nothing was ever stored in it."""
        return self._queues.get((topic, queue_id))

    def queues(self) -> Iterable[QueueLog]:
        """All queues in which something was stored."""
        return self._queues.values()

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
            found = self._rows(
                "SELECT tags_code, store_timestamp, record FROM messages WHERE queue = ? AND queue_offset >= ? AND queue_offset < ?"
                " ORDER BY queue_offset",
                queue.key, offset, offset + count,
            )  # fmt: skip
            rows = map(StoredRecord._make, found)
        return list(rows) if max_bytes is None else _within(rows, max_bytes)

    def record_at(self, physical_offset: int) -> bytes | None:
        """The message that starts at this offset of the log, or None."""
        row = next(self._rows("SELECT record FROM messages WHERE physical_offset = ?", physical_offset), None)
        return row[0] if row else None

    def store_timestamp_at(self, queue: QueueLog, offset: int) -> int:
        """Store time of the message at `offset` in ms, or -1 when there is none."""
        if not queue.min_offset <= offset < queue.next_offset:
            return -1
        if offset >= queue.first_recent_offset:
            return queue.recent_from(offset, 1)[0].store_timestamp
        row = next(self._rows("SELECT store_timestamp FROM messages WHERE queue = ? AND queue_offset = ?", queue.key, offset), None)
        return row[0] if row else -1

    def find_by_key(self, topic: str, key: str, begin_ms: int, end_ms: int, limit: int, max_bytes: int = MAX_FOUND) -> list[bytes]:
        """The newest messages of a topic with this key or unique id, stored within [begin, end]; no more than fit in one answer.

        They come in the order in which they were stored, as from a real broker.
        """
        rows = self._rows(
            "SELECT record FROM message_keys JOIN messages USING (physical_offset) WHERE topic = ? AND key = ?"
            " AND store_timestamp BETWEEN ? AND ? ORDER BY physical_offset DESC LIMIT ?",
            topic, key, begin_ms, min(end_ms, 0x7FFFFFFFFFFFFFFF), limit,
        )  # fmt: skip
        return _in_order(rows, max_bytes)

    def find_by_tag(self, topic: str, tag: str, begin_ms: int, end_ms: int, limit: int, max_bytes: int = MAX_FOUND) -> list[bytes]:
        """The same by tag; looks through all of the topic."""
        if not tag:
            return []
        rows = self._rows(
            "SELECT record FROM messages WHERE queue IN (SELECT id FROM queues WHERE topic = ?) AND tags_code = ?"
            " AND store_timestamp BETWEEN ? AND ? ORDER BY physical_offset DESC LIMIT ?",
            topic, java_hash(tag), begin_ms, min(end_ms, 0x7FFFFFFFFFFFFFFF), limit,
        )  # fmt: skip
        return _in_order(rows, max_bytes)

    def scheduled_between(self, begin_ms: int, end_ms: int) -> list[DueEntry]:
        """What is due in [begin, end), in order."""
        rows = self._rows("SELECT at, kind, key FROM due WHERE at >= ? AND at < ? ORDER BY at, kind, key", begin_ms, end_ms)
        return [DueEntry._make(row) for row in rows]

    def delayed_in(self, topic: str, begin_ms: int) -> list[tuple[int, DueEntry]]:
        """What is parked in the queues of a topic and due at `begin_ms` or later: number of the queue, and entry."""
        rows = self._rows(
            "SELECT queue_id, at, kind, key FROM due JOIN messages ON physical_offset = key JOIN queues ON queues.id = messages.queue"
            " WHERE at >= ? AND kind = ? AND topic = ?",
            begin_ms, DELAY, topic,
        )  # fmt: skip
        return [(queue_id, DueEntry(at, kind, key)) for queue_id, at, kind, key in rows]

    def due_entry(self, kind: str, key: int) -> DueEntry | None:
        """What is to be done with a key, or None."""
        row = next(self._rows("SELECT at, kind, key FROM due WHERE kind = ? AND key = ?", kind, key), None)
        return DueEntry._make(row) if row else None

    def oldest(self, limit: int) -> Iterator[tuple[int, int, int, str, bytes]]:
        """The committed messages that were stored first, but for those that due work still needs; read as they are taken.

        Returns:
            Offset of the log, key of the queue, store time in ms, topic, and record of each.
        """
        return self._rows(
            "SELECT physical_offset, queue, store_timestamp, topic, record FROM messages JOIN queues ON queues.id = messages.queue"
            " WHERE physical_offset < ? AND NOT EXISTS (SELECT 1 FROM due WHERE key = physical_offset) ORDER BY physical_offset LIMIT ?",
            self._next_physical, limit,
        )  # fmt: skip

    def first_offset_without(self, queue_key: int, removed: Sequence[int]) -> int | None:
        """The smallest offset that a queue keeps when the messages at these offsets of the log are gone; None when it keeps none."""
        marks = ",".join("?" * len(removed))
        statement = f"SELECT queue_offset FROM messages WHERE queue = ? AND physical_offset NOT IN ({marks}) ORDER BY queue_offset LIMIT 1"
        row = next(self._rows(statement, queue_key, *removed), None)
        return row[0] if row else None

    def stored_bytes(self) -> int:
        """Bytes of all committed records; looks at every message."""
        statement = "SELECT coalesce(sum(length(record)), 0) FROM messages WHERE physical_offset < ?"
        return int(next(self._rows(statement, self._next_physical))[0])

    def offsets(self) -> Iterator[tuple[str, str, int, int]]:
        """All committed offsets: group, topic, queue id, offset."""
        return iter(list(self._rows("SELECT consumer_group, topic, queue_id, committed FROM consumer_offsets")))

    def setting(self, kind: str, name: str) -> str | None:
        row = next(self._rows("SELECT value FROM settings WHERE kind = ? AND name = ?", kind, name), None)
        return row[0] if row else None

    def settings(self, kind: str) -> dict[str, str]:
        found = dict(self._rows("SELECT name, value FROM settings WHERE kind = ?", kind))
        for name, value in found.items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise ServiceNotAvailableError(f"the store cannot be read: the {kind} {name!r} is no text")
        return found

    @property
    def next_physical_offset(self) -> int:
        return self._next_physical


def _within(rows: Iterable[StoredRecord], max_bytes: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    for row in rows:
        max_bytes -= len(row.record)
        if found and max_bytes < 0:
            break
        found.append(row)
        if max_bytes <= 0:
            break
    return found


def _in_order(rows: Iterator[tuple[bytes]], max_bytes: int) -> list[bytes]:
    """As many records as one answer takes, and one at least; the last in front."""
    found: list[bytes] = []
    for (record,) in rows:
        max_bytes -= len(record)
        if found and max_bytes < 0:
            break
        found.append(record)
    found.reverse()
    return found
