"""What a pull that a program asks for gives back (Java: `PullResult`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aiorocketmq.model.enums import PullStatus
from aiorocketmq.model.received import ReceivedMessage


@dataclass(frozen=True, slots=True)
class PullResult:
    """Answer to `PullConsumer.pull()`; a loop over it gives its messages.

    Attributes:
        status: FOUND: there are messages. NO_NEW_MSG: there are none at the offset yet. NO_MATCHED_MSG: none of those that were looked at
            matches the filter. OFFSET_ILLEGAL: the queue does not hold the offset.
        messages: What was found, in order.
        next_offset: Where to pull next, whatever the status.
        min_offset: Offset of the oldest message that the queue still holds.
        max_offset: Offset that the next message of the queue will get.
    """

    status: PullStatus
    messages: tuple[ReceivedMessage, ...]
    next_offset: int
    min_offset: int
    max_offset: int

    def __iter__(self) -> Iterator[ReceivedMessage]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        return bool(self.messages)
