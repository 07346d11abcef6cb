"""The store of one broker: messages, offsets, schedule and settings in one SQLite database (Java: `DefaultMessageStore`).

Whatever changes during one tick of the event loop is written by one commit at its end, and every caller is told after that commit: an
acknowledgement means committed.

What a crash can take away:

* **The process dies** (`kill -9`, out of memory): nothing that was acknowledged. A commit has handed its pages to the operating system
  before the answer leaves, with `flush="async"` as with `flush="sync"`; the next start reads them back from the write-ahead log.
* **The machine dies** (power, kernel): with `flush="sync"` (`PRAGMA synchronous=FULL`) still nothing, as each commit waits for fsync.
  With `flush="async"` (`synchronous=NORMAL`) the commits since the last check point of the log may be gone, always the newest ones
  and always whole commits: the database itself stays consistent, and so do messages, offsets and schedule among each other.
* **In memory** (no path): everything ends with the process, by design.

When a commit fails (disk full), all it held is rolled back and each caller gets `ServiceNotAvailableError`; later commits may succeed.
After an input/output error the store refuses further writes until it is opened anew: a failed fsync is never retried and called good.

Commits run on the loop's thread, or, with `flush="sync"`, on one thread of the store's own, so that the loop does not wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from aiorocketmq.errors import MessageIllegalError, ProtocolError, RocketMQError, ServiceNotAvailableError
from aiorocketmq.protocol.message_codec import encode_stored_message
from aiorocketmq.server.store.queries import Queries
from aiorocketmq.server.store.records import Changes, PendingMessage, QueueLog, RecentMessages, ScheduleEntry, StoredRecord
from aiorocketmq.server.store.schema import open_database
from aiorocketmq.server.store.transactions import write_changes

logger = logging.getLogger("aiorocketmq.server")

Flush = Literal["async", "sync"]
Arrival = Callable[[QueueLog, list[PendingMessage]], None]


class Store(Queries):
    """Messages, offsets, schedule and settings of one broker.

    All methods belong to one event loop's thread. Writing methods return at once; what they wrote is visible to reading methods after
    the commit that ends the tick.

    Args:
        path: Database file, or None for memory.
        store_host: Address that goes into each stored message: packed IP and port.
        now_ms: Wall clock in milliseconds.
        flush: `"async"` or `"sync"`, see the module's text.
        recent_bytes: Memory for recent messages, which pulls read without touching the database.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        store_host: tuple[bytes, int],
        now_ms: Callable[[], int],
        flush: Flush = "async",
        recent_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        super().__init__()
        self._path = path
        self._sync = flush == "sync" and path is not None
        self.store_host = store_host
        self._now_ms = now_ms
        self._recent = RecentMessages(recent_bytes)
        self._next_queue_key = 1
        self._changes = Changes()
        self._armed = False
        self._committing: asyncio.Future[str | None] | None = None
        self._failed = ""
        self._refusing = False
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_arrival: Arrival = lambda queue, messages: None
        self.on_scheduled: Callable[[ScheduleEntry], None] = lambda entry: None
        self.inject_error: str = ""
        """Fault hook: a text here makes the next commits fail with it."""

    # -- life ---------------------------------------------------------------------------------------------------------

    def open(self, memory: sqlite3.Connection | None = None) -> None:
        """Open the database and read the bounds of all queues.

        Args:
            memory: For a store in memory, the database that a former store gave back.

        Raises:
            ConfigError: The file cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        self._database = memory or open_database(self._path, sync=self._sync)
        self._failed = ""
        if self._sync:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="rocketmq-store")
        self._load()

    def _load(self) -> None:
        execute = self._db.execute
        self._queues.clear()
        for key, topic, queue_id, min_offset in execute("SELECT id, topic, queue_id, min_offset FROM queues").fetchall():
            last = execute(
                "SELECT queue_offset, store_timestamp FROM messages WHERE queue = ? ORDER BY queue_offset DESC LIMIT 1", (key,)
            ).fetchone()
            next_offset, stamp = (last[0] + 1, last[1]) if last else (min_offset, 0)
            self._queues[topic, queue_id] = QueueLog(key, topic, queue_id, min_offset, next_offset, stamp)
            self._next_queue_key = max(self._next_queue_key, key + 1)
        newest = execute("SELECT physical_offset, length(record) FROM messages ORDER BY physical_offset DESC LIMIT 1").fetchone()
        floor = self.setting("store", "next_physical_offset")
        self._next_physical = max(newest[0] + newest[1] if newest else 0, int(floor or 0))

    async def close(self) -> sqlite3.Connection | None:
        """Commit what is pending, then close. Does nothing when closed already.

        Returns:
            The database of a store in memory, which a later store can be opened with; else None.
        """
        if self._database is None:
            return None
        while self._armed or self._committing is not None:
            if self._committing is not None:
                await asyncio.wait([self._committing])
            else:
                self._flush()
        return self._shut()

    def abandon(self) -> sqlite3.Connection | None:
        """Close without committing what is pending, as a killed process would; for tests of crashes.

        Returns:
            As `close`.
        """
        self._changes = Changes()
        return self._shut()

    def _shut(self) -> sqlite3.Connection | None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        database, self._database = self._database, None
        self._queues.clear()
        self._recent.clear()
        if database is not None and self._path is not None:
            database.close()
        return database if self._path is None else None

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, message: PendingMessage) -> None:
        """Store a message with the commit of this tick; its `done` tells the outcome."""
        self._changes.messages.append(message)
        if not self._armed:
            self._arm()

    def put_offset(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Store a committed offset with the commit of this tick."""
        self._changes.offsets[group, topic, queue_id] = offset
        if not self._armed:
            self._arm()

    def remove_offsets(self, group: str | None, topic: str | None) -> None:
        """Remove the offsets of a group, of a topic, or of a group on a topic (None stands for all)."""
        self._changes.offsets_removed.append((group, topic))
        for key in [key for key in self._changes.offsets if group in (None, key[0]) and topic in (None, key[1])]:
            del self._changes.offsets[key]
        self._arm()

    def put_setting(self, kind: str, name: str, value: str | None) -> None:
        """Store a setting, or remove it (None), with the commit of this tick."""
        self._changes.settings[kind, name] = value
        self._arm()

    def strike(self, entry: ScheduleEntry) -> None:
        """Remove a parked message from the schedule, without delivering it, with the commit of this tick."""
        self._changes.struck.append(entry)
        self._arm()

    def drop_topic(self, topic: str) -> None:
        """Remove a topic's messages and queues with the commit of this tick; its offsets start from 0 again."""
        self._changes.topics_dropped.append(topic)
        self._arm()

    def after_commit(self, callback: Callable[[RocketMQError | None], None]) -> None:
        """Call back when all that was written so far is committed, or with the error that kept it from being so."""
        self._changes.callbacks.append(callback)
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        if not self._armed and self._loop is not None:
            self._armed = True
            if self._committing is None:
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """End of a tick: write all changes in one transaction."""
        if not self._armed or self._committing is not None:
            return
        self._armed = False
        changes, self._changes = self._changes, Changes()
        if self._database is None:
            self._finish(changes, [], {}, "the broker is stopped")
            return
        rows, queues = self._assign(changes)
        if self._executor is None or self._loop is None:
            self._finish(changes, rows, queues, self._commit(changes, rows, queues))
            return
        self._committing = self._loop.run_in_executor(self._executor, self._commit, changes, rows, queues)
        self._committing.add_done_callback(lambda future: self._committed(changes, rows, queues, future))

    def _committed(
        self, changes: Changes, rows: list[StoredRecord], queues: dict[tuple[str, int], QueueLog], future: asyncio.Future[str | None]
    ) -> None:
        self._committing = None
        self._finish(changes, rows, queues, future.result())
        if self._armed and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(self._flush)

    def _assign(self, changes: Changes) -> tuple[list[StoredRecord], dict[tuple[str, int], QueueLog]]:
        """Give each message its offsets and bytes. Nothing is published yet: a failed commit leaves no trace."""
        next_offsets: dict[tuple[str, int], int] = {}
        made: dict[tuple[str, int], QueueLog] = {}
        rows: list[StoredRecord] = []
        kept: list[PendingMessage] = []
        physical = self._next_physical
        now = self._now_ms()
        for message in changes.messages:
            name = (message.topic, message.queue_id)
            offset = next_offsets.get(name, -1)
            if offset < 0:
                queue = made.get(name) or (None if message.topic in changes.topics_dropped else self._queues.get(name))
                if queue is None:
                    queue = made[name] = QueueLog(self._next_queue_key + len(made), *name)
                offset = queue.next_offset
                # Searches by time need times that never fall within a queue, even when the wall clock steps back.
                now = max(now, queue.last_store_timestamp)
            message.queue_offset = offset
            message.physical_offset = physical
            message.store_timestamp = now
            try:
                record = self._encode(message)
            except ProtocolError as error:
                # One message with an impossible field must not fail the others of its tick.
                changes.callbacks.append(partial(_refuse, message, error))
                continue
            next_offsets[name] = offset + 1
            kept.append(message)
            rows.append(StoredRecord(message.tags_code, now, record))
            physical += len(record)
        changes.messages = kept
        return rows, made

    def _encode(self, message: PendingMessage) -> bytes:
        store_ip, store_port = self.store_host
        return encode_stored_message(
            message.topic,
            message.body,
            message.properties,
            queue_id=message.queue_id,
            queue_offset=message.queue_offset,
            commit_log_offset=message.physical_offset,
            born_timestamp=message.born_timestamp,
            born_ip=message.born_host,
            born_port=message.born_port,
            store_timestamp=message.store_timestamp,
            store_ip=store_ip,
            store_port=store_port,
            flag=message.flag,
            sys_flag=message.sys_flag,
            reconsume_times=message.reconsume_times,
            prepared_transaction_offset=message.prepared_offset,
        )

    def _commit(self, changes: Changes, rows: list[StoredRecord], made: dict[tuple[str, int], QueueLog]) -> str | None:
        """Write everything; returns the reason when nothing was written. May run on the store's own thread."""
        if self._failed:
            return self._failed
        database = self._db
        try:
            if self.inject_error:
                raise sqlite3.OperationalError(self.inject_error)
            database.execute("BEGIN IMMEDIATE")
            write_changes(database, changes, rows, made, self._queues, self._next_physical)
            database.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:  # the latter two: a value that SQLite cannot take
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if database.in_transaction:
                database.rollback()
            if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT):
                self._failed = f"the store failed and is read-only until the broker is restarted: {error}"
                logger.critical("store %s: %s", self._path, self._failed)
                return self._failed
            if not self._refusing:
                self._refusing = True
                logger.error("store %s cannot write, what comes in is refused: %s", self._path, error)
            return f"the store could not write: {error}"
        if self._refusing:
            self._refusing = False
            logger.warning("store %s writes again", self._path)
        return None

    def _finish(self, changes: Changes, rows: list[StoredRecord], made: dict[tuple[str, int], QueueLog], failure: str | None) -> None:
        """After the commit: publish what was written, then tell everybody who waits for it."""
        if failure is None and self._database is None:
            failure = "the broker was stopped before it could answer"
        error = None if failure is None else ServiceNotAvailableError(failure)
        if error is not None:
            self._changes.take_back(changes)
        arrived = self._publish(changes, rows, made) if error is None else {}
        for message in changes.messages:
            if message.done is not None:
                _call(message.done, message, error)
        for callback in changes.callbacks:
            _call(callback, error)
        for queue, messages in arrived.items():
            _call(self.on_arrival, queue, messages)

    def _publish(
        self, changes: Changes, rows: list[StoredRecord], made: dict[tuple[str, int], QueueLog]
    ) -> dict[QueueLog, list[PendingMessage]]:
        for topic in changes.topics_dropped:
            for name in [name for name in self._queues if name[0] == topic]:
                del self._queues[name]
        self._queues.update(made)
        self._next_queue_key += len(made)
        arrived: dict[QueueLog, list[PendingMessage]] = {}
        for message, row in zip(changes.messages, rows, strict=True):
            queue = self._queues[message.topic, message.queue_id]
            self._recent.append(queue, row)
            arrived.setdefault(queue, []).append(message)
            if message.deliver_at:
                self.on_scheduled(ScheduleEntry(message.deliver_at, message.physical_offset))
        if rows:
            last = changes.messages[-1]
            self._next_physical = last.physical_offset + len(rows[-1].record)
        return arrived


def _call(callback: Callable[..., object], *args: object) -> None:
    """Call back; an error in one answer must not keep the others of the same commit from theirs."""
    try:
        callback(*args)
    except Exception:
        logger.exception("the outcome of a commit could not be told")


def _refuse(message: PendingMessage, reason: ProtocolError, _: RocketMQError | None) -> None:
    if message.done is not None:
        message.done(message, MessageIllegalError(f"the message is illegal: {reason.message}", topic=message.topic))
