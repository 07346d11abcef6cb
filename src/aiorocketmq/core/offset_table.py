"""The consumed offsets of one group as its member knows them (Java: `ControllableOffset` and the tables of the offset stores).

An offset moves forward only, with two exceptions: an update that says so, and a reset, which also freezes the offset so that results
of messages from before the reset cannot move it any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiorocketmq.model.queue import MessageQueue


class OffsetTable:
    """Queue → offset. Mutable; belongs to one event loop."""

    __slots__ = ("_frozen", "_offsets")

    def __init__(self, offsets: dict[MessageQueue, int] | None = None) -> None:
        self._offsets: dict[MessageQueue, int] = dict(offsets or {})
        self._frozen: set[MessageQueue] = set()

    def get(self, queue: MessageQueue) -> int:
        """The offset, or -1 when none is known."""
        return self._offsets.get(queue, -1)

    def update(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> bool:
        """Set an offset.

        Args:
            queue: The queue.
            offset: The new offset.
            increase_only: Leave a higher offset as it is.

        Returns:
            True when the offset changed.
        """
        known = self._offsets.get(queue, -1)
        if queue in self._frozen or offset == known or (increase_only and offset < known):
            return False
        self._offsets[queue] = offset
        return True

    def update_and_freeze(self, queue: MessageQueue, offset: int) -> None:
        """Set an offset in any direction, and ignore updates until the queue is removed."""
        self._offsets[queue] = offset
        self._frozen.add(queue)

    def remove(self, queue: MessageQueue) -> None:
        """Forget a queue, frozen or not."""
        self._offsets.pop(queue, None)
        self._frozen.discard(queue)

    def retain(self, queues: Iterable[MessageQueue]) -> list[MessageQueue]:
        """Forget all other queues; gives back what was forgotten."""
        kept = set(queues)
        gone = [queue for queue in self._offsets if queue not in kept]
        for queue in gone:
            self.remove(queue)
        return gone

    def snapshot(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """A copy of all offsets, or of one topic's."""
        return {queue: offset for queue, offset in self._offsets.items() if topic is None or queue.topic == topic}
