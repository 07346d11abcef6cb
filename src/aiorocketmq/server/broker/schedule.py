"""Work that is due at a time (Java: `ScheduleMessageService`, `TimerMessageStore`).

One table of the store holds all of it: delayed messages, by delay level or to the millisecond, and whatever else is to be done later. Each
kind has a handler. Doing the work and striking it from the table is one unit of work of the store, so a kill in between neither loses nor
doubles it. Memory holds only what is due within the horizon; the database has the rest.

Work that cannot be done now is tried again, after 1 s at first and after 60 s at most, for as long as it stands in the table.

Times are those of the wall clock. When that is set back, what was delayed by a level does not wait for longer than its level says: it is
delivered at once (Java: `ScheduleMessageService.correctDeliverTimestamp`). What was asked for at a time waits for that time.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from aiorocketmq.errors import RocketMQError
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

_HORIZON_MS: Final = 60_000
_BATCH: Final = 256
"""Works done in one tick at most, so that a backlog of due ones does not hold up the loop."""
_SET_BACK_MS: Final = 1_000
"""How far the wall clock may step back without anybody noticing."""
_RETRY_MS: Final = 1_000
_LONGEST_RETRY_MS: Final = 60_000

Done = Callable[[RocketMQError | None], None]
Handler = Callable[[DueEntry, Done], None]
"""Does the work in one unit with striking its entry, then calls back with the outcome of the commit. May raise at once."""


class Schedule:
    """Does what is due. Belongs to one event loop.

    Args:
        store: Where the work is kept.
        now_ms: Wall clock in milliseconds.
        restore: Makes the message to deliver from a parked record; None when the record cannot be delivered any more.
        levels: Seconds of each delay level; its number less one is that of the queue of `level_topic`.
        level_topic: Where messages with a delay level are parked.
    """

    def __init__(
        self,
        store: Store,
        now_ms: Callable[[], int],
        restore: Callable[[bytes], PendingMessage | None],
        *,
        levels: Sequence[float] = (),
        level_topic: str = "",
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._restore = restore
        self._handlers: dict[str, Handler] = {DELAY: self._deliver}
        self._due: list[tuple[int, DueEntry]] = []
        # What memory knows of and is not done: True while it waits in `_due`, False while it is being done.
        self._known: dict[DueEntry, bool] = {}
        self._tries: dict[DueEntry, int] = {}
        self._horizon = 0
        self._levels = levels
        self._level_topic = level_topic
        self._ahead = 0.0  # of the loop's clock, in milliseconds, when that was looked at last
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def register(self, kind: str, handler: Handler) -> None:
        """Let `handler` do the work of a kind."""
        self._handlers[kind] = handler

    def start(self) -> None:
        """Load what is due soon, and begin."""
        self._running = True
        self._due.clear()
        self._known.clear()
        self._tries.clear()
        self._horizon = 0
        self._ahead = self._now_ms() - asyncio.get_running_loop().time() * 1000
        self._extend()
        now = self._now_ms()
        if any(queue.last_store_timestamp > now + _SET_BACK_MS for queue in self._store.queues()):
            self._set_back(now)  # while the broker did not run
        self._arm()

    def stop(self) -> None:
        """Do nothing more. Work under way ends with its commit."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def proceed(self) -> None:
        """Go on after `stop()`."""
        self._running = True
        self._arm()

    def look(self) -> None:
        """Do at once what is due: the wall clock was moved. Does nothing while stopped."""
        if self._timer is not None:
            self._timer.cancel()
        self._run()

    def added(self, entry: DueEntry) -> None:
        """Work was added, and is committed."""
        # It can be met twice: read from the database while its commit is under way, and told of after it.
        if entry.at < self._horizon:
            if entry not in self._known:
                self._push(entry.at, entry)
        elif self._horizon - self._now_ms() <= _HORIZON_MS // 2 and self._rests_long():
            self._arm()  # the wall clock ran ahead of the loop's, as when the machine slept: look soon, not when the timer ends

    def remind(self, entry: DueEntry) -> None:
        """Do work at its time that is not in the table; it is forgotten with the next start."""
        if entry not in self._known:
            self._push(entry.at, entry)

    def _rests_long(self) -> bool:
        return self._timer is not None and self._timer.when() - asyncio.get_running_loop().time() > _RETRY_MS / 1000

    def cancel(self, entry: DueEntry) -> None:
        """Strike work from the table with the commit of this tick. What is being done already may still be done."""
        self._store.strike(entry, lambda: self._forget(entry))

    def _push(self, at: int, entry: DueEntry) -> None:
        self._known[entry] = True
        heapq.heappush(self._due, (at, entry))
        if self._running and self._due[0][1] == entry:
            self._arm()

    def _forget(self, entry: DueEntry) -> None:
        self._known.pop(entry, None)
        self._tries.pop(entry, None)

    def _extend(self) -> None:
        """Read what is due until the horizon; tried again later when the database cannot be read."""
        horizon = self._now_ms() + _HORIZON_MS
        try:
            entries = self._store.scheduled_between(self._horizon, horizon)
        except (RocketMQError, sqlite3.Error) as error:
            logger.error("what is due cannot be read, next try in %d s: %s", _RETRY_MS // 1000, error)
            return
        self._horizon = horizon
        for entry in entries:
            if entry not in self._known:
                self._known[entry] = True
                heapq.heappush(self._due, (entry.at, entry))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self._now_ms()
        # Half of the horizon at most: entries beyond it are loaded before they are due.
        wait = min(self._due[0][0] - now, _HORIZON_MS // 2) if self._due else _HORIZON_MS // 2
        if self._horizon - now <= _HORIZON_MS // 2:
            wait = min(wait, max(_RETRY_MS, self._horizon - now - _HORIZON_MS // 2))
        self._timer = asyncio.get_running_loop().call_later(max(0, wait) / 1000, self._run)

    def _run(self) -> None:
        self._timer = None
        if not self._running or self._store.closed:
            return
        now = self._now_ms()
        ahead = now - asyncio.get_running_loop().time() * 1000
        if ahead < self._ahead - _SET_BACK_MS:
            self._set_back(now)
        self._ahead = ahead
        if self._horizon - now <= _HORIZON_MS // 2:
            self._extend()
        done = 0
        while self._due and self._due[0][0] <= now and done < _BATCH:
            _, entry = heapq.heappop(self._due)
            if self._known.get(entry):
                self._do(entry)
                done += 1
        self._arm()

    def _set_back(self, now: int) -> None:
        """The wall clock was set back: what would wait for longer than its level says is due now."""
        try:
            parked = self._store.delayed_in(self._level_topic, now) if self._levels else []
        except (RocketMQError, sqlite3.Error) as error:
            logger.error("the clock was set back, and what is delayed cannot be read: it waits for its time: %s", error)
            return
        early = 0
        for level, entry in parked:
            if level < len(self._levels) and entry.at > now + self._levels[level] * 1000 and self._known.get(entry, True):
                self._known[entry] = True
                heapq.heappush(self._due, (now, entry))
                early += 1
        logger.warning("the wall clock was set back: %d messages with a delay level are delivered now", early)

    def _do(self, entry: DueEntry) -> None:
        handler = self._handlers.get(entry.kind)
        if handler is None:
            logger.error("nobody knows what to do with the due work %r of kind %r: it stays", entry.key, entry.kind)
            return
        self._known[entry] = False
        self._store.begin()
        try:
            handler(entry, lambda error: self._done(entry, error))
        except (RocketMQError, sqlite3.Error) as error:
            self._again(entry, error)
        except Exception as error:  # whatever it is, all other work must not wait for it
            logger.exception("due work of kind %s at %d failed", entry.kind, entry.key)
            self._again(entry, error)
        finally:
            self._store.end()

    def _done(self, entry: DueEntry, error: RocketMQError | None) -> None:
        if error is None:
            self._forget(entry)
        else:
            self._again(entry, error)

    def _again(self, entry: DueEntry, error: Exception) -> None:
        """It stays in the database: nothing that was stored is thrown away because it cannot be read or written now."""
        tries = self._tries.get(entry, 0)
        self._tries[entry] = tries + 1
        wait = min(_RETRY_MS << min(tries, 6), _LONGEST_RETRY_MS)
        logger.error("due work of kind %s at %d stays, next try in %d s: %s", entry.kind, entry.key, wait // 1000, error)
        self._push(self._now_ms() + wait, entry)

    def _deliver(self, entry: DueEntry, done: Done) -> None:
        """A delayed message moves to its queue."""
        record = self._store.record_at(entry.key)
        message = self._restore(record) if record is not None else None
        if message is None:
            logger.warning("the delayed message at %d cannot be delivered: its topic is gone", entry.key)
            self._store.strike(entry)
            self._store.after_commit(done)
            return
        message.delivers = entry
        message.done = lambda message, error: done(error)
        self._store.append(message)
