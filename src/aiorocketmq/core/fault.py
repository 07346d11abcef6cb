"""Brokers that are slow or fail, and how long they are spared (Java: `MQFaultStrategy`, `LatencyFaultToleranceImpl`). Features B19, B20.

A broker that took long is not chosen for a while, the longer it took; one that failed counts as one that took 10 s. Brokers that are not
spared have no entry here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.model.queue import MessageQueue

LATENCY_MAX: Final = (0.05, 0.1, 0.55, 1.8, 3.0, 5.0, 15.0)
"""Latencies in seconds from which on a broker is spared so long as `NOT_AVAILABLE` says at the same place."""
NOT_AVAILABLE: Final = (0.0, 0.0, 2.0, 5.0, 6.0, 10.0, 30.0)
FAILED_LATENCY: Final = 10.0
"""Seconds that a broker which failed counts as having taken."""


@dataclass(slots=True)
class Spared:
    """What is known of one broker that is spared. Mutable.

    Attributes:
        until: Time at which it may be chosen again.
        reachable: False for one that answered with an error, or not at all: it is chosen last until a probe or a send reaches it.
        probe_at: Time of the next probe.
    """

    until: float
    reachable: bool
    probe_at: float


class FaultTable:
    """The brokers that one producer spares.

    Args:
        latency_max: Ascending latencies in seconds.
        not_available: Seconds to spare a broker for, one for each latency.
    """

    def __init__(self, latency_max: Sequence[float] = LATENCY_MAX, not_available: Sequence[float] = NOT_AVAILABLE) -> None:
        self._latency_max = tuple(latency_max)
        self._not_available = tuple(not_available)
        self.spared: dict[str, Spared] = {}

    def spare_for(self, latency: float) -> float:
        """Seconds to spare a broker for that took so long."""
        place = bisect_right(self._latency_max, latency)
        return self._not_available[place - 1] if place else 0.0

    def note(self, broker: str, latency: float, now: float, *, failed: bool = False, reachable: bool = True) -> None:
        """Take the outcome of a try into account.

        Args:
            broker: Name of the broker.
            latency: Seconds that the try took.
            now: The time.
            failed: It has failed: the latency does not matter.
            reachable: False when nothing shows that the broker can be reached.
        """
        until = now + self.spare_for(FAILED_LATENCY if failed else latency)
        if until <= now and reachable:
            self.spared.pop(broker, None)
            return
        known = self.spared.get(broker)
        self.spared[broker] = Spared(until, reachable, known.probe_at if known is not None else now)

    def available(self, broker: str, now: float) -> bool:
        """True when a broker is not spared now."""
        known = self.spared.get(broker)
        return known is None or known.until <= now

    def reachable(self, broker: str) -> bool:
        """False while nothing shows that a broker can be reached."""
        known = self.spared.get(broker)
        return known is None or known.reachable

    def select(self, publish: TopicPublishInfo, last_broker: str | None, now: float) -> MessageQueue:
        """The next queue in turn on a broker that is not spared, else on one that can be reached, else on any; as far as there is a
        choice not on `last_broker`."""
        if not self.spared:
            return publish.select(last_broker)
        for usable in (lambda name: self.available(name, now), self.reachable):
            for _ in publish.queues:
                queue = publish.select(last_broker)
                if usable(publish.broker_of(queue)):
                    return queue
        return publish.select(last_broker)

    def due(self, now: float, interval: float) -> list[str]:
        """Brokers to probe now; each comes again after the interval."""
        due = []
        for name, known in self.spared.items():
            if known.probe_at <= now:
                known.probe_at = now + interval
                due.append(name)
        return due

    def probed(self, broker: str, now: float) -> None:
        """A probe has reached a broker: it may be chosen again as soon as its time is over."""
        known = self.spared.get(broker)
        if known is not None:
            known.reachable = True
            if known.until <= now:
                del self.spared[broker]

    def forget(self, broker: str) -> None:
        """A broker is gone."""
        self.spared.pop(broker, None)
