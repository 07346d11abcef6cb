"""Pulls that found nothing and wait for messages (Java: `PullRequestHoldService`).

A parked pull is carried out again when a message arrives in its queue that its filter lets through, and at its deadline. A real broker
looks at deadlines only every 5 s, so its clients allow for late answers; here they are kept to the moment.

Each pull can be removed by itself (`cancel`), with all of its connection (`cancel_all`), and at a cost that does not grow with the others.
Their number is limited for each connection and in all. A pull whose peer does not read its answers stays parked until it does: answers
that nobody takes would pile up in memory.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Final, Protocol

logger = logging.getLogger("aiorocketmq.server")

MAX_SUSPEND: Final = 120.0
"""Seconds that a pull may wait at most, whatever it asks for."""
MAX_PER_OWNER: Final = 16 * 1024
"""Pulls that one connection may have parked."""
MAX_IN_ALL: Final = 128 * 1024

_BUDGET: Final = 256
"""Pulls carried out in one turn of the loop at most."""
_TURN: Final = 0.01
"""Seconds of this thread's own work in one turn of the loop, but for a last pull that takes longer."""
_UNREAD_INTERVAL: Final = 0.05
"""Seconds between two looks whether peers that did not read their answers do so now."""


class Owner(Protocol):
    """The connection that a pull came on."""

    @property
    def closed(self) -> bool:
        """True once it has ended."""

    @property
    def writable(self) -> bool:
        """False while the peer does not read what was sent to it."""


class ParkedPull:
    """One waiting pull; mutable: it knows where it is parked, until it was carried out or cancelled.

    Attributes:
        codes: Hash codes of the tags that wake it; empty for every message.
        wants: Says of the property text of a message whether that wakes it, too; None for every message.
        deadline: Loop time at which it is answered in any case.
        resume: Carries the pull out again and answers whatever comes of it.
        owner: The connection it came on; None for a pull without one.
        done: True once it was carried out or cancelled.
        chosen: True when it was woken in place of others, who have to look when it does not.
    """

    __slots__ = ("chosen", "codes", "deadline", "done", "owner", "place", "resume", "wants", "woken")

    def __init__(
        self,
        codes: frozenset[int],
        deadline: float,
        resume: Callable[[], None],
        owner: Owner | None = None,
        wants: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.codes = codes
        self.wants = wants
        self.deadline = deadline
        self.resume = resume
        self.owner = owner
        self.place: tuple[str, int] | None = None
        self.woken = False
        self.chosen = False
        self.done = False

    def lets_through(self, codes: Set[int], properties: Sequence[bytes], stop: float) -> bool:
        """Whether any of these messages wakes it; true, too, when that is not found out until `stop` of this thread's own time."""
        if self.codes and self.codes.isdisjoint(codes):
            return False
        if self.wants is None:
            return True
        return any(time.thread_time() >= stop or self.wants(each) for each in properties)


class LongPolling:
    """Parked pulls by topic and queue id. Belongs to one event loop.

    Args:
        per_owner: Pulls that one connection may have parked.
        in_all: Pulls that may be parked together.
    """

    def __init__(self, per_owner: int = MAX_PER_OWNER, in_all: int = MAX_IN_ALL) -> None:
        self._per_owner = per_owner
        self._in_all = in_all
        self._parked: dict[tuple[str, int], dict[ParkedPull, None]] = {}
        self._queues: dict[str, set[int]] = {}
        self._owned: dict[Owner, set[ParkedPull]] = {}
        self._deadlines: list[tuple[float, int, ParkedPull]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._live = 0
        self._woken: deque[ParkedPull] = deque()
        self._unread: list[ParkedPull] = []
        self._turn: asyncio.Handle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._paused = False

    def park(self, topic: str, queue_id: int, pull: ParkedPull) -> bool:
        """Keep a pull until a message or its deadline comes; it waits `MAX_SUSPEND` at most.

        Returns:
            False when its connection or the broker has no room for more; the caller answers the pull at once.
        """
        owned = self._owned.get(pull.owner) if pull.owner is not None else None
        if self._live >= self._in_all or (owned is not None and len(owned) >= self._per_owner):
            return False
        if pull.owner is not None:
            self._owned.setdefault(pull.owner, set()).add(pull)
        pull.place = (topic, queue_id)
        self._parked.setdefault(pull.place, {})[pull] = None
        self._queues.setdefault(topic, set()).add(queue_id)
        self._live += 1
        if len(self._deadlines) > 64 + 2 * self._live:
            # Answered pulls stay in the heap until their deadline; a busy queue would pile up many of them.
            self._deadlines = [entry for entry in self._deadlines if not entry[2].done]
            heapq.heapify(self._deadlines)
        pull.deadline = min(pull.deadline, asyncio.get_running_loop().time() + MAX_SUSPEND)
        heapq.heappush(self._deadlines, (pull.deadline, next(self._count), pull))
        self._arm()
        return True

    def cancel(self, pull: ParkedPull) -> bool:
        """Forget a pull without answering it; False when it was carried out or cancelled already."""
        if pull.done:
            return False
        self._remove(pull)
        return True

    def cancel_all(self, owner: Owner) -> int:
        """Forget every pull of a connection without answering: it is closed. Returns how many there were."""
        pulls = list(self._owned.get(owner, ()))
        for pull in pulls:
            self._remove(pull)
        return len(pulls)

    def arrived(self, topic: str, queue_id: int, tags_codes: Iterable[int], properties: Sequence[bytes] = ()) -> None:
        """Messages with these tag codes and property texts were committed to a queue."""
        parked = self._parked.get((topic, queue_id))
        if parked is None:
            return
        codes = set(tags_codes)
        # Pulls that are woken without need look once more, turn by turn; whoever sent the messages must not wait for all filters.
        stop = time.thread_time() + _TURN
        self._wake(pull for pull in parked if pull.lets_through(codes, properties, stop))

    def wake(self, topic: str, queue_id: int | None = None) -> None:
        """Carry out all pulls of a topic (or one of its queues) again: an offset was reset, or the topic changed."""
        for each in self.queues(topic) if queue_id is None else [queue_id]:
            self._wake(self._parked.get((topic, each), ()))

    def wake_some(self, topic: str, queue_id: int, count: int, tags_codes: Iterable[int], properties: Sequence[bytes] = ()) -> int:
        """Carry out at most `count` pulls of a queue again, those that came first: each of them takes what it finds from the others.

        Args:
            topic, queue_id: Where they are parked.
            count: How many; pulls whose peer does not read are the last.
            tags_codes, properties: As for `arrived`; no codes at all wake whatever is there.

        Returns:
            How many there were.
        """
        found = self._choose(topic, queue_id, count, tags_codes, properties)
        self._wake(found)
        return len(found)

    def _choose(
        self, topic: str, queue_id: int, count: int, tags_codes: Iterable[int] = (), properties: Sequence[bytes] = ()
    ) -> list[ParkedPull]:
        codes = set(tags_codes)
        stop = time.thread_time() + _TURN
        found: list[ParkedPull] = []
        unread: list[ParkedPull] = []
        for pull in self._parked.get((topic, queue_id), ()):
            if len(found) >= count:
                break
            if not pull.woken and (not codes or pull.lets_through(codes, properties, stop)):
                (found if pull.owner is None or pull.owner.writable else unread).append(pull)
        found += unread[: count - len(found)]
        for pull in found:
            pull.chosen = True
        return found

    def _hand_on(self, pull: ParkedPull) -> None:
        """One that was chosen does not look, or not now: another one has to."""
        if pull.chosen and pull.place is not None:
            pull.chosen = False
            for other in self._choose(*pull.place, 1):
                other.woken = True
                self._woken.append(other)

    def waits(self, topic: str) -> bool:
        """Whether any pull of a topic is parked."""
        return topic in self._queues

    def queues(self, topic: str) -> list[int]:
        """Queue ids at which pulls of a topic are parked."""
        return list(self._queues.get(topic, ()))

    def waiting(self, topic: str, queue_id: int) -> int:
        """How many pulls are parked there."""
        return len(self._parked.get((topic, queue_id), ()))

    def pause(self) -> None:
        """Answer nothing until `proceed()`; deadlines pass meanwhile."""
        self._paused = True

    def proceed(self) -> None:
        """End of a pause: what became due meanwhile is carried out now."""
        self._paused = False
        self._run()
        self._arm()

    def stop(self) -> None:
        """Forget every parked pull, without answering."""
        for parked in self._parked.values():
            for pull in parked:
                pull.done = True
        for table in (self._parked, self._queues, self._owned):
            table.clear()
        self._live = 0
        self._rest()

    def __len__(self) -> int:
        return self._live

    def _wake(self, pulls: Iterable[ParkedPull]) -> None:
        for pull in pulls:
            if not pull.woken:
                pull.woken = True
                self._woken.append(pull)
        if self._turn is None:
            self._run()

    def _run(self) -> None:
        """Carry out woken pulls, but not more in one turn than others can bear to wait for."""
        self._turn = None
        if self._paused:
            return
        budget = _BUDGET
        stop = time.thread_time() + _TURN
        while self._woken and budget and time.thread_time() < stop:
            pull = self._woken.popleft()
            if pull.done:
                self._hand_on(pull)
                continue
            if pull.owner is not None and not pull.owner.writable:
                if pull.owner.closed:
                    self._remove(pull)
                else:
                    self._unread.append(pull)
                self._hand_on(pull)
                continue
            budget -= 1
            self._remove(pull)
            try:
                pull.resume()
            except Exception:  # one answer that fails must not keep the others from theirs
                logger.exception("a waiting pull of %s:%d could not be answered", *(pull.place or ("", 0)))
        loop = asyncio.get_running_loop()
        if self._woken and self._turn is None:
            self._turn = loop.call_soon(self._run)
        if self._unread and self._retry is None:
            self._retry = loop.call_later(_UNREAD_INTERVAL, self._look_again)

    def _look_again(self) -> None:
        self._retry = None
        self._woken.extend(self._unread)
        self._unread.clear()
        if self._turn is None:
            self._run()

    def _remove(self, pull: ParkedPull) -> None:
        pull.done = True
        self._live -= 1
        assert pull.place is not None
        parked = self._parked[pull.place]
        del parked[pull]
        if not parked:
            del self._parked[pull.place]
            topic, queue_id = pull.place
            queues = self._queues[topic]
            queues.discard(queue_id)
            if not queues:
                del self._queues[topic]
        if pull.owner is not None:
            owned = self._owned[pull.owner]
            owned.discard(pull)
            if not owned:
                del self._owned[pull.owner]
        if not self._live:
            self._rest()

    def _rest(self) -> None:
        """Nothing is parked: keep nothing, not even a timer."""
        for table in (self._deadlines, self._woken, self._unread):
            table.clear()
        for handle in (self._timer, self._turn, self._retry):
            if handle is not None:
                handle.cancel()
        self._timer = self._turn = self._retry = None

    def _arm(self) -> None:
        while self._deadlines and self._deadlines[0][2].done:
            heapq.heappop(self._deadlines)
        if not self._deadlines or self._paused:
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
        due = []
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].done):
            pull = heapq.heappop(self._deadlines)[2]
            if not pull.done:
                due.append(pull)
        self._wake(due)
        self._arm()
