"""What one commit writes. The caller begins and ends the transaction; this may run on a thread of the store's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from aiorocketmq.errors import MessageIllegalError, RocketMQError, broker_error
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.server.store.records import Changes, PendingMessage, Placed, QueueLog, StoredRecord, Unit

Queues = Mapping[tuple[str, int], QueueLog]

DATA_ERRORS: Final = (
    ValueError,
    OverflowError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What a value that cannot be stored raises: the fault of who sent it, not of the disk. Text without an encoding is a ValueError."""

# Offsets of the log are never given twice, even when the newest message goes.
KEEP_LOG_OFFSET: Final = (
    "INSERT INTO settings SELECT 'store', 'next_physical_offset', CAST(physical_offset + length(record) AS TEXT)"
    " FROM (SELECT physical_offset, record FROM messages ORDER BY physical_offset DESC LIMIT 1) WHERE true"
    " ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value WHERE CAST(excluded.value AS INTEGER) > CAST(value AS INTEGER)"
)
INSERT_DUE: Final = "INSERT OR IGNORE INTO due VALUES (?, ?, ?)"
DELETE_DUE: Final = "DELETE FROM due WHERE at = ? AND kind = ? AND key = ?"
DROP_TOPIC: Final = (
    "DELETE FROM messages WHERE queue IN (SELECT id FROM queues WHERE topic = ?)",
    "DELETE FROM message_keys WHERE topic = ?",
    "DELETE FROM queues WHERE topic = ?",
    "DELETE FROM pop_taken WHERE queue IN (SELECT id FROM pop_queues WHERE topic = ?)",
    "DELETE FROM pop_queues WHERE topic = ?",
)
PUT_OFFSET: Final = "INSERT OR REPLACE INTO consumer_offsets VALUES (?, ?, ?, ?)"
DELETE_OFFSETS: Final = "DELETE FROM consumer_offsets WHERE consumer_group = ifnull(?, consumer_group) AND topic = ifnull(?, topic)"
PUT_SETTING: Final = "INSERT OR REPLACE INTO settings VALUES (?, ?, ?)"
DELETE_SETTING: Final = "DELETE FROM settings WHERE kind = ? AND name = ?"


def write_changes(database: sqlite3.Connection, changes: Changes, placed: Placed, known: Queues) -> None:
    """Write everything that one tick changed.

    Args:
        database: Inside a transaction.
        changes: What to write, but for the units that were refused.
        placed: Its messages.
        known: Queues that exist already.
    """
    for unit in changes.units:
        if unit.error is None:
            _write_unit(database, unit)
    for queue in placed.made.values():
        database.execute("INSERT INTO queues (id, topic, queue_id) VALUES (?, ?, ?)", (queue.key, queue.topic, queue.queue_id))
    if placed.messages:
        _insert_messages(database, placed.messages, placed.rows, placed.made, known)


def _write_unit(database: sqlite3.Connection, unit: Unit) -> None:
    for statement, parameters in unit.writes:
        database.execute(statement, parameters)


def _insert_messages(
    database: sqlite3.Connection, messages: Sequence[PendingMessage], rows: Sequence[StoredRecord], made: Queues, known: Queues
) -> None:
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
    parked = [(message.deliver_at, message.due_kind, message.physical_offset) for message in messages if message.deliver_at]
    if parked:
        database.executemany(INSERT_DUE, parked)
    fulfilled = [message.delivers for message in messages if message.delivers is not None]
    if fulfilled:
        database.executemany(DELETE_DUE, fulfilled)


def blame(database: sqlite3.Connection, changes: Changes, placed: Placed, error: Exception) -> bool:
    """Find who is at fault when a commit failed with one of `DATA_ERRORS`, and mark them as refused.

    Every unit and every message is tried by itself, and taken back. Outside a transaction before and after.

    Returns:
        False when nobody is at fault alone.
    """
    found = False
    database.execute("BEGIN IMMEDIATE")
    try:
        for unit in changes.units:
            if unit.error is None and (reason := _fault(database, unit.writes)) is not None:
                unit.error = broker_error(ResponseCode.SYSTEM_ERROR, f"the change cannot be stored: {reason}")
                found = True
        for message, row in zip(placed.messages, placed.rows, strict=True):
            if (reason := _fault(database, _statements(message, row))) is not None:
                refuse(message, MessageIllegalError(f"the message is illegal: {reason}", topic=message.topic))
                found = True
    finally:
        database.rollback()
    return found


def refuse(message: PendingMessage, error: RocketMQError) -> None:
    """Refuse a message, and what it belongs to with it."""
    if message.unit is None:
        message.error = error
    else:
        message.unit.error = error


def _statements(message: PendingMessage, row: StoredRecord) -> list[tuple[str, Sequence[object]]]:
    # Not in its own queue: that may come into being with this commit.
    values = (message.physical_offset, -1, message.queue_offset, row.tags_code, row.store_timestamp, row.record)
    statements: list[tuple[str, Sequence[object]]] = [("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", values)]
    statements.append(("INSERT INTO queues (topic, queue_id) VALUES (?, ?) ON CONFLICT DO NOTHING", (message.topic, message.queue_id)))
    statements += [("INSERT OR IGNORE INTO message_keys VALUES (?, ?, ?)", (message.topic, key, 0)) for key in message.keys]
    if message.deliver_at:
        statements.append((INSERT_DUE, (message.deliver_at, message.due_kind, message.physical_offset)))
    if message.delivers is not None:
        statements.append((DELETE_DUE, message.delivers))
    return statements


def _fault(database: sqlite3.Connection, statements: Sequence[tuple[str, Sequence[object]]]) -> Exception | None:
    database.execute("SAVEPOINT one")
    try:
        for statement, parameters in statements:
            database.execute(statement, parameters)
    except DATA_ERRORS as error:
        return error
    finally:
        database.execute("ROLLBACK TO one")
        database.execute("RELEASE one")
    return None
