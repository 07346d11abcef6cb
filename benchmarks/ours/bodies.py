"""Bodies of the benchmarks: made by senders, checked by consumers.

A body is the message's number in its round as 8 bytes, big-endian, and then `x` up to its size; below 8 bytes it is all `x`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

STAMP = 8


def maker(size: int) -> Callable[[int], bytes]:
    """A function from the number of a message to its body of `size` bytes."""
    if size < STAMP:
        plain = b"x" * size
        return lambda number: plain
    rest = b"x" * (size - STAMP)
    return lambda number: number.to_bytes(STAMP, "big") + rest


class Inspector:
    """Counts the messages that a consumer gets, and what is wrong with them. Safe for several threads without a lock of its own.

    Args:
        size: Bytes of each body.
        distinct: Numbers 0 to `distinct` - 1 are expected once each; 0 when the same numbers may come again and only bodies are checked.
    """

    def __init__(self, size: int, distinct: int) -> None:
        self._size = size
        self._rest = b"x" * max(0, size - STAMP) if size >= STAMP else b"x" * size
        self._seen = bytearray(distinct)
        self._distinct = distinct
        self._places = itertools.count(1)
        self.damaged: list[bytes] = []
        self.repeated: list[int] = []
        self.received = 0

    @property
    def failed(self) -> int:
        """Damaged bodies and repeated messages."""
        return len(self.damaged) + len(self.repeated)

    def accept(self, body: bytes) -> int:
        """Check one body; answers the how-manieth it is, from 1, or 0 for a message that came before."""
        if len(body) != self._size or not body.endswith(self._rest):
            self.damaged.append(body[:32])
        elif self._distinct and self._size >= STAMP:
            number = int.from_bytes(body[:STAMP], "big")
            if number >= self._distinct:
                self.damaged.append(body[:32])
            elif self._seen[number]:
                self.repeated.append(number)
                return 0
            else:
                self._seen[number] = 1
        place = next(self._places)  # one C call: each caller gets its own number, whatever the thread
        self.received = place
        return place
