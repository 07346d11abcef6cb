"""What a clock is to this library: a function that says the time, handed in from outside so that decisions can be tested.

Intervals and deadlines are measured by the event loop's own clock; a wall clock is needed only for times that leave the process
(born timestamps, subscription versions, boot time).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

WallClock: TypeAlias = Callable[[], float]
"""Seconds since the epoch, as `time.time` tells them."""


def epoch_ms(clock: WallClock) -> int:
    """The clock's time as the wire wants it: whole milliseconds since the epoch."""
    return int(clock() * 1000)
