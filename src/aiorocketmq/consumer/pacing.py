"""At how many messages a second listeners are called (Go: `WithConsumeTPS`; Java has nothing like it). Feature F48.

Calls wait here before any worker has them, so waiting costs no worker, and is no time of a listener. Limits count messages, those that
come again included; each topic may have one, and there may be one for all topics together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.consumer.listener import Listener

W = TypeVar("W")

CATCH_UP: Final = 0.1
"""Seconds that are made up for when the event loop was busy while calls waited; what was not asked for in time is never saved up."""


class Pace:
    """So many messages a second. Mutable.

    Attributes:
        rate: Messages a second.
        due: Loop time from which the next message may go.
    """

    __slots__ = ("due", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.due = 0.0

    def begin(self, now: float) -> None:
        """The first message after a time without any."""
        self.due = max(self.due, now)

    def take(self, now: float, count: int) -> None:
        """So many messages go."""
        self.due = max(self.due, now - CATCH_UP) + count / self.rate


class Throttle(Generic[W]):
    """Lets calls go at a limited rate. Belongs to the event loop.

    Args:
        forward: Gets the calls of a listener, when it is their time; asks `keeps()` first, which lets these pass.
        extent: Tells the queue of a call and the number of its messages.
    """

    def __init__(self, forward: Callable[[Listener, Iterable[W]], None], extent: Callable[[W], tuple[AssignedQueue, int]]) -> None:
        self._forward = forward
        self._extent = extent
        self._overall: Pace | None = None
        self._by_topic: dict[str, Pace] = {}
        self._rows: dict[str, deque[tuple[Listener, W]]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._letting_go = False
        self._passing: Iterable[W] = ()

    def limit(self, topic: str | None, rate: float | None) -> None:
        """Set, change or end a limit.

        Args:
            topic: A topic, or None for all of them together.
            rate: Messages a second, or None.
        """
        known = self._overall if topic is None else self._by_topic.get(topic)
        if rate is not None:
            if known is None:
                known = Pace(rate)
            # What went already counts: the wait for the next one gets no longer by a change, and no shorter than that of the new rate.
            now = self._loop.time()
            known.due, known.rate = min(known.due, now + 1 / rate), rate
        else:
            known = None
        if topic is None:
            self._overall = known
        elif known is not None:
            self._by_topic[topic] = known
        else:
            self._by_topic.pop(topic, None)
        self._let_go()

    def rate(self, topic: str | None) -> float | None:
        """Messages a second of a topic, or of all of them together; None without a limit."""
        pace = self._overall if topic is None else self._by_topic.get(topic)
        return pace.rate if pace is not None else None

    def limits(self, topic: str) -> bool:
        """Whether calls of a topic wait here."""
        return self._overall is not None or topic in self._by_topic or topic in self._rows

    def keeps(self, listener: Listener, work: Iterable[W]) -> bool:
        """Take calls in where there is a limit; they leave in their order. False where there is none, or it is their time."""
        if work is self._passing or not self.limits(listener.topic):
            return False
        now = self._loop.time()
        if not self._rows and self._overall is not None:
            self._overall.begin(now)
        row = self._rows.get(listener.topic)
        if row is None:
            row = self._rows[listener.topic] = deque()
            if (pace := self._by_topic.get(listener.topic)) is not None:
                pace.begin(now)
        row.extend((listener, each) for each in work)
        if not row:
            del self._rows[listener.topic]
        self._let_go()
        return True

    def _let_go(self) -> None:
        """Forward what is due, topics in turn, and see to it that the rest follows in time."""
        if self._letting_go:
            return  # a listener has ended inside `forward()`: the loop below looks again
        self._letting_go = True
        try:
            while (topic := self._next()) is not None:
                row = self._rows.pop(topic)
                listener, work = row.popleft()
                if row:
                    self._rows[topic] = row  # behind the others
                now, (_, count) = self._loop.time(), self._extent(work)
                for pace in (self._overall, self._by_topic.get(topic)):
                    if pace is not None:
                        pace.take(now, count)
                self._passing = (work,)
                self._forward(listener, self._passing)
        finally:
            self._letting_go = False
            self._passing = ()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rows:
            self._timer = self._loop.call_at(min(map(self._due, self._rows)), self._let_go)

    def _due(self, topic: str) -> float:
        pace, overall = self._by_topic.get(topic), self._overall
        return max(pace.due if pace is not None else 0.0, overall.due if overall is not None else 0.0)

    def _next(self) -> str | None:
        """A topic with a call that may go now."""
        now = self._loop.time()
        return next((topic for topic in self._rows if self._due(topic) <= now), None)

    def take_back(self, assigned: AssignedQueue) -> list[W]:
        """The calls of a queue that wait here."""
        taken: list[W] = []
        for topic, row in list(self._rows.items()):
            kept: deque[tuple[Listener, W]] = deque()
            for entry in row:
                if self._extent(entry[1])[0] is assigned:
                    taken.append(entry[1])
                else:
                    kept.append(entry)
            if kept:
                self._rows[topic] = kept
            else:
                del self._rows[topic]
        return taken

    def discard(self) -> None:
        """Forget everything that waits here."""
        self._rows.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Nothing is called any more."""
        self.discard()
        self._by_topic.clear()
