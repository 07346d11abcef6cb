"""What is too old, or too much, leaves the store (Java: `DefaultMessageStore.CleanCommitLogService`).

The oldest messages go first, in small steps of one unit of work each, and the smallest offset of their queues moves up with the same
commit. Consumers see it move before: a commit on the store's own thread must not take away what they are reading. A message that waits
for its delivery stays until that is done. Java removes whole files of its log, by age and by the fill of the disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final

from aiorocketmq.errors import RocketMQError
from aiorocketmq.server.store.records import QueueLog
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

_STEP: Final = 256
"""Messages removed by one commit at most."""
_STEP_BYTES: Final = 4 * 1024 * 1024
"""Bytes of their records, but for a first one that is larger."""


class Retention:
    """Removes messages. Belongs to one event loop.

    Args:
        store: Where they are.
        now_ms: Wall clock in milliseconds.
        max_age: Seconds after which a message goes; None keeps it for ever.
        max_bytes: Bytes of all stored messages beyond which the oldest go; None for any number.
        interval: Seconds between two looks.
    """

    def __init__(self, store: Store, now_ms: Callable[[], int], *, max_age: float | None, max_bytes: int | None, interval: float) -> None:
        self._store = store
        self._now_ms = now_ms
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        # Bytes stored when the log ended at `_counted_to`, counted anew whenever a topic was dropped.
        self._bytes = 0
        self._counted_to = -1
        self._drops = -1

    def start(self) -> None:
        """Look at once, and from then on every interval."""
        if self._max_age is None and self._max_bytes is None:
            return
        self._running = True
        self._look_in(0.0)

    def stop(self) -> None:
        """Remove nothing more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        if self._running:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._store.closed:
            return
        try:
            gone = self._expired()
            if not gone:
                self._look_in(self._interval)
                return
            self._remove(gone)
        except (RocketMQError, sqlite3.Error) as error:
            logger.error("old messages cannot be looked for, next try in %g s: %s", self._interval, error)
            self._look_in(self._interval)

    def _expired(self) -> list[tuple[int, int, int, str, bytes]]:
        """The next messages to go."""
        eldest = self._now_ms() - self._max_age * 1000 if self._max_age is not None else -1
        surplus = self._stored_bytes() - self._max_bytes if self._max_bytes is not None else 0
        gone: list[tuple[int, int, int, str, bytes]] = []
        size = 0
        for row in self._store.oldest(_STEP):
            if row[2] >= eldest and size >= surplus:
                break
            if gone and size + len(row[4]) > _STEP_BYTES:
                break
            gone.append(row)
            size += len(row[4])
        return gone

    def _stored_bytes(self) -> int:
        store = self._store
        if self._drops != store.drops:
            self._drops = store.drops
            self._bytes = store.stored_bytes()
        else:
            self._bytes += store.next_physical_offset - self._counted_to
        self._counted_to = store.next_physical_offset
        return self._bytes

    def _remove(self, gone: list[tuple[int, int, int, str, bytes]]) -> None:
        store = self._store
        by_key = {queue.key: queue for queue in store.queues()}
        offsets: dict[int, list[int]] = {}
        for physical_offset, queue_key, *_ in gone:
            offsets.setdefault(queue_key, []).append(physical_offset)
        bounds: dict[int, int] = {}
        for queue_key, removed in offsets.items():
            first = store.first_offset_without(queue_key, removed)
            bounds[queue_key] = by_key[queue_key].next_offset if first is None else first
        size = sum(len(row[4]) for row in gone)
        unit = store.expire(
            [(physical_offset, topic, record) for physical_offset, _, _, topic, record in gone], bounds, partial(self._removed, size)
        )
        hidden: dict[QueueLog, int] = {}
        for queue_key, offset in bounds.items():
            queue = by_key[queue_key]
            if offset > queue.min_offset:
                hidden[queue], queue.min_offset = queue.min_offset, offset
        unit.callbacks.append(partial(self._committed, hidden))

    def _removed(self, size: int) -> None:
        self._bytes -= size

    def _committed(self, hidden: dict[QueueLog, int], error: RocketMQError | None) -> None:
        if error is not None:
            for queue, offset in hidden.items():  # they are still there
                queue.min_offset = offset
            logger.error("old messages cannot be removed, next try in %g s: %s", self._interval, error)
        self._look_in(0.0 if error is None else self._interval)
