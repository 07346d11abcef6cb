"""How much goes through a broker, by topic and group (Java: `BrokerStatsManager`), as rates over the last minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_SLOT: Final = 10.0
_SLOTS: Final = 6


class Rate:
    """Events per second over the last minute, in slots of ten seconds; mutable."""

    __slots__ = ("_slots", "_times", "total")

    def __init__(self) -> None:
        self._slots = [0] * _SLOTS
        self._times = [-1] * _SLOTS
        self.total = 0

    def add(self, now: float, count: int) -> None:
        number = int(now / _SLOT)
        index = number % _SLOTS
        if self._times[index] != number:
            self._times[index] = number
            self._slots[index] = 0
        self._slots[index] += count
        self.total += count

    def per_second(self, now: float) -> float:
        oldest = int(now / _SLOT) - _SLOTS
        counted = sum(slot for slot, time in zip(self._slots, self._times, strict=True) if time > oldest)
        return counted / (_SLOT * _SLOTS)


class BrokerStats:
    """Messages in by topic, messages out by topic and group.

    Args:
        now: Monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.put = Rate()
        self.got = Rate()
        self._put_by_topic: dict[str, Rate] = {}
        self._got_by_group: dict[tuple[str, str], Rate] = {}

    def stored(self, topic: str, count: int) -> None:
        """Messages were stored for a producer."""
        now = self._now()
        self.put.add(now, count)
        rate = self._put_by_topic.get(topic)
        if rate is None:
            rate = self._put_by_topic[topic] = Rate()
        rate.add(now, count)

    def pulled(self, topic: str, group: str, count: int) -> None:
        """Messages were handed to a consumer."""
        now = self._now()
        self.got.add(now, count)
        rate = self._got_by_group.get((topic, group))
        if rate is None:
            rate = self._got_by_group[topic, group] = Rate()
        rate.add(now, count)

    def forget(self, *, topic: str | None = None, group: str | None = None) -> None:
        """A topic or a group was deleted; the totals stay."""
        if topic is not None:
            self._put_by_topic.pop(topic, None)
        for key in [key for key in self._got_by_group if topic == key[0] or group == key[1]]:
            del self._got_by_group[key]

    def put_tps(self, topic: str | None = None) -> float:
        """Messages stored per second, of a topic or of all."""
        rate = self.put if topic is None else self._put_by_topic.get(topic)
        return rate.per_second(self._now()) if rate is not None else 0.0

    def get_tps(self, topic: str | None = None, group: str | None = None) -> float:
        """Messages handed out per second, to a group on a topic or in all."""
        if topic is None or group is None:
            return self.got.per_second(self._now())
        rate = self._got_by_group.get((topic, group))
        return rate.per_second(self._now()) if rate is not None else 0.0
