"""The watch over one channel: one timer for everything that has a deadline, and the age of an incomplete frame.

Arming a timer of the event loop for every request would cost more than the request. This timer is armed for the earliest deadline it has
heard of; that deadline is usually out of date when it fires, and only then the next one is looked for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

NEVER: Final = math.inf

# Deadlines closer together than this share one look at the table.
_GRANULARITY: Final = 0.01
# A timer that fires this late means that our own loop stood still, not the peer.
_STALL: Final = 0.5
# An incomplete frame that grows faster than this is a slow link, not an attack.
_MIN_BYTES_PER_SECOND: Final = 1024


class LazyTimer:
    """One timer, armed for the earliest of many moments.

    Args:
        check: Called with the time when the moment has come; returns the next one, `NEVER` for none.
        on_stall: Called with seconds when the timer fired that late. The check then waits for one look at the sockets: what it would
            call overdue may have been received long ago.

    Attributes:
        at: The moment it is armed for; `NEVER` when it is not. Read it to skip useless calls of `arm`.
    """

    __slots__ = ("_check", "_handle", "_loop", "_on_stall", "_rechecking", "_stopped", "at")

    def __init__(self, check: Callable[[float], float], on_stall: Callable[[float, float], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._check = check
        self._on_stall = on_stall
        self._handle: asyncio.TimerHandle | None = None
        self._rechecking = False
        self._stopped = False
        self.at = NEVER

    def arm(self, at: float) -> None:
        """Fire at `at`; does nothing when it fires earlier anyway."""
        if at >= self.at or self._stopped:
            return
        if self._handle is not None:
            self._handle.cancel()
        self.at = at
        self._handle = self._loop.call_at(at, self._fire)

    def stop(self) -> None:
        """Never fire again."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        now = self._loop.time()
        late = now - self.at
        self._handle = None
        self.at = NEVER
        if late > _STALL and not self._rechecking:
            self._rechecking = True
            self._on_stall(now, late)
            self.arm(now + _GRANULARITY)
            return
        self._rechecking = False
        self.arm(max(self._check(now), now + _GRANULARITY))


class PartialFrame:
    """How long a frame has been incomplete, and whether it still grows. Pure: times are arguments."""

    __slots__ = ("_bytes", "_limit", "due")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._bytes = 0
        self.due = NEVER

    def grew(self, now: float, size: int, *, fresh: bool) -> None:
        """A chunk of `size` bytes left a frame incomplete; `fresh` when that frame began in it."""
        if fresh or self.due == NEVER:
            self._bytes, self.due = 0, now + self._limit
        self._bytes += size

    def complete(self) -> None:
        """No frame is incomplete."""
        self.due = NEVER

    def overdue(self, now: float) -> bool:
        """True when the peer only trickles; a frame that grew well since the last look gets the time again."""
        if now < self.due:
            return False
        if self._bytes < self._limit * _MIN_BYTES_PER_SECOND:
            return True
        self._bytes, self.due = 0, now + self._limit
        return False
