"""How fast consumers pull and consume: counts over the last minute, hour and day (Java: `ConsumerStatsManager`, `StatsItemSet`).

The hot path adds to plain integers; windows are differences between samples, which a timer takes every 10 s, 10 min and 1 h.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.protocol.bodies_client import ConsumeStatus


class Window(Enum):
    """A span of time; the value is (seconds between samples, samples kept).

    A window reaches back to its oldest sample: the minute covers 60 to 70 s, the hour 60 to 70 min, the day 24 to 25 h.
    """

    MINUTE = (10.0, 7)
    HOUR = (600.0, 7)
    DAY = (3600.0, 25)


@dataclass(frozen=True, slots=True)
class ConsumeRates:
    """What happened in one window.

    Attributes:
        span: Seconds that the window covers so far.
        ok: Messages consumed.
        failed: Messages whose listener failed.
        ok_tps: Messages consumed per second.
        failed_tps: Failures per second.
        consume_rt: Mean milliseconds of a listener call.
        pulled: Messages pulled.
        pull_tps: Messages pulled per second.
        pull_rt: Mean milliseconds of a pull.
    """

    span: float
    ok: int
    failed: int
    ok_tps: float
    failed_tps: float
    consume_rt: float
    pulled: int
    pull_tps: float
    pull_rt: float


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    ok: int
    failed: int
    consume_calls: int
    consume_ms: float
    pulled: int
    pulls: int
    pull_ms: float


class ConsumeCounters:
    """Counters of one group and topic. Hot and mutable: only additions on the way of a message; used from one event loop."""

    __slots__ = ("_samples", "consume_calls", "consume_ms", "failed", "ok", "pull_ms", "pulled", "pulls")

    def __init__(self, now: float) -> None:
        self.ok = 0
        self.failed = 0
        self.consume_calls = 0
        self.consume_ms = 0.0
        self.pulled = 0
        self.pulls = 0
        self.pull_ms = 0.0
        self._samples: dict[Window, deque[_Sample]] = {window: deque([self._now(now)], window.value[1]) for window in Window}

    def consumed(self, count: int, milliseconds: float) -> None:
        """A listener call that took `milliseconds` consumed `count` messages."""
        self.ok += count
        self.consume_calls += 1
        self.consume_ms += milliseconds

    def consume_failed(self, count: int, milliseconds: float) -> None:
        """A listener call that took `milliseconds` failed on `count` messages."""
        self.failed += count
        self.consume_calls += 1
        self.consume_ms += milliseconds

    def pull(self, count: int, milliseconds: float) -> None:
        """A pull that took `milliseconds` brought `count` messages."""
        self.pulled += count
        self.pulls += 1
        self.pull_ms += milliseconds

    def sample(self, window: Window, now: float) -> None:
        """Take the sample of a window; the oldest one leaves it."""
        self._samples[window].append(self._now(now))

    def rates(self, window: Window, now: float) -> ConsumeRates:
        """What happened since the window's oldest sample, up to this moment."""
        old = self._samples[window][0]
        span = now - old.at
        ok, failed, pulled = self.ok - old.ok, self.failed - old.failed, self.pulled - old.pulled
        calls, pulls = self.consume_calls - old.consume_calls, self.pulls - old.pulls
        return ConsumeRates(
            span=span,
            ok=ok,
            failed=failed,
            ok_tps=ok / span if span > 0 else 0.0,
            failed_tps=failed / span if span > 0 else 0.0,
            consume_rt=(self.consume_ms - old.consume_ms) / calls if calls else 0.0,
            pulled=pulled,
            pull_tps=pulled / span if span > 0 else 0.0,
            pull_rt=(self.pull_ms - old.pull_ms) / pulls if pulls else 0.0,
        )

    def _now(self, now: float) -> _Sample:
        return _Sample(now, self.ok, self.failed, self.consume_calls, self.consume_ms, self.pulled, self.pulls, self.pull_ms)


class ConsumerStatsManager:
    """The counters of all groups and topics of one instance.

    Args:
        scheduler: Runs the sampling.
        clock: The event loop's time in seconds.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._counters: dict[tuple[str, str], ConsumeCounters] = {}

    def start(self) -> None:
        """Start sampling: every 10 s for the minute, every 10 min for the hour, every hour for the day."""
        for window in Window:
            self._scheduler.every(f"sample the {window.name.lower()}", window.value[0], partial(self._sample, window))

    def counters(self, group: str, topic: str) -> ConsumeCounters:
        """The counters of a group and topic, made when new; keep the object, so that the hot path needs no look-up."""
        key = (group, topic)
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = ConsumeCounters(self._clock())
        return found

    def rates(self, group: str, topic: str, window: Window = Window.MINUTE) -> ConsumeRates:
        """What happened in a window; zeros for a group and topic that nobody counts."""
        found = self._counters.get((group, topic)) or ConsumeCounters(self._clock())
        return found.rates(window, self._clock())

    def consume_status(self, group: str, topic: str) -> ConsumeStatus:
        """The figures that `mqadmin consumerStatus` shows: rates of the last minute, failures of the last hour."""
        minute, hour = self.rates(group, topic), self.rates(group, topic, Window.HOUR)
        return ConsumeStatus(
            pull_rt=minute.pull_rt,
            pull_tps=minute.pull_tps,
            consume_rt=minute.consume_rt or hour.consume_rt,
            consume_ok_tps=minute.ok_tps,
            consume_failed_tps=minute.failed_tps,
            consume_failed_msgs=hour.failed,
        )

    def forget(self, group: str) -> None:
        """Drop the counters of a group that left."""
        for key in [key for key in self._counters if key[0] == group]:
            del self._counters[key]

    def _sample(self, window: Window) -> None:
        now = self._clock()
        for counters in self._counters.values():
            counters.sample(window, now)
