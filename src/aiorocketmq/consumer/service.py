"""What the ways of consuming have in common (Java: `ConsumeMessageService`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.consumer.calling import Caller
    from aiorocketmq.model.received import ReceivedMessage


class ConsumeService(Protocol):
    """Where the messages of a consumer go when they have come, as the life of its queues sees it."""

    @property
    def full(self) -> bool:
        """Nothing is pulled for any queue: too many messages wait."""
        ...

    def submit(self, assigned: AssignedQueue, messages: Sequence[ReceivedMessage]) -> None:
        """Messages came: `assigned.messages` holds them already."""
        ...

    def wake(self, assigned: AssignedQueue) -> None:
        """The queue is locked again: go on with it."""
        ...

    def pause(self, assigned: AssignedQueue) -> None:
        """The queue is paused: begin nothing of it."""
        ...

    def resume(self, assigned: AssignedQueue) -> None:
        """The queue, or what else held its messages back, is paused no more: go on with it."""
        ...

    def let_go(self, assigned: AssignedQueue) -> None:
        """The queue is RELEASING: nothing of it is begun any more, and what waits for a worker or for a timer is taken back."""
        ...

    def in_hand(self, assigned: AssignedQueue) -> bool:
        """True while a listener runs with messages of the queue, or one of them is on its way back to a broker."""
        ...


class ListeningService(ConsumeService, Protocol):
    """Brings messages to listeners and acts on their answers.

    Attributes:
        caller: Calls the listeners.
    """

    caller: Caller

    def check_overdue(self) -> None:
        """Look for listeners that take longer than the consume time-out."""
        ...

    async def drain(self) -> None:
        """Begin no more work, and wait until what has begun has ended, given-back messages included."""
        ...

    async def close(self, patience: float) -> None:
        """End the workers, and what they have begun.

        Args:
            patience: Seconds that a listener may take to end after its cancellation.
        """
        ...
