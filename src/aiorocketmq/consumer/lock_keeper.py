"""Keeps the locks of an ordered consumer's queues (Java: `ConsumeMessageOrderlyService.lockMQPeriodically`). Feature G10, bar P7."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from aiorocketmq.errors import ClientClosedError

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.consumer.queues import QueueTable

LOCK_INTERVAL: Final = 20.0
FIRST_LOCK: Final = 1.0
RELOCK_INTERVAL: Final = 1.0
"""Seconds between two tries to get a lock back that has run out."""

logger = logging.getLogger("aiorocketmq.consumer")


class LockKeeper:
    """Keeps the locks of owned queues: renews them, and asks for those that have run out until a broker answers.

    Args:
        table: The queues.
        scheduler: Makes the tasks.
    """

    def __init__(self, table: QueueTable, scheduler: Scheduler) -> None:
        self._table = table
        self._scheduler = scheduler
        self._asking = False

    def start(self) -> None:
        """Begin to renew."""
        self._scheduler.every("renew locks", LOCK_INTERVAL, self._table.renew_locks, first=FIRST_LOCK)

    def lost(self) -> None:
        """A queue has no lock any more: ask for it again, every second until it is answered, whatever else happens to the queue."""
        if not self._asking:
            self._asking = True
            try:
                self._scheduler.spawn("lock again", self._ask())
            except ClientClosedError:
                logger.debug("a lock is not asked for: the consumer has stopped")

    async def _ask(self) -> None:
        try:
            while unlocked := self._table.unlocked():
                await self._table.renew_locks(unlocked)
                if self._table.unlocked():
                    await asyncio.sleep(RELOCK_INTERVAL)
        finally:
            self._asking = False
