"""Wakes those that wait for a queue that is taken in order, when it is free again (Java: `QueueLevelConsumerOrderInfoLockManager`)."""

from __future__ import annotations

from typing import Final

from aiorocketmq.server.broker.long_polling import MAX_SUSPEND
from aiorocketmq.server.broker.schedule import Done, Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.store.records import DueEntry

_FREE: Final = "pop_order"
"""Kind of due work: a queue that is taken in order is free again."""


class Reminders:
    """At most a few for each group and topic, and none that is due when nobody can wait any more.

    Args:
        state: The broker.
        schedule: Says when.
    """

    def __init__(self, state: BrokerState, schedule: Schedule) -> None:
        self._state = state
        self._schedule = schedule
        self._count = 0
        self._names: dict[int, tuple[str, str]] = {}
        self._next: dict[tuple[str, str], int] = {}
        schedule.register(_FREE, self._free)

    def remind(self, topic: str, group: str, free_at: int) -> None:
        """A queue is free at a time, in milliseconds since the epoch; 0 for none that is blocked."""
        at = min(free_at, self._state.now_ms() + int(MAX_SUSPEND * 1000))
        known = self._next.get((topic, group))
        if not free_at or (known is not None and known <= at):
            return
        self._count += 1
        self._next[topic, group] = at
        self._names[self._count] = topic, group
        self._schedule.remind(DueEntry(at, _FREE, self._count))

    def free(self, topic: str, group: str, queue_id: int) -> None:
        """What is out of a queue has changed: let others look when it is free, now or later."""
        state = self._state
        at = state.orders.free_at(topic, group, queue_id)
        if at > state.now_ms():
            self.remind(topic, group, at)
            return
        for waiting in (state.pops, state.pop_watchers):
            waiting.wake(topic, group, queue_id)

    def _free(self, entry: DueEntry, done: Done) -> None:
        topic, group = self._names.pop(entry.key)
        if self._next.get((topic, group)) == entry.at:
            del self._next[topic, group]
        for waiting in (self._state.pops, self._state.pop_watchers):
            waiting.wake_group(topic, group)
        done(None)
