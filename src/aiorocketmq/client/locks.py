"""A lock that is waited for only so long (Java: `lockNamesrv`, `lockHeartbeat`, `LOCK_TIMEOUT_MILLIS`). Feature K13."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiorocketmq.client.statelog import StateLog

LOCK_TIMEOUT: Final = 3.0
"""Seconds that a route update or a heartbeat waits for the one before it."""

logger = logging.getLogger("aiorocketmq.client")


class TimedLock:
    """Serialises one kind of work; a waiter that gives up is logged and counted.

    Attributes:
        given_up: How many waiters gave up.
    """

    __slots__ = ("_lock", "_log", "given_up", "name", "timeout")

    def __init__(self, name: str, timeout: float = LOCK_TIMEOUT) -> None:
        self.name = name
        self.timeout = timeout
        self.given_up = 0
        self._lock = asyncio.Lock()
        self._log = StateLog(logger)

    @asynccontextmanager
    async def hold(self, purpose: str, *, timeout: float | None = None) -> AsyncIterator[bool]:
        """Hold the lock for the body; yields False, with the lock not held, when the wait took longer than the time-out.

        Args:
            purpose: What for, as the log shows it.
            timeout: Seconds to wait; None takes the lock's own time-out.
        """
        limit = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                await self._lock.acquire()
        except TimeoutError:
            self.given_up += 1
            text = "%s was given up: the %s lock was not free within %g s"
            self._log.note(logging.WARNING, self.name, text, purpose, self.name, limit)
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()
