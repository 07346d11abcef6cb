"""How long this process was kept from the processor: what a busy machine does to a test, told apart from what the client does."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self

_INTERVAL: Final = 0.02
_NOISE: Final = 0.05
"""Seconds of delay that are not counted."""


class Starvation:
    """Measures, on a thread that only sleeps, the time in which it was due and did not run although the process used no processor.

    A client that computes for long, or blocks its event loop in a system call, is not excused: the first uses the processor, and the second
    lets this thread run.
    """

    def __init__(self) -> None:
        self._missing: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="starvation", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        began, used = time.monotonic(), time.process_time()
        while not self._ended.is_set():
            time.sleep(_INTERVAL)
            now, used_now = time.monotonic(), time.process_time()
            missing = now - began - _INTERVAL - (used_now - used)
            if missing > _NOISE:
                self._missing.append((now, missing))
            began, used = now, used_now

    def between(self, begin: float, end: float) -> float:
        """Seconds without the processor between two moments of the monotonic clock."""
        return sum(min(missing, at - begin) for at, missing in self._missing if begin < at <= end)
