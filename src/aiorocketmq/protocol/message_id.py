"""The ids that clients give to messages (Java: `MessageClientIDSetter`). Feature A5."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final

_HEX: Final = tuple(f"{number:02X}" for number in range(256))
"""Bytes as two hex digits; looking one up takes a third of the time of formatting it."""


def month_bounds(now_ms: int) -> tuple[int, int]:
    """Milliseconds since the epoch of the first moment of the month and of the next one, in local time."""
    start = datetime.fromtimestamp(now_ms / 1000).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = start.replace(year=start.year + 1, month=1) if start.month == 12 else start.replace(month=start.month + 1)
    return int(start.timestamp() * 1000), int(following.timestamp() * 1000)


class UniqueIdGenerator:
    """Makes the ids that clients give to messages (UNIQ_KEY).

    Layout: IP (4 or 16 bytes), process id (2), salt (4; Java: hash of the class loader), milliseconds since the first of the month (4),
    counter (2); 32 or 56 hex digits in capitals. Make one per process: a forked child needs its own. Not safe to share between threads.

    Args:
        ip: The host's address, 4 or 16 bytes.
        pid: Process id; the lower 16 bits count.
        salt: 32 bits that tell apart processes of equal IP and pid, such as containers; random when None.
    """

    __slots__ = ("_counter", "_elapsed", "_head", "_head_at", "_month_end", "_month_start", "_prefix", "_wrapped_at", "pid")

    def __init__(self, ip: bytes, pid: int, salt: int | None = None) -> None:
        if len(ip) not in (4, 16):
            raise ValueError(f"an IP address has 4 or 16 bytes, not {len(ip)}")
        salt = secrets.randbits(32) if salt is None else salt & 0xFFFFFFFF
        self.pid = pid
        self._prefix = f"{ip.hex()}{pid & 0xFFFF:04x}{salt:08x}".upper()
        self._counter = -1
        self._month_start = 0
        self._month_end = 0
        self._elapsed = 0
        self._wrapped_at = -1
        self._head = ""
        self._head_at = -1

    def next_id(self, now_ms: int) -> str:
        """A new id.

        Args:
            now_ms: Milliseconds since the epoch. When the clock goes back, the highest time seen stays in use, so ids do not repeat.
        """
        if now_ms >= self._month_end:
            self._month_start, self._month_end = month_bounds(now_ms)
            self._elapsed = 0
            self._wrapped_at = -1
        elapsed = now_ms - self._month_start
        if elapsed < self._elapsed:
            elapsed = self._elapsed
        counter = (self._counter + 1) & 0xFFFF
        if counter == 0:
            if elapsed <= self._wrapped_at:  # 65,536 ids in one millisecond: take the next one
                elapsed = self._wrapped_at + 1
            self._wrapped_at = elapsed
        self._counter = counter
        self._elapsed = elapsed
        if elapsed != self._head_at:  # ids of the same millisecond share all but the counter
            self._head_at = elapsed
            self._head = f"{self._prefix}{_HEX[elapsed >> 24]}{_HEX[elapsed >> 16 & 0xFF]}{_HEX[elapsed >> 8 & 0xFF]}{_HEX[elapsed & 0xFF]}"
        return f"{self._head}{_HEX[counter >> 8]}{_HEX[counter & 0xFF]}"

    def next_ids(self, now_ms: int, count: int) -> list[str]:
        """As many new ids as wanted, at least one: what `next_id()` would give one after the other, in a fraction of the time."""
        ids = [self.next_id(now_ms)]
        number, last = self._counter + 1, self._counter + count
        if last > 0x10000:
            ids += [self.next_id(now_ms) for _ in range(count - 1)]
            return ids
        while number < last:  # ids whose counters share the upper byte, too, differ in one text of the table only
            head, low = f"{self._head}{_HEX[number >> 8]}", number & 0xFF
            tails = _HEX[low : low + last - number]
            ids += [head + tail for tail in tails]
            number += len(tails)
        self._counter = last - 1
        return ids
