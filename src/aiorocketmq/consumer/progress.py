"""Which queues of a consumer move, and which have messages and do not (no Java twin: there a queue stands still quietly). Feature U2.

A look every few seconds compares positions; nothing is added to the way of a message.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue

if TYPE_CHECKING:
    from aiorocketmq.client.health import QueueHealth
    from aiorocketmq.consumer.queues import QueueTable

LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks, at most."""
_SHOWN: Final = 5

logger = logging.getLogger("aiorocketmq.consumer")


class _Mark(NamedTuple):
    """Where a queue was at a look, and since when it is there."""

    assigned: AssignedQueue
    position: int
    since: float


class Progress:
    """Looks at the queues of one consumer.

    Args:
        table: The queues.
        group: The consumer group, for the log.
        stuck_after: Seconds without progress after which a queue is stuck.
    """

    def __init__(self, table: QueueTable, group: str, stuck_after: float) -> None:
        self.interval = min(LOOK_INTERVAL, stuck_after / 2)
        self._table = table
        self._group = group
        self._stuck_after = stuck_after
        self._marks: dict[AssignedQueue, _Mark] = {}
        self._clock = asyncio.get_running_loop().time
        self._log = StateLog(logger)

    def look(self) -> None:
        """Compare with the last look; logs when queues get stuck, and when they go on again."""
        now = self._clock()
        self._marks = {assigned: self._mark(assigned, now) for assigned in self._table.assigned.values()}
        table = self._table
        stuck = [self._owned(each, now) for each in table.assigned.values() if self._stuck(each, self._standing(each, now))]
        stuck += [self._waiting(each, now) for each in table.waiting.values() if now - each.since >= self._stuck_after]
        if stuck:
            text = "group %s makes no progress on %d of %d queues for %.0f s: %s%s"
            names = ", ".join(f"{queue.queue} ({queue.error or queue.waits_for or f'at {queue.position}'})" for queue in stuck[:_SHOWN])
            longest = max(queue.progress_ago for queue in stuck)
            count = len(table.assigned) + len(table.waiting)
            self._log.failed("stuck", text, self._group, len(stuck), count, longest, names, ", ..." if len(stuck) > _SHOWN else "")
        else:
            self._log.worked("stuck", "all queues of group %s go on", self._group)

    def _mark(self, assigned: AssignedQueue, now: float) -> _Mark:
        mark, position = self._marks.get(assigned), assigned.messages.consumed
        at_rest = not assigned.messages.count or assigned.paused
        if mark is None:
            return _Mark(assigned, position, now if at_rest else max(assigned.since, assigned.puller.pulled_at))
        moved = position != mark.position or at_rest
        return _Mark(assigned, position, now) if moved else mark

    def queues(self) -> tuple[QueueHealth, ...]:
        """Where all queues are that fall to the consumer."""
        now = self._clock()
        owned = [self._owned(assigned, now) for assigned in self._table.assigned.values()]
        waiting = [self._waiting(assigned, now) for assigned in self._table.waiting.values()]
        return tuple(sorted(owned + waiting, key=lambda health: health.queue))

    def _owned(self, assigned: AssignedQueue, now: float) -> QueueHealth:
        from aiorocketmq.client.health import QueueHealth  # for those who ask

        puller = assigned.puller
        standing, failure = self._standing(assigned, now), puller.failure
        return QueueHealth(
            queue=assigned.queue,
            owned=True,
            waits_for="",
            position=assigned.messages.consumed,
            end=puller.end if puller.end >= 0 else None,
            unfinished=assigned.messages.count,
            pulled_ago=now - puller.pulled_at if puller.pulled_at else None,
            progress_ago=max(standing, 0.0),
            stuck=self._stuck(assigned, standing),
            given_up=failure is not None,
            error=failure.message if failure is not None else puller.trouble,
            paused=assigned.paused,
        )

    def _standing(self, assigned: AssignedQueue, now: float) -> float:
        """Seconds since the last progress."""
        puller = assigned.puller
        return now - (puller.failing_since if puller.trouble else self._mark(assigned, now).since)

    def _stuck(self, assigned: AssignedQueue, standing: float) -> bool:
        return assigned.puller.failure is not None or (standing >= self._stuck_after and not assigned.paused)

    def _waiting(self, assigned: AssignedQueue, now: float) -> QueueHealth:
        from aiorocketmq.client.health import QueueHealth  # for those who ask

        standing = now - assigned.since
        return QueueHealth(
            queue=assigned.queue,
            owned=False,
            waits_for=assigned.waits_for,
            position=-1,
            end=None,
            unfinished=0,
            pulled_ago=None,
            progress_ago=standing,
            stuck=standing >= self._stuck_after,
            given_up=False,
            error="",
        )
