"""The bounded window of unanswered sends (Java: the semaphores of `enableBackpressureForAsyncMode`, off there, always on here). Row B17."""

from __future__ import annotations

import asyncio
from collections import deque

from aiorocketmq.errors import WindowFullError


class SendWindow:
    """Counts messages and body bytes that await an answer, and lets callers wait for room in the order in which they came.

    A message larger than the whole byte limit passes when nothing else is in flight. Mutable and unlocked: it belongs to one event loop.
    """

    __slots__ = ("_idle", "_waiters", "bytes", "max_bytes", "max_messages", "messages")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.messages = 0
        self.bytes = 0
        self._waiters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._idle: list[asyncio.Future[None]] = []

    def fits(self, size: int, beside: int = 0) -> bool:
        """Whether there is room for one more message.

        Args:
            size: Its bytes.
            beside: Messages that await their answers and that the window does not know of.
        """
        count = self.messages + beside
        return count < self.max_messages and (not count or self.bytes + size <= self.max_bytes)

    def has_room(self, size: int, beside: int) -> bool:
        """The same, and nobody waits for it. For any thread."""
        return not self._waiters and self.fits(size, beside)

    def acquire_at_once(self, size: int) -> bool:
        """Take room for one message if there is some and nobody waits for it; the quick way into `acquire()`."""
        if self._waiters or not self.fits(size):
            return False
        self.messages += 1
        self.bytes += size
        return True

    def acquire_nowait(self, size: int) -> None:
        """The same.

        Raises:
            WindowFullError: There is none, or callers already wait for it.
        """
        if not self.acquire_at_once(size):
            raise WindowFullError(
                f"{self.messages} messages with {self.bytes} bytes await their answers; the window is max_in_flight={self.max_messages}, "
                f"max_in_flight_bytes={self.max_bytes}"
            )

    def take(self, size: int) -> None:
        """Take room for one message, whether there is some or not: its caller has seen to that, or it is on its way already."""
        self.messages += 1
        self.bytes += size

    async def acquire(self, size: int, deadline: float) -> bool:
        """Take room for one message, waiting for it in turn until the loop's clock shows `deadline`.

        Cancelling is safe: room that was just granted goes to the next one.

        Returns:
            False when the deadline passed first.
        """
        if self.acquire_at_once(size):
            return True
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        entry = (turn, size)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(size)
            elif entry in self._waiters:
                self._waiters.remove(entry)
                self._wake()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self, size: int, count: int = 1) -> None:
        """Give the room of one message back, or of `count` that have `size` bytes together."""
        self.messages -= count
        self.bytes -= size
        if self._waiters:
            self._wake()
        if self._idle and not self.messages:
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()

    def _wake(self) -> None:
        waiters = self._waiters
        while waiters and (waiters[0][0].done() or self.fits(waiters[0][1])):
            turn, size = waiters.popleft()
            if not turn.done():
                self.take(size)
                turn.set_result(None)

    async def empty(self, timeout: float) -> bool:
        """Wait until nothing awaits an answer; False when that took longer than `timeout` seconds."""
        if not self.messages:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            if waiter in self._idle:
                self._idle.remove(waiter)
        return True
