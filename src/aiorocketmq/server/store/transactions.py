"""What one commit writes. The caller begins and ends the transaction; this may run on a thread of the store's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from aiorocketmq.server.store.records import Changes, PendingMessage, QueueLog, StoredRecord

Queues = Mapping[tuple[str, int], QueueLog]


def write_changes(
    database: sqlite3.Connection, changes: Changes, rows: Sequence[StoredRecord], made: Queues, known: Queues, next_physical: int
) -> None:
    """Write everything that one tick changed.

    Args:
        database: Inside a transaction.
        changes: What to write.
        rows: The records of `changes.messages`, in the same order.
        made: Queues that get their first message now.
        known: All other queues.
        next_physical: Offset of the log at which the first of the messages starts.
    """
    # Topics are removed before the messages of the same commit come: those belong to the topic's next life.
    _drop_topics(database, changes.topics_dropped, next_physical)
    _insert_messages(database, changes.messages, rows, made, known)
    _strike(database, changes)
    _write_offsets(database, changes)
    _write_settings(database, changes)


def _drop_topics(database: sqlite3.Connection, topics: Sequence[str], next_physical: int) -> None:
    for topic in topics:
        # Offsets of the log are never given twice, even when the newest message goes.
        database.execute("INSERT OR REPLACE INTO settings VALUES ('store', 'next_physical_offset', ?)", (str(next_physical),))
        database.execute("DELETE FROM messages WHERE queue IN (SELECT id FROM queues WHERE topic = ?)", (topic,))
        database.execute("DELETE FROM message_keys WHERE topic = ?", (topic,))
        database.execute("DELETE FROM queues WHERE topic = ?", (topic,))


def _insert_messages(
    database: sqlite3.Connection, messages: Sequence[PendingMessage], rows: Sequence[StoredRecord], made: Queues, known: Queues
) -> None:
    for queue in made.values():
        database.execute("INSERT INTO queues (id, topic, queue_id) VALUES (?, ?, ?)", (queue.key, queue.topic, queue.queue_id))
    if not messages:
        return
    values = [
        (
            message.physical_offset,
            (made.get((message.topic, message.queue_id)) or known[message.topic, message.queue_id]).key,
            message.queue_offset,
            row.tags_code,
            row.store_timestamp,
            row.record,
        )
        for message, row in zip(messages, rows, strict=True)
    ]
    database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", values)
    keys = [(message.topic, key, message.physical_offset) for message in messages for key in message.keys]
    if keys:
        database.executemany("INSERT OR IGNORE INTO message_keys VALUES (?, ?, ?)", keys)
    parked = [(message.deliver_at, message.physical_offset) for message in messages if message.deliver_at]
    if parked:
        database.executemany("INSERT INTO scheduled VALUES (?, ?)", parked)


def _strike(database: sqlite3.Connection, changes: Changes) -> None:
    done = [message.delivers for message in changes.messages if message.delivers is not None] + changes.struck
    if done:
        database.executemany("DELETE FROM scheduled WHERE deliver_at = ? AND physical_offset = ?", done)


def _write_offsets(database: sqlite3.Connection, changes: Changes) -> None:
    for group, topic in changes.offsets_removed:
        database.execute(
            "DELETE FROM consumer_offsets WHERE (?1 IS NULL OR consumer_group = ?1) AND (?2 IS NULL OR topic = ?2)", (group, topic)
        )
    if changes.offsets:
        values = [(*key, offset) for key, offset in changes.offsets.items()]
        database.executemany("INSERT OR REPLACE INTO consumer_offsets VALUES (?, ?, ?, ?)", values)


def _write_settings(database: sqlite3.Connection, changes: Changes) -> None:
    for (kind, name), value in changes.settings.items():
        if value is None:
            database.execute("DELETE FROM settings WHERE kind = ? AND name = ?", (kind, name))
        else:
            database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?, ?)", (kind, name, value))
