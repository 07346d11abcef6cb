"""Clocks of a round: wall time and CPU of this process, resident memory, percentiles of latencies."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

PERCENTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "max": 1000}
"""Parts of a thousand."""


class Meter:
    """Wall clock and CPU (user and system, all threads) of this process between two moments."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start to measure."""
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def answer(self, count: int, failed: int = 0, *, latencies_ns: Iterable[int] | None = None) -> Answer:
        """What was measured until now, as the answer to a request."""
        seconds = time.perf_counter() - self._wall
        cpu = time.process_time() - self._cpu
        answer: Answer = {"count": count, "failed": failed, "seconds": seconds, "cpu_seconds": cpu, "rss_bytes": resident_bytes()}
        if latencies_ns is not None:
            answer["latency_us"] = percentiles_us(latencies_ns)
        return answer


def percentiles_us(nanoseconds: Iterable[int]) -> dict[str, float]:
    """The nearest-rank percentiles of a set of times, in microseconds; empty for no times."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {}
    return {name: ordered[math.ceil(len(ordered) * part / 1000) - 1] / 1000 for name, part in PERCENTILES.items()}


def resident_bytes() -> int:
    """Resident memory of this process. Needs Linux: it reads `/proc`."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
