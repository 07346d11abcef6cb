"""Pops that found nothing, and whoever wants to be told of messages to pop (Java: `PopLongPollingService`).

They are parked beside pulls, within the same limits, under names that no topic has. A message wakes one of a group, not all: whoever takes
messages and leaves some wakes the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from aiorocketmq.server.broker.long_polling import LongPolling, ParkedPull

MAX_PER_QUEUE: Final = 1024
"""Pops of one group that may wait at one queue, or at all of a topic's (Java: `popPollingSize`)."""
ALL: Final = -1
"""In place of a queue id: all queues of the topic."""


class PopWaiting:
    """Who waits, by topic and group.

    Args:
        polling: Where they are parked.
        kind: Tells those that pop from those that are told.
    """

    def __init__(self, polling: LongPolling, kind: str) -> None:
        self._polling = polling
        self._kind = kind
        self._groups: dict[str, set[str]] = {}

    def _place(self, topic: str, group: str) -> str:
        return f"{topic}@{group}@{self._kind}"

    def park(self, topic: str, group: str, queue_id: int, waiting: ParkedPull) -> bool:
        """Keep a request until a message or its deadline comes; False when too many wait already."""
        place = self._place(topic, group)
        if self._polling.waiting(place, queue_id) >= MAX_PER_QUEUE or not self._polling.park(place, queue_id, waiting):
            return False
        self._groups.setdefault(topic, set()).add(group)
        return True

    def count(self, topic: str, group: str, queue_id: int) -> int:
        """How many wait."""
        return self._polling.waiting(self._place(topic, group), queue_id)

    def arrived(self, topic: str, queue_id: int, tags_codes: Sequence[int], properties: Sequence[bytes]) -> None:
        """Messages were committed to a queue."""
        groups = self._groups.get(topic)
        if groups is None:
            return
        for group in list(groups):
            if not self._polling.waits(self._place(topic, group)):
                groups.discard(group)
                continue
            self.wake(topic, group, queue_id, len(tags_codes), tags_codes, properties)
        if not groups:
            del self._groups[topic]

    def wake(
        self,
        topic: str,
        group: str,
        queue_id: int = ALL,
        count: int = 1,
        tags_codes: Iterable[int] = (),
        properties: Sequence[bytes] = (),
    ) -> None:
        """Let at most `count` of a group look again, of those that want any queue and of those that want this one."""
        place = self._place(topic, group)
        for each in {ALL, queue_id}:
            self._polling.wake_some(place, each, count, tags_codes, properties)

    def wake_each(self, topic: str, group: str) -> None:
        """Let one of those that want any queue look again, and one of each queue: the message is one that every pop looks for."""
        place = self._place(topic, group)
        for queue_id in self._polling.queues(place):
            self._polling.wake_some(place, queue_id, 1, ())

    def wake_group(self, topic: str, group: str) -> None:
        """Let everybody of a group look again."""
        self._polling.wake(self._place(topic, group))

    def wake_all(self, topic: str) -> None:
        """Let everybody look again: the topic is gone."""
        for group in self._groups.pop(topic, ()):
            self._polling.wake(self._place(topic, group))
