"""Delayed messages: parked with the store, moved to their queues when due (Java: `ScheduleMessageService`, `TimerMessageStore`).

Delay levels and messages delayed to the millisecond share one schedule. Moving a message and striking it from the schedule is one
commit, so a kill in between neither loses nor doubles it. Memory holds only what is due within the horizon; the database has the rest.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from aiorocketmq.errors import ProtocolError, RocketMQError
from aiorocketmq.server.store.records import PendingMessage, ScheduleEntry
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

_HORIZON_MS: Final = 60_000
_BATCH: Final = 256
"""Messages moved in one tick at most, so that a backlog of due ones does not hold up the loop."""
_RETRY_DELAY: Final = 1.0


class Schedule:
    """Moves parked messages when they are due.

    Args:
        store: Where they are parked.
        now_ms: Wall clock in milliseconds.
        restore: Makes the message to deliver from a parked record; None when the record cannot be delivered any more.
    """

    def __init__(self, store: Store, now_ms: Callable[[], int], restore: Callable[[bytes], PendingMessage | None]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._restore = restore
        self._due: list[ScheduleEntry] = []
        self._known: set[ScheduleEntry] = set()
        self._horizon = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def start(self) -> None:
        """Load what is due soon, and begin to deliver."""
        self._running = True
        self._due.clear()
        self._known.clear()
        self._horizon = 0
        self._extend()
        self._arm()

    def stop(self) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def added(self, entry: ScheduleEntry) -> None:
        """A message was parked, and is committed."""
        if entry.deliver_at < self._horizon and self._push(entry) and self._running and self._due[0] == entry:
            self._arm()

    def _push(self, entry: ScheduleEntry) -> bool:
        # An entry can be met twice: read from the database while its commit is under way, and told of after it.
        if entry in self._known:
            return False
        self._known.add(entry)
        heapq.heappush(self._due, entry)
        return True

    def _extend(self) -> None:
        horizon = self._now_ms() + _HORIZON_MS
        for entry in self._store.scheduled_between(self._horizon, horizon):
            self._push(entry)
        self._horizon = horizon

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Half of the horizon at most: entries beyond it are loaded before they are due.
        due = self._due[0].deliver_at if self._due else self._horizon
        delay = max(0.0, min((due - self._now_ms()) / 1000, _HORIZON_MS / 2000))
        self._timer = asyncio.get_running_loop().call_later(delay, self._run)

    def _run(self) -> None:
        self._timer = None
        if not self._running or self._store.closed:
            return
        now = self._now_ms()
        if self._horizon - now <= _HORIZON_MS // 2:
            self._extend()
        moved = 0
        while self._due and self._due[0].deliver_at <= now and moved < _BATCH:
            entry = heapq.heappop(self._due)
            try:
                self._deliver(entry)
            except (sqlite3.Error, ProtocolError) as error:
                # It stays in the database: nothing that was stored is thrown away because it cannot be read now.
                logger.error("the delayed message at %d cannot be read: %s", entry.physical_offset, error)
            moved += 1
        self._arm()

    def _deliver(self, entry: ScheduleEntry) -> None:
        record = self._store.record_at(entry.physical_offset)
        message = self._restore(record) if record is not None else None
        if message is None:
            logger.warning("the delayed message at %d cannot be delivered: its topic is gone", entry.physical_offset)
            self._known.discard(entry)
            self._store.strike(entry)
            return
        message.delivers = entry
        message.done = self._delivered
        self._store.append(message)

    def _delivered(self, message: PendingMessage, error: RocketMQError | None) -> None:
        entry = message.delivers
        if entry is None:
            return
        self._known.discard(entry)
        if error is not None and self._running:
            logger.error("a delayed message stays parked, next try in %.0f s: %s", _RETRY_DELAY, error)
            asyncio.get_running_loop().call_later(_RETRY_DELAY, self.added, entry)
