"""How a group comes along with a queue, in times (Java: `QueueTimeSpan`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class QueueTimeSpan:
    """How old the messages of one queue are, and those that a group has still to consume.

    Attributes:
        first_stored_at: When the oldest message was stored; None when the queue has none.
        last_stored_at: When the newest one was.
        consumed_at: When the last message that the group has consumed was stored; the oldest one when it has consumed none.
        delay: Seconds for which the next message has waited, by the broker's clock; 0.0 when nothing waits.
    """

    first_stored_at: datetime | None
    last_stored_at: datetime | None
    consumed_at: datetime | None
    delay: float
