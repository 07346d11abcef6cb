"""What values a field of a header or body may have, declared beside the field: `queue_id: QueueId`.

The kinds here say what the wire and Java's types allow, and what no sane peer exceeds. The client checks a request before it leaves, the
server before a handler sees it; what a peer answers is not checked, because newer servers may know better. What a server allows beyond
that (names that exist, queues that a topic has) is its own affair.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from aiorocketmq.model.parsing import INT32_MAX, INT64_MAX

MAX_QUEUES: Final = 65535

_NOT_PLAIN: Final = "[\\x00-\\x08\\x0a-\\x1f\\x7f\\ud800-\\udfff]"


class Limit:
    """Base of limits; allows everything."""

    __slots__ = ()

    def problem(self, value: object) -> str | None:
        """What is wrong with a value of the field's type, with what would be right; None for one that may be."""
        return None


class Between(Limit):
    """Integers from `low` to `high`."""

    __slots__ = ("high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

    def problem(self, value: object) -> str | None:
        if isinstance(value, int) and self.low <= value <= self.high:
            return None
        return f"is {str(value)[:40]}; integers from {self.low} to {self.high} are allowed"


class Text(Limit):
    """Strings of `least` to `most` characters.

    Args:
        least: Characters at least.
        most: Characters at most.
        plain: Only proper Unicode without control characters. Otherwise it may hold anything, bytes that are not UTF-8 among it.
    """

    __slots__ = ("least", "most", "plain")

    def __init__(self, least: int, most: int, *, plain: bool = True) -> None:
        self.least = least
        self.most = most
        self.plain = plain

    def problem(self, value: object) -> str | None:
        if not isinstance(value, str):
            return f"is {str(value)[:40]!r}, not a string"
        if not self.least <= len(value) <= self.most:
            if not value:
                return "is empty; give a name"
            return f"has {len(value)} characters ({value[:32]!r}...); {self.least} to {self.most} are allowed"
        if self.plain and not value.isprintable() and re.search(_NOT_PLAIN, value):
            return f"is {value[:40]!r}; only text without control characters, encoded in UTF-8, is allowed"
        return None


class Items(Limit):
    """Lists and tables of at most `most` entries; longer ones are not even read."""

    __slots__ = ("most",)

    def __init__(self, most: int) -> None:
        self.most = most

    def problem(self, value: object) -> str | None:
        size = len(value) if isinstance(value, list | dict | set) else 0
        return f"has {size} entries; at most {self.most} are allowed" if size > self.most else None


Int32 = Annotated[int, Between(-INT32_MAX - 1, INT32_MAX)]
"""Java's `int` and `Integer`."""
Int64 = Annotated[int, Between(-INT64_MAX - 1, INT64_MAX)]
"""Java's `long` and `Long`."""
Count = Annotated[int, Between(0, INT32_MAX)]
QueueId = Annotated[int, Between(0, MAX_QUEUES - 1)]
AnyQueueId = Annotated[int, Between(-1, MAX_QUEUES - 1)]
"""A queue, or -1: all of them, or whichever the broker likes."""
QueueCount = Annotated[int, Between(0, MAX_QUEUES)]
Permissions = Annotated[int, Between(0, 15)]
"""Bits of `Permission`."""
Offset = Annotated[int, Between(0, INT64_MAX)]
AnyOffset = Annotated[int, Between(-1, INT64_MAX)]
"""An offset, or -1 for none: Java's consumers save it for a queue that they never read."""
BrokerId = Annotated[int, Between(0, INT64_MAX)]
Duration = Annotated[int, Between(0, INT64_MAX)]

Name = Annotated[str, Text(1, 511)]
"""A topic, group, broker or cluster."""
OptionalName = Annotated[str, Text(0, 511)]
ClientId = Annotated[str, Text(0, 1023)]
Address = Annotated[str, Text(1, 255)]
Word = Annotated[str, Text(0, 4095)]
"""A key, a handle, a list of attributes."""
Names = Annotated[str, Text(0, 128 * 1024)]
"""Several names joined to one text."""
Expression = Annotated[str, Text(0, 128 * 1024, plain=False)]
PropertiesText = Annotated[str, Text(0, 128 * 1024, plain=False)]
"""Properties of a message, joined; how long they may be when stored is the broker's affair."""
Value = Annotated[str, Text(0, 256 * 1024)]
