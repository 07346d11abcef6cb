"""Messages of one store as another one takes them over, at the same offsets (Java: `DefaultHAConnection`, `DefaultHAClient`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiorocketmq.errors import ServiceNotAvailableError
from aiorocketmq.server.store.keys import keys_of_record
from aiorocketmq.server.store.queries import Queries
from aiorocketmq.server.store.records import QueueLog, RecentMessages, StoredRecord
from aiorocketmq.server.store.transactions import DROP_TOPIC

MAX_COPIED = 4 * 1024 * 1024
"""Bytes of the messages that are taken over in one step, but for a first one that is larger."""


class Copied(NamedTuple):
    """A stored message with its place."""

    physical_offset: int
    topic: str
    queue_id: int
    queue_offset: int
    tags_code: int
    store_timestamp: int
    record: bytes


class Copies(Queries):
    """The half of `Store` that gives messages to another store, and takes them.

    Attributes:
        on_copied: Told of the messages that were taken over.
    """

    def __init__(self, recent_bytes: int) -> None:
        Queries.__init__(self)
        self._recent = RecentMessages(recent_bytes)
        self._next_queue_key = 1
        self.on_copied: Callable[[Sequence[Copied]], None] = lambda copies: None

    def stored_from(self, physical_offset: int, limit: int) -> list[Copied]:
        """Committed messages from an offset of the log on, in the order in which they were stored."""
        rows = self._rows(
            "SELECT physical_offset, topic, queue_id, queue_offset, tags_code, store_timestamp, record FROM messages"
            " JOIN queues ON queues.id = messages.queue WHERE physical_offset >= ? AND physical_offset < ?"
            " ORDER BY physical_offset LIMIT ?",
            physical_offset, self._next_physical, limit,
        )  # fmt: skip
        found: list[Copied] = []
        room = MAX_COPIED
        for row in rows:
            room -= len(row[-1])
            if found and room < 0:
                break
            found.append(Copied._make(row))
        return found

    def take_over(self, copies: Sequence[Copied]) -> None:
        """Store messages where another store has them, at once and in one commit. Not while a commit is under way on the store's thread.

        A queue whose offsets begin anew, as of a topic that was deleted and made again, loses what it had.

        Raises:
            ServiceNotAvailableError: They cannot be written; nothing of them is stored.
        """
        database = self._db
        begun: dict[tuple[str, int], QueueLog] = {}
        ends: dict[tuple[str, int], int] = {}
        database.execute("BEGIN IMMEDIATE")
        try:
            for copy in copies:
                name = (copy.topic, copy.queue_id)
                known = begun.get(name) or self._queues.get(name)
                if known is None or copy.queue_offset < ends.get(name, known.next_offset):
                    begun[name] = self._begin_queue(database, name, copy, len(begun))
                ends[name] = copy.queue_offset + 1
                key = (begun[name] if name in begun else self._queues[name]).key
                database.execute(
                    "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)",
                    (copy.physical_offset, key, copy.queue_offset, copy.tags_code, copy.store_timestamp, copy.record),
                )
                for word in keys_of_record(copy.record):
                    database.execute("INSERT OR IGNORE INTO message_keys VALUES (?, ?, ?)", (copy.topic, word, copy.physical_offset))
            database.execute("COMMIT")
        except sqlite3.Error as error:
            if database.in_transaction:
                database.rollback()
            raise ServiceNotAvailableError(f"the store could not take messages over: {error}", cause=error) from None
        self._queues.update(begun)
        self._next_queue_key += len(begun)
        for copy in copies:
            queue = self._queues[copy.topic, copy.queue_id]
            if copy.queue_offset > queue.next_offset:  # the other store has let the ones between go
                queue.skip(copy.queue_offset - queue.next_offset, copy.store_timestamp)
            self._recent.append(queue, StoredRecord(copy.tags_code, copy.store_timestamp, copy.record))
        if copies:
            self._next_physical = copies[-1].physical_offset + len(copies[-1].record)
            self.on_copied(copies)

    def forget(self, topic: str) -> None:
        """Let a topic's messages and queues go at once, as another store has. Not while a commit is under way on the store's thread.

        Raises:
            ServiceNotAvailableError: It cannot be written; nothing goes.
        """
        database = self._db
        try:
            database.execute("BEGIN IMMEDIATE")
            for statement in DROP_TOPIC:
                database.execute(statement, (topic,))
            database.execute("COMMIT")
        except sqlite3.Error as error:
            if database.in_transaction:
                database.rollback()
            raise ServiceNotAvailableError(f"the store could not let topic {topic} go: {error}", cause=error) from None
        for name in [name for name in self._queues if name[0] == topic]:
            del self._queues[name]

    def _begin_queue(self, database: sqlite3.Connection, name: tuple[str, int], first: Copied, count: int) -> QueueLog:
        known = self._queues.get(name)
        if known is not None:
            database.execute(
                "DELETE FROM message_keys WHERE topic = ? AND physical_offset IN (SELECT physical_offset FROM messages WHERE queue = ?)",
                (name[0], known.key),
            )
            database.execute("DELETE FROM messages WHERE queue = ?", (known.key,))
            database.execute("DELETE FROM queues WHERE id = ?", (known.key,))
        queue = QueueLog(self._next_queue_key + count, *name, first.queue_offset, first.queue_offset)
        database.execute("INSERT INTO queues (id, topic, queue_id, min_offset) VALUES (?, ?, ?, ?)", (queue.key, *name, first.queue_offset))
        return queue
