"""The store of one broker: messages, offsets, schedule and settings in one SQLite database (Java: `DefaultMessageStore`).

Whatever changes during one tick of the event loop is written by one commit at its end, and every caller is told after that commit: an
acknowledgement means committed. What one request changes is a unit of work: written whole or not at all. A unit whose values cannot be
stored fails alone, and nothing of it comes back later. Tables in memory, here and in the broker, change after the commit.

What a crash can take away:

* **The process dies** (`kill -9`, out of memory): nothing that was acknowledged. A commit has handed its pages to the operating system
  before the answer leaves, with `flush="async"` as with `flush="sync"`; the next start reads them back from the write-ahead log.
* **The machine dies** (power, kernel): with `flush="sync"` (`PRAGMA synchronous=FULL`) still nothing, as each commit waits for fsync.
  With `flush="async"` (`synchronous=NORMAL`) the commits since the last check point of the log may be gone, always the newest ones
  and always whole commits: the database itself stays consistent, and so do messages, offsets and schedule among each other.
* **In memory** (no path): everything ends with the process, by design.

When a commit fails (disk full), all it held is rolled back and forgotten, and each caller gets `ServiceNotAvailableError`; later commits
may succeed.
After an input/output error the store refuses further writes until it is opened anew: a failed fsync is never retried and called good.

Commits run on the loop's thread. With `flush="sync"`, and when very many messages come or go, they run on one thread of the store's own, so
that the loop waits neither for the disk nor for them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from aiorocketmq.errors import MessageIllegalError, ProtocolError, RocketMQError, ServiceNotAvailableError
from aiorocketmq.protocol.message_codec import encode_stored_message
from aiorocketmq.server.store.copies import Copies
from aiorocketmq.server.store.records import (
    Changes,
    DueEntry,
    PendingMessage,
    Placed,
    QueueLog,
    StoredRecord,
)
from aiorocketmq.server.store.schema import open_database, unusable
from aiorocketmq.server.store.transactions import DATA_ERRORS, blame, refuse, write_changes
from aiorocketmq.server.store.writing import Writes

logger = logging.getLogger("aiorocketmq.server")

Flush = Literal["async", "sync"]
_MANY: Final = 2048
"""Messages of one commit beyond which the loop does not wait for it."""
_MANY_TO_GO: Final = 8192
"""The same for messages of topics that are dropped, which is quicker."""

Arrival = Callable[[QueueLog, list[PendingMessage]], None]


class Store(Copies, Writes):
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
        Copies.__init__(self, recent_bytes)
        Writes.__init__(self)
        self._path = path
        self._sync = flush == "sync" and path is not None
        self.store_host = store_host
        self._now_ms = now_ms
        self._committing: asyncio.Future[tuple[Placed | None, str | None]] | None = None
        self._failed = ""
        self._refusing = False
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_arrival: Arrival = lambda queue, messages: None
        self.on_commit: Callable[[], None] | None = None
        """Called after each commit, before anybody is told of it."""
        self.follows = False
        """Its messages are those of another store: none are stored but by `take_over()`, and no commit leaves the loop's thread, because
        whoever tells the other's callers has to find this one ready."""
        self.on_dropped: Callable[[set[str]], None] = lambda topics: None
        """Told of topics that have ended, before `on_commit`."""
        self.drops = 0
        """Topics dropped so far."""
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
        try:
            self._load()
        except (RocketMQError, sqlite3.Error, ValueError, TypeError) as error:  # what damaged pages hold is of any kind
            self._shut()
            raise unusable(self._path, error) from None

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
        self._sealed.clear()
        self._armed = False
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

    # -- committing ---------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if not self._armed and self._loop is not None:
            self._armed = True
            if self._committing is None:
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """End of a tick: write all changes in one transaction."""
        if not self._armed or self._committing is not None:
            return
        if self._sealed:
            changes = self._sealed.popleft()
        else:
            changes, self._changes = self._changes, Changes()
            self._armed = False
        if self._database is None:
            self._finish(changes, None, "the broker is stopped")
            self._go_on()
            return
        if self._loop is None or self.follows or not (self._sync or len(changes.messages) > _MANY or self._many_go(changes)):
            self._finish(changes, *self._commit(changes))
            self._go_on()
            return
        self._committing = self._loop.run_in_executor(self.workers, self._commit, changes)
        self._committing.add_done_callback(lambda future: self._committed(changes, future))

    def _many_go(self, changes: Changes) -> bool:
        """True when topics end that have so many messages that the loop should not wait until they are gone."""
        if not changes.drops:
            return False
        going = (queue.next_offset - queue.min_offset for queue in self._queues.values() if queue.topic in changes.drops)
        return sum(going) > _MANY_TO_GO

    @property
    def committing(self) -> bool:
        """True while a commit is under way on the store's own thread."""
        return self._committing is not None

    @property
    def workers(self) -> ThreadPoolExecutor:
        """The store's own thread, for what would keep the loop for too long."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="rocketmq-store")
        return self._executor

    def _committed(self, changes: Changes, future: asyncio.Future[tuple[Placed | None, str | None]]) -> None:
        self._committing = None
        self._finish(changes, *future.result())
        self._go_on()

    def _go_on(self) -> None:
        if self._armed and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(self._flush)

    def _place(self, changes: Changes) -> Placed:
        """Give each message its offsets and bytes. Nothing is published yet: a failed commit leaves no trace.

        A message with an impossible field is refused, and its unit with it: they must not fail the others of their tick.
        """
        for built in changes.units:
            if built.needs and built.error is None and any(each.error is not None for each in built.needs):
                built.error = ServiceNotAvailableError("a change that this one builds on could not be stored: try again")
        next_offsets: dict[tuple[str, int], int] = {}
        placed = Placed([], [], {})
        made = placed.made
        dropped = changes.dropped() if changes.drops else ()
        physical = self._next_physical
        now = self._now_ms()
        for message in changes.messages:
            unit = message.unit
            if message.error is not None or (unit is not None and unit.error is not None):
                continue
            name = (message.topic, message.queue_id)
            offset = next_offsets.get(name, -1)
            if offset < 0:
                queue = made.get(name) or (None if message.topic in dropped else self._queues.get(name))
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
            except (ProtocolError, ValueError) as error:  # the latter: a text that has no encoding
                refuse(message, MessageIllegalError(f"the message is illegal: {error}", topic=message.topic))
                if unit is not None:
                    return self._place(changes)  # without those of its messages that have a place already
                if name not in next_offsets:
                    made.pop(name, None)
                continue
            next_offsets[name] = offset + 1
            placed.messages.append(message)
            placed.rows.append(StoredRecord(message.tags_code, now, record))
            physical += len(record)
        return placed

    def _encode(self, message: PendingMessage) -> bytes:
        store_ip, store_port = self.store_host
        return encode_stored_message(
            message.record_topic or message.topic,
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

    def _commit(self, changes: Changes) -> tuple[Placed | None, str | None]:
        """Write everything but what is refused by itself; or the reason why nothing was written. May run on the store's own thread."""
        if self._failed:
            return None, self._failed
        if self.follows and changes.messages:
            return None, "the store follows another one: nothing else may be stored in it"
        database = self._db
        try:
            while True:
                placed = self._place(changes)
                try:
                    self._transact(database, changes, placed)
                    break
                except DATA_ERRORS as error:
                    if database.in_transaction:
                        database.rollback()
                    if not blame(database, changes, placed, error):
                        return None, f"the changes cannot be stored: {error}"
        except sqlite3.Error as error:
            if database.in_transaction:
                database.rollback()
            return None, self._refused(error)
        if self._refusing:
            self._refusing = False
            logger.warning("store %s writes again", self._path)
        return placed, None

    def _transact(self, database: sqlite3.Connection, changes: Changes, placed: Placed) -> None:
        if self.inject_error:
            raise sqlite3.OperationalError(self.inject_error)
        database.execute("BEGIN IMMEDIATE")
        write_changes(database, changes, placed, self._queues)
        database.execute("COMMIT")

    def _refused(self, error: sqlite3.Error) -> str:
        """Why nothing was written, when the fault is not in what was to be written."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT):
            self._failed = f"the store failed and is read-only until the broker is restarted: {error}"
            logger.critical("store %s: %s", self._path, self._failed)
            return self._failed
        if not self._refusing:
            self._refusing = True
            logger.error("store %s cannot write, what comes in is refused: %s", self._path, error)
        return f"the store could not write: {error}"

    def _finish(self, changes: Changes, placed: Placed | None, failure: str | None) -> None:
        """After the commit: publish what was written, then tell everybody who waits for it."""
        if failure is None and self._database is None:
            failure = "the broker was stopped before it could answer"
        error = None if failure is None else ServiceNotAvailableError(failure)
        arrived: dict[QueueLog, list[PendingMessage]] = {}
        if error is None and placed is not None:
            arrived = self._publish(changes, placed)
            if self.on_commit is not None:
                _call(self.on_commit)
        for message in changes.messages:
            if message.done is not None:
                refused = message.error if message.unit is None else message.unit.error
                _call(message.done, message, error or refused)
        for unit in changes.units:
            unit.error = error or unit.error
            for callback in unit.callbacks:
                _call(callback, unit.error)
        for callback in changes.callbacks:
            _call(callback, error)
        for queue, messages in arrived.items():
            _call(self.on_arrival, queue, messages)

    def _publish(self, changes: Changes, placed: Placed) -> dict[QueueLog, list[PendingMessage]]:
        """Let the tables in memory follow the database."""
        if changes.drops:
            dropped = changes.dropped()
            for name in [name for name in self._queues if name[0] in dropped]:
                del self._queues[name]
            self.drops += 1
            _call(self.on_dropped, dropped)
        self._queues.update(placed.made)
        self._next_queue_key += len(placed.made)
        arrived: dict[QueueLog, list[PendingMessage]] = {}
        many = len(placed.messages) > _MANY  # so many would take turns in leaving memory, one by one
        for message, row in zip(placed.messages, placed.rows, strict=True):
            queue = self._queues[message.topic, message.queue_id]
            if not many:
                self._recent.append(queue, row)
            arrived.setdefault(queue, []).append(message)
        if many:
            for queue, messages in arrived.items():
                queue.skip(len(messages), messages[-1].store_timestamp)
        if placed.rows:
            self._next_physical = placed.messages[-1].physical_offset + len(placed.rows[-1].record)
        for unit in changes.units:
            if unit.error is None:
                for applied in unit.applied:
                    _call(applied)
        for message in placed.messages:
            if message.deliver_at:
                _call(self.on_scheduled, DueEntry(message.deliver_at, message.due_kind, message.physical_offset))
        return arrived


def _call(callback: Callable[..., object], *args: object) -> None:
    """Call back; an error in one answer must not keep the others of the same commit from theirs."""
    try:
        callback(*args)
    except Exception:
        logger.exception("the outcome of a commit could not be told")
