"""Pulls that found nothing and wait for messages (Java: `PullRequestHoldService`).

A parked pull is carried out again when a message arrives in its queue that its tags let through, and at its deadline. A real broker looks
at deadlines only every 5 s, so its clients allow for late answers; here they are kept to the moment.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class ParkedPull:
    """One waiting pull; mutable: `done` is set when it was answered or its connection is gone.

    Attributes:
        codes: Hash codes of the tags that wake it; empty for every message.
        deadline: Loop time at which it is answered in any case.
        resume: Carries the pull out again and answers whatever comes of it.
    """

    codes: frozenset[int]
    deadline: float
    resume: Callable[[], None]
    done: bool = field(default=False)


class LongPolling:
    """Parked pulls by topic and queue id."""

    def __init__(self) -> None:
        self._parked: dict[tuple[str, int], list[ParkedPull]] = {}
        self._deadlines: list[tuple[float, int, ParkedPull]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._live = 0

    def park(self, topic: str, queue_id: int, pull: ParkedPull) -> None:
        """Keep a pull until a message or its deadline comes."""
        self._parked.setdefault((topic, queue_id), []).append(pull)
        self._live += 1
        if len(self._deadlines) > 64 + 2 * self._live:
            # Answered pulls stay in the heap until their deadline; a busy queue would pile up many of them.
            self._deadlines = [entry for entry in self._deadlines if not entry[2].done]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (pull.deadline, next(self._count), pull))
        self._arm()

    def arrived(self, topic: str, queue_id: int, tags_codes: Iterable[int]) -> None:
        """Messages with these tag codes were committed to a queue."""
        parked = self._parked.pop((topic, queue_id), None)
        if parked is None:
            return
        codes = set(tags_codes)
        waiting = [pull for pull in parked if not pull.done and pull.codes and pull.codes.isdisjoint(codes)]
        if waiting:
            self._parked[topic, queue_id] = waiting
        for pull in parked:
            if not pull.done and not (pull.codes and pull.codes.isdisjoint(codes)):
                self._finish(pull)

    def wake(self, topic: str, queue_id: int | None = None) -> None:
        """Carry out all pulls of a topic (or one of its queues) again: an offset was reset, or the topic changed."""
        for key in [key for key in self._parked if key[0] == topic and queue_id in (None, key[1])]:
            for pull in self._parked.pop(key):
                if not pull.done:
                    self._finish(pull)

    def stop(self) -> None:
        """Forget every parked pull, without answering."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._parked.clear()
        self._deadlines.clear()
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def _finish(self, pull: ParkedPull) -> None:
        pull.done = True
        self._live -= 1
        pull.resume()

    def _arm(self) -> None:
        while self._deadlines and self._deadlines[0][2].done:
            heapq.heappop(self._deadlines)
        if not self._deadlines:
            return
        deadline = self._deadlines[0][0]
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].done):
            pull = heapq.heappop(self._deadlines)[2]
            if not pull.done:
                self._finish(pull)
        # Pulls that ended at their deadline still stand in their queue's list; long-idle queues must not collect them.
        for key in [key for key, parked in self._parked.items() if all(pull.done for pull in parked)]:
            del self._parked[key]
        self._arm()
